"""Base draws: every draw standard normal, and the variances that the pairing promises.

Statistical bounds are 4 standard errors (a false alarm: 6e-5 each, about 50 of them);
seeds are fixed.
"""

import numpy as onp
import pytest
from scipy.special import ndtr

from vi_lab.gradients.base_draws import SOBOL_MAX_DIM, Antithetic, Independent, Sobol

ALL = [Independent(), Antithetic(), Sobol()]
STEPS = 20_000


def filled(base_draws, length, draws, dim, seed=1):
    out = onp.empty((length, draws, dim))
    base_draws.fill(onp.random.default_rng(seed), out)
    return out


@pytest.mark.parametrize("base_draws", ALL)
def test_two_blocks_are_one(base_draws):
    """How the steps are cut into blocks depends on the clock: the numbers must not."""
    rng, apart = onp.random.default_rng(1), onp.empty((7, 4, 3))
    base_draws.fill(rng, apart[:2])
    base_draws.fill(rng, apart[2:])
    onp.testing.assert_array_equal(apart, filled(base_draws, 7, 4, 3))


@pytest.mark.parametrize("base_draws", ALL)
def test_every_draw_of_a_step_is_standard_normal(base_draws):
    """Moments of each of the 4 draws over independent steps: 1, 2, cross, and a tail."""
    eps = filled(base_draws, STEPS, 4, 2)
    root = STEPS**0.5
    assert onp.abs(eps.mean(axis=0)).max() < 4.0 / root
    assert onp.abs((eps**2).mean(axis=0) - 1.0).max() < 4.0 * 2.0**0.5 / root
    assert onp.abs(onp.prod(eps, axis=2).mean(axis=0)).max() < 4.0 / root
    beyond = 2.0 * ndtr(-2.0)
    error = (beyond * (1.0 - beyond)) ** 0.5 / root
    assert onp.abs((onp.abs(eps) > 2.0).mean(axis=0) - beyond).max() < 4.0 * error


@pytest.mark.parametrize("base_draws", ALL)
def test_steps_are_independent(base_draws):
    means = filled(base_draws, STEPS, 4, 1).mean(axis=1)[:, 0] ** 2
    if isinstance(base_draws, Antithetic):
        assert means.max() < 1e-30
        means = filled(base_draws, STEPS, 4, 1)[:, 0, 0]
    lag_one = onp.corrcoef(means[1:], means[:-1])[0, 1]
    assert abs(lag_one) < 4.0 / STEPS**0.5


def test_independent_draws_are_the_generators_own():
    expected = onp.random.default_rng(1).standard_normal((5, 3, 2))
    onp.testing.assert_array_equal(filled(Independent(), 5, 3, 2), expected)


def test_antithetic_draws_are_mirror_images():
    eps = filled(Antithetic(), 5, 6, 2)
    onp.testing.assert_array_equal(eps[:, 3:], -eps[:, :3])
    half = onp.random.default_rng(1).standard_normal((5, 3, 2))
    onp.testing.assert_array_equal(eps[:, :3], half)


def test_antithetic_variance_is_that_of_the_even_part():
    """f = e^(a eps): the even part is cosh, Var = (1 + e^(2 a^2)) / 2 - e^(a^2), times 2 / S."""
    a, draws = 0.5, 4
    f = onp.exp(a * filled(Antithetic(), STEPS, draws, 1)).mean(axis=1)[:, 0]
    exact = onp.exp(0.5 * a**2)
    even = 0.5 * (1.0 + onp.exp(2.0 * a**2)) - onp.exp(a**2)
    assert abs(f.mean() - exact) < 4.0 * f.std() / STEPS**0.5
    squares = (f - exact) ** 2
    assert squares.mean() == pytest.approx(2.0 * even / draws, abs=4.0 * squares.std() / STEPS**0.5)
    assert squares.mean() < 0.25 * (onp.exp(2.0 * a**2) - onp.exp(a**2)) / draws


@pytest.mark.parametrize("dim", [1, 5])
def test_sobol_points_are_stratified_in_every_coordinate(dim):
    """Of S points, one lies in each interval [k / S, (k + 1) / S): at every step."""
    draws = 32
    uniforms = ndtr(filled(Sobol(), 50, draws, dim))
    strata = onp.sort(onp.floor(uniforms * draws), axis=1)
    onp.testing.assert_array_equal(strata, onp.tile(onp.arange(draws)[None, :, None], (50, 1, dim)))


def test_sobol_variance_falls_faster_than_one_over_s():
    """A smooth f of 3 coordinates: four times the points, 8 times less variance or more.

    1 / S would give 4; 8 is S^(-3/2).
    """
    a = onp.array([0.5, -0.3, 0.4])
    exact = onp.exp(0.5 * a @ a)
    alone = exact**2 * (onp.exp(a @ a) - 1.0)  # the variance of one draw
    found = {}
    for draws in (16, 64):
        f = onp.exp(filled(Sobol(), 4_000, draws, 3) @ a).mean(axis=1)
        assert abs(f.mean() - exact) < 4.0 * f.std() / 4_000**0.5
        found[draws] = float(((f - exact) ** 2).mean())
    assert found[16] < 0.2 * alone / 16
    assert found[64] < found[16] / 8


def test_sobol_draws_are_finite_and_distinct():
    eps = filled(Sobol(), 2_000, 2, 8)
    assert onp.isfinite(eps).all()
    assert onp.unique(eps).size == eps.size


@pytest.mark.parametrize("draws", [0, 1, 3, 6, 2**17])
def test_sobol_wants_a_power_of_two(draws):
    with pytest.raises(ValueError, match=r"^draws: Sobol' points"):
        Sobol().check(draws, 3)


def test_too_much_is_refused_before_any_work():
    with pytest.raises(ValueError, match=r"^base_draws: Sobol' points exist in at most 21,201"):
        Sobol().check(2, SOBOL_MAX_DIM + 1)
    with pytest.raises(ValueError, match=r"^draws: antithetic"):
        Antithetic().check(3, 1)
    with pytest.raises(ValueError, match=r"^draws: antithetic"):
        filled(Antithetic(), 2, 3, 1)
    assert Independent().check(1, 10**9) is None


def test_equal_settings_are_equal_and_hash_equally():
    assert Sobol() == Sobol() != Antithetic() != Independent()
    assert len({Sobol(), Sobol(), Antithetic()}) == 2
