"""Log densities of latents near the bounds of their supports, where x itself has rounded.

What is right is known in closed form: the density of z is made of log s(z) = -log(1 + e^-z)
and its like, which are taken here with `math`, one number at a time.
"""

import math
from math import lgamma, log

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.distributions import (
    Beta,
    Cauchy,
    Dirichlet,
    Flat,
    Gamma,
    HalfCauchy,
    InverseGamma,
    LKJCholesky,
    LogNormal,
    Normal,
    StudentT,
    Truncated,
    Uniform,
)
from vi_lab.transforms import supports, to_support


def log_s(z: float) -> float:
    """The log of the logistic function, at any z."""
    return -math.log1p(math.exp(-z)) if z > 0 else z - math.log1p(math.exp(z))


def log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def density_and_gradient(distribution, z, engine, shape=None):
    """log p(z) and its gradient, of one latent alone."""

    def program(m):
        m.sample("x", distribution, shape)

    model = vl.Model(program)
    evaluate = engine.compile(
        lambda structure, z, data: engine.value_and_grad(lambda z: structure.log_density(z, data))(
            z
        ),
        static=(0,),
    )
    with onp.errstate(over="ignore"):  # e^800, where a density is right not to look
        return evaluate(model.structure, onp.atleast_1d(onp.array(z, dtype=float)), model.data)


def beta(z):  # of the logit of x ~ Beta(a, b), the Jacobian x (1 - x) included
    return 0.5 * (log_s(z) + log_s(-z)) - log_beta(0.5, 0.5), 0.5 - math.exp(log_s(z))


def cut_beta(
    z,
):  # x = 0.2 + 0.8 s(z) of Beta(2, 1/2), 1 - x = 0.8 s(-z); F = 1 - (1-x)^(1/2)(1+x/2)
    share = math.exp(log_s(z))
    x, log_rest = 0.2 + 0.8 * share, log(0.8) + log_s(-z)
    log_mass = 0.5 * log(0.8) + log(1.1)
    value = log(x) - 0.5 * log_rest - log_beta(2.0, 0.5) - log_mass
    slope = (0.8 / x) * share * math.exp(log_s(-z)) + 0.5 * share
    jacobian = log(0.8) + log_s(z) + log_s(-z)
    return value + jacobian, slope + 1.0 - 2.0 * share


def cut_gamma(z):  # Gamma(1/2, 1) below 3, x = 3 s(z); its mass is erf(sqrt 3)
    share = math.exp(log_s(z))
    log_x, rest = log(3.0) + log_s(z), math.exp(log_s(-z))
    value = -0.5 * log_x - 3.0 * share - lgamma(0.5) - log(math.erf(math.sqrt(3.0)))
    jacobian = log(3.0) + log_s(z) + log_s(-z)
    return value + jacobian, (-0.5 - 3.0 * share) * rest + 1.0 - 2.0 * share


def gamma(z):
    return 0.5 * z - math.exp(z) - lgamma(0.5), 0.5 - math.exp(z)


def inverse_gamma(z):
    return -0.5 * z - math.exp(-z) - lgamma(0.5), -0.5 + math.exp(-z)


def log_normal(z):  # z is normal
    return -0.5 * ((z - 1.0) / 2.0) ** 2 - log(2.0) - 0.5 * log(2.0 * math.pi), (1.0 - z) / 4.0


def half_cauchy(z):  # 2/pi / (e^u + e^-u), u = z - log 2.5
    u = z - log(2.5)
    share = math.exp(log_s(2.0 * u)) - math.exp(log_s(-2.0 * u))  # tanh u
    return log(2.0 / math.pi) + u + log_s(-2.0 * u), -share


FAR = [
    (Beta(0.5, 0.5), beta, [-2_000.0, -800.0, -37.5, 37.5, 800.0, 2_000.0]),
    (Truncated(Beta(2.0, 0.5), lower=0.2), cut_beta, [-800.0, -40.0, 1.0, 40.0, 800.0]),
    (Truncated(Gamma(0.5, 1.0), upper=3.0), cut_gamma, [-800.0, -40.0, 1.0, 40.0, 800.0]),
    (Gamma(0.5, 1.0), gamma, [-2_000.0, -800.0, -720.0, 2.0]),
    (InverseGamma(0.5, 1.0), inverse_gamma, [-400.0, -160.0, 2.0, 720.0, 2_000.0]),
    (LogNormal(1.0, 2.0), log_normal, [-2_000.0, -800.0, 3.0, 800.0]),
    (HalfCauchy(2.5), half_cauchy, [-800.0, -1.0, 160.0, 400.0, 800.0, 2_000.0]),
    (Truncated(Cauchy(0.0, 2.5), lower=0.0), half_cauchy, [-800.0, -1.0, 160.0, 400.0, 700.0]),
]


@pytest.mark.parametrize(
    ("distribution", "exact", "z"),
    [(d, exact, z) for d, exact, points in FAR for z in points],
    ids=lambda value: repr(value) if isinstance(value, float) else type(value).__name__,
)
def test_far_out_the_density_and_its_gradient_are_exact(distribution, exact, z, engine):
    value, (slope,) = density_and_gradient(distribution, z, engine)
    right, right_slope = exact(z)
    onp.testing.assert_allclose(value, right, rtol=1e-12)
    onp.testing.assert_allclose(slope, right_slope, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("z", [-800.0, 0.5, 800.0])
def test_a_beta_is_a_dirichlet_of_two(z, engine):
    """Of which an entry is nearly nothing."""
    pair = density_and_gradient(Dirichlet([0.3, 0.4]), z, engine)
    one = density_and_gradient(Beta(0.3, 0.4), z, engine)
    onp.testing.assert_allclose(pair[0], one[0], rtol=1e-12)
    onp.testing.assert_allclose(pair[1], one[1], rtol=1e-12, atol=1e-14)


def test_a_simplex_with_two_entries_next_to_nothing(engine):
    a, z = [0.1, 0.2, 0.3], [800.0, -900.0]
    # x_1 = s(800 - log 2), x_2 = (1 - x_1) s(-900), x_3 = 1 - x_1; log abs det J = sum log x
    log_rest = -(800.0 - log(2.0))
    log_x = onp.array([0.0, log_rest - 900.0, log_rest])
    value, gradient = density_and_gradient(Dirichlet(a), z, engine)
    onp.testing.assert_allclose(value, a @ log_x - sum(map(lgamma, a)) + lgamma(0.6), rtol=1e-12)
    onp.testing.assert_allclose(gradient, [-0.5, 0.2], rtol=1e-12)


@pytest.mark.parametrize("z", [-900.0, -30.0, 0.7, 30.0, 900.0])
def test_a_correlation_next_to_one(z, engine):
    """K = 2: p(z) is proportional to sech(z)^(2 eta), of a correlation tanh z."""
    eta = 0.5
    log_sech = log(2.0) + log_s(2.0 * z) - z
    log_constant = 0.5 * log(math.pi) + lgamma(eta) - lgamma(eta + 0.5)
    value, (slope,) = density_and_gradient(LKJCholesky(2, eta), z, engine)
    onp.testing.assert_allclose(value, 2.0 * eta * log_sech - log_constant, rtol=1e-12)
    onp.testing.assert_allclose(slope, -2.0 * eta * math.tanh(z), rtol=1e-12)


def test_student_t_cut_at_zero_has_no_square_to_overflow(engine):
    """At x = e^400 with 3 degrees of freedom: p(x) falls as x^-4."""
    half = Truncated(StudentT(3.0, 0.0, 2.0), lower=0.0)
    constant = lgamma(2.0) - lgamma(1.5) - 0.5 * log(3.0 * math.pi)  # of t
    value, (slope,) = density_and_gradient(half, 400.0, engine)
    at = constant + log(2.0) - log(2.0) - 2.0 * (2.0 * (400.0 - log(2.0)) - log(3.0)) + 400.0
    onp.testing.assert_allclose(value, at, rtol=1e-12)
    onp.testing.assert_allclose(slope, -3.0, rtol=1e-12)


# ------------------------------------------------------------------ never on a bound

BETWEEN = [
    (supports.Interval(0.0, 1.0), (), 0.0, 1.0),
    (supports.Interval(2.0, 3.0), (), 2.0, 3.0),
    (supports.Interval(-1.0, 0.0), (), -1.0, 0.0),
    (supports.Interval(-1e6, 1e-3), (), -1e6, 1e-3),
    (supports.Interval(100.0, 100.5), (), 100.0, 100.5),
    (supports.Interval(0, 7), (), 0.0, 7.0),
    (
        supports.Interval(onp.array([0.0, -3.0]), onp.array([1e-9, 5.0])),
        (2,),
        [0.0, -3.0],
        [1e-9, 5.0],
    ),
    (supports.Positive(), (), 0.0, onp.inf),
    (supports.GreaterThan(3.0), (), 3.0, onp.inf),
    (supports.GreaterThan(0.0), (), 0.0, onp.inf),
    (supports.GreaterThan(-1e9), (), -1e9, onp.inf),
    (supports.LessThan(-3.0), (), -onp.inf, -3.0),
    (supports.Simplex(), (4,), 0.0, onp.inf),
]
DISTANCES = [0.0, 30.0, 36.0, 37.5, 40.0, 300.0, 709.0]


@pytest.mark.parametrize(("support", "shape", "lower", "upper"), BETWEEN, ids=str)
def test_no_value_rounds_onto_a_bound(support, shape, lower, upper, engine):
    outwards = onp.array([*DISTANCES, *(-z for z in DISTANCES)])
    z = outwards.reshape(-1, *(1,) * len(shape)) * onp.ones(shape)
    forward = to_support(support).forward
    for x in (engine.compile(forward)(z), forward(z)):
        assert ((x > lower) & (x < upper)).all()
        assert support.contains(x).all()


@pytest.mark.parametrize("size", [2, 5, 40])
@pytest.mark.parametrize("support", [supports.Ordered(), supports.PositiveOrdered()], ids=repr)
def test_neighbours_stay_apart(support, size, engine):
    z = onp.random.default_rng(3).normal(scale=60.0, size=(300, size))
    x = engine.compile(to_support(support).forward)(z)
    assert (onp.diff(x, axis=-1) > 0.0).all()
    assert support.contains(x).all()
    lost = z < -60.0  # steps of e^-60 and less, next to numbers of a size of 1 and more
    assert lost.any()


def test_a_bound_that_is_a_latent_is_not_reached_either(engine):
    """x = theta s(z), and where it stops short of theta its derivative is still that."""

    def evaluate(leaves):
        transform = to_support(supports.Interval(0.0, leaves["theta"]))
        return transform.forward(leaves["z"])

    run = engine.compile(lambda leaves: engine.value_and_grad(evaluate)(leaves))
    x, gradient = run({"theta": onp.array(3.0), "z": onp.array(50.0)})
    assert 3.0 - 1e-14 < x < 3.0
    onp.testing.assert_allclose(gradient["theta"], 1.0, rtol=1e-12)
    assert gradient["z"] == 0.0


@pytest.mark.parametrize("z", [37.5, -800.0, 800.0])
def test_what_a_program_makes_of_a_bound_is_finite(z, engine):
    """The logs of p and 1 - p, of a rate that underflows, of a gap, of a weight: with gradients."""

    def program(m):
        p = m.sample("p", Beta(0.5, 0.5))
        rate = m.sample("rate", Gamma(0.5, 1.0))
        a = m.sample("a", Flat(supports.GreaterThan(2.0)))
        w = m.sample("w", Dirichlet(onp.full(3, 0.5)))
        m.factor("logs", np.log(p) + np.log(1.0 - p) + np.log(rate) + np.log(a - 2.0))
        m.factor("weights", np.sum(np.log(w)))

    model = vl.Model(program)
    run = engine.compile(
        lambda s, z, data: engine.value_and_grad(lambda z: s.log_density(z, data))(z), static=(0,)
    )
    down = min(z, 0.0)  # e^800 is another matter
    point = onp.array([z, down, down, z, -z])
    value, gradient = run(model.structure, point, model.data)
    assert onp.isfinite(value)
    assert onp.isfinite(gradient).all()
    assert onp.isfinite(model.log_joint(dict(model.constrain(point))))


def test_nuts_sees_no_divergence_at_the_end_of_an_interval():
    """Beta(0.1, 0.1) and three heads: Beta(3.1, 0.1), whose logit goes to hundreds."""
    pytest.importorskip("jax")

    def coin(m, heads):
        p = m.sample("p", Beta(0.1, 0.1))
        m.observe("heads", vl.Bernoulli(probs=p), heads)

    model = vl.Model(coin, heads=[1, 1, 1])
    result = vl.nuts(model, chains=2, tune=500, draws=1_000, seed=1, engine="jax", progress=False)
    assert (result.z > 37.0).mean() > 0.01  # where it used to round to 1
    assert not result.diverging.any()


def test_a_uniform_latent_is_logistic(engine):
    """Its logit, wherever its bounds are."""
    for z in (-800.0, 40.0):
        value, _ = density_and_gradient(Uniform(2.0, 3.0), z, engine)
        onp.testing.assert_allclose(value, log_s(z) + log_s(-z), rtol=1e-12)
        cut, _ = density_and_gradient(Truncated(Normal(0.0, 1e9), -1.0, 1.0), z, engine)
        onp.testing.assert_allclose(cut, log_s(z) + log_s(-z), rtol=1e-9)
