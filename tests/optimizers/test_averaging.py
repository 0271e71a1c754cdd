"""Averages of iterates: against the weights written out, and against known variances."""

from collections.abc import Callable

import numpy as np
import pytest

from vi_lab.engine import Engine, Tree, current
from vi_lab.optimizers.averaging import Average, Mean, TailAverage

ITERATES = np.random.default_rng(1).normal(size=(9, 2))  # x_0, ..., x_8


def averages(average: Average, iterates: np.ndarray) -> np.ndarray:
    """The average after each of x_1, x_2, ..."""
    state = average.init({"x": iterates[0]})
    values = []
    for x in iterates[1:]:
        state = average.update({"x": x}, state)
        values.append(average.value(state)["x"])
    return np.array(values)


def tail(start: int) -> list[np.ndarray]:
    return [ITERATES[t] if t < start else ITERATES[start : t + 1].mean(axis=0) for t in range(1, 9)]


CASES = [
    (TailAverage(start=0), tail(0)),
    (TailAverage(start=1), tail(1)),
    (TailAverage(start=4), tail(4)),
    (TailAverage(start=20), tail(20)),
    (Mean(), tail(1)),
]


@pytest.mark.parametrize(("average", "expected"), CASES)
def test_weights(average: Average, expected: list[np.ndarray]) -> None:
    np.testing.assert_allclose(averages(average, ITERATES), expected, rtol=1e-13)


def test_the_last_iterate_is_exact() -> None:
    """Before the tail starts nothing is lost to rounding."""
    iterates = np.array([1e20, 0.1, 0.2, 0.3])
    np.testing.assert_array_equal(averages(TailAverage(start=3), iterates), iterates[1:])


def test_before_the_first_step_it_is_the_starting_point() -> None:
    average = TailAverage(2)
    np.testing.assert_array_equal(average.value(average.init({"x": ITERATES[0]}))["x"], ITERATES[0])


def fold(average: Average, x0: np.ndarray, iterates: np.ndarray) -> Tree:
    def step(state: Tree, x: np.ndarray) -> tuple[Tree, Tree]:
        state = average.update({"x": x}, state)
        return state, average.value(state)["x"]

    return current().scan(step, average.init({"x": x0}), iterates)[1]


@pytest.mark.parametrize("average", [TailAverage(4), Mean()])
def test_scanned_by_an_engine(engine: Engine, average: Average) -> None:
    scanned = engine.compile(fold, static=(0,))(average, ITERATES[0], ITERATES[1:])
    np.testing.assert_allclose(scanned, averages(average, ITERATES), rtol=1e-12)


def test_tail_average_has_the_variance_of_a_mean() -> None:
    """SGD on x^2 / 2 with unit noise is x_t = phi x_{t-1} + gamma xi_t, phi = 1 - gamma.

    Started from its stationary law, of variance v = gamma^2 / (1 - phi^2), the mean of n
    iterates has variance v/n [(1 + phi)/(1 - phi) - 2 phi (1 - phi^n) / (n (1 - phi)^2)].
    The sum of squares of R runs over that is chi-squared with R degrees of freedom:
    relative standard error sqrt(2 / R). A false alarm at 4 of these: 6e-5.
    """
    gamma, n, runs = 0.2, 200, 4_000
    phi = 1.0 - gamma
    rng = np.random.default_rng(2)
    v = gamma**2 / (1.0 - phi**2)
    x = rng.normal(scale=v**0.5, size=runs)
    average = TailAverage(start=1)
    state = average.init(x)
    for _ in range(n):
        x = phi * x + gamma * rng.normal(size=runs)
        state = average.update(x, state)
    mixing = (1.0 + phi) / (1.0 - phi)
    expected = v / n * (mixing - 2.0 * phi * (1.0 - phi**n) / (n * (1.0 - phi) ** 2))
    found = np.mean(average.value(state) ** 2)
    assert found == pytest.approx(expected, rel=4.0 * (2.0 / runs) ** 0.5)
    assert found < 0.1 * v  # which is what averaging is for


@pytest.mark.parametrize(
    ("argument", "make"),
    [
        ("start", lambda: TailAverage(-1)),
        ("start", lambda: TailAverage(10.0)),  # type: ignore[arg-type]
    ],
)
def test_bad_settings_are_named(argument: str, make: Callable) -> None:
    with pytest.raises(ValueError, match=f"^{argument}: must "):
        make()


def test_equal_settings_are_equal_and_hash_equally() -> None:
    assert TailAverage(5) == TailAverage(5) != TailAverage(6)
    assert hash(TailAverage(5)) == hash(TailAverage(5))
    assert Mean() == Mean()
    assert hash(Mean()) == hash(Mean())
