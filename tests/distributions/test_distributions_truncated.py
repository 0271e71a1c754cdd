"""Cut-offs: normalised, accurate in the tails, differentiable where that is possible."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import distribution_cases as cases
import numpy as onp
import pytest
from distribution_case import INF, Case
from scipy import integrate, special

import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.distributions import (
    Beta,
    Cauchy,
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Laplace,
    Normal,
    Poisson,
    StudentT,
    Truncated,
    Uniform,
)
from vi_lab.transforms.supports import GreaterThan, Interval, LessThan, NonNegative, Real

continuous_case = pytest.mark.parametrize("case", cases.CONTINUOUS, ids=repr)


# -------------------------------------------------------------- distribution functions


@continuous_case
def test_distribution_functions_are_scipys(case: Case, engine: engines.Engine) -> None:
    ours, twin = case.build(), case.reference(**case.parameters)

    def both(x: Any) -> Any:
        # d log F / dx = p / F, and d log S / dx = -p / S.
        slopes = [
            engine.value_and_grad(lambda x, f=f: np.sum(f(x)))(x)[1]
            for f in (ours.log_cdf, ours.log_survival)
        ]
        return ours.log_cdf(x), ours.log_survival(x), *slopes

    x = case.inside[(case.inside > -100.0) & (case.inside < 100.0)]
    log_f, log_s, slope_f, slope_s = engine.compile(both)(x)
    for found, expected in ((log_f, twin.logcdf(x)), (log_s, twin.logsf(x))):
        # 1e-14: both round a probability near 1 before its log is taken.
        onp.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-14)
    for found, sign, expected in (
        (slope_f, 1.0, twin.logpdf(x) - twin.logcdf(x)),
        (slope_s, -1.0, twin.logpdf(x) - twin.logsf(x)),
    ):
        onp.testing.assert_allclose(found, sign * onp.exp(expected), rtol=1e-9, atol=1e-15)


@continuous_case
def test_inverses_invert(case: Case) -> None:
    d = case.build()
    # Near its bound a uniform x, as a number, has fewer digits than its distance to it.
    log_p = onp.log([1e-3 if case is cases.UNIFORM else 1e-12, 0.03, 0.2, 0.5, 0.9])
    onp.testing.assert_allclose(d.log_cdf(d.inverse_log_cdf(log_p)), log_p, rtol=1e-10)
    onp.testing.assert_allclose(d.log_survival(d.inverse_log_survival(log_p)), log_p, rtol=1e-10)


def test_half_t_has_a_derivative_at_its_centre(engine: engines.Engine) -> None:
    # log Pr(X > 0) for X centred at loc = 0: the slope in loc is p(0) / (1/2); in scale, 0.
    for family in (lambda *p: StudentT(3.0, *p), Normal, Cauchy, Laplace):

        def log_mass(p: Any, family: Any = family) -> Any:
            return Truncated(family(p[0], p[1]), lower=0.0).log_mass()

        found = engine.compile(engine.value_and_grad(log_mass))(onp.array([0.0, 2.0]))
        slope = 2.0 * onp.exp(family(0.0, 2.0).log_prob(0.0))
        onp.testing.assert_allclose(found[0], onp.log(0.5), rtol=1e-14)
        onp.testing.assert_allclose(found[1], [slope, 0.0], rtol=1e-12, atol=1e-15)


# ------------------------------------------------------------------------ normalisation


@pytest.mark.parametrize("case", cases.TRUNCATED, ids=repr)
def test_integrates_to_one(case: Case) -> None:
    d = case.build()
    twin = case.reference(**case.parameters)
    parent = twin.parent
    # Quadrature over panels that hold the bulk, in steps of the conditional quantiles.
    below, above = parent.cdf(twin.lower), parent.cdf(twin.upper)
    if below > 0.5:
        ends = parent.isf(onp.linspace(parent.sf(twin.lower), parent.sf(twin.upper), 9))
    else:
        ends = parent.ppf(onp.linspace(below, above, 9))
    total = sum(
        integrate.quad(lambda x: onp.exp(d.log_prob(x)), a, b, epsabs=1e-12, epsrel=1e-12)[0]
        for a, b in pairwise(ends)
    )
    onp.testing.assert_allclose(total, 1.0, rtol=1e-9)


# ------------------------------------------------------------------------------- tails


def log_upper_tail(t: Any) -> Any:
    """log Pr(Z > t) of a standard normal, by the scaled complementary error function."""
    return onp.log(0.5 * special.erfcx(t / onp.sqrt(2.0))) - 0.5 * t**2


@pytest.mark.parametrize("t", [3.0, 12.0, 25.0, 60.0])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_normal_tails(engine: engines.Engine, t: float, side: float) -> None:
    bounds = {"lower": t} if side > 0 else {"upper": -t}
    x = side * onp.array([t + 0.01, t + 1.0])
    log_prob = engine.compile(lambda loc, x: Truncated(Normal(loc, 1.0), **bounds).log_prob(x))
    expected = Normal(0.0, 1.0).log_prob(x) - log_upper_tail(t)
    onp.testing.assert_allclose(log_prob(0.0, x), expected, rtol=1e-12, atol=2e-16 * t**2)
    both = {"lower": t, "upper": t + 1.0} if side > 0 else {"lower": -t - 1.0, "upper": -t}
    log_z = onp.log(-onp.expm1(log_upper_tail(t + 1.0) - log_upper_tail(t))) + log_upper_tail(t)
    onp.testing.assert_allclose(Truncated(Normal(0.0, 1.0), **both).log_mass(), log_z, rtol=1e-13)


@pytest.mark.parametrize(
    ("distribution", "x", "expected"),
    [
        # An exponential tail has no memory, a Laplace one neither.
        (Truncated(Exponential(2.0), 1_000.0), 1_000.5, onp.log(2.0) - 1.0),
        (Truncated(Laplace(1.0, 2.0), 2_001.0), 2_002.0, -onp.log(2.0) - 0.5),
        (Truncated(Laplace(1.0, 2.0), upper=-1_999.0), -2_000.0, -onp.log(2.0) - 0.5),
        # A Cauchy tail beyond t is t / x^2 to a relative 1 / t^2.
        (Truncated(Cauchy(0.0, 1.0), 1e8), 2e8, onp.log(1e8 / 4e16)),
        (Truncated(Cauchy(0.0, 1.0), upper=-1e8), -2e8, onp.log(1e8 / 4e16)),
        (Truncated(HalfCauchy(1.0), 1e8), 2e8, onp.log(1e8 / 4e16)),
        # Beta(1, b) and Gamma(1, r): F(x) = 1 - (1-x)^b and 1 - exp(-r x).
        (Truncated(Beta(1.0, 3.0), 0.999), 0.9995, onp.log(3.0 * 0.0005**2 / 0.001**3)),
        (Truncated(Gamma(1.0, 2.0), 300.0), 300.5, onp.log(2.0) - 1.0),
        (Truncated(InverseGamma(1.0, 2.0), upper=1e-2), 5e-3, onp.log(2e4 * 4.0) - 200.0),
        (Truncated(StudentT(1.0), 1e8), 2e8, onp.log(1e8 / 4e16)),
    ],
    ids=repr,
)
def test_tails_with_closed_forms(distribution: Truncated, x: float, expected: float) -> None:
    onp.testing.assert_allclose(distribution.log_prob(x), expected, rtol=1e-11)


def test_draws_deep_in_a_tail() -> None:
    # Z given Z > 1000 is 1000 + E / 1000, E exponential, to a relative 1e-6.
    z = Truncated(Normal(0.0, 1.0), lower=1_000.0).sample(onp.random.default_rng(1), 10_000)
    excess = (z - 1_000.0) * 1_000.0
    assert (z > 1_000.0).all()
    assert abs(excess.mean() - 1.0) < 5.0 / 100.0  # five standard errors
    z = Truncated(Normal(0.0, 1.0), upper=-1_000.0).sample(onp.random.default_rng(1), 10_000)
    assert abs((-1_000.0 - z).mean() * 1_000.0 - 1.0) < 5.0 / 100.0


def test_far_bound_that_holds_all_leaves_the_gradient_alone(engine: engines.Engine) -> None:
    # The survival function underflows at the far bound: its log's derivative is 0/0.
    def log_prob(rate: Any, upper: float) -> Any:
        return Truncated(Gamma(2.0, rate), 0.5, upper).log_prob(1.0)

    gradient = engine.compile(engine.value_and_grad(log_prob), static=(1,))
    onp.testing.assert_allclose(gradient(1.5, 1e6), gradient(1.5, INF), rtol=1e-13)


# ---------------------------------------------------------------------- bounds, support


@pytest.mark.parametrize(
    ("distribution", "support"),
    [
        (Truncated(Normal(0.0, 1.0)), Real()),
        (Truncated(Normal(0.0, 1.0), lower=0.0), NonNegative()),
        (Truncated(Normal(0.0, 1.0), lower=0.5), GreaterThan(0.5)),
        (Truncated(Normal(0.0, 1.0), upper=0.5), LessThan(0.5)),
        (Truncated(Normal(0.0, 1.0), -1.0, 0.5), Interval(-1.0, 0.5)),
        (Truncated(HalfNormal(1.0), lower=0.5), GreaterThan(0.5)),
        (Truncated(HalfNormal(1.0), upper=0.5), Interval(0.0, 0.5)),
        (Truncated(HalfNormal(1.0), -1.0, INF), NonNegative()),
        (Truncated(Beta(1.0, 1.0), lower=0.5), Interval(0.5, 1.0)),
        (Truncated(Beta(1.0, 1.0), -3.0, 0.5), Interval(0.0, 0.5)),
    ],
    ids=repr,
)
def test_support(distribution: Truncated, support: Any) -> None:
    assert distribution.support == support


def test_bounds_that_cut_nothing_change_nothing() -> None:
    x = onp.array([0.1, 3.0])
    for bounds in ({}, {"lower": -1.0}, {"lower": 0.0, "upper": INF}):
        cut = Truncated(HalfNormal(1.0), **bounds)
        onp.testing.assert_array_equal(cut.log_prob(x), HalfNormal(1.0).log_prob(x))


def test_bounds_may_be_arrays() -> None:
    lower, upper = onp.array([[-1.0], [2.0]]), onp.array([3.0, 4.0, 5.0])
    rows = Truncated(Normal(0.0, 1.0), lower, upper)
    assert rows.batch_shape == (2, 3)
    found = rows.log_prob(2.5)
    for i, j in onp.ndindex(2, 3):
        one = Truncated(Normal(0.0, 1.0), lower[i, 0], upper[j])
        onp.testing.assert_allclose(found[i, j], one.log_prob(2.5), rtol=1e-14)
    draws = rows.sample(onp.random.default_rng(0), 7)
    assert draws.shape == (7, 2, 3)
    assert rows.support.contains(draws).all()


def test_bounds_may_depend_on_latents(engine: engines.Engine) -> None:
    # The derivative of -log(F(u) - F(l)): p(l) / Z in l, -p(u) / Z in u.
    def log_prob(bounds: Any) -> Any:
        return np.sum(Truncated(Normal(0.0, 1.0), bounds[0], bounds[1]).log_prob(onp.zeros(2)))

    bounds = onp.array([-0.5, 2.0])
    value, slope = engine.compile(engine.value_and_grad(log_prob))(bounds)
    z = onp.diff(special.ndtr(bounds))
    onp.testing.assert_allclose(value, 2.0 * (Normal(0.0, 1.0).log_prob(0.0) - onp.log(z[0])))
    density = onp.exp(Normal(0.0, 1.0).log_prob(bounds))
    onp.testing.assert_allclose(slope, 2.0 * density / z * [1.0, -1.0], rtol=1e-12)


# ----------------------------------------------------------------------------- refusals

STANDARD = Normal(0.0, 1.0)


@pytest.mark.parametrize(
    ("kind", "message", "make"),
    [
        (ValueError, "needs lower < upper", lambda: Truncated(STANDARD, 1.0, 1.0)),
        (ValueError, "needs lower < upper", lambda: Truncated(Beta(1.0, 1.0), lower=1.0)),
        (ValueError, "needs lower < upper", lambda: Truncated(HalfNormal(1.0), upper=0.0)),
        (ValueError, "lower: .* not NaN", lambda: Truncated(STANDARD, onp.nan)),
        (
            ValueError,
            "lower: some entries",
            lambda: Truncated(HalfNormal(1.0), onp.array([-1.0, 1.0])),
        ),
        (TypeError, "Poisson cannot be truncated", lambda: Truncated(Poisson(1.0), upper=3.0)),
        (
            TypeError,
            "Truncated cannot be truncated",
            lambda: Truncated(Truncated(STANDARD, 0.0), upper=3.0),
        ),
        (ValueError, "has no mass", lambda: Truncated(Gamma(2.0, 1.0), 1e4).log_prob(2e4)),
        (
            ValueError,
            "has no mass",
            lambda: Truncated(Gamma(2.0, 1.0), 1e4).sample(onp.random.default_rng(0)),
        ),
    ],
)
def test_refusals(kind: type[Exception], message: str, make: Any) -> None:
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("concentration: the distribution function", lambda p: Truncated(Gamma(p, 1.0), lower=1.0)),
        ("concentration: the distribution function", lambda p: Truncated(Gamma(p, 1.0), upper=1.0)),
        (
            "concentration: the distribution function",
            lambda p: Truncated(InverseGamma(p, 1.0), lower=1.0),
        ),
        (
            "concentration: the distribution function",
            lambda p: Truncated(InverseGamma(p, 1.0), upper=1.0),
        ),
        ("alpha: the distribution function", lambda p: Truncated(Beta(p, 1.0), lower=0.5)),
        ("beta: the distribution function", lambda p: Truncated(Beta(1.0, p), upper=0.5)),
        ("df: the distribution function", lambda p: Truncated(StudentT(p), lower=0.0)),
        (
            "distribution: Uniform has bounds that depend on latents",
            lambda p: Truncated(Uniform(0.0, p), upper=1.0),
        ),
    ],
)
def test_no_wrong_derivative_of_a_shape_parameter(
    engine: engines.Engine, name: str, make: Any
) -> None:
    log_prob = engine.compile(engine.value_and_grad(lambda p: make(p).log_prob(0.75)))
    with pytest.raises(NotImplementedError, match=f"^{name}"):
        log_prob(2.5)
