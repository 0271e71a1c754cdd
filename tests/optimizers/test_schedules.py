"""Step-size schedules: values by hand, the Robbins-Monro conditions, bad settings."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from vi_lab.engine import Engine
from vi_lab.errors import ViLabError
from vi_lab.optimizers import AdviSequence
from vi_lab.optimizers.schedules import ConstantThenDecay, RobbinsMonro, robbins_monro_conditions

VALUES = [  # schedule, steps, step sizes by hand
    (RobbinsMonro(2.0, delay=3.0, forgetting=1.0), [1, 2, 7], [1 / 2, 2 / 5, 1 / 5]),
    (RobbinsMonro(2.0, delay=0.0, forgetting=1.0), [1, 2, 4], [2.0, 1.0, 1 / 2]),
    (RobbinsMonro(1.0, delay=0.0, forgetting=0.75), [1, 16, 81], [1.0, 1 / 8, 1 / 27]),
    (
        ConstantThenDecay(1.0, 1 / 16, hold=2, steps=6),
        [1, 2, 3, 4, 5, 6, 7, 10**6],
        [1.0, 1.0, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16, 1 / 16],
    ),
    (ConstantThenDecay(8.0, 2.0, hold=0, steps=2), [1, 2, 3], [4.0, 2.0, 2.0]),
    (ConstantThenDecay(8.0, 8.0, hold=1, steps=2), [1, 2, 3], [8.0, 8.0, 8.0]),
]


@pytest.mark.parametrize(("schedule", "steps", "expected"), VALUES)
def test_values(
    engine: Engine, schedule: Callable, steps: list[int], expected: list[float]
) -> None:
    t = np.array(steps, dtype=float)
    np.testing.assert_allclose([schedule(step) for step in steps], expected, rtol=1e-14)
    np.testing.assert_allclose(schedule(t), expected, rtol=1e-14)
    np.testing.assert_allclose(engine.compile(schedule)(t), expected, rtol=1e-14)


@pytest.mark.parametrize("forgetting", [0.51, 0.7, 1.0])
def test_robbins_monro_conditions(forgetting: float) -> None:
    """Cauchy's condensation: look at the sums over t = 2^k, ..., 2^(k+1) - 1.

    The blocks of sum gamma must not shrink (it diverges), those of sum gamma^2 must
    shrink geometrically (it converges). Their ratios tend to 2^(1 - kappa) and
    2^(1 - 2 kappa).
    """
    schedule = RobbinsMonro(0.3, delay=5.0, forgetting=forgetting)
    blocks = [schedule(np.arange(2.0**k, 2.0 ** (k + 1))) for k in (18, 19)]
    sums = [block.sum() for block in blocks]
    squares = [(block**2).sum() for block in blocks]
    assert sums[1] / sums[0] == pytest.approx(2.0 ** (1.0 - forgetting), rel=1e-4)
    assert squares[1] / squares[0] == pytest.approx(2.0 ** (1.0 - 2.0 * forgetting), rel=1e-4)
    assert sums[1] / sums[0] > 1.0 - 1e-4
    assert squares[1] / squares[0] < 1.0


class PowerLaw(NamedTuple):
    exponent: float

    def __call__(self, t: float) -> float:
        return t**-self.exponent


VERDICTS = [  # step size, exponent, arrives, settles
    (0.1, 0.0, True, False),
    (ConstantThenDecay(1.0, 0.1, hold=3, steps=4), 0.0, True, False),
    (PowerLaw(0.4), 0.4, True, False),
    (PowerLaw(0.5), 0.5, True, False),
    (RobbinsMonro(1.0, delay=10.0, forgetting=0.51), 0.51, True, True),
    (RobbinsMonro(1.0, delay=0.0, forgetting=1.0), 1.0, True, True),
    (PowerLaw(1.5), 1.5, False, True),
    (AdviSequence(0.1), 0.5, True, False),  # the paper's 1e-16 is on the wrong side
]


@pytest.mark.parametrize(("step_size", "exponent", "arrives", "settles"), VERDICTS)
def test_verdicts(step_size: Any, exponent: float, arrives: bool, settles: bool) -> None:
    found = robbins_monro_conditions(step_size)
    assert found.exponent == pytest.approx(exponent, abs=1e-15)
    assert (found.arrives, found.settles) == (arrives, settles)


def test_verdicts_in_words() -> None:
    assert str(robbins_monro_conditions(PowerLaw(1.5))) == (
        "t^-1.5: sum of steps converges: it may stop short of the optimum; sum of squares converges"
    )
    assert "never finite" in str(robbins_monro_conditions(0.1))


def test_a_function_that_does_not_say_how_fast_it_falls_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^step_size: .* attribute `exponent`"):
        robbins_monro_conditions(lambda t: 1.0 / t)


BAD = [
    ("initial", lambda: RobbinsMonro(0.0, 1.0, 0.7)),
    ("initial", lambda: RobbinsMonro(float("nan"), 1.0, 0.7)),
    ("delay", lambda: RobbinsMonro(1.0, -1.0, 0.7)),
    ("forgetting", lambda: RobbinsMonro(1.0, 1.0, 0.5)),
    ("forgetting", lambda: RobbinsMonro(1.0, 1.0, 1.01)),
    ("forgetting", lambda: RobbinsMonro(1.0, 1.0, "fast")),  # type: ignore[arg-type]
    ("initial", lambda: ConstantThenDecay(float("inf"), 0.1, 1, 2)),
    ("final", lambda: ConstantThenDecay(1.0, 0.0, 1, 2)),
    ("final", lambda: ConstantThenDecay(1.0, 1.1, 1, 2)),
    ("hold", lambda: ConstantThenDecay(1.0, 0.1, -1, 2)),
    ("hold", lambda: ConstantThenDecay(1.0, 0.1, 2, 2)),
    ("steps", lambda: ConstantThenDecay(1.0, 0.1, 0, 0)),
    ("steps", lambda: ConstantThenDecay(1.0, 0.1, 0, 1.5)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("argument", "make"), BAD)
def test_bad_settings_are_named(argument: str, make: Callable) -> None:
    with pytest.raises(ViLabError, match=f"^{argument}: must "):
        make()


def test_equal_settings_are_equal_and_hash_equally() -> None:
    assert RobbinsMonro(1.0, 2.0, 0.7) == RobbinsMonro(1.0, 2.0, 0.7)
    assert hash(RobbinsMonro(1.0, 2.0, 0.7)) == hash(RobbinsMonro(1.0, 2.0, 0.7))
    assert RobbinsMonro(1.0, 2.0, 0.7) != RobbinsMonro(1.0, 2.0, 0.8)
    assert hash(ConstantThenDecay(1.0, 0.1, 3, 4)) == hash(ConstantThenDecay(1.0, 0.1, 3, 4))
    assert ConstantThenDecay(1.0, 0.1, 3, 4) != ConstantThenDecay(1.0, 0.1, 3, 5)
