"""The table that drives the tests of distributions: each beside SciPy's."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest
from distribution_case import INF, Case, Conditional, RowWise
from scipy import stats

import vi_lab.numpy as np
from vi_lab.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Cauchy,
    Dirichlet,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Laplace,
    Logistic,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Truncated,
    Uniform,
)
from vi_lab.engine import NAMES

NOWHERE = onp.zeros(0)  # the edge of the real line


def softmax(logits: Any) -> Any:
    e = np.exp(logits)
    return e / np.sum(e, axis=-1, keepdims=True)


def factor(raw: Any) -> Any:
    """A lower triangle with a positive diagonal from any square matrix."""
    return np.tril(raw, -1) + np.exp(raw) * onp.eye(raw.shape[-1])


def covariance(raw: Any) -> Any:
    return np.matmul(factor(raw), factor(raw).T)


def cut(parent: Case, lower: float = -INF, upper: float = INF, fixed: tuple[str, ...] = ()) -> Case:
    """``parent`` between two bounds; its points are those of ``parent`` that are left."""

    def make(**parameters: Any) -> Truncated:
        return Truncated(parent.make(**parameters), lower, upper)

    points = onp.concatenate([parent.inside, parent.edge])
    left = (points > lower) & (points < upper) & onp.isin(points, parent.inside)
    bounds = [b for b in (lower, upper) if onp.isfinite(b)]
    return Case(
        f"{parent.name} in ({lower}, {upper})",
        make,
        parent.parameters,
        lambda **p: Conditional(parent.reference(**p), lower, upper),
        points[left],
        onp.array(
            [*(b - 1e-3 for b in bounds if b == lower), *(b + 1e-3 for b in bounds if b == upper)]
        ),
        fixed,
    )


NORMAL = Case(
    "Normal",
    Normal,
    {"loc": 0.3, "scale": 2.5},
    lambda loc, scale: stats.norm(loc, scale),
    onp.array([-40.0, -1.3, 0.0, 0.3, 2.2, 9.0]),
    NOWHERE,
)
HALF_NORMAL = Case(
    "HalfNormal",
    HalfNormal,
    {"scale": 1.7},
    lambda scale: stats.halfnorm(0.0, scale),
    onp.array([1e-12, 0.4, 1.0, 2.2, 30.0]),
    onp.array([-1.0, -1e-12, 0.0]),
)
STUDENT = Case(
    "StudentT",
    StudentT,
    {"df": 3.5, "loc": 0.7, "scale": 2.0},
    lambda df, loc, scale: stats.t(df, loc, scale),
    onp.array([-300.0, -1.3, 0.0, 0.7, 2.2, 40.0]),
    NOWHERE,
)
CAUCHY = Case(
    "Cauchy",
    Cauchy,
    {"loc": 0.7, "scale": 2.5},
    lambda loc, scale: stats.cauchy(loc, scale),
    onp.array([-1e5, -1.3, 0.0, 0.7, 2.2, 40.0]),
    NOWHERE,
)
HALF_CAUCHY = Case(
    "HalfCauchy",
    HalfCauchy,
    {"scale": 2.5},
    lambda scale: stats.halfcauchy(0.0, scale),
    onp.array([1e-12, 0.4, 1.0, 2.2, 3e4]),
    onp.array([-1.0, -1e-12, 0.0]),
)
EXPONENTIAL = Case(
    "Exponential",
    Exponential,
    {"rate": 0.8},
    lambda rate: stats.expon(0.0, 1.0 / rate),
    onp.array([1e-12, 0.4, 1.0, 2.2, 300.0]),
    onp.array([-1.0, -1e-12, 0.0]),
)
GAMMA = Case(
    "Gamma",
    Gamma,
    {"concentration": 2.5, "rate": 1.5},
    lambda concentration, rate: stats.gamma(concentration, 0.0, 1.0 / rate),
    onp.array([1e-12, 0.4, 1.0, 2.2, 90.0]),
    onp.array([-1.0, -1e-12, 0.0]),
)
INVERSE_GAMMA = Case(
    "InverseGamma",
    InverseGamma,
    {"concentration": 2.5, "scale": 1.5},
    lambda concentration, scale: stats.invgamma(concentration, 0.0, scale),
    onp.array([1e-2, 0.4, 1.0, 2.2, 90.0]),
    onp.array([-1.0, -1e-12]),
)
LOG_NORMAL = Case(
    "LogNormal",
    LogNormal,
    {"loc": 0.3, "scale": 0.7},
    lambda loc, scale: stats.lognorm(scale, 0.0, onp.exp(loc)),
    onp.array([1e-9, 0.4, 1.0, 2.2, 90.0]),
    onp.array([-1.0, 0.0]),
)
BETA = Case(
    "Beta",
    Beta,
    {"alpha": 2.5, "beta": 1.5},
    lambda alpha, beta: stats.beta(alpha, beta),
    onp.array([1e-12, 0.2, 0.5, 0.9, 1.0 - 1e-9]),
    onp.array([-0.1, 0.0, 1.0, 1.1]),
)
LAPLACE = Case(
    "Laplace",
    Laplace,
    {"loc": 0.7, "scale": 2.5},
    lambda loc, scale: stats.laplace(loc, scale),
    onp.array([-300.0, -1.3, 0.0, 2.2, 40.0]),
    NOWHERE,
)
LOGISTIC = Case(
    "Logistic",
    Logistic,
    {"loc": 0.7, "scale": 2.5},
    lambda loc, scale: stats.logistic(loc, scale),
    onp.array([-300.0, -1.3, 0.0, 0.7, 2.2, 40.0]),
    NOWHERE,
)
UNIFORM = Case(
    "Uniform",
    Uniform,
    {"lower": -1.0, "upper": 2.5},
    lambda lower, upper: stats.uniform(lower, upper - lower),
    onp.array([-0.7, 0.0, 0.5, 2.2]),
    onp.array([-1.1, 2.6]),
)

CONTINUOUS = (
    NORMAL,
    HALF_NORMAL,
    STUDENT,
    CAUCHY,
    HALF_CAUCHY,
    EXPONENTIAL,
    GAMMA,
    INVERSE_GAMMA,
    LOG_NORMAL,
    BETA,
    LAPLACE,
    LOGISTIC,
    UNIFORM,
)

# One bound, the other, both in the bulk, both in a tail. Shape parameters stay fixed.
TRUNCATED = (
    cut(NORMAL, lower=0.0),
    cut(NORMAL, upper=1.0),
    cut(NORMAL, -1.5, 3.0),
    cut(NORMAL, 8.0, 10.0),
    cut(NORMAL, -50.0, -20.0),
    cut(HALF_NORMAL, lower=0.3),
    cut(HALF_NORMAL, upper=2.5),
    cut(HALF_NORMAL, 0.9, 2.5),
    cut(STUDENT, lower=0.0, fixed=("df",)),
    cut(STUDENT, upper=0.0, fixed=("df",)),
    cut(STUDENT, -5.0, 5.0, fixed=("df",)),
    cut(STUDENT, 30.0, 50.0, fixed=("df",)),
    cut(CAUCHY, lower=0.0),
    cut(CAUCHY, upper=-0.5),
    cut(CAUCHY, 1.0, 50.0),
    cut(HALF_CAUCHY, upper=5.0),
    cut(HALF_CAUCHY, 0.5, 3.0),
    cut(EXPONENTIAL, lower=0.3),
    cut(EXPONENTIAL, 0.3, 5.0),
    cut(GAMMA, lower=0.3, fixed=("concentration",)),
    cut(GAMMA, upper=3.0, fixed=("concentration",)),
    cut(GAMMA, 0.3, 3.0, fixed=("concentration",)),
    cut(INVERSE_GAMMA, lower=0.3, fixed=("concentration",)),
    cut(INVERSE_GAMMA, upper=3.0, fixed=("concentration",)),
    cut(INVERSE_GAMMA, 0.3, 3.0, fixed=("concentration",)),
    cut(LOG_NORMAL, lower=0.3),
    cut(LOG_NORMAL, 0.3, 3.0),
    cut(BETA, lower=0.1, fixed=("alpha", "beta")),
    cut(BETA, upper=0.7, fixed=("alpha", "beta")),
    cut(BETA, 0.1, 0.7, fixed=("alpha", "beta")),
    cut(LAPLACE, lower=0.0),
    cut(LAPLACE, upper=-0.5),
    cut(LAPLACE, -2.0, 3.0),
    cut(LOGISTIC, lower=0.0),
    cut(LOGISTIC, -2.0, 3.0),
    cut(UNIFORM, lower=-0.5, fixed=("lower", "upper")),
    cut(UNIFORM, -0.5, 2.3, fixed=("lower", "upper")),
)

PROBS = onp.array([0.2, 0.5, 0.3])
LOGITS = onp.array([0.3, -1.2, 0.8])
COUNTS = onp.array([-1.0, 0.5])


def categories(probs: Any) -> Any:
    return stats.rv_discrete(values=(onp.arange(len(probs)), probs))


DISCRETE = (
    Case(
        "Bernoulli probs",
        Bernoulli,
        {"probs": 0.3},
        lambda probs: stats.bernoulli(probs),
        onp.array([0, 1]),
        COUNTS,
    ),
    Case(
        "Bernoulli logits",
        lambda logits: Bernoulli(logits=logits),
        {"logits": -1.3},
        lambda logits: stats.bernoulli(1.0 / (1.0 + onp.exp(-logits))),
        onp.array([0, 1]),
        COUNTS,
    ),
    Case(
        "Binomial probs",
        Binomial,
        {"total_count": 10, "probs": 0.3},
        lambda total_count, probs: stats.binom(total_count, probs),
        onp.arange(11),
        onp.array([-1.0, 0.5, 11.0]),
        fixed=("total_count",),
    ),
    Case(
        "Binomial logits",
        lambda total_count, logits: Binomial(total_count, logits=logits),
        {"total_count": 10, "logits": 0.7},
        lambda total_count, logits: stats.binom(total_count, 1.0 / (1.0 + onp.exp(-logits))),
        onp.arange(11),
        onp.array([-1.0, 0.5, 11.0]),
        fixed=("total_count",),
    ),
    Case(
        "Poisson",
        Poisson,
        {"rate": 3.4},
        lambda rate: stats.poisson(rate),
        onp.array([0, 1, 2, 3, 8, 100]),
        COUNTS,
    ),
    Case(
        "Categorical probs",
        lambda probs: Categorical(probs=probs),
        {"probs": PROBS},
        categories,
        onp.arange(3),
        onp.array([-1.0, 0.5, 3.0]),
        fixed=("probs",),
    ),
    Case(
        "Categorical probs of logits",
        lambda logits: Categorical(probs=softmax(logits)),
        {"logits": LOGITS},
        lambda logits: categories(onp.exp(logits) / onp.exp(logits).sum()),
        onp.arange(3),
        onp.array([-1.0, 0.5, 3.0]),
    ),
    Case(
        "Categorical logits",
        lambda logits: Categorical(logits=logits),
        {"logits": LOGITS},
        lambda logits: categories(onp.exp(logits) / onp.exp(logits).sum()),
        onp.arange(3),
        onp.array([-1.0, 0.5, 3.0]),
    ),
)


RAW = onp.array([[0.3, 5.0, 5.0], [0.4, -0.2, 5.0], [-0.8, 0.5, 0.1]])
VECTORS = onp.array([[0.1, -1.0, 2.0], [0.0, 0.0, 0.0], [3.0, 8.0, -4.0]])
LOC = onp.array([0.5, -0.5, 1.0])

VECTOR = (
    Case(
        "Dirichlet",
        Dirichlet,
        {"concentration": onp.array([0.8, 2.0, 3.5])},
        lambda concentration: RowWise(stats.dirichlet(concentration)),
        onp.array([[0.2, 0.3, 0.5], [0.98, 0.01, 0.01], [1e-9, 0.5, 0.5 - 1e-9]]),
        onp.array([[0.2, 0.3, 0.6], [-0.1, 0.6, 0.5]]),
    ),
    Case(
        "MultivariateNormal scale_tril",
        lambda loc, raw: MultivariateNormal(loc, scale_tril=factor(raw)),
        {"loc": LOC, "raw": RAW},
        lambda loc, raw: RowWise(stats.multivariate_normal(loc, covariance(raw))),
        VECTORS,
        onp.zeros((0, 3)),
        unbatched=("raw",),
    ),
    Case(
        "MultivariateNormal covariance",
        lambda loc, raw: MultivariateNormal(loc, covariance=covariance(raw)),
        {"loc": LOC, "raw": RAW},
        lambda loc, raw: RowWise(stats.multivariate_normal(loc, covariance(raw))),
        VECTORS,
        onp.zeros((0, 3)),
        unbatched=("raw",),
    ),
)

SCALAR = CONTINUOUS + TRUNCATED + DISCRETE
ALL = SCALAR + VECTOR

# Compiling is what costs on JAX, and all truncated distributions share their code but
# for `log_cdf` and `log_survival`, which have tests of their own.
ON_JAX = CONTINUOUS + TRUNCATED[1:4] + DISCRETE + VECTOR


def on_engines(table: tuple[Case, ...]) -> pytest.MarkDecorator:
    """Each case of ``table`` on each engine, where it is to run there."""
    pairs = [(name, case) for name in NAMES for case in table if name != "jax" or case in ON_JAX]
    return pytest.mark.parametrize(("engine", "case"), pairs, indirect=["engine"], ids=str)
