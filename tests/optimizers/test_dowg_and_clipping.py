"""What is particular to distance over weighted gradients, and to clipped gradients."""

import numpy as np
import pytest
from test_optimizers import CASES, increments

from vi_lab.optimizers import SGD, Clipped, DoWG, Optimizer


def test_dowg_for_all_coordinates_by_hand() -> None:
    """|g| = 5, then 13 at |x - x_0| = 1: r = 1, v = 25, 25 + 169."""
    found = increments(DoWG(1.0, per="all"), np.array([[3.0, -4.0], [5.0, 12.0]]))
    expected = [[-3 / 5, 4 / 5], [-5 / 194**0.5, -12 / 194**0.5]]
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_dowg_takes_no_step_where_there_is_no_gradient() -> None:
    np.testing.assert_array_equal(increments(DoWG(), np.zeros((2, 3))), 0.0)


def test_dowg_by_coordinate_does_not_mind_the_units() -> None:
    """Curvatures from 1 to 10^4: every coordinate arrives; with one step for all, none does.

    Noise is scaled as sticking the landing never would, one standard deviation a step.
    """
    curvature = np.logspace(0.0, 4.0, 10)
    centre = 5.0 / curvature**0.5

    def error(optimizer: Optimizer) -> float:
        rng = np.random.default_rng(0)
        x, state = np.zeros(10), optimizer.init(np.zeros(10))
        total = np.zeros(10)
        for t in range(4_000):
            g = curvature * (x - centre) + curvature**0.5 * rng.normal(size=10)
            x, state = optimizer.update(g, state, x)
            total += x if t >= 2_000 else 0.0
        return float((np.abs(total / 2_000 - centre) * curvature**0.5).max())

    assert error(DoWG(1e-6)) < 0.1
    assert error(DoWG(1e-6, per="all")) > 0.5


@pytest.mark.parametrize("optimizer", [case.optimizer for case in CASES.values()], ids=CASES)
def test_clipping_shortens_long_gradients_alone(optimizer: Optimizer) -> None:
    """Of the 3-4-5 and 5-12-13 triangles, a bound of 6.5 leaves one and halves the other."""
    gradients = np.array([[3.0, -4.0], [5.0, 12.0]])
    clipped = Clipped(optimizer, norm=6.5)
    expected = increments(optimizer, gradients * np.array([[1.0], [0.5]]))
    nothing = {"a": np.zeros(1), "b": (0.0,)}
    found, state = [], clipped.init(nothing)
    for a, b in gradients:
        increment, state = clipped.update({"a": np.array([a]), "b": (b,)}, state, nothing)
        found.append([increment["a"][0], increment["b"][0]])
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert hash(clipped) == hash(Clipped(optimizer, norm=6.5))


def test_clipping_hides_no_failure() -> None:
    """A zero gradient stays zero, and an infinite one does not become a harmless step."""
    np.testing.assert_array_equal(
        Clipped(SGD(1.0), norm=1.0).update(np.zeros(2), {"t": np.zeros(())}, np.zeros(2))[0], 0.0
    )
    with np.errstate(invalid="ignore"):
        increment, _ = Clipped(SGD(1.0), norm=1.0).update(
            np.array([np.inf, 1.0]), {"t": np.zeros(())}, np.zeros(2)
        )
    assert not np.isfinite(increment).all()


def test_a_bad_bound_is_named() -> None:
    with pytest.raises(ValueError, match=r"^norm: must be a positive number"):
        Clipped(SGD(1.0), norm=0.0)
