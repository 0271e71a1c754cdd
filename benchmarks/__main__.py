"""`python -m benchmarks`: one table of vi_lab beside its peers, on this machine.

The table goes to standard output, progress to standard error. A missed target is
printed as missed; the exit status says only whether the benchmarks ran.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

import vi_lab as vl
from benchmarks.rows import ROWS, Row
from benchmarks.timing import Spread, interleave, round_ratios

PACKAGES = {name: name for name in ("numpy", "scipy", "autograd", "jax", "blackjax")}
PACKAGES["sklearn"] = "scikit-learn"  # by what is imported, what is installed
HEADINGS: tuple[str, ...] = ("", "what", "unit", "ours", "theirs", "ratio", "target", "")


def main() -> None:
    """Measure the rows asked for, then print the table."""
    options = parse()
    rows = [row for row in ROWS if row.key in options.only]
    refuse_missing(rows)
    model = vl.zoo.notebook_gaussian().model()
    print(machine(), end="\n\n", flush=True)
    table = [HEADINGS]
    for row in rows:
        table.extend(measure(row, model, options.runs))
    print(aligned(table))
    print(f"\nOf {options.runs} interleaved runs: median (least to greatest).")
    print("Ratio: ours over theirs, of the two measurements of one round.")


def parse() -> argparse.Namespace:
    """The command line: ``runs`` and ``only``, a list of keys."""
    keys = [row.key for row in ROWS]

    def chosen(text: str) -> list[str]:
        wanted = text.split(",")
        if unknown := sorted(set(wanted) - set(keys)):
            raise argparse.ArgumentTypeError(f"no rows {unknown}; the rows are {','.join(keys)}")
        return wanted

    def positive(text: str) -> int:
        if not text.isdecimal() or int(text) < 1:
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
        return int(text)

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=positive, default=7, help="measurements of each (7)")
    parser.add_argument(
        "--only", type=chosen, default=keys, metavar="KEYS", help="rows, such as a,c (all)"
    )
    return parser.parse_args()


def refuse_missing(rows: list[Row]) -> None:
    """Exit with a message to act on if a package that these rows need is not installed."""
    for package in ("jax", "blackjax", "sklearn"):
        needed_by = [row.key for row in rows if package in row.needs]
        if needed_by and importlib.util.find_spec(package) is None:
            others = ",".join(row.key for row in rows if package not in row.needs)
            sys.exit(
                f"rows {','.join(needed_by)} need {PACKAGES[package]}, which is not installed "
                "here: pip install 'vi-lab[jax,bench]'"
                + (f", or leave them out: --only {others}" if others else "")
            )


def measure(row: Row, model: Any, runs: int) -> list[tuple[str, ...]]:
    """The lines of one row: medians, and below them the least and the greatest."""
    say(f"{row.key}: {row.ours}: preparing")
    ours, theirs = row.prepare(model)
    contestants = {"ours": ours} if theirs is None else {"ours": ours, "theirs": theirs}
    values = interleave(
        contestants, runs, lambda name, value: say(f"{row.key}: {name} {show(value)} {row.unit}")
    )
    spreads = {name: Spread.of(measured) for name, measured in values.items()}
    judged = spreads["ours"]
    if theirs is not None:
        judged = spreads["ratio"] = Spread.of(round_ratios(values["ours"], values["theirs"]))
    columns = [spreads.get(name) for name in ("ours", "theirs", "ratio")]
    verdict = "met" if row.target.is_met_by(judged.median) else "missed"
    versus = f"against {row.theirs}" if row.theirs else ""
    medians = [show(s.median) if s else "" for s in columns]
    ranges = [f"({show(s.least)} to {show(s.greatest)})" if s else "" for s in columns]
    return [
        (row.key, row.ours, row.unit, *medians, str(row.target), verdict),
        ("", versus, "", *ranges, "", ""),
    ]


def show(value: float) -> str:
    """Three digits at least, and no exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def aligned(table: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest entry."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )


def machine() -> str:
    """The processor, how busy it is, and the versions of what is compared."""
    versions = [f"vi_lab {vl.__version__}", f"Python {platform.python_version()}"]
    versions += [
        f"{installed} {importlib.metadata.version(installed)}"
        for package, installed in PACKAGES.items()
        if importlib.util.find_spec(package) is not None
    ]
    busy = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}; load before: {busy}\n"
        f"{', '.join(versions)}"
    )


def processor() -> str:
    """The processor's name; the architecture where the system does not tell."""
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def say(message: str) -> None:
    """Progress, which is no part of the table."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
