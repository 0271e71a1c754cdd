"""Importance weights: against closed forms, and the Pareto shape that was drawn from."""

import numpy as np
import pytest

from vi_lab.trust import weigh


def test_equal_weights_are_worth_all_draws():
    weights = weigh(np.full(1_000, -1e4))
    assert weights.sd == 0.0
    assert weights.ess == pytest.approx(1_000.0, rel=1e-12)


def test_the_sd_and_the_effective_sample_size_are_those_of_a_normal():
    # log w ~ N(0, 1): S / (1 + CV^2) with CV^2 = e - 1. The weights' fourth moment makes the
    # relative error of the ESS about sqrt(e^6 / S) / e = 2%.
    weights = weigh(np.random.default_rng(1).standard_normal(200_000))
    assert weights.sd == pytest.approx(1.0, abs=5 / 400_000**0.5)
    assert weights.ess / 200_000 == pytest.approx(np.exp(-1.0), rel=0.1)


@pytest.mark.parametrize("shape", [0.3, 0.9])
def test_khat_is_the_shape_of_the_largest_weights(shape):
    # w = U^-k is Pareto with shape k; of the reciprocals, which ArviZ takes, k-hat is near -1.
    # M = 3 sqrt(S) = 1,342 weights are fitted: the error is (1 + k) / sqrt(M).
    weights = weigh(-shape * np.log(np.random.default_rng(2).random(200_000)))
    assert weights.khat == pytest.approx(shape, abs=5 * (1 + shape) / 1_342**0.5)


@pytest.mark.parametrize(("num", "threshold"), [(100, 0.5), (1_000, 2 / 3), (100_000, 0.7)])
def test_the_threshold_is_that_of_so_many_draws(num, threshold):
    assert weigh(np.arange(num) / num).threshold == pytest.approx(threshold)


def test_weights_that_are_not_finite_are_as_bad_as_can_be():
    weights = weigh(np.array([0.0, -np.inf, 1.0]))
    assert (weights.khat, weights.sd, weights.ess) == (np.inf, np.inf, 0.0)
    assert "NOT below" in str(weights)
