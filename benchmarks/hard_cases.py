"""The posteriors of `python -m benchmarks.hard`: zoo, known targets, and one or more of each trap.

A search that stops by itself can go wrong in few ways, and each has its cases here: log densities
without curvature where it starts, or anywhere; without an optimum; with a cliff where no draw
falls; with several optima; that explode; in units far from one; with tails, ridges, many
dimensions. All are small programs or formulas, so that one is read faster than it is described.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as onp

import vi_lab as vl
import vi_lab.numpy as np
import vi_lab.scipy as special
from benchmarks import targets
from benchmarks.targets import KnownTarget
from vi_lab.engine import Array
from vi_lab.transforms.supports import Ordered

FULL_RANK_DIM, LOW_RANK_DIM = 200, 1_000  # at most
AUTOGRAD_DIM = 20  # at most: it takes the draws one after another in Python


@dataclass(frozen=True)
class HardCase:
    """A posterior on which a search may go wrong.

    Attributes
    ----------
    kind : of trap: "linear tail", "cliff", ...
    make : the model
    proper : it has a best q; False where the ELBO rises without end
    known : the target, if its ELBO and best q are known
    """

    name: str
    kind: str
    make: Callable[[], Any]
    proper: bool = True
    known: KnownTarget | None = None

    def families(self, dim: int) -> list[str]:
        """Those that are feasible."""
        names = ["mean_field"]
        names += ["full_rank"] if dim <= FULL_RANK_DIM else []
        return names + (["low_rank"] if dim <= LOW_RANK_DIM else [])


# ------------------------------------------------------------------------------ programs
def laplace(m: Any, y: Array) -> None:
    """Rows about a location, whose prior says nothing."""
    m.observe("y", vl.Laplace(m.sample("a", vl.Normal(0.0, 1e5)), 1.0), y)


def logistic(m: Any, y: Array) -> None:
    """The same, logistic."""
    m.observe("y", vl.Logistic(m.sample("a", vl.Normal(0.0, 1e5)), 1.0), y)


def flat_logistic(m: Any, x: Array, y: Array) -> None:
    """Logistic regression with flat priors."""
    a, b = m.sample("a", vl.Flat()), m.sample("b", vl.Flat())
    m.observe("y", vl.Bernoulli(logits=a + b * x), y)


def slope_logistic(m: Any, x: Array, y: Array, scale: float) -> None:
    """Logistic regression without an intercept."""
    b = m.sample("b", vl.Normal(0.0, scale))
    m.observe("y", vl.Bernoulli(logits=b * x), y)


def forgotten(m: Any, x: Array) -> None:
    """A latent that nothing refers to."""
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    m.sample("f", vl.Flat())
    m.observe("x", vl.Normal(mu, 1.0), x)


def flat_binomial(m: Any, k: Array) -> None:
    """A logit with a flat prior."""
    m.observe("k", vl.Binomial(10, logits=m.sample("logit", vl.Flat())), k)


def normal_binomial(m: Any, k: Array, scale: float) -> None:
    """A logit with a wide prior."""
    m.observe("k", vl.Binomial(10, logits=m.sample("logit", vl.Normal(0.0, scale))), k)


def flat_poisson(m: Any, k: Array) -> None:
    """A log rate with a flat prior."""
    m.observe("k", vl.Poisson(np.exp(m.sample("log_rate", vl.Flat()))), k)


def normal_rows(m: Any, x: Array) -> None:
    """Where all rows are equal the density has no bound."""
    mu, sd = m.sample("mu", vl.Flat()), m.sample("sd", vl.HalfNormal(5.0))
    m.observe("x", vl.Normal(mu, sd), x)


def mixture(m: Any, y: Array, K: int) -> None:
    """Normal components with ordered means; labels are summed out."""
    mu = m.sample("mu", vl.Flat(Ordered()), shape=(K,))
    m.factor("prior", np.sum(vl.Normal(20.0, 10.0).log_prob(mu)))
    sd = m.sample("sd", vl.HalfNormal(5.0), shape=(K,))
    weights = m.sample("weights", vl.Dirichlet(onp.ones(K)))
    each = np.log(weights) + vl.Normal(mu, sd).log_prob(y[:, None])
    m.factor("y", np.sum(special.logsumexp(each, axis=-1)))


def moving_average(m: Any, y: Array) -> None:
    """By recursion: explodes for most theta above 1."""
    mu, theta = m.sample("mu", vl.Normal(0.0, 5.0)), m.sample("theta", vl.Normal(0.0, 2.0))
    sd = m.sample("sd", vl.HalfCauchy(2.5))
    errors = [y[0] - mu]
    for t in range(1, len(y)):
        errors.append(y[t] - mu - theta * errors[-1])
    m.factor("y", np.sum(vl.Normal(0.0, sd).log_prob(np.stack(errors))))


def cubic_poisson(m: Any, x: Array, k: Array) -> None:
    """Raw powers of x: rates explode nearly everywhere."""
    beta = m.sample("beta", vl.Flat(), shape=(4,))
    rate = beta[0] + beta[1] * x + beta[2] * x**2 + beta[3] * x**3
    m.factor("k", np.sum(k * rate - np.exp(rate)))


def regression(m: Any, X: Array, y: Array) -> None:
    """Linear regression with flat priors, predictors in whatever units they come."""
    beta = m.sample("beta", vl.Flat(), shape=(X.shape[1],))
    sd = m.sample("sd", vl.HalfCauchy(2.5))
    m.observe("y", vl.Normal(np.dot(X, beta), sd), y)


def horseshoe(m: Any, X: Array, y: Array) -> None:
    """Sparse regression with half-Cauchy scales."""
    local = m.sample("local", vl.HalfCauchy(1.0), shape=(X.shape[1],))
    overall = m.sample("overall", vl.HalfCauchy(0.1))
    z = m.sample("z", vl.Normal(0.0, 1.0), shape=(X.shape[1],))
    m.observe("y", vl.Normal(np.dot(X, z * local * overall), 1.0), y)


# ------------------------------------------------------------------------------ data
X_APART = onp.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
APART = {"x": X_APART, "y": (X_APART > 0.0).astype(int)}


@cache
def laplace_rows() -> onp.ndarray:
    """1,000 about 20."""
    return 20.0 + onp.random.default_rng(0).laplace(size=1_000)


def rows(program: Any, number: int, shift: float = 0.0) -> Callable[[], Any]:
    """``program`` with some of those rows."""
    return lambda: vl.Model(program, y=laplace_rows()[:number] + shift)


def galaxies(K: int) -> Callable[[], Any]:
    """Velocities in 1,000 km/s."""
    return lambda: vl.Model(mixture, y=vl.datasets.galaxies()["velocity"] / 1e3, K=K)


def moving_average_rows() -> Any:
    """150 rows, theta = 0.5."""
    noise = onp.random.default_rng(3).standard_normal(151)
    return vl.Model(moving_average, y=1.0 + noise[1:] + 0.5 * noise[:-1])


def cubic_poisson_rows() -> Any:
    """x to 40; log rates between 0 and 3."""
    x = onp.linspace(0.0, 40.0, 40)
    rate = onp.exp(0.5 + 0.1 * x - 0.001 * x**2)
    k = onp.random.default_rng(4).poisson(rate).astype(float)
    return vl.Model(cubic_poisson, x=x, k=k)


def regression_rows(units: list[float], program: Any = regression) -> Callable[[], Any]:
    """60 rows, a predictor in each of these units."""

    def make() -> Any:
        rng = onp.random.default_rng(5)
        X = rng.standard_normal((60, len(units)))
        y = 2.0 * X[:, 0] - X[:, 1] + rng.standard_normal(60)
        return vl.Model(program, X=X * onp.array(units), y=y)

    return make


# ------------------------------------------------------------------------------ formulas
def formula(log_density: Callable[[Array], Array], dim: int = 1) -> Callable[[], Any]:
    """A target whose ``log_density`` takes z (..., D)."""
    return lambda: vl.Target(log_density, dim)


def normal(z: Array, mean: Any = 0.0, sd: Any = 1.0) -> Array:
    """Its log density, entry by entry, without the constant."""
    return -0.5 * ((z - mean) / sd) ** 2


def funnel(z: Array) -> Array:
    """Neal's: z_0 ~ N(0, 3^2) is the log variance of the others."""
    others = (z.shape[-1] - 1) / 2.0
    return (
        normal(z[..., 0], 0.0, 3.0)
        - others * z[..., 0]
        - 0.5 * np.sum(z[..., 1:] ** 2, -1) * np.exp(-z[..., 0])
    )


def plateau(width: float) -> Callable[[Array], Array]:
    """Flat for ``width`` on either side of 0."""
    return lambda z: -0.5 * np.maximum(np.abs(z[..., 0]) - width, 0.0) ** 2


def modes(*places: tuple[float, float, float]) -> Callable[[Array], Array]:
    """Normals in one dimension: where, how wide, the log weight."""
    at, sd, log_weight = (onp.array(column) for column in zip(*places, strict=True))

    def log_density(z: Array) -> Array:
        each = log_weight + normal(z, at, sd) - onp.log(sd)
        return special.logsumexp(each, axis=-1)

    return log_density


def two_corners(z: Array) -> Array:
    """Equal modes at (3, ..., 3) and minus that."""
    return np.logaddexp(np.sum(normal(z, 3.0), -1), np.sum(normal(z, -3.0), -1))


def neighbours(z: Array) -> Array:
    """A chain of normals, each tied to the next."""
    return -0.02 * np.sum((z - 1.0) ** 2, -1) - 0.5 * np.sum((z[..., 1:] - z[..., :-1]) ** 2, -1)


def walk_of_counts(z: Array) -> Array:
    """Poisson counts 0, 1, 2, 3, 0, ... about a random walk of log rates."""
    k = onp.arange(z.shape[-1]) % 4
    steps = -2.0 * np.sum((z[..., 1:] - z[..., :-1]) ** 2, -1) - 0.5 * z[..., 0] ** 2
    return np.sum(k * z - np.exp(z), -1) + steps


def student(df: float, scale: Any = 1.0) -> Callable[[Array], Array]:
    """Independent Student's t."""
    return lambda z: -0.5 * (df + 1.0) * np.sum(np.log1p((z / scale) ** 2 / df), -1)


def rosenbrock(z: Array) -> Array:
    """A bent ridge, 1 : 100."""
    x, y = z[..., 0], z[..., 1]
    return -0.05 * (1.0 - x) ** 2 - 5.0 * (y - x**2) ** 2


def banana(z: Array) -> Array:
    """A normal, bent."""
    x, y = z[..., 0], z[..., 1]
    return normal(x, 0.0, 10.0) + normal(y + 0.03 * (x**2 - 100.0))


def factors(z: Array) -> Array:
    """Only the product of two is known: a cross with four arms."""
    return -50.0 * (z[..., 0] * z[..., 1] - 1.0) ** 2 + np.sum(normal(z), -1)


TINY_AND_HUGE = onp.array([1e8, 1e-8])


def synthetic() -> list[HardCase]:
    """All traps."""
    F, I = formula, {"proper": False}  # noqa: E741 - short for a table
    apart = {
        scale: lambda s=scale: vl.Model(slope_logistic, **APART, scale=s) for scale in (1e2, 1e6)
    }
    listed: dict[str, list[tuple[Any, ...]]] = {
        "linear tail": [
            ("laplace_1000", rows(laplace, 1_000)),
            ("laplace_10_at_300", rows(laplace, 10, 280.0)),
            ("logistic_1000", rows(logistic, 1_000)),
            ("absolute_far", F(lambda z: -np.abs(z[..., 0] - 1e4))),
            ("hyperbola_far", F(lambda z: -np.sqrt(1.0 + (z[..., 0] - 1e3) ** 2))),
            ("absolute_20", F(lambda z: -np.sum(np.abs(z - 50.0 * onp.arange(20)), -1), 20)),
        ],
        "plateau": [
            ("plateau_20", F(plateau(10.0))),
            ("plateau_200", F(plateau(100.0))),
            ("quartic", F(lambda z: -np.sum(z**4, -1), 5)),
            ("flat_bottom_10", F(lambda z: -np.sum((z / 5.0) ** 8, -1), 10)),
            ("shelf", F(modes((50.0, 1.0, 0.0), (0.0, 70.0, -15.0)))),
        ],
        "cliff": [
            ("cliff_100", apart[1e2]),
            ("cliff_1e6", apart[1e6]),
            ("binomial_normal", lambda: vl.Model(normal_binomial, k=onp.array([10]), scale=50.0)),
            ("wall", F(lambda z: np.sum(np.where(z > 0.0, -z, 50.0 * z), -1), 3)),
            ("drop", F(lambda z: normal(z[..., 0]) - 1e3 * np.maximum(z[..., 0] - 3.0, 0.0))),
        ],
        "mode": [
            *((f"galaxies_{K}", galaxies(K)) for K in (2, 3, 4)),
            ("two_modes", F(modes((-3.0, 1.0, 0.0), (3.0, 1.0, 0.0)))),
            ("three_modes", F(modes((-10.0, 1.0, 0.0), (0.0, 0.3, 1.0), (15.0, 4.0, 2.0)))),
            ("wide_and_narrow", F(modes((0.0, 10.0, 0.0), (5.0, 0.1, -1.0)))),
            ("two_corners_10", F(two_corners, 10)),
            ("factors", F(factors, 2)),
        ],
        "funnel": [(f"funnel_{dim}", F(funnel, dim)) for dim in (2, 10, 100)],
        "improper": [
            ("separable", lambda: vl.Model(flat_logistic, **APART), I),
            ("forgotten", lambda: vl.Model(forgotten, x=onp.array([1.0, 2.0])), I),
            ("binomial_10_of_10", lambda: vl.Model(flat_binomial, k=onp.array([10])), I),
            ("poisson_zeros", lambda: vl.Model(flat_poisson, k=onp.zeros(5, int)), I),
            ("flat", F(lambda z: 0.0 * z[..., 0]), I),
            ("linear", F(lambda z: z[..., 0]), I),
            ("softplus", F(lambda z: -np.logaddexp(0.0, -z[..., 0])), I),
            ("only_the_sum", F(lambda z: normal(np.sum(z, -1)), 3), I),
            ("improper_tail", F(lambda z: -0.4 * np.log1p(z[..., 0] ** 2)), I),
            ("one_flat_of_20", F(lambda z: np.sum(normal(z[..., 1:]), -1), 20), I),
        ],
        "unbounded": [
            ("rows_all_equal", lambda: vl.Model(normal_rows, x=onp.ones(10)), I),
            ("pole", F(lambda z: -2.0 * np.log(np.abs(z[..., 0])) + normal(z[..., 0])), I),
            ("upside_down", F(lambda z: -normal(z[..., 0])), I),
            ("saddle", F(lambda z: normal(z[..., 0]) - normal(z[..., 1]), 2), I),
        ],
        "explosive": [
            ("explosive", F(lambda z: 3.0 * z[..., 0] - np.exp(3.0 * z[..., 0] + 60.0))),
            ("moving_average", moving_average_rows),
            ("cubic_poisson", cubic_poisson_rows),
            ("steep_exponential", F(lambda z: np.sum(z - 1e-30 * np.exp(z), -1), 5)),
        ],
        "units": [
            ("units_1e8", F(lambda z: np.sum(normal(z / TINY_AND_HUGE, 1.0), -1), 2)),
            ("far_1e8", F(lambda z: np.sum(normal(z, 1e8), -1), 2)),
            ("ladder", F(lambda z: np.sum(normal(z, 0.0, 10.0 ** onp.arange(-8, 9)), -1), 17)),
            ("ladder_student", F(student(5.0, 10.0 ** onp.arange(-8, 9)), 17)),
            ("regression_units", regression_rows([1e6, 1e-6, 1.0])),
        ],
        "heavy tail": [
            ("cauchy_far", F(lambda z: -np.log1p((z[..., 0] - 1e3) ** 2))),
            ("cauchy_5", F(student(1.0), 5)),
            ("student_2_20", F(student(2.0), 20)),
            ("student_2_1000", F(student(2.0), 1_000)),
            ("horseshoe", regression_rows([1.0] * 8, horseshoe)),
        ],
        "ridge": [
            ("banana", F(banana, 2)),
            ("rosenbrock", F(rosenbrock, 2)),
            ("ridge_2", F(lambda z: -5e5 * np.sum(z, -1) ** 2 + 1e-6 * normal(z[..., 0]), 2)),
            ("ridge_50", F(lambda z: -5e3 * np.sum(z, -1) ** 2 + 0.01 * np.sum(normal(z), -1), 50)),
        ],
        "many dimensions": [
            ("neighbours_1000", F(neighbours, 1_000)),
            ("neighbours_10000", F(neighbours, 10_000)),
            ("counts_600", F(walk_of_counts, 600)),
            ("counts_3000", F(walk_of_counts, 3_000)),
            ("exponentials_10000", F(lambda z: np.sum(2.0 * z - np.exp(z), -1), 10_000)),
        ],
    }  # fmt: skip
    return [
        HardCase(name, kind, make, **(options[0] if options else {}))
        for kind, lines in listed.items()
        for name, make, *options in lines
    ]


@cache
def cases() -> dict[str, HardCase]:
    """All, by name."""
    zoo = [HardCase(make.__name__, "zoo", lambda make=make: make().model()) for make in vl.zoo.ALL]
    larger = (*targets.targets(), *targets.large_targets(), targets.gaussian(1_000, 1e2))
    known = [HardCase(k.name, "known", lambda k=k: k.model, known=k) for k in larger]
    return {case.name: case for case in (*zoo, *known, *synthetic())}
