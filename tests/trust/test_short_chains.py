"""The curvature that q sees, the leapfrog, and chains that start at draws of q."""

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.trust import Density, White, bent, pairs, short_chains
from vi_lab.trust.short_chains import trajectory

COVARIANCE = onp.array([[1.0, 1.9, 0.0], [1.9, 4.0, -0.3], [0.0, -0.3, 0.25]])
PRECISION = onp.linalg.inv(COVARIANCE)
LOC = onp.array([1.0, -2.0, 0.5])


def gaussian(z):
    return -0.5 * np.sum((z - LOC) * np.dot(z - LOC, PRECISION), axis=-1)


@pytest.fixture
def density(engine):
    return Density.of(vl.Target(gaussian, dim=3), engine)


def test_values_and_gradients_are_those_of_the_formula_and_are_counted(density):
    z = onp.random.default_rng(1).standard_normal((70, 3))  # more than a call takes
    values, gradients = density(z)
    onp.testing.assert_allclose(gradients, -(z - LOC) @ PRECISION, rtol=1e-10, atol=1e-12)
    onp.testing.assert_allclose(values, 0.5 * ((z - LOC) * gradients).sum(axis=1), rtol=1e-10)
    assert density.gradients == 70


@pytest.mark.parametrize("scale", [onp.diag([0.1, 3.0, 1.0]), onp.eye(3) + 0.3])
def test_of_a_gaussian_the_metric_is_its_covariance_whatever_q_is(density, scale):
    q = White(onp.zeros(3), onp.linalg.cholesky(scale @ scale.T))
    z = q.loc + q.times(pairs(onp.random.default_rng(2), 30, 3))
    metric = bent(q, z, density(z)[1])
    onp.testing.assert_allclose(metric.scale @ metric.scale.T, COVARIANCE, rtol=1e-8, atol=1e-10)


def test_without_correlations_it_is_the_conditional_variance(density):
    q = White(onp.zeros(3), onp.array([0.1, 3.0, 1.0]))
    z = q.loc + q.times(pairs(onp.random.default_rng(2), 2_000, 3))
    metric = bent(q, z, density(z)[1])
    # The other coordinates are noise of some sds here, over 2,000 draws.
    onp.testing.assert_allclose(metric.scale**-2, onp.diag(PRECISION), rtol=0.25)


def test_a_trajectory_runs_back(density):
    metric = White(LOC, onp.linalg.cholesky(COVARIANCE))
    z = onp.random.default_rng(3).standard_normal((5, 3))
    p = onp.random.default_rng(4).standard_normal((5, 3))
    there, momentum = trajectory(density, metric, (z, *density(z)), p, 0.3, 7)
    back, reversed_ = trajectory(density, metric, there, -momentum, 0.3, 7)
    onp.testing.assert_allclose(back[0], z, rtol=1e-9, atol=1e-11)
    onp.testing.assert_allclose(reversed_, -p, rtol=1e-9, atol=1e-11)


def test_a_trajectory_keeps_the_energy_to_second_order(density):
    metric = White(LOC, onp.linalg.cholesky(COVARIANCE))
    z = onp.random.default_rng(3).standard_normal((20, 3))
    p = onp.random.default_rng(4).standard_normal((20, 3))
    start = (z, *density(z))

    def error(step_size, steps):
        there, momentum = trajectory(density, metric, start, p, step_size, steps)
        change = (there[1] - start[1]) - 0.5 * (momentum**2 - p**2).sum(axis=1)
        return onp.sqrt(onp.mean(change**2))

    assert 3.5 < error(0.2, 7) / error(0.1, 14) < 4.5


def test_chains_from_the_posterior_stay_what_they_are(density):
    rng = onp.random.default_rng(5)
    metric = White(LOC, onp.linalg.cholesky(COVARIANCE))
    start = LOC + metric.times(rng.standard_normal((128, 3)))
    moved = short_chains(density, metric, start, 6, rng)
    white = onp.linalg.solve(metric.scale, (moved.z[-1] - LOC).T).T  # 128 independent draws
    assert abs(white.mean(axis=0)).max() < 5 / 128**0.5
    onp.testing.assert_allclose(white.T @ white / 128, onp.eye(3), atol=5 * (2 / 128) ** 0.5)
    assert 0.6 < moved.acceptance < 0.95


def test_chains_from_a_point_reach_the_posterior(density):
    rng = onp.random.default_rng(6)
    metric = White(LOC, onp.linalg.cholesky(COVARIANCE))
    moved = short_chains(density, metric, onp.zeros((128, 3)), 12, rng)
    white = onp.linalg.solve(metric.scale, (moved.z[-1] - LOC).T).T
    assert abs(white.mean(axis=0)).max() < 5 / 128**0.5
    onp.testing.assert_allclose(white.T @ white / 128, onp.eye(3), atol=5 * (2 / 128) ** 0.5)


def test_a_chain_does_not_step_to_where_the_density_is_not_finite(engine):
    def half_normal(z):
        return np.sum(np.where(z > 0.0, -0.5 * z**2, -np.inf), axis=-1)

    density = Density.of(vl.Target(half_normal, dim=1), engine)
    rng = onp.random.default_rng(7)
    moved = short_chains(density, White(onp.zeros(1), onp.eye(1)), onp.ones((32, 1)), 10, rng)
    assert moved.z.min() > 0.0
    assert moved.z[-1].std() > 0.3
