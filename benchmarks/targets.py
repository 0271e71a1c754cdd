r"""`python -m benchmarks.targets`: the default fit where the best q is known.

For each target and family one line: what `vi_lab.advi` with no setting cost, and how far
its q is from the best Gaussian of the family: the largest relative error of a standard
deviation on the real line, and the nats of ELBO that it lacks. Neither is an estimate.
The ELBO of a Gaussian N(m, C) on each target is known:

* Gaussians, and what a transform makes of them: a Kullback-Leibler divergence of two
  Gaussians. The best mean-field q has the variances :math:`1/\Lambda_{dd}`;
* products of Student's t: a sum of integrals in one dimension;
* the notebook's first model and linear regression: with :math:`w = \log\sigma`, log densities
  are made of w, :math:`e^{2w}` and :math:`e^{-2w}(y - x^\top\beta)^2`, whose expectations are
  elementary, but for one prior: an integral in one dimension;
* logistic regression: under q the predictor of a row is
  :math:`\mathcal N(x_n^\top m, x_n^\top C x_n)`, so its likelihood takes an integral in
  one dimension.

Integrals are Gauss-Hermite sums. A fit is good enough within `SD_MARGIN` of every sd and
`ELBO_MARGIN` of the ELBO.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as onp

import vi_lab as vl
import vi_lab.numpy as np
from benchmarks.__main__ import aligned, machine, say
from vi_lab.engine import Array

FAMILIES = ("mean_field", "full_rank")
SD_MARGIN = 0.02
ELBO_MARGIN = 0.02  # nats
LOG_TWO_PI = float(onp.log(2.0 * onp.pi))
NODES, WEIGHTS = onp.polynomial.hermite_e.hermegauss(100)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
HEADINGS = (
    "target", "family", "steps", "gradients", "seconds",
    "worst sd", "ELBO lost", "good enough", "verdict",
)  # fmt: skip


@dataclass(frozen=True)
class KnownTarget:
    """A posterior on R^D whose ELBO is a known function of a Gaussian q.

    Attributes
    ----------
    elbo : the ELBO in nats of N(loc (D,), covariance (D, D))
    best : by family, (loc, covariance) of the best q
    """

    name: str
    model: vl.Model
    elbo: Callable[[onp.ndarray, onp.ndarray], float]
    best: dict[str, tuple[onp.ndarray, onp.ndarray]]


@dataclass(frozen=True)
class Outcome:
    """One default fit beside the best q of its family."""

    target: KnownTarget
    family: str
    fit: vl.Fit

    @property
    def sd_error(self) -> float:
        """The largest |sd / best sd - 1|."""
        best, found = self.target.best[self.family][1], self.fit.unconstrained_covariance
        return float(onp.abs(onp.sqrt(onp.diag(found) / onp.diag(best)) - 1.0).max())

    @property
    def lost(self) -> float:
        """Nats of ELBO that the fit lacks."""
        elbo, best = self.target.elbo, self.target.best[self.family]
        return elbo(*best) - elbo(self.fit.params["loc"], self.fit.unconstrained_covariance)

    @property
    def good_enough(self) -> bool:
        """Within both margins."""
        return self.sd_error <= SD_MARGIN and self.lost <= ELBO_MARGIN

    def cells(self) -> tuple[str, ...]:
        """The line of the table."""
        verdict = self.fit.convergence
        assert verdict is not None  # fits with no setting are judged
        return (
            self.target.name,
            self.family,
            f"{verdict.steps:,}",
            f"{verdict.gradients:,}",
            f"{self.fit.seconds:.1f}",
            f"{100.0 * self.sd_error:.2f}%",
            f"{self.lost:.5f}",
            "yes" if self.good_enough else "NO",
            str(verdict).partition(":")[0],
        )


def default_fit(target: KnownTarget, family: str, seed: int = 0) -> Outcome:
    """Fit with no setting on JAX."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vl.ConvergenceWarning)  # the verdict is in the table
        fit = vl.advi(target.model, family, seed=seed, engine="jax", progress=False)
    return Outcome(target, family, fit)


# ------------------------------------------------------------------------------ Gaussians
def gaussian_program(m: Any, mean: Array, whitener: Array) -> None:
    """z ~ N(mean, Lambda^-1) with Lambda = W'W, for W = ``whitener`` (D, D)."""
    z = m.sample("z", vl.Flat(), shape=mean.shape)
    m.factor("log_density", -0.5 * np.sum(np.dot(whitener, z - mean) ** 2))


def gaussian(dim: int, condition: float) -> KnownTarget:
    """Variances from sqrt(condition) down to its inverse, along random axes."""
    rng = onp.random.default_rng(dim)
    axes = onp.linalg.qr(rng.standard_normal((dim, dim)))[0]
    sds = condition ** onp.linspace(0.25, -0.25, dim)
    whitener = (axes / sds).T
    mean = rng.normal(1.0, 2.0, dim)
    model = vl.Model(gaussian_program, mean=mean, whitener=whitener)
    # The factor is not normalised: its integral is exp(constant).
    constant = onp.log(sds).sum() + 0.5 * dim * LOG_TWO_PI
    return _gaussian(f"Gaussian D={dim} condition {condition:g}", model, mean, whitener, constant)


def log_normal_program(m: Any, mean: Array, sd: Array) -> None:
    """log x ~ N(mean, sd^2), entry by entry."""
    m.sample("x", vl.LogNormal(mean, sd))


def log_normal() -> KnownTarget:
    """Three sds from 0.1 to 2: on the real line a Gaussian, with the Jacobian's help."""
    mean, sd = onp.array([0.0, 1.0, -3.0]), onp.array([2.0, 0.1, 0.5])
    model = vl.Model(log_normal_program, mean=mean, sd=sd)
    return _gaussian("log-normal", model, mean, onp.diag(1.0 / sd), 0.0)


def correlated_gaussian() -> KnownTarget:
    """The notebook's second model."""
    covariance = onp.array([[1.0, 0.8], [0.8, 1.0]])
    whitener = onp.linalg.inv(onp.linalg.cholesky(covariance))
    model = vl.zoo.correlated_gaussian().model()
    return _gaussian("notebook, correlated", model, onp.zeros(2), whitener, 0.0)


def _gaussian(
    name: str, model: vl.Model, mean: onp.ndarray, whitener: onp.ndarray, constant: float
) -> KnownTarget:
    """The posterior N(mean, (W'W)^-1) of evidence exp(constant)."""
    precision = whitener.T @ whitener
    best = {
        "mean_field": (mean, onp.diag(1.0 / onp.diag(precision))),
        "full_rank": (mean, onp.linalg.inv(precision)),
    }

    def elbo(loc: onp.ndarray, covariance: onp.ndarray) -> float:
        whitened = whitener @ covariance @ whitener.T
        distance = onp.sum((whitener @ (loc - mean)) ** 2)
        log_det = onp.linalg.slogdet(whitened)[1]
        return float(constant - 0.5 * (distance + onp.trace(whitened) - len(mean) - log_det))

    return KnownTarget(name, model, elbo, best)


# ------------------------------------------------------------------- integrals in one dimension
def student_program(m: Any, df: Array, loc: Array, scale: Array) -> None:
    """Independent Student's t."""
    m.sample("z", vl.StudentT(df, loc, scale))


def student_t() -> KnownTarget:
    """df 3, 5 and 10. Given its variances the best full-rank q has no correlations (Hadamard)."""
    from scipy.optimize import minimize_scalar
    from scipy.stats import t as student

    df, loc = onp.array([3.0, 5.0, 10.0]), onp.array([0.0, 3.0, -1.0])
    scale = onp.array([1.0, 0.2, 5.0])

    def elbo(mean: onp.ndarray, covariance: onp.ndarray) -> float:
        z = mean[:, None] + onp.sqrt(onp.diag(covariance))[:, None] * NODES
        log_p = student.logpdf(z, df[:, None], loc[:, None], scale[:, None]) @ WEIGHTS
        return float(log_p.sum() + _entropy(covariance))

    def lost_with(log_sd: float, d: int) -> float:
        log_p = student.logpdf(scale[d] * onp.exp(log_sd) * NODES, df[d], 0.0, scale[d])
        return float(-(log_p @ WEIGHTS) - log_sd)

    log_sds = [
        minimize_scalar(lost_with, (0.0, 0.5), args=(d,), tol=1e-10).x for d in range(len(df))
    ]
    best = loc, onp.diag((scale * onp.exp(log_sds)) ** 2)
    model = vl.Model(student_program, df=df, loc=loc, scale=scale)
    return KnownTarget("Student's t", model, elbo, dict.fromkeys(FAMILIES, best))


def notebook_gaussian() -> KnownTarget:
    """The notebook's first model: unknown mean and standard deviation."""
    from scipy.optimize import minimize

    entry = vl.zoo.notebook_gaussian()
    x = onp.asarray(entry.data["x"], dtype=float)

    def elbo(loc: onp.ndarray, covariance: onp.ndarray) -> float:
        (m, w), ((s2, c), (_, v)) = loc, covariance
        # e^-2w tilts q: w gets lower, and with it mu by twice their covariance.
        squares = x.size * (x.var() + (x.mean() - m + 2.0 * c) ** 2 + s2)
        log_likelihood = -x.size * w - 0.5 * onp.exp(-2.0 * w + 2.0 * v) * squares
        log_prior_mu = -0.5 * (m**2 + s2)
        log_prior_sd = onp.log(2.0) - 0.5 * onp.exp(2.0 * w + 2.0 * v) + w  # Jacobian included
        constants = -0.5 * (x.size + 2) * LOG_TWO_PI
        return float(
            log_likelihood + log_prior_mu + log_prior_sd + constants + _entropy(covariance)
        )

    def q_of(p: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        scale = onp.array([[onp.exp(p[2]), 0.0], [p[4] if len(p) > 4 else 0.0, onp.exp(p[3])]])
        return p[:2], scale @ scale.T

    best = {}
    for family, size in (("mean_field", 4), ("full_rank", 5)):
        start = onp.array([0.1, 0.0, -2.3, -2.6, 0.0])[:size]
        found = minimize(lambda p: -elbo(*q_of(p)), start, method="BFGS", options={"gtol": 1e-6})
        best[family] = q_of(found.x)
    return KnownTarget("notebook, mean and sd", entry.model(), elbo, best)


def linear_regression() -> KnownTarget:
    """Test scores of 434 children: raw predictors, correlations of 0.99, flat priors on beta.

    As above w = log sigma tilts q, and beta by twice their covariance. q is looked for in
    coordinates in which the posterior is nearly spherical.
    """
    from scipy.optimize import minimize

    entry = vl.zoo.kidiq_interaction()
    X, y = entry.data["predictors"], entry.data["kid_score"]
    XX = X.T @ X
    dim = X.shape[1] + 1

    def elbo(loc: onp.ndarray, covariance: onp.ndarray) -> float:
        w, v, c = loc[-1], covariance[-1, -1], covariance[:-1, -1]
        residual = y - X @ (loc[:-1] - 2.0 * c)
        squares = residual @ residual + onp.trace(XX @ covariance[:-1, :-1])
        log_likelihood = -y.size * w - 0.5 * onp.exp(-2.0 * w + 2.0 * v) * squares
        log_sd = w + onp.sqrt(v) * NODES  # half-Cauchy(2.5), Jacobian included
        log_prior = onp.log(2.0 / (2.5 * onp.pi)) - onp.log1p((onp.exp(log_sd) / 2.5) ** 2) + log_sd
        constants = -0.5 * y.size * LOG_TWO_PI
        return float(log_likelihood + log_prior @ WEIGHTS + constants + _entropy(covariance))

    beta = onp.linalg.solve(XX, X.T @ y)
    sigma = (y - X @ beta).std()
    unit = onp.zeros((dim, dim))
    unit[:-1, :-1] = sigma * onp.linalg.inv(onp.linalg.cholesky(XX)).T
    unit[-1, -1] = (2.0 * y.size) ** -0.5
    center = onp.append(beta, onp.log(sigma))
    narrow = onp.append(sigma / onp.sqrt(onp.diag(XX)), unit[-1, -1])  # sds of mean field
    below = onp.tril_indices(dim, -1)

    def q_of(p: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        """Mean, log sds and, for full rank, what is below the diagonal, in those units."""
        loc, log_scale = center + unit @ p[:dim], p[dim : 2 * dim]
        if len(p) == 2 * dim:
            return loc, onp.diag((narrow * onp.exp(log_scale)) ** 2)
        scale = onp.diag(onp.exp(log_scale))
        scale[below] = p[2 * dim :]
        return loc, unit @ scale @ scale.T @ unit.T

    best = {}
    for family, size in (("mean_field", 2 * dim), ("full_rank", 2 * dim + len(below[0]))):
        found = minimize(
            lambda p: -elbo(*q_of(p)), onp.zeros(size), method="BFGS", options={"gtol": 1e-4}
        )
        best[family] = q_of(found.x)
    return KnownTarget("linear regression", entry.model(), elbo, best)


def logistic_regression() -> KnownTarget:
    """The wells: 3,020 rows, an intercept and two raw predictors, flat priors."""
    entry = vl.zoo.wells()
    predictors, y = entry.data["predictors"], onp.asarray(entry.data["switched"], dtype=float)
    X = onp.column_stack([onp.ones(len(y)), predictors])

    def logits(loc: onp.ndarray, covariance: onp.ndarray) -> onp.ndarray:
        sd = onp.sqrt(onp.sum(X @ covariance * X, axis=1))
        return (X @ loc)[:, None] + sd[:, None] * NODES

    def elbo(loc: onp.ndarray, covariance: onp.ndarray) -> float:
        log_sums = onp.logaddexp(0.0, logits(loc, covariance)) @ WEIGHTS
        return float(y @ (X @ loc) - log_sums.sum() + _entropy(covariance))

    def best(family: str) -> tuple[onp.ndarray, onp.ndarray]:
        """At the best q, E[gradient] = 0 and the precision is E[-Hessian], or its diagonal."""
        loc, covariance = onp.zeros(3), 0.01 * onp.eye(3)
        for _ in range(30):
            p = 1.0 / (1.0 + onp.exp(-logits(loc, covariance)))
            curvature = X.T @ (((p * (1.0 - p)) @ WEIGHTS)[:, None] * X)
            loc = loc + onp.linalg.solve(curvature, X.T @ (y - p @ WEIGHTS))
            if family == "mean_field":
                curvature = onp.diag(onp.diag(curvature))
            covariance = onp.linalg.inv(curvature)
        return loc, covariance

    best_q = {family: best(family) for family in FAMILIES}
    return KnownTarget("logistic regression", entry.model(), elbo, best_q)


def _entropy(covariance: onp.ndarray) -> float:
    """H of a Gaussian, in nats."""
    log_det = onp.linalg.slogdet(covariance)[1]
    return float(0.5 * (log_det + len(covariance) * (1.0 + LOG_TWO_PI)))


# ------------------------------------------------------------------------------ the table
@cache
def targets() -> tuple[KnownTarget, ...]:
    """All targets but the largest; Gaussians of one dimension share their compiled code."""
    return (
        *(gaussian(dim, condition) for dim in (2, 20, 50) for condition in (1.0, 1e2, 1e4)),
        log_normal(),
        student_t(),
        notebook_gaussian(),
        correlated_gaussian(),
        logistic_regression(),
        linear_regression(),
    )


def large_targets() -> tuple[KnownTarget, ...]:
    """In 200 dimensions full rank takes a while."""
    return gaussian(200, 1e2), gaussian(200, 1e4)


def outcomes(chosen: tuple[KnownTarget, ...], seed: int) -> Iterator[Outcome]:
    """All fits of ``chosen``."""
    for target in chosen:
        for family in FAMILIES:
            say(f"{target.name}, {family}")
            yield default_fit(target, family, seed)


def main() -> None:
    """Fit, and print the table; a fit that is not good enough is printed as such."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__)
    parser.add_argument("--small", action="store_true", help="leave out D = 200")
    parser.add_argument("--seed", type=int, default=0, help="of all fits (0)")
    options = parser.parse_args()
    print(machine(), end="\n\n", flush=True)
    chosen = targets() if options.small else (*targets(), *large_targets())
    found = list(outcomes(chosen, options.seed))
    print(aligned([HEADINGS, *(outcome.cells() for outcome in found)]))
    good = sum(outcome.good_enough for outcome in found)
    print(
        f"\n{good} of {len(found)} are within {SD_MARGIN:.0%} of every sd of the best q of their "
        f"family and {ELBO_MARGIN:g} nats of its ELBO."
    )


if __name__ == "__main__":
    main()
