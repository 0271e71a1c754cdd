"""Summaries of draws: a table with a row for each number and a column for each statistic."""

from __future__ import annotations

import html
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as onp

from vi_lab.arrays import as_real
from vi_lab.checks import check_instance, check_names, shown
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError, UnknownNameError
from vi_lab.results import diagnostics


@dataclass(frozen=True, eq=False)
class Summary:
    """A table that prints well.

    ``summary["mu", "sd"]`` is a number, ``summary["sd"]`` a column, and
    ``summary.select("mu", "theta")`` a table of some rows.

    Attributes
    ----------
    names : a row for each: ``"mu"``, ``"theta[0]"``, ``"L[1, 0]"``
    columns : an array over ``names`` for each statistic
    notes : sentences printed under the table
    """

    names: tuple[str, ...]
    columns: dict[str, onp.ndarray]
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: str | tuple[str, str]) -> Any:
        *row, column = key if isinstance(key, tuple) else (key,)
        if len(row) > 1 or not all(isinstance(part, str) for part in (*row, column)):
            raise ArgumentTypeError(f"key: {shown(key)} is neither a column nor (row, column)")
        if column not in self.columns:
            raise UnknownNameError(f"{column!r} is no column; they are {', '.join(self.columns)}")
        if not row:
            return self.columns[column]
        if row[0] not in self.names:
            raise UnknownNameError(f"{row[0]!r} is no row; rows are {', '.join(self.names)}")
        return float(self.columns[column][self.names.index(row[0])])

    def select(self, *names: str) -> Summary:
        """The rows that ``names`` mean: ``"theta"`` all of its entries, ``"theta[0]"`` one.

        Raises
        ------
        ValueError
            if there is no such row.
        """
        rows = [self.names.index(row) for row in matching(self.names, check_names("names", names))]
        columns = {column: values[rows] for column, values in self.columns.items()}
        return Summary(tuple(self.names[i] for i in rows), columns, self.notes)

    def to_dict(self) -> dict[str, dict[str, float]]:
        """``{name: {column: number}}``; ``pandas.DataFrame.from_dict(..., orient="index")``."""
        return {
            name: {column: float(values[i]) for column, values in self.columns.items()}
            for i, name in enumerate(self.names)
        }

    def __str__(self) -> str:
        rows = self._cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                [row[0].ljust(widths[0])]
                + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            )
            for row in rows
        ]
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        header, *rows = [[html.escape(cell) for cell in row] for row in self._cells()]
        head = "".join(f"<th>{cell}</th>" for cell in header)
        body = "".join(
            f"<tr><th>{row[0]}</th>" + "".join(f"<td>{cell}</td>" for cell in row[1:]) + "</tr>"
            for row in rows
        )
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"

    def _cells(self) -> list[list[str]]:
        """The table as text: a header, then a row for each name."""
        return [["", *self.columns]] + [
            [name, *(_format(column, values[i]) for column, values in self.columns.items())]
            for i, name in enumerate(self.names)
        ]


def summarise(
    draws: Mapping[str, Array],
    *,
    chains: bool = False,
    prob: float = 0.95,
    notes: tuple[str, ...] = (),
) -> Summary:
    """Mean, sd, Monte Carlo standard error of the mean, and highest-density interval.

    ``draws`` are independent and have shape ``(S, *shape)``; or, with ``chains``, they are
    Markov chains of shape ``(chains, draws, *shape)``, and effective sample sizes and
    R-hat (see `vi_lab.results.diagnostics`) are added. A number of which some draws are not
    finite has NaN in its row, and a note.

    Raises
    ------
    TypeError, ValueError
        if ``prob`` is not between 0 and 1, there are no draws, or not equally many of all.
    """
    names, table = flatten_draws(draws, leading=2 if chains else 1)
    lost = ~onp.isfinite(table.reshape(-1, len(names)))
    table = onp.where(lost.any(axis=0), 0.0, table)
    pooled = table.reshape(-1, len(names))
    sd = pooled.std(axis=0, ddof=1) if len(pooled) > 1 else onp.full(len(names), onp.nan)
    low, high = diagnostics.hdi(pooled, prob).T
    columns = {
        "mean": pooled.mean(axis=0),
        "sd": sd,
        "mcse": diagnostics.mcse(table) if chains else sd / len(pooled) ** 0.5,
        f"hdi {50 * (1 - prob):.3g}%": low,
        f"hdi {50 * (1 + prob):.3g}%": high,
    }
    if chains:
        columns["ess_bulk"] = diagnostics.ess_bulk(table)
        columns["ess_tail"] = diagnostics.ess_tail(table)
        columns["r_hat"] = diagnostics.rhat(table)
    for column, values in columns.items():
        columns[column] = onp.where(lost.any(axis=0), onp.nan, values)
    for name, count in zip(names, lost.sum(axis=0), strict=True):
        if count:
            notes += (f"{name}: {count:,} of {len(pooled):,} draws are not finite: no summary.",)
    return Summary(tuple(names), columns, notes)


def flatten_draws(
    draws: Mapping[str, Array], leading: int, what: str = "draws"
) -> tuple[list[str], onp.ndarray]:
    """Every number of every draw: row names, and an array ``(*leading axes, rows)``.

    ``what`` is the argument's name in errors.

    Raises
    ------
    TypeError
        if ``draws`` are not a dictionary of arrays.
    ValueError
        if there are none, or their leading axes differ.
    """
    axes = "(chains, draws, *shape)" if leading > 1 else "(S, *shape)"
    check_instance(what, draws, Mapping, f"draws by name, {{name: {axes}}}")
    if not all(isinstance(name, str) for name in draws):
        raise ArgumentTypeError(
            f"{what}: has the keys {list(draws)}; give draws by name, {{name: {axes}}}"
        )
    begins = {
        name: onp.shape(as_real(f"{what}[{name!r}]:", value))[:leading]
        for name, value in draws.items()
    }
    if len(set(begins.values())) != 1 or any(len(b) < leading or 0 in b for b in begins.values()):
        raise ArgumentError(
            f"{what}: draws by name must all be {axes}, at least one, but begin with {begins}"
        )
    names, parts = [], []
    for name, value in draws.items():
        array = onp.asarray(as_real(f"{what}[{name!r}]:", value), dtype=float)
        shape = array.shape[leading:]
        indices = itertools.product(*map(range, shape))
        names += [f"{name}[{', '.join(map(str, i))}]" if shape else name for i in indices]
        parts.append(array.reshape(*array.shape[:leading], -1))
    return names, onp.concatenate(parts, axis=-1)


def matching(rows: Sequence[str], names: Sequence[str]) -> list[str]:
    """Those of ``rows`` that ``names`` means, in its order: ``"theta"`` is ``"theta[0]"``, ...

    Raises
    ------
    TypeError, ValueError
        if a name means none.
    """
    chosen = []
    for name in names:
        found = [row for row in rows if row == name or row.startswith(f"{name}[")]
        if not found:
            raise ArgumentError(f"names: {unknown(name, rows)}")
        chosen += found
    return chosen


def unknown(name: str, rows: Sequence[str]) -> str:
    """What to say of a ``name`` that is no row."""
    known = ", ".join(rows[:8]) + (" ..." if len(rows) > 8 else "")
    return f"there is no {name!r}; choose among {known}"


def _format(column: str, value: float) -> str:
    if column.startswith("ess"):
        return f"{value:.0f}"
    if column == "good":
        return "yes" if value else "NO"
    if column == "r_hat":
        return f"{value:.3f}"
    return f"{value:#.4g}".rstrip(".")
