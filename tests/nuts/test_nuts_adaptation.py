"""Warm-up: dual averaging, the first step size, the windows, the metric."""

import math

import numpy as onp
import pytest

import vi_lab.numpy as np
from vi_lab.nuts.adaptation import (
    FASTEST_SEARCH,
    MANY_DRAWS,
    SLOWEST_SEARCH,
    first_step_size,
    metric,
    start_averaging,
    update_averaging,
    windows,
)
from vi_lab.nuts.hamiltonian import Hamiltonian, Point


def test_dual_averaging_by_hand():
    """Two steps worked on paper: delta 0.8, first step size 0.5, acceptances 0.5 and 1."""
    state = start_averaging(onp.array(0.5))
    assert math.exp(state.mu) == pytest.approx(5.0)
    assert math.exp(state.log_step_size) == pytest.approx(0.5)

    state = update_averaging(state, 0.5, 0.8)
    error = 0.3 / 11
    log_first = math.log(5.0) - 1.0 / 0.05 * error
    assert state.error == pytest.approx(error)
    assert state.log_step_size == pytest.approx(log_first)
    assert state.log_averaged == pytest.approx(log_first)  # 1^-kappa: the start is forgotten

    state = update_averaging(state, 1.0, 0.8)
    error = 11 / 12 * error - 0.2 / 12
    log_second = math.log(5.0) - math.sqrt(2) / 0.05 * error
    assert state.log_step_size == pytest.approx(log_second)
    weight = 2**-0.75
    averaged = weight * log_second + (1 - weight) * log_first
    assert state.log_averaged == pytest.approx(averaged)


@pytest.mark.parametrize("target", [0.6, 0.8])
def test_dual_averaging_finds_the_target(target):
    """Acceptance that falls as exp(-eps) in the step size: the answer is -log(target).

    The pull towards mu leaves an error of gamma (mu - log eps) / sqrt(t), here 0.003.
    """
    state = start_averaging(onp.array(1.0))
    for _ in range(5_000):
        state = update_averaging(state, onp.exp(-onp.exp(state.log_step_size)), target)
    assert math.exp(state.log_averaged) == pytest.approx(-math.log(target), rel=0.02)


@pytest.mark.parametrize(
    ("tune", "expected"),
    [
        (1_000, ((15, 15, 30, 60, 120, 240, 470), 50)),
        (500, ((15, 15, 30, 60, 120, 210), 50)),
        (200, ((15, 15, 30, 90), 50)),
        (150, ((15, 15, 70), 50)),
        (149, ((15, 15, 30, 75), 14)),
        (100, ((15, 15, 60), 10)),
        (20, ((9, 9), 2)),
        (19, ((), 19)),
        (1, ((), 1)),
    ],
)
def test_windows(tune, expected):
    assert windows(tune) == expected


def test_windows_spend_every_transition():
    for tune in range(1, 3_000, 7):
        lengths, final = windows(tune)
        assert sum(lengths) + final == tune
        assert all(length > 0 for length in (*lengths, final))


def test_the_metric_of_few_draws_is_exact_for_normals_wherever_the_draws_are():
    """Two draws in a tail: scales from 1e-8 to 1e8, to rounding."""
    scale = onp.array([1e-8, 0.3, 1e8])
    draws = scale * onp.array([[7.0, 5.0, 9.0], [6.5, 4.0, 9.5]])
    found = metric(draws, -draws / scale**2, onp.ones(3))
    onp.testing.assert_allclose(found, scale**2, rtol=1e-12)


def test_the_metric_of_many_draws_is_their_variance():
    draws = onp.random.default_rng(3).standard_normal((MANY_DRAWS, 2)) @ [[1.0, 2.0], [0.0, 1.0]]
    found = metric(draws, draws, onp.ones(2))
    onp.testing.assert_allclose(found, draws.var(axis=0, ddof=1))
    few = metric(draws[1:], draws[1:], onp.ones(2))
    onp.testing.assert_allclose(few, 1.0)  # the gradients' variance is that of the draws


def test_the_metric_stays_where_a_window_tells_nothing():
    rng = onp.random.default_rng(4)
    draws, gradients = rng.standard_normal((2, 20, 4))
    draws[:, 0], gradients[:, 1], gradients[3, 2] = 1.0, 2.0, onp.nan
    found = metric(draws, gradients, onp.array([5.0, 6.0, 7.0, 8.0]))
    onp.testing.assert_array_equal(found[:3], [5.0, 6.0, 7.0])
    assert found[3] == pytest.approx(draws[:, 3].std(ddof=1) / gradients[:, 3].std(ddof=1))


def acceptance(step_size):
    """Of one leapfrog step on a standard Gaussian in five dimensions."""
    hamiltonian, start, normal = problem()
    energy = hamiltonian.energy(start, normal)
    return onp.exp(energy - hamiltonian.energy(*hamiltonian.leapfrog(start, normal, step_size)))


def problem(height=lambda z: -0.5 * np.sum(z**2), slope=lambda z: -z):
    hamiltonian = Hamiltonian(lambda z: (height(z), slope(z)), onp.ones(5))
    return hamiltonian, hamiltonian.point(onp.linspace(0.5, 1.5, 5)), onp.linspace(1.0, -1.0, 5)


def search(engine, guess, **options):
    hamiltonian, start, normal = problem(**options)

    def run(start, normal, guess):
        return first_step_size(hamiltonian, Point(*start), normal, guess)

    with onp.errstate(all="ignore"):
        return float(engine.compile(run)(tuple(start), normal, onp.array(guess)))


@pytest.mark.parametrize("guess", [0.01, 50.0])
def test_first_step_size_crosses_an_acceptance_of_four_fifths(engine, guess):
    found = search(engine, guess)
    assert math.log2(found / guess) == round(math.log2(found / guess))
    if guess < 1:
        assert acceptance(found) <= 0.8 < acceptance(found / 2)
    else:
        assert acceptance(2 * found) <= 0.8 < acceptance(found)


def test_first_step_size_gives_up_on_flat_and_on_broken_densities(engine):
    flat = search(engine, 1.0, height=lambda z: 0.0 * z[0], slope=lambda z: 0.0 * z)
    assert flat >= FASTEST_SEARCH
    broken = search(engine, 1.0, height=lambda z: np.where(z[0] == 0.5, 0.0, -np.inf))
    assert broken <= SLOWEST_SEARCH


def test_first_step_size_does_not_search_where_there_is_nothing(engine):
    assert search(engine, 1.0, height=lambda z: np.inf * z[0]) == 1.0
