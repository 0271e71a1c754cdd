"""`python -m benchmarks.posteriors`: the default fit on every posterior of the zoo.

For each posterior that comes from posteriordb, and each family with a baseline there,
one line: what `vi_lab.advi` with no setting cost, how far its q is from the reference
beside how far the best q of the family is, and the fit's own verdict. A fit reaches
its baseline if the largest z is within `Z_MARGIN` of it and the smallest sd ratio
within `SD_MARGIN` of its size.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import vi_lab as vl
from benchmarks.__main__ import aligned, machine, say
from vi_lab.zoo import Accuracy, ZooEntry

Z_MARGIN = 0.1  # reference sds
SD_MARGIN = 0.1  # of the baseline's smallest sd ratio
DRAWS = 20_000  # whose Monte Carlo error is below 1% of an sd in a mean, 0.5% in an sd
HEADINGS = (
    "posterior", "family", "steps", "gradients", "seconds",
    "max |z|", "best", "min sd ratio", "best", "reached", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One default fit beside its baseline; ``fit`` None if it failed, as ``failure`` says."""

    entry: ZooEntry
    family: str
    fit: vl.Fit | None
    accuracy: Accuracy | None
    failure: str = ""

    @property
    def baseline(self) -> Accuracy:
        """What the best q of the family can do."""
        return self.entry.baseline[self.family]

    @property
    def reached(self) -> bool:
        """Whether the fit is as good as the best q of its family, within the margins."""
        if self.accuracy is None:
            return False
        z = abs(self.accuracy.max_abs_z - self.baseline.max_abs_z)
        ratio = abs(self.accuracy.sd_ratio_min / self.baseline.sd_ratio_min - 1.0)
        return z <= Z_MARGIN and ratio <= SD_MARGIN

    def cells(self) -> tuple[str, ...]:
        """The line of the table."""
        best = f"{self.baseline.max_abs_z:.2f}", f"{self.baseline.sd_ratio_min:.2f}"
        if self.fit is None or self.accuracy is None or self.fit.convergence is None:
            return (
                self.entry.name, self.family, "", "", "", "", best[0], "", best[1], "NO",
                self.failure,
            )  # fmt: skip
        verdict = self.fit.convergence
        return (
            self.entry.name,
            self.family,
            f"{verdict.steps:,}",
            f"{verdict.gradients:,}",
            f"{self.fit.seconds:.1f}",
            f"{self.accuracy.max_abs_z:.2f}",
            best[0],
            f"{self.accuracy.sd_ratio_min:.2f}",
            best[1],
            "yes" if self.reached else "NO",
            str(verdict).partition(":")[0],
        )


def default_fit(entry: ZooEntry, family: str, seed: int = 0) -> Outcome:
    """Fit with no setting on JAX, and compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vl.ConvergenceWarning)  # the verdict is in the table
        try:
            fit = vl.advi(entry.model(), family, seed=seed, engine="jax", progress=False)
        except vl.NonFiniteError as error:
            return Outcome(entry, family, None, None, str(error).partition("\n")[0])
    accuracy = entry.accuracy(fit.sample(DRAWS, seed=seed + 1))
    return Outcome(entry, family, fit, accuracy)


def outcomes(names: list[str], seed: int) -> Iterator[Outcome]:
    """All fits of the posteriors called ``names``."""
    for entry in entries().values():
        for family in entry.baseline if entry.name in names else ():
            say(f"{entry.name}, {family}")
            yield default_fit(entry, family, seed)


def entries() -> dict[str, ZooEntry]:
    """The posteriors with a baseline, by name."""
    makers: tuple[Callable[[], ZooEntry], ...] = vl.zoo.ALL
    return {entry.name: entry for entry in (make() for make in makers) if entry.baseline}


def main() -> None:
    """Fit, and print the table; a missed baseline is printed as missed."""
    names = list(entries())
    parser = argparse.ArgumentParser(prog="python -m benchmarks.posteriors", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help="posteriors (all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of all fits (0)")
    options = parser.parse_args()
    print(machine(), end="\n\n", flush=True)
    found = list(outcomes(options.only, options.seed))
    print(aligned([HEADINGS, *(outcome.cells() for outcome in found)]))
    reached = sum(outcome.reached for outcome in found)
    print(f"\n{reached} of {len(found)} reach what the best q of their family can do.")


if __name__ == "__main__":
    main()
