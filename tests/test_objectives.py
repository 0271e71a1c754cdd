"""Gradients of the negative ELBO: hand-derived, exact, and zero where they must be."""

import numpy as onp
import pytest

import vi_lab.numpy as np
from vi_lab.deterministic import balanced_draws
from vi_lab.engine import current
from vi_lab.families import FAMILIES
from vi_lab.model import Target
from vi_lab.objectives import Reparameterised, StickingTheLanding, get_estimator

PRECISION = onp.array([[2.0, 0.6, 0.0], [0.6, 1.5, -0.4], [0.0, -0.4, 1.0]])
CENTRE = onp.array([0.5, -1.0, 2.0])
GAUSSIAN = Target(
    lambda z: -0.5 * np.sum((z - CENTRE) * np.dot(z - CENTRE, PRECISION), axis=-1), dim=3
)
SKEWED = Target(lambda z: np.sum(z - np.exp(z), axis=-1), dim=3)
LOC, LOG_SCALE = onp.array([0.2, 0.1, -0.3]), onp.array([-0.5, 0.2, 0.1])
LOWER = onp.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [-0.8, 0.4, 0.0]])


def gradient(engine, estimator, family, params, eps, target):
    def run(params, eps):
        def loss(params):
            return estimator.negative_elbo(target, FAMILIES[family], params, eps, {})

        return current().value_and_grad(loss)(params)

    return engine.compile(run)(params, eps)


def parameters(family):
    params = {"loc": LOC, "log_scale": LOG_SCALE}
    return params if family == "mean_field" else {**params, "lower": LOWER}


@pytest.mark.parametrize("eps", onp.random.default_rng(1).normal(size=(3, 3)))
def test_mean_field_gradients_by_hand(engine, eps):
    """grad_mu = g, grad_omega = g eps sigma + 1; sticking the landing: g + eps / sigma."""
    params = parameters("mean_field")
    sigma = onp.exp(LOG_SCALE)
    g = 1.0 - onp.exp(LOC + sigma * eps)
    _, plain = gradient(engine, Reparameterised(), "mean_field", params, eps[None], SKEWED)
    onp.testing.assert_allclose(plain["loc"], -g, rtol=1e-12)
    onp.testing.assert_allclose(plain["log_scale"], -(g * eps * sigma + 1.0), rtol=1e-12)
    _, stuck = gradient(engine, StickingTheLanding(), "mean_field", params, eps[None], SKEWED)
    path = g + eps / sigma
    onp.testing.assert_allclose(stuck["loc"], -path, rtol=1e-12)
    onp.testing.assert_allclose(stuck["log_scale"], -path * eps * sigma, rtol=1e-12)


@pytest.mark.parametrize("eps", onp.random.default_rng(2).normal(size=(3, 3)))
def test_full_rank_gradients_by_hand(engine, eps):
    """grad_L = tril(g eps') + diag(1 / L_ii); sticking: tril(g~ eps'), g~ = g + L^-T eps."""
    params = parameters("full_rank")
    unit = onp.eye(3) + LOWER
    sigma = onp.exp(LOG_SCALE)
    scale = sigma[:, None] * unit
    g = 1.0 - onp.exp(LOC + scale @ eps)
    in_scale = onp.tril(onp.outer(g, eps)) + onp.diag(1.0 / onp.diag(scale))
    path = g + onp.linalg.solve(scale.T, eps)
    for estimator, in_l, in_loc in [
        (Reparameterised(), in_scale, g),
        (StickingTheLanding(), onp.tril(onp.outer(path, eps)), path),
    ]:
        _, found = gradient(engine, estimator, "full_rank", params, eps[None], SKEWED)
        onp.testing.assert_allclose(found["loc"], -in_loc, rtol=1e-11)
        # L = diag(sigma) T: the chain rule to log sigma and to T below its diagonal.
        onp.testing.assert_allclose(
            found["log_scale"], -onp.sum(in_l * scale, axis=1), rtol=1e-11, atol=1e-13
        )
        below = onp.tril(sigma[:, None] * in_l, -1)
        onp.testing.assert_allclose(found["lower"], -below, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("estimator", [Reparameterised(), StickingTheLanding()])
@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
def test_value_and_gradient_are_exact_for_a_quadratic(engine, estimator, family):
    """Draws with exact second moments integrate a quadratic without error.

    So this is an exact test of unbiasedness: the closed form of the ELBO is
    -tr(P S)/2 - (m - c)' P (m - c) / 2 + H[q].
    """
    params = parameters(family)
    eps = balanced_draws(onp.random.default_rng(3), 20, 3)
    value, found = gradient(engine, estimator, family, params, eps, GAUSSIAN)
    chosen = FAMILIES[family]
    covariance = chosen.covariance(params)
    away = LOC - CENTRE
    elbo = (
        -0.5 * onp.trace(PRECISION @ covariance)
        - 0.5 * away @ PRECISION @ away
        + float(chosen.entropy(params))
    )
    assert value == pytest.approx(-elbo, rel=1e-12)
    onp.testing.assert_allclose(found["loc"], PRECISION @ away, rtol=1e-11, atol=1e-12)
    in_log_scale = onp.sum((PRECISION @ chosen.scale_tril(params)) * chosen.scale_tril(params), 1)
    onp.testing.assert_allclose(found["log_scale"], in_log_scale - 1.0, rtol=1e-11, atol=1e-12)


def test_sticking_the_landing_is_silent_where_q_is_the_posterior(engine):
    """Every single draw has gradient zero; the plain estimator's is of order one."""
    covariance = onp.linalg.inv(PRECISION)
    scale = onp.linalg.cholesky(covariance)
    sigma = onp.diag(scale)
    params = {"loc": CENTRE, "log_scale": onp.log(sigma), "lower": scale / sigma[:, None]}
    for eps in onp.random.default_rng(4).normal(size=(5, 1, 3)):
        _, stuck = gradient(engine, StickingTheLanding(), "full_rank", params, eps, GAUSSIAN)
        _, plain = gradient(engine, Reparameterised(), "full_rank", params, eps, GAUSSIAN)
        assert max(onp.abs(v).max() for v in stuck.values()) < 1e-13
        assert max(onp.abs(v).max() for v in plain.values()) > 0.1


def test_estimators_by_name():
    assert get_estimator("reparameterised") == Reparameterised()
    assert get_estimator(StickingTheLanding()) == StickingTheLanding()
    with pytest.raises(ValueError, match=r"estimator: 'score' is none of"):
        get_estimator("score")
