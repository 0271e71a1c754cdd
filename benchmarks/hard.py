r"""`python -m benchmarks.hard`: is "Converged" so? Fits of every hard case, and what they lack.

For each case of `benchmarks.hard_cases`, family and method some seeds are fitted, and judged
together by the ELBO that each lacks:

* where the ELBO of any Gaussian is known (`benchmarks.targets`), or in one dimension, where it is
  an integral, against the best q that can be found there. No error;
* elsewhere against the best of all seeds, and a *long run* that goes on from it with
  `LONGER` times the draws: by the difference of their ELBOs on common draws in pairs
  :math:`\pm\epsilon`, whose standard error is known.

A fit that is `FAR` times as far as it says, beyond `SIGMAS` errors, is falsely converged; unless a
long run from where it is stays there. Then it is another optimum, and a fit that is worse by more
than a nat is counted as such. Of cases without an optimum any fit that says "Converged" is false.

`--records FILE` keeps a line of each fit, and what is in it is not fitted again: so the table can
be made in parts.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as onp

import vi_lab as vl
from benchmarks.__main__ import aligned, machine, say
from benchmarks.hard_cases import AUTOGRAD_DIM, HardCase, cases
from vi_lab import engine as engines
from vi_lab.advi.density import Density

FAMILIES = ("mean_field", "full_rank", "low_rank")
METHODS = ("stochastic", "deterministic")
SEEDS = 5
FAR = 3.0  # times the stated gap
SIGMAS = 3.0  # of the comparison
WORSE = 1.0  # nats
LONGER = 4  # times the draws
COMMON_DRAWS, NUMBERS = 40_000, 1_000_000  # for a comparison; of all its draws together
GRID = onp.linspace(-9.0, 9.0, 4_001)  # of epsilon in one dimension
PRODUCTS = 256  # of epsilons, at most, whose means are made use of
ROUNDING = 1e-10  # of an ELBO
SLOW = 2.0  # times the median gradients


@dataclass(frozen=True)
class Judged:
    """One fit beside the best: a line of the records.

    Attributes
    ----------
    gap, error : nats that it lacks, and the standard error of that
    own_gap : nats by which a long run from where it is was better
    modes : ELBOs less its own of the other optima it knows of
    failure : what was raised, if anything was
    """

    case: str
    family: str
    method: str
    engine: str
    seed: int
    proper: bool
    converged: bool = False
    why: str = ""
    stated: float = float("inf")
    tolerance: float = 0.0
    gap: float = float("nan")
    error: float = 0.0
    own_gap: float = float("nan")
    gradients: int = 0
    seconds: float = 0.0
    modes: tuple[float, ...] = ()
    failure: str = ""

    @property
    def beyond(self) -> bool:
        """It said "Converged" and is farther than it may be."""
        return self.converged and self.proper and self.gap - self.error > FAR * self.stated

    @property
    def elsewhere(self) -> bool:
        """It is an optimum by itself, for a long run stays there, far below the best."""
        stays = self.own_gap - self.error <= FAR * self.stated
        return self.beyond and stays and self.gap > self.tolerance

    @property
    def false(self) -> bool:
        """It said "Converged" and is no optimum."""
        return (self.beyond and not self.elsewhere) or (self.converged and not self.proper)

    @property
    def worse(self) -> bool:
        """It is an optimum that is worse than another by a nat."""
        return self.elsewhere and self.gap > WORSE

    @property
    def good(self) -> bool:
        """It is as good as was asked."""
        return self.proper and self.gap + self.error < self.tolerance


def fitted(model: Any, **options: Any) -> tuple[vl.Fit | None, float, str]:
    """A fit, its CPU seconds, and what was raised."""
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say is in the verdict
        try:
            fit = vl.advi(model, progress=False, **options)
        except (ValueError, ArithmeticError) as error:
            return None, time.process_time() - began, f"{type(error).__name__}: {error}"
    return fit, time.process_time() - began, ""


# ------------------------------------------------------------------------- what is lacked
class Judge:
    """ELBOs of Gaussians of one family on one posterior, compared on common draws."""

    def __init__(self, case: HardCase, model: Any, family: str, engine: str) -> None:
        self.case, self.model, self.family, self.engine = case, model, family, engine
        dim = model.dim
        self._density = Density(model.structure, model.data, engines.get(engine), dim)
        num = min(COMMON_DRAWS, max(200, NUMBERS // dim)) // 2
        half = GRID[:, None] if dim == 1 else onp.random.default_rng(7).standard_normal((num, dim))
        self._half = half
        self._basis = None if dim == 1 or case.known else quadratic_basis(half)

    def elbos(self, loc: onp.ndarray, root: onp.ndarray) -> onp.ndarray:
        """Of N(loc, root root'), or with sds ``root`` (D,): by pairs of draws (N,)."""
        shift = self._half * root if root.ndim == 1 else self._half @ root.T
        log_det = onp.log(root if root.ndim == 1 else onp.diag(root)).sum()
        if self.model.dim == 1:
            weights = onp.exp(-0.5 * GRID**2)
            values = self._density(loc + shift)[0]
            return onp.array([float(values @ weights / weights.sum()) + log_det])
        pair = [self._density(loc + sign * shift)[0] for sign in (1.0, -1.0)]
        return onp.asarray(0.5 * (pair[0] + pair[1]) + log_det)

    def of(self, fit: vl.Fit) -> onp.ndarray:
        """The ELBO of a fit, up to a constant; exact, or by pairs of draws."""
        loc = onp.asarray(fit.params["loc"])
        known = self.case.known
        if known is not None:
            return onp.array([known.elbo(loc, fit.unconstrained_covariance)])
        if self.family == "mean_field":
            return self.elbos(loc, onp.exp(onp.asarray(fit.params["log_scale"])))
        return self.elbos(loc, onp.linalg.cholesky(fit.unconstrained_covariance))

    def best_beside(self, fit: vl.Fit) -> list[onp.ndarray]:
        """ELBOs of the best q that can be found from the best ``fit``."""
        known = self.case.known
        if known is not None and self.family in known.best:
            return [onp.array([known.elbo(*known.best[self.family])])]
        if self.model.dim == 1:
            return [onp.array([self._polished(fit)])]
        return self.longer(fit)

    def longer(self, fit: vl.Fit) -> list[onp.ndarray]:
        """The ELBO of a run from ``fit`` with more draws; none if it failed."""
        draws = LONGER * max(fit.stages[-1].draws, 64) if fit.stages else 1_024
        options = {"seed": 99, "engine": self.engine, "init": fit, "draws": draws}
        found = fitted(self.model, family=self.family, **options)[0]
        return [] if found is None else [self.of(found)]

    def _polished(self, fit: vl.Fit) -> float:
        from scipy.optimize import minimize

        loc, sd = float(fit.params["loc"][0]), float(onp.sqrt(fit.unconstrained_covariance[0, 0]))

        def lost(p: onp.ndarray) -> float:
            return -float(self.elbos(loc + sd * p[:1], sd * onp.exp(p[1:]))[0])

        options = {"xatol": 1e-4, "fatol": 1e-9, "maxiter": 100}
        simplex = onp.array([[0.0, 0.0], [0.05, 0.0], [0.0, 0.05]])
        found = minimize(
            lost,
            onp.zeros(2),
            method="Nelder-Mead",
            options={**options, "initial_simplex": simplex},
        )
        return -float(found.fun)

    def difference(self, better: onp.ndarray, elbo: onp.ndarray) -> tuple[float, float]:
        """Nats between two ELBOs, and `SIGMAS` standard errors of it, rounding included.

        What of it is quadratic in epsilon has a mean that is known: a control variate.
        """
        with onp.errstate(all="ignore"):
            by_pair = better - elbo
            if self._basis is not None and onp.isfinite(by_pair).all():
                Q, ones = self._basis
                rest, level = (v - Q @ (Q.T @ v) for v in (by_pair, ones))
                mean = float(rest @ ones / (level @ ones))
                by_pair = mean + rest - mean * level
            error = by_pair.std() / max(1.0, len(by_pair) - 1.0) ** 0.5
            rounding = ROUNDING * (1.0 + abs(elbo.mean()))
            return float(by_pair.mean()), float(SIGMAS * error + rounding)


def quadratic_basis(eps: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray] | None:
    """An orthonormal basis (N, K) of products of ``eps`` (N, D) less their means, and ones (N,).

    Of all products if they are few, else of squares; None if those are many.
    """
    num, dim = eps.shape
    first, second = onp.triu_indices(dim) if dim * (dim + 1) // 2 <= PRODUCTS else (range(dim),) * 2
    if len(first) > PRODUCTS:
        return None
    products = eps[:, first] * eps[:, second] - onp.equal(first, second)
    return onp.linalg.qr(products)[0], onp.ones(num)


def judged(case: HardCase, family: str, options: argparse.Namespace) -> list[Judged]:
    """All fits of a case in a family."""
    model = case.make()
    records, fits = [], []
    methods = METHODS if family == "mean_field" else METHODS[:1]
    for method in methods:
        for seed in range(options.seeds):
            fit, seconds, failure = fitted(
                model, family=family, method=method, seed=seed, engine=options.engine
            )
            line: dict[str, Any] = {"seconds": seconds, "failure": failure}
            if fit is not None and fit.convergence is not None:
                c = fit.convergence
                line |= {"converged": c.converged, "why": c.why, "stated": c.gap}
                line |= {"tolerance": c.tolerance, "gradients": c.gradients, "modes": c.modes}
            start = (case.name, family, method, options.engine, seed, case.proper)
            records.append({**dict(zip(list(Judged.__annotations__), start, strict=False)), **line})
            fits.append(fit)
    if case.proper:
        add_gaps(Judge(case, model, family, options.engine), fits, records)
    return [Judged(**record) for record in records]


def add_gaps(judge: Judge, fits: Sequence[vl.Fit | None], records: list[dict[str, Any]]) -> None:
    """Write into ``records`` what each of ``fits`` lacks."""
    elbos = {i: judge.of(fit) for i, fit in enumerate(fits) if fit is not None}
    elbos = {i: elbo for i, elbo in elbos.items() if onp.isfinite(elbo).all()}
    if not elbos:
        return
    base = next(iter(elbos.values()))
    best = max(elbos, key=lambda i: judge.difference(elbos[i], base)[0])
    best_fit = fits[best]
    assert best_fit is not None
    found = [elbos[best], *judge.best_beside(best_fit)]
    better = max(found, key=lambda elbo: judge.difference(elbo, base)[0])
    for i, elbo in elbos.items():
        gap, error = judge.difference(better, elbo)
        records[i] |= {"gap": gap, "error": error}
        fit = fits[i]
        if fit is not None and Judged(**records[i]).beyond:
            own = [judge.difference(longer, elbo)[0] for longer in judge.longer(fit)]
            records[i]["own_gap"] = max(own, default=float("inf"))


# ------------------------------------------------------------------------------ the table
HEADINGS = (
    "case", "family", "method", "engine", "converged", "otherwise", "stated gap", "true gap",
    "+-", "gradients", "max/med", "CPU s", "other optima", "bad",
)  # fmt: skip


def rows(records: Sequence[Judged]) -> list[list[Judged]]:
    """Seeds of one row together."""
    found: dict[tuple[str, ...], list[Judged]] = {}
    for r in records:
        found.setdefault((r.case, r.family, r.method, r.engine), []).append(r)
    return list(found.values())


def slowest(row: Sequence[Judged]) -> float:
    """Gradients of the slowest converged fit over the median."""
    taken = [r.gradients for r in row if r.converged]
    return max(taken) / max(median(taken), 1) if taken else float("nan")


def cells(row: Sequence[Judged]) -> tuple[str, ...]:
    """The line of one row: medians, and of the true gap the worst fit's."""
    first, worst = row[0], max(row, key=lambda r: r.gap if r.gap == r.gap else -1.0)
    whys = [r.failure.partition(":")[0] or r.why for r in row if not r.converged]
    named = ("F", "false"), ("W", "worse"), ("G", "good")
    letters = [letter * sum(bad(r, name) for r in row) for letter, name in named]
    return (
        first.case, first.family, first.method, first.engine,
        f"{sum(r.converged for r in row)}/{len(row)}",
        ", ".join(sorted(set(whys))),
        f"{median(r.stated for r in row):.1e}",
        f"{worst.gap:.1e}" if first.proper else "no optimum",
        f"{worst.error:.0e}" if first.proper else "",
        f"{median(r.gradients for r in row):,.0f}",
        f"{slowest(row):.1f}",
        f"{median(r.seconds for r in row):.2f}",
        f"{max(len(r.modes) for r in row) or ''}",
        "".join(letters),
    )  # fmt: skip


def bad(r: Judged, name: str) -> bool:
    """Whether a fit is bad in that way: "good" is one that says otherwise."""
    return r.good and not r.converged if name == "good" else bool(getattr(r, name))


def closing(records: Sequence[Judged]) -> str:
    """What the table comes to."""
    proper, improper = [r for r in records if r.proper], [r for r in records if not r.proper]
    false, worse = [r for r in proper if r.false], [r for r in proper if r.worse]
    unlucky = [row for row in rows(records) if slowest(row) > SLOW]
    slow = f"that took more than {SLOW:g} times the median gradients"
    lines = [
        (
            f"{len(records)} fits of {len({r.case for r in records})} cases: "
            f"{sum(r.converged for r in records)} converged, "
            f"{sum(bool(r.failure) for r in records)} raised an error."
        ),
        (
            f'{len(false)} said "Converged" and were beyond {FAR:g} times their stated gap, '
            f"{sum(r.gap > r.tolerance for r in false)} of them beyond the tolerance too."
        ),
        (
            f"{sum(r.converged for r in improper)} of {len(improper)} without an optimum said "
            f'"Converged"; {sum(r.why == "no optimum" for r in improper)} said why.'
        ),
        *(good_fits(method, [r for r in proper if r.method == method]) for method in METHODS),
        (
            f"{len(worse)} of {len(proper)} ended in a mode worse by more than {WORSE:g} nat "
            f"({len(worse) / max(len(proper), 1):.1%}); {sum(bool(r.modes) for r in worse)} of "
            "them said that starts disagreed."
        ),
        f"{len(unlucky)} of {len(rows(records))} rows have a fit {slow}.",
    ]
    return "\n".join(lines)


def good_fits(method: str, proper: Sequence[Judged]) -> str:
    """Good ones that say otherwise: with fixed draws many are good by luck."""
    good = [r for r in proper if r.good]
    lacking = sum(not r.converged for r in good)
    share = lacking / max(len(good), 1)
    return f"{lacking} of {len(good)} good {method} fits said otherwise ({share:.1%})."


def kept(path: Path | None) -> list[Judged]:
    """What an earlier run has written."""
    lines = map(json.loads, path.read_text().splitlines() if path and path.exists() else [])
    return [Judged(**{**line, "modes": tuple(line["modes"])}) for line in lines]


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hard", description=__doc__)
    known = list(cases())
    parser.add_argument("--only", nargs="+", metavar="CASE", default=known, help="or kinds (all)")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--engine", choices=("jax", "autograd"), default="jax")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"fits of each ({SEEDS})")
    parser.add_argument("--records", type=Path, help="a file of lines to go on from")
    options = parser.parse_args()
    kinds = {case.kind for case in cases().values()}
    if unknown := set(options.only) - set(known) - kinds:
        parser.error(f"no cases {sorted(unknown)}; there are {', '.join(known)}")
    return options


def main() -> None:
    """Fit what is asked for, judge it, and print the table."""
    options = parse()
    print(machine(), end="\n\n", flush=True)
    records = kept(options.records)
    done = {(r.case, r.family, r.engine) for r in records}
    for case in cases().values():
        if not {case.name, case.kind} & set(options.only):
            continue
        dim = case.make().dim
        if options.engine == "autograd" and dim > AUTOGRAD_DIM:
            continue
        for family in case.families(dim):
            if family in options.families and (case.name, family, options.engine) not in done:
                found = judged(case, family, options)
                for row in rows(found):
                    say("  ".join(cells(row)))
                records += found
                if options.records:
                    with options.records.open("a") as file:
                        file.writelines(json.dumps(asdict(r)) + "\n" for r in found)
    print(aligned([HEADINGS, *map(cells, rows(records))]))
    print(f"\n{closing(records)}")


if __name__ == "__main__":
    main()
