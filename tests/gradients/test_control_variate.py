"""The reference Gaussian as control variate: exact where it can be, unbiased everywhere."""

import itertools

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.advi.deterministic import balanced_draws
from vi_lab.engine import current
from vi_lab.families import FullRankGaussian, LowRankGaussian, MeanFieldGaussian
from vi_lab.gradients.control_variate import ControlVariate
from vi_lab.gradients.estimators import Reparameterised, StickingTheLanding

DIM = 3
RNG = onp.random.default_rng(0)
MEAN = RNG.normal(size=DIM)
SCALE = onp.tril(RNG.normal(size=(DIM, DIM)), -1) + onp.diag([0.1, 1.0, 3.0])
WHITENER = onp.linalg.inv(SCALE)
PRECISION = WHITENER.T @ WHITENER
CONSTANT = 7.0
GAUSSIAN = vl.Target(
    lambda z: CONSTANT - 0.5 * np.sum(np.dot(z - MEAN, WHITENER.T) ** 2, axis=-1), dim=DIM
)
QUARTIC = vl.Target(
    lambda z: -0.1 * z[..., 0] ** 4 - 0.5 * (z[..., 1] - z[..., 0] ** 2) ** 2 + z[..., 1], dim=2
)
PARAMS = {"loc": onp.array([0.5, -1.0, 2.0]), "log_scale": onp.array([-1.0, 0.3, 0.5])}


def reference(loc, scale):
    return {"loc": loc, "scale": scale, "whitener": onp.linalg.inv(scale)}


POSTERIOR = reference(MEAN, SCALE)
OTHER = reference(MEAN + 0.3, 1.2 * SCALE + onp.diag([0.0, 0.2, 0.0]))


def plain(target, estimator, family=MeanFieldGaussian()):  # noqa: B008
    """(params, eps) -> value and gradient of the loss."""

    def run(params, eps):
        def loss(params):
            return estimator.negative_elbo(target.structure, family, params, eps, {})

        return current().value_and_grad(loss)(params)

    return run


def exact():
    """-ELBO of PARAMS for the Gaussian, and its gradient, in closed form."""
    off, variance = PARAMS["loc"] - MEAN, onp.exp(2.0 * PARAMS["log_scale"])
    entropy = PARAMS["log_scale"].sum() + 0.5 * DIM * (1.0 + onp.log(2.0 * onp.pi))
    elbo = CONSTANT - 0.5 * (off @ PRECISION @ off + onp.diag(PRECISION) @ variance) + entropy
    gradient = {"loc": PRECISION @ off, "log_scale": onp.diag(PRECISION) * variance - 1.0}
    return -elbo, gradient


@pytest.mark.parametrize("draws", [1, 4])
def test_with_the_posterior_itself_every_draw_gives_the_exact_gradient(engine, draws):
    """At a q that is far from it; sticking the landing has noise there."""
    run = engine.compile(plain(GAUSSIAN, ControlVariate(POSTERIOR)))
    stuck = engine.compile(plain(GAUSSIAN, StickingTheLanding()))
    rng = onp.random.default_rng(1)
    all_eps = rng.standard_normal((20, draws, DIM))
    value, gradient = exact()
    size = max(onp.abs(g).max() for g in gradient.values())
    found = [run(PARAMS, eps) for eps in all_eps]
    for name in gradient:
        errors = onp.array([g[name] for _, g in found]) - gradient[name]
        assert (errors / size).var() < 1e-20
        onp.testing.assert_allclose(errors / size, 0.0, atol=1e-12)
    onp.testing.assert_allclose([v for v, _ in found], value, rtol=1e-12)
    noisy = onp.array([stuck(PARAMS, eps)[1]["loc"] for eps in all_eps])
    assert (noisy.std(axis=0) > 0.05).all()


@pytest.mark.parametrize("reference", [POSTERIOR, OTHER], ids=["posterior", "another"])
def test_balanced_draws_give_the_exact_gradient_of_a_gaussian(engine, reference):
    """Whatever the reference: the average over balanced draws of a quadratic is exact."""
    eps = balanced_draws(onp.random.default_rng(2), 2 * (DIM + 2), DIM)
    value, gradient = engine.compile(plain(GAUSSIAN, ControlVariate(reference)))(PARAMS, eps)
    exact_value, exact_gradient = exact()
    onp.testing.assert_allclose(value, exact_value, rtol=1e-11)
    for name in gradient:
        onp.testing.assert_allclose(gradient[name], exact_gradient[name], rtol=1e-9, atol=1e-9)


def test_unbiased_for_a_quartic_by_quadrature(engine):
    """10 x 10 Gauss-Hermite nodes are exact for it: the mean is that of the plain estimator."""
    nodes, weights = onp.polynomial.hermite_e.hermegauss(10)
    grid = onp.array(list(itertools.product(nodes, nodes)))[:, None]  # one draw a step
    mass = onp.array([a * b for a, b in itertools.product(weights, weights)]) / (2 * onp.pi)
    params = {"loc": onp.array([0.7, -0.4]), "log_scale": onp.array([0.2, -0.5])}
    other = reference(onp.array([0.3, 1.0]), onp.array([[0.8, 0.0], [0.5, 1.5]]))

    def expected(run):
        def at_all(params, grid):
            return current().vmap(lambda eps: run(params, eps))(grid)

        values, gradients = engine.compile(at_all)(params, grid)
        return mass @ values, {name: mass @ g for name, g in gradients.items()}

    value, gradient = expected(plain(QUARTIC, ControlVariate(other)))
    true_value, true_gradient = expected(plain(QUARTIC, Reparameterised()))
    onp.testing.assert_allclose(value, true_value, rtol=1e-12)
    for name in gradient:
        onp.testing.assert_allclose(gradient[name], true_gradient[name], rtol=1e-10, atol=1e-12)


def test_a_rough_reference_removes_most_of_the_noise(engine):
    """At the best mean-field q, where sticking the landing cannot."""
    best = {"loc": MEAN, "log_scale": -0.5 * onp.log(onp.diag(PRECISION))}
    rough = reference(MEAN + 0.1 * SCALE[:, 0], 1.1 * SCALE)
    eps = onp.random.default_rng(3).standard_normal((200, 1, DIM))
    with_it = engine.compile(plain(GAUSSIAN, ControlVariate(rough)))
    without = engine.compile(plain(GAUSSIAN, StickingTheLanding()))
    variance, plain_variance = (
        onp.array([run(best, e)[1]["loc"] for e in eps]).var(axis=0).sum()
        for run in (with_it, without)
    )
    # (1 - 1 / 1.1^2)^2 = 3% of the noise of the plain gradient in loc is left; the gradient
    # that sticks the landing has less than the plain one, but of the same order.
    assert variance < 0.1 * plain_variance


@pytest.mark.parametrize("family", [FullRankGaussian(), LowRankGaussian(2)], ids=repr)
def test_it_is_an_estimator_for_every_gaussian_family(engine, family):
    """With balanced draws the ELBO of a Gaussian is exact, whatever the estimator."""
    params = family.init_from(PARAMS)
    name = "lower" if "lower" in params else "factors"
    params[name] = onp.random.default_rng(5).normal(size=params[name].shape)
    dim = family.base_dim(DIM)
    eps = balanced_draws(onp.random.default_rng(2), 2 * (dim + 2), dim)
    found, expected = (
        engine.compile(plain(GAUSSIAN, estimator, family))(params, eps)
        for estimator in (ControlVariate(OTHER), Reparameterised())
    )
    onp.testing.assert_allclose(found[0], expected[0], rtol=1e-11)
    for key in params:
        onp.testing.assert_allclose(found[1][key], expected[1][key], rtol=1e-9, atol=1e-9)
