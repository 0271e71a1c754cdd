"""Where noisy iterates settle: the bias of a divisor that has seen its own gradient.

Gradients are x - xi with xi + 1 standard exponential: unbiased, skewed, optimum 0.
Each coordinate of x is an independent run, so the Monte Carlo error is known. All
bounds are 4 standard errors (a false alarm: 6e-5 each); seeds are fixed.
"""

import numpy as np
import pytest
from scipy.optimize import brentq

from vi_lab.optimizers import SGD, AdviSequence, Optimizer, WindowedAdagrad

RUNS = 1_000


def long_run(optimizer: Optimizer, steps: int) -> tuple[float, float]:
    """Mean over runs of the last iterate, and its standard error."""
    rng = np.random.default_rng(5)
    x = np.zeros(RUNS)
    state = optimizer.init(x)
    for _ in range(steps):
        x, state = optimizer.update(x - (rng.standard_exponential(RUNS) - 1.0), state, x)
    return float(x.mean()), float(x.std(ddof=1)) / RUNS**0.5


def test_a_window_of_one_finds_the_median() -> None:
    """g / sqrt(g^2) is a sign: the iterates settle on the median of xi, log 2 - 1."""
    mean, error = long_run(WindowedAdagrad(0.003, window=1, epsilon=1e-12), steps=3_000)
    assert mean == pytest.approx(np.log(2.0) - 1.0, abs=4.0 * error)


def test_the_default_window_settles_where_its_mean_step_is_zero() -> None:
    """... at the root of E[g_1 / sqrt(g_1^2 + ... + g_10^2 + 0.1)], g_i = x - xi_i."""
    draws = 200_000
    xi = np.random.default_rng(6).standard_exponential((draws, 10)) - 1.0

    def steps_at(x: float) -> np.ndarray:
        g = x - xi
        scaled: np.ndarray = g[:, 0] / np.sqrt((g**2).sum(axis=1) + 0.1)
        return scaled

    root = brentq(lambda x: steps_at(x).mean(), -0.3, 0.1, xtol=1e-6)
    slope = (steps_at(root + 0.01).mean() - steps_at(root - 0.01).mean()) / 0.02
    root_error = steps_at(root).std() / draws**0.5 / slope
    mean, error = long_run(WindowedAdagrad(0.005), steps=4_000)
    assert mean == pytest.approx(root, abs=4.0 * np.hypot(error, root_error))
    assert mean < -10.0 * error


def test_sgd_is_unbiased() -> None:
    mean, error = long_run(SGD(0.01), steps=1_000)
    assert mean == pytest.approx(0.0, abs=4.0 * error)


def test_lagging_the_divisor_removes_the_bias() -> None:
    mean, error = long_run(AdviSequence(0.3), steps=2_000)
    assert mean < -10.0 * error
    mean, error = long_run(AdviSequence(0.3, lagged=True), steps=2_000)
    assert mean == pytest.approx(0.0, abs=4.0 * error)
