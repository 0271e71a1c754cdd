"""Sums that are nothing, squares that overflow, differences that cancel: values and gradients."""

import math
from fractions import Fraction

import numpy as onp
import pytest
from scipy import special

import vi_lab as vl
import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.distributions import (
    Cauchy,
    Gamma,
    HalfCauchy,
    InverseGamma,
    Laplace,
    Logistic,
    LogNormal,
    StudentT,
)
from vi_lab.families import LowRankGaussian

INF = onp.inf


def value_and_grad(engine, function, x):
    run = engine.compile(lambda x: engine.value_and_grad(function)(x))
    return run(onp.asarray(x, dtype=float))


def finite(x):
    """``x`` where it is finite, else a constant 0: what a program may do with a log density."""
    return np.where(np.isfinite(x), x, 0.0)


# ------------------------------------------------------------- sums of nothing

TERMS = onp.array([[[0.0, 1.0, -INF], [-INF] * 3], [[-INF, 2.0, -INF], [-3.0, -2.0, -1.0]]])


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 2), (1, 2), (0, 1, 2)])
def test_logsumexp_has_the_gradient_of_a_sum_even_of_nothing(axis, keepdims, engine):
    """Shares exp(a - logsumexp a), and none of a sum that is 0."""

    def total(a):
        return np.sum(finite(sp.logsumexp(a, axis=axis, keepdims=keepdims)))

    expected = special.logsumexp(TERMS, axis=axis, keepdims=True)
    shares = onp.exp(TERMS - onp.where(expected == -INF, 0.0, expected))
    gradient = value_and_grad(engine, total, TERMS)[1]
    onp.testing.assert_allclose(gradient, shares, rtol=1e-13)
    found = engine.compile(lambda a: sp.logsumexp(a, axis=axis, keepdims=keepdims))(TERMS)
    right = special.logsumexp(TERMS, axis=axis, keepdims=keepdims)
    assert found.shape == onp.shape(right)
    onp.testing.assert_allclose(found, right, rtol=1e-14)


def test_logsumexp_of_nothing_but_minus_infinity_itself(engine):
    """The value -inf, and a gradient of 0 that nothing had to select."""
    value, gradient = value_and_grad(engine, lambda a: sp.logsumexp(a), [-INF, -INF])
    assert value == -INF
    assert (gradient == 0.0).all()


def test_a_nan_among_the_terms_is_seen(engine):
    with onp.errstate(invalid="ignore"):  # which NumPy's own logaddexp says too
        assert onp.isnan(engine.compile(lambda a: sp.logsumexp(a))(onp.array([onp.nan, 1.0])))
        assert onp.isnan(engine.compile(lambda a: np.logaddexp(a, 1.0))(onp.array(onp.nan)))


def test_second_derivatives_of_logsumexp(engine):
    """H = diag(s) - s s' of the shares s; 0 where there are none."""
    a = onp.array([[-INF, -INF, -INF], [0.3, -0.2, -INF]])
    product = engine.hessian_vector_product(lambda a: np.sum(finite(sp.logsumexp(a, axis=-1))))
    s, v = special.softmax(a[1]), onp.array([[1.0, 2.0, 3.0], [1.0, -2.0, 5.0]])
    found = product(a)(v)
    onp.testing.assert_allclose(found[1], s * v[1] - s * (s @ v[1]), rtol=1e-12, atol=1e-15)
    assert (found[0] == 0.0).all()


@pytest.mark.parametrize(("name", "base"), [("logaddexp", math.e), ("logaddexp2", 2.0)])
def test_logaddexp_has_the_gradient_of_a_sum_even_of_nothing(name, base, engine):
    x, y = onp.array([-INF, -INF, 1.0, 0.5]), onp.array([-INF, 2.0, -INF, 0.7])

    def total(x):
        return np.sum(finite(getattr(np, name)(x, y)))

    def value(x):
        return getattr(np, name)(x, y)

    last = base**0.5 / (base**0.5 + base**0.7)
    onp.testing.assert_allclose(value_and_grad(engine, total, x)[1], [0.0, 0.0, 1.0, last])
    onp.testing.assert_allclose(engine.compile(value)(x), getattr(onp, name)(x, y), rtol=1e-14)
    # Broadcast: the gradient has the shape of what it belongs to.
    alone = value_and_grad(engine, lambda a: np.sum(finite(getattr(np, name)(a, y))), 0.5)[1]
    assert alone.shape == ()


def test_a_left_to_right_hidden_markov_model_has_a_gradient(engine):
    """Three states that are never gone back to, from the first: rows of -inf on the way."""
    chain = onp.array([[0.5, 0.5, 0.0], [0.0, 0.6, 0.4], [0.0, 0.0, 1.0]])
    with onp.errstate(divide="ignore"):
        log_start, log_chain = onp.log([1.0, 0.0, 0.0]), onp.log(chain)
    y = onp.array([0.1, 1.9, 4.2])

    def program(m, y):
        mean = m.sample("mean", vl.Normal(onp.array([0.0, 2.0, 4.0]), 1.0))
        forward = log_start + vl.Normal(mean, 1.0).log_prob(y[0])
        for t in (1, 2):
            forward = sp.logsumexp(forward[:, None] + log_chain, axis=0)
            forward = forward + vl.Normal(mean, 1.0).log_prob(y[t])
        m.factor("y", sp.logsumexp(forward))

    model = vl.Model(program, y=y)
    run = engine.compile(
        lambda s, z, data: engine.value_and_grad(lambda z: s.log_density(z, data))(z), static=(0,)
    )
    z = onp.array([0.2, 1.7, 4.1])
    value, gradient = run(model.structure, z, model.data)

    def by_paths(z):  # all paths, in plain numbers
        normal = onp.exp(-0.5 * (y[:, None] - z) ** 2) / onp.sqrt(2.0 * onp.pi)
        likelihood = sum(
            normal[0, 0] * chain[0, j] * normal[1, j] * chain[j, k] * normal[2, k]
            for j in range(3)
            for k in range(3)
        )
        prior = -0.5 * onp.sum((z - [0.0, 2.0, 4.0]) ** 2) - 1.5 * onp.log(2.0 * onp.pi)
        return onp.log(likelihood) + prior

    onp.testing.assert_allclose(value, by_paths(z), rtol=1e-12)
    h = 1e-5
    slopes = [(by_paths(z + h * e) - by_paths(z - h * e)) / (2.0 * h) for e in onp.eye(3)]
    onp.testing.assert_allclose(gradient, slopes, rtol=1e-7)


# ------------------------------------------------------------- squares that overflow


@pytest.mark.parametrize("t", [0.0, 1e-9, -0.3, 4.0, 1e100, -9e153, 2e154, -1e160, 1e300])
def test_log_of_one_and_a_square(t, engine):
    right = math.log1p(t * t) if abs(t) < 1e150 else 2.0 * math.log(abs(t))
    onp.testing.assert_allclose(sp.log1p_square(t), right, rtol=1e-14)
    onp.testing.assert_allclose(sp.log1p_square(onp.array([t, 1.0]))[0], right, rtol=1e-14)
    value, slope = value_and_grad(engine, lambda t: sp.log1p_square(t), t)
    onp.testing.assert_allclose(value, right, rtol=1e-14)
    right_slope = 2.0 / (t + 1.0 / t) if t else 0.0
    onp.testing.assert_allclose(slope, right_slope, rtol=1e-12)


HEAVY = {  # (distribution, log p at x, its derivative), for x so large that only the tail counts
    "HalfCauchy": (HalfCauchy(2.0), lambda x: math.log(4.0 / math.pi) - 2.0 * math.log(x), -2.0),
    "Cauchy": (Cauchy(1.0, 2.0), lambda x: math.log(2.0 / math.pi) - 2.0 * math.log(x), -2.0),
    "StudentT": (
        StudentT(3.0, 0.0, 2.0),
        lambda x: (
            math.lgamma(2.0)
            - math.lgamma(1.5)
            - 0.5 * math.log(3.0 * math.pi)
            - math.log(2.0)
            - 2.0 * (2.0 * math.log(x / 2.0) - math.log(3.0))
        ),
        -4.0,
    ),
    "InverseGamma": (
        InverseGamma(0.5, 2.0),
        lambda x: 0.5 * math.log(2.0) - math.lgamma(0.5) - 1.5 * math.log(x),
        -1.5,
    ),
}


@pytest.mark.parametrize("x", [1e20, 1e155, 1e160, 1e300])
@pytest.mark.parametrize("name", HEAVY)
def test_heavy_tails_far_out(name, x, engine):
    distribution, log_p, power = HEAVY[name]
    onp.testing.assert_allclose(distribution.log_prob(x), log_p(x), rtol=1e-13)
    onp.testing.assert_allclose(distribution.log_prob([1.0, x])[1], log_p(x), rtol=1e-13)
    value, slope = value_and_grad(engine, distribution.log_prob, x)
    onp.testing.assert_allclose(value, log_p(x), rtol=1e-13)
    onp.testing.assert_allclose(slope, power / x, rtol=1e-12)


@pytest.mark.parametrize("x", [-1e160, -1e155])
def test_heavy_tails_are_even(x, engine):
    for distribution in (Cauchy(0.0, 2.0), StudentT(3.0, 0.0, 2.0)):
        here, there = (value_and_grad(engine, distribution.log_prob, s * x) for s in (1.0, -1.0))
        assert here[0] == there[0]
        assert here[1] == -there[1] > 0.0


def test_gradients_of_parameters_far_out(engine):
    """d log p / d scale = -1/s + 2/s at x = 1e160, d / d df = ... - log|t| + ..., both finite."""

    def half_cauchy(scale):
        return HalfCauchy(scale).log_prob(1e160)

    def student(df):
        return StudentT(df, 0.0, 1.0).log_prob(1e160)

    onp.testing.assert_allclose(value_and_grad(engine, half_cauchy, 2.0)[1], 0.5, rtol=1e-12)
    # log p = c(df) + df/2 log df - (df + 1) log x in the tail, where c holds the gammas.
    df, log_x = 3.0, math.log(1e160)
    right = 0.5 * (
        special.digamma(0.5 * (df + 1.0)) - special.digamma(0.5 * df) + math.log(df) + 1.0
    )
    onp.testing.assert_allclose(value_and_grad(engine, student, df)[1], right - log_x, rtol=1e-12)


@pytest.mark.parametrize(
    ("distribution", "x", "log_p", "slope"),
    [
        (Laplace(0.0, 2.0), 1e160, -5e159, -0.5),
        (Logistic(0.0, 2.0), -1e160, -5e159, 0.5),
        (Gamma(0.5, 2.0), 1e160, -2e160, -2.0),
        (Gamma(0.5, 2.0), 1e-300, 0.5 * math.log(2.0 / math.pi) + 150.0 * math.log(10.0), -5e299),
        (
            LogNormal(0.0, 1.0),
            1e-300,
            -0.5 * math.log(2.0 * math.pi)
            + 300.0 * math.log(10.0) * (1.0 - 150.0 * math.log(10.0)),
            (300.0 * math.log(10.0) - 1.0) * 1e300,
        ),
    ],
    ids=["Laplace", "Logistic", "Gamma", "Gamma at 0", "LogNormal"],
)
def test_other_tails_far_out(distribution, x, log_p, slope, engine):
    value, found = value_and_grad(engine, distribution.log_prob, x)
    onp.testing.assert_allclose(value, log_p, rtol=1e-13)
    onp.testing.assert_allclose(found, slope, rtol=1e-12)


# ------------------------------------------------------------- differences that cancel


@pytest.mark.parametrize("size", [1.0, 1e6, 1e8])
def test_the_density_of_a_low_rank_gaussian_does_not_cancel(size, engine):
    """Against rational arithmetic; one factor: (I + w w')^-1 y = y - w (w'y) / (1 + w'w)."""
    rng = onp.random.default_rng(2)
    dim = 4
    w, eps = size * rng.normal(size=dim), rng.normal(size=dim + 1)
    params = {"loc": onp.zeros(dim), "log_scale": onp.zeros(dim), "factors": w[:, None]}
    family = LowRankGaussian(1)
    z = eps[:dim] + w * eps[dim]
    y, exact_w = [Fraction(v) for v in z], [Fraction(v) for v in w]
    wy = sum(a * b for a, b in zip(exact_w, y, strict=True))
    one_and_ww = 1 + sum(a * a for a in exact_w)
    quadratic = sum(a * a for a in y) - wy * wy / one_and_ww
    right = -0.5 * float(quadratic) - 0.5 * math.log(one_and_ww) - 0.5 * dim * math.log(2 * math.pi)

    found = engine.compile(lambda p, z: family.log_density(p, z))(params, z)
    onp.testing.assert_allclose(found, right, rtol=1e-15 * size + 1e-13)
    # From the base draws nothing is lost at all: y is never formed.
    e, f = [Fraction(v) for v in eps[:dim]], Fraction(eps[dim])
    y = [a + b * f for a, b in zip(e, exact_w, strict=True)]
    wy = sum(a * b for a, b in zip(exact_w, y, strict=True))
    quadratic = sum(a * a for a in y) - wy * wy / one_and_ww
    right = -0.5 * float(quadratic) - 0.5 * math.log(one_and_ww) - 0.5 * dim * math.log(2 * math.pi)
    at = engine.compile(lambda p, eps: family.log_density_and_score(p, eps)[0])(params, eps)
    onp.testing.assert_allclose(at, right, rtol=1e-13)
