"""Warm-up: dual averaging, the first step size, the windows, the metric."""

import math

import numpy as onp
import pytest

import vi_lab.numpy as np
from vi_lab.nuts.adaptation import (
    FASTEST_SEARCH,
    SLOWEST_SEARCH,
    first_step_size,
    metric,
    schedule,
    start_averaging,
    update_averaging,
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
        (1_000, (75, (25, 50, 100, 200, 500), 50)),  # the example of Stan's reference manual
        (500, (75, (25, 50, 100, 200), 50)),
        (200, (75, (25, 50), 50)),
        (199, (75, (74,), 50)),
        (150, (75, (25,), 50)),
        (149, (22, (113,), 14)),
        (100, (15, (75,), 10)),
        (20, (3, (15,), 2)),
        (19, (19, (), 0)),
        (1, (1, (), 0)),
    ],
)
def test_schedule(tune, expected):
    assert schedule(tune) == expected


def test_schedule_spends_every_transition():
    for tune in range(1, 3_000, 7):
        initial, windows, final = schedule(tune)
        assert initial + sum(windows) + final == tune
        assert all(length > 0 for length in windows)


def test_metric_is_the_variance_drawn_towards_a_thousandth():
    draws = onp.array(
        [[[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]], [[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]]]
    )
    expected = [[3 / 8 * 4.0 + 5 / 8 * 1e-3, 5 / 8 * 1e-3], [5 / 8 * 1e-3, 3 / 8 + 5 / 8 * 1e-3]]
    onp.testing.assert_allclose(metric(draws), expected)


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
