"""`python -m benchmarks.check`: how well `fit.check()` tells good fits from bad ones.

Fits of every posterior of the zoo with a reference, of two families and by fixed draws, over seeds;
and of synthetic posteriors whose moments are known. A fit is wrong if a mean is more than 0.5
posterior sds off, or an sd wrong by more than a factor 2; so is a scalar. Printed are the fits on
which the check and the truth disagree, and the confusion tables, of fits and of scalars, for each
half of the posteriors. The cuts of `vi_lab.results.check` are the definition of wrong and two
standard errors, the others round numbers; none was tuned, and the halves say how figures vary.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as onp

import vi_lab as vl
import vi_lab.numpy as np
from benchmarks.__main__ import aligned, machine, say
from vi_lab.engine import Array
from vi_lab.results.summary import flatten_draws

DRAWS = 20_000
WRONG_MEAN, WRONG_SD = 0.5, 2.0
METHODS: dict[str, dict[str, str]] = {
    "mean_field": {},
    "full_rank": {"family": "full_rank"},
    "deterministic": {"method": "deterministic"},
}
MOST_DIM = 20  # of full rank
HEADINGS = ("posterior", "method", "seed", "worst mean", "sds", "good?", "check", "gradients")


@dataclass(frozen=True)
class Case:
    """A posterior, and the mean and sd of its scalars."""

    name: str
    model: vl.Model | vl.Target
    mean: dict[str, float]
    sd: dict[str, float]


@dataclass(frozen=True, eq=False)
class Judged:
    """A fit, checked, beside the truth.

    ``off`` and ``ratio`` are by scalar: the error of the mean in sds, and the ratio of sds.
    """

    case: Case
    method: str
    seed: int
    off: onp.ndarray
    ratio: onp.ndarray
    said: onp.ndarray
    check: vl.Check
    fit_gradients: int

    @property
    def right(self) -> onp.ndarray:
        """By scalar, whether mean and sd are."""
        near = (self.ratio > 1.0 / WRONG_SD) & (self.ratio < WRONG_SD)
        return (self.off < WRONG_MEAN) & near

    def cells(self) -> tuple[str, ...]:
        """The line of the table."""
        return (
            self.case.name,
            self.method,
            str(self.seed),
            f"{self.off.max():.2f}",
            f"{self.ratio.min():.2f} to {self.ratio.max():.2f}",
            "yes" if self.right.all() else "NO",
            "good" if self.check.good else "not good",
            f"{self.fit_gradients:,} + {self.check.gradients:,}",
        )


def judged(case: Case, method: str, seed: int) -> Judged:
    """Fit, check and compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vl.ConvergenceWarning)
        fit = vl.advi(case.model, seed=seed, progress=False, **METHODS[method])
    check = fit.check(seed=seed + 1)
    names, draws = flatten_draws(fit.sample(DRAWS, seed=seed + 2), leading=1)
    rows = [names.index(name) for name in case.mean]
    mean, sd = (onp.array(list(numbers.values())) for numbers in (case.mean, case.sd))
    off = abs(draws.mean(axis=0)[rows] - mean) / sd
    ratio = draws.std(axis=0)[rows] / sd
    said = (check.scalars["good"][rows] == 1.0) & (not check.objections)
    gradients = fit.convergence.gradients if fit.convergence else 0
    return Judged(case, method, seed, off, ratio, said, check, gradients)


def cases() -> list[Case]:
    """The zoo, by name, then what is synthetic; every other one is in the first half."""
    found = []
    for entry in sorted((make() for make in vl.zoo.ALL), key=lambda entry: entry.name):
        if entry.exact:
            mean, sd = dict(entry.exact.mean), dict(entry.exact.sd)
        else:
            mean = {name: r.mean for name, r in entry.reference.items()}
            sd = {name: r.sd for name, r in entry.reference.items()}
        found.append(Case(entry.name, entry.model(), mean, sd))
    return found + [synthetic(*each) for each in SYNTHETIC]


def synthetic(density: Callable[[Array], Array], means: list[float], sds: list[float]) -> Case:
    """A case whose moments are known in closed form."""
    names = [f"z[{i}]" for i in range(len(means))]
    target = vl.Target(density, dim=len(means))
    return Case(
        density.__name__,
        target,
        dict(zip(names, means, strict=True)),
        dict(zip(names, sds, strict=True)),
    )


def funnel(z: Array) -> Array:
    """v ~ N(0, 3^2), x ~ N(0, e^v) three times: the sd of x is exp(9/4)."""
    return -0.5 * (z[0] / 3.0) ** 2 - 0.5 * np.sum(z[1:] ** 2) * np.exp(-z[0]) - 1.5 * z[0]


def banana(z: Array) -> Array:
    """x ~ N(0, 1), y ~ N(x^2, 0.3^2)."""
    return -0.5 * z[0] ** 2 - 0.5 * ((z[1] - z[0] ** 2) / 0.3) ** 2


def student(z: Array) -> Array:
    """Three times Student's t with 5 degrees of freedom, of variance 5/3."""
    return -3.0 * np.sum(np.log1p(z**2 / 5.0))


def two_modes(z: Array) -> Array:
    """N(3, 1) and N(-3, 1), half each."""
    return np.logaddexp(-0.5 * (z[0] - 3.0) ** 2, -0.5 * (z[0] + 3.0) ** 2)


def small_mode(z: Array) -> Array:
    """N(0, 1), and a tenth of the mass in N(8, 1)."""
    return np.logaddexp(-0.5 * z[0] ** 2, -2.19722 - 0.5 * (z[0] - 8.0) ** 2)


def ring(z: Array) -> Array:
    """A circle of radius 3; the variance of z is (9 + 3 * 0.09) / 2."""
    return -0.5 * ((np.sum(z**2) ** 0.5 - 3.0) / 0.3) ** 2


SYNTHETIC: list[tuple[Callable[[Array], Array], list[float], list[float]]] = [
    (banana, [0.0, 1.0], [1.0, (2.0 + 0.09) ** 0.5]),
    (funnel, [0.0] * 4, [3.0, *[onp.exp(2.25)] * 3]),
    (ring, [0.0, 0.0], [(4.5 + 0.135) ** 0.5] * 2),
    (small_mode, [0.8], [(1.0 + 0.09 * 64.0) ** 0.5]),
    (student, [0.0] * 3, [(5.0 / 3.0) ** 0.5] * 3),
    (two_modes, [0.0], [10.0**0.5]),
]


def outcomes(chosen: list[Case], seeds: int) -> Iterator[Judged]:
    """All fits of ``chosen``."""
    for case in chosen:
        for method in METHODS:
            if method != "full_rank" or case.model.dim <= MOST_DIM:
                say(f"{case.name}, {method}")
                yield from (judged(case, method, seed) for seed in range(seeds))


def confusion(found: list[Judged], what: str) -> str:
    """Of fits, and of scalars: what the check said against what is so."""
    fits = onp.array([(j.right.all(), j.check.good) for j in found])
    scalars = onp.array([pair for j in found for pair in zip(j.right, j.said, strict=True)])
    lines: list[tuple[str, ...]] = [(what, "fits", "", "scalars", ""), ("", *["good", "not"] * 2)]
    for right, word in ((True, "right"), (False, "wrong")):
        counts = [
            int(((table[:, 0] == right) & (table[:, 1] == said)).sum())
            for table in (fits, scalars)
            for said in (True, False)
        ]
        lines.append((word, *map(str, counts)))
    return aligned(lines)


def main() -> None:
    """Fit, check, and print where check and truth disagree, and how often."""
    everything = cases()
    names = [case.name for case in everything]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help="posteriors (all)"
    )
    parser.add_argument("--seeds", type=int, default=2, help="of each fit (2)")
    options = parser.parse_args()
    print(machine(), end="\n\n", flush=True)
    halves: list[list[Judged]] = [[], []]
    for case in everything:
        if case.name in options.only:
            halves[names.index(case.name) % 2] += outcomes([case], options.seeds)
    found = halves[0] + halves[1]
    disagree = [j.cells() for j in found if j.check.good != j.right.all()]
    print(aligned([HEADINGS, *disagree]) if disagree else "They agree on every fit.")
    for half, what in zip((*halves, found), ("first half", "second half", "all"), strict=True):
        if half:
            print("\n" + confusion(half, what))
    cheap = onp.mean([j.check.gradients <= j.fit_gradients for j in found])
    print(f"\n{cheap:.0%} of the checks took no more gradients than their fit.")


if __name__ == "__main__":
    main()
