r"""Step-size schedules: :math:`\gamma_t` as a function of the step number t = 1, 2, ...

The increments of stochastic gradient descent, :math:`-\gamma_t g_t`, are noisy. Its
iterates settle on the optimum if the steps are long enough to get there and short
enough in the end to average the noise away (Robbins and Monro 1951):

.. math:: \sum_t \gamma_t = \infty, \qquad \sum_t \gamma_t^2 < \infty.

The first says that any distance can be gone, the second that the noise of all steps to
come tends to zero. For :math:`\gamma_t \sim c\, t^{-\kappa}` they hold exactly if
:math:`1/2 < \kappa \le 1`, so a schedule states its ``exponent`` kappa and
`robbins_monro_conditions` needs no sum. `RobbinsMonro` satisfies both. With a known
number of steps the conditions, which are about infinity, matter less:
`ConstantThenDecay` walks at full speed for as long as the optimum may be far, then
shrinks the noise.

A schedule is a frozen dataclass that is called with t, a number or an array: equal
settings are equal and hash equally, so a compiled fit is found again. A constant
step size needs no schedule: it is a number, of exponent 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import vi_lab.numpy as np
from vi_lab.checks import check_finite, check_not_negative, check_positive, check_whole
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError

StepSize = float | Callable[[Any], Any]
"""A positive number, or a schedule: ``gamma(t)`` for t = 1, 2, ..."""


TRIED = tuple(float(10**power) for power in range(7))  # steps at which a schedule is tried


def check_step_size(name: str, value: Any) -> None:
    """A positive number, or a schedule that gives one for t = 1, 10, ..., a million.

    A schedule may end in 0, where the steps stop, but does not begin so.
    """
    if not callable(value):
        check_positive(name, value)
        return
    for t in TRIED:
        try:
            gamma = float(value(t))
        except Exception as error:
            raise ArgumentError(
                f"{name}: the schedule {value!r} must give a number for the step number t, but "
                f"at t = {t:g} it fails: {error}"
            ) from error
        if not 0.0 <= gamma < math.inf or gamma == 0.0 == t - 1.0:
            raise ArgumentError(
                f"{name}: must be positive, but the schedule {value!r} gives {gamma:g} at step "
                f"{t:g}; hold it above 0, with numpy.maximum for instance"
            )


def step_size_at(step_size: StepSize, t: Array) -> Array:
    """gamma_t."""
    return step_size(t) if callable(step_size) else step_size


class Conditions(NamedTuple):
    """Which of the Robbins-Monro conditions a step size keeps.

    Together they suffice; the second is not necessary. Where the loss is curved at its
    minimum, steps that tend to zero slowly (kappa of 0.4, say) leave a noise of variance
    proportional to gamma_t, which vanishes too; a constant step size leaves it for ever.

    Attributes
    ----------
    exponent : kappa of gamma_t ~ c t^-kappa for large t
    arrives : the steps add up to infinity, so the optimum can be reached from anywhere
    settles : their squares have a finite sum, so all noise to come is finite, and vanishes
    """

    exponent: float
    arrives: bool
    settles: bool

    def __str__(self) -> str:
        steps = "diverges" if self.arrives else "converges: it may stop short of the optimum"
        squares = "converges" if self.settles else "diverges: the noise to come is never finite"
        return f"t^-{self.exponent:g}: sum of steps {steps}; sum of squares {squares}"


def robbins_monro_conditions(step_size: Any) -> Conditions:
    """Whether a step size keeps the two conditions, from its exponent, not from sums.

    Parameters
    ----------
    step_size : a number, a schedule of this module, or anything with an ``exponent``: the
        kappa of gamma_t ~ c t^-kappa for large t

    Raises
    ------
    TypeError, ValueError
        for a function without an ``exponent``: no finite number of its values would decide.
    """
    if callable(step_size) and not hasattr(step_size, "exponent"):
        raise ArgumentError(
            f"step_size: {step_size!r} does not say how fast it falls; give it an attribute "
            "`exponent`, the kappa of gamma_t ~ c t^-kappa for large t"
        )
    if not hasattr(step_size, "exponent"):
        check_positive("step_size", step_size)
    exponent = getattr(step_size, "exponent", 0.0)
    check_finite("step_size.exponent", exponent)
    return Conditions(exponent, arrives=exponent <= 1.0, settles=exponent > 0.5)


@dataclass(frozen=True)
class RobbinsMonro:
    r""":math:`\gamma_t = \gamma_0 (t + \tau)^{-\kappa}`, with :math:`1/2 < \kappa \le 1`.

    The first Robbins-Monro condition needs kappa <= 1, the second kappa > 1/2. The
    delay tau tames the first steps; the forgetting rate kappa says how soon early
    iterates stop mattering. Stochastic variational inference uses it with
    gamma_0 = 1 (Hoffman, Blei, Wang and Paisley 2013).

    Parameters
    ----------
    initial : gamma_0 > 0
    delay : tau >= 0, in steps
    forgetting : kappa in (0.5, 1]

    Raises
    ------
    TypeError, ValueError
    """

    initial: float
    delay: float
    forgetting: float

    def __post_init__(self) -> None:
        check_positive("initial", self.initial)
        check_not_negative("delay", self.delay)
        check_positive("forgetting", self.forgetting)
        if not 0.5 < self.forgetting <= 1.0:
            raise ArgumentError(
                f"forgetting: must be in (0.5, 1], not {self.forgetting!r}: above 1 the steps "
                "may stop short of the optimum, at 0.5 or below their squares add up to infinity"
            )

    @property
    def exponent(self) -> float:
        """Kappa: gamma_t falls as t^-kappa."""
        return self.forgetting

    def __call__(self, t: Array) -> Array:
        """The step size of step ``t``, a number or an array of them."""
        return self.initial * (t + self.delay) ** -self.forgetting


@dataclass(frozen=True)
class ConstantThenDecay:
    r"""Constant for ``hold`` steps, then a geometric fall to ``final`` at step ``steps``.

    .. math:: \gamma_t = \gamma_0 (\gamma_1 / \gamma_0)^{p_t}, \qquad
       p_t = \frac{t - \mathrm{hold}}{\mathrm{steps} - \mathrm{hold}}
       \text{ cut off to } [0, 1].

    After ``steps`` it stays at ``final``. The stationary variance of the iterates is
    proportional to gamma, so every factor of 4 in gamma halves their noise; a
    geometric fall gives each such factor the same number of steps.

    Parameters
    ----------
    initial : gamma_0 > 0
    final : gamma_1 in (0, initial]
    hold : steps at gamma_0, at least 0
    steps : the step at which gamma_1 is reached, above ``hold``

    Raises
    ------
    TypeError, ValueError
    """

    initial: float
    final: float
    hold: int
    steps: int

    exponent: ClassVar[float] = 0.0  # in the end it is constant

    def __post_init__(self) -> None:
        check_positive("initial", self.initial)
        check_positive("final", self.final)
        if self.final > self.initial:
            raise ArgumentError(
                f"final: must not exceed initial ({self.initial!r}), but is {self.final!r}"
            )
        check_whole("hold", self.hold, least=0)
        check_whole("steps", self.steps, least=1)
        if self.hold >= self.steps:
            raise ArgumentError(f"hold: must be below steps ({self.steps}), but is {self.hold}")

    def __call__(self, t: Array) -> Array:
        """The step size of step ``t``, a number or an array of them."""
        decayed = (t - self.hold) / (self.steps - self.hold)
        progress = np.minimum(np.maximum(decayed, 0.0), 1.0)
        return self.initial * (self.final / self.initial) ** progress
