r"""Averages of the iterates :math:`x_0, x_1, x_2, \dots` of a stochastic optimiser.

At a constant step size the iterates circle the optimum for ever; their average
goes there. Both averages here are one recursion,

.. math:: \bar x_t = (1 - w_t)\, \bar x_{t-1} + w_t\, x_t, \qquad \bar x_0 = x_0,

and differ in the weight:

* `TailAverage`: :math:`w_t = 1 / \max(1,\, t - \mathrm{start} + 1)`, the plain mean of
  :math:`x_{\mathrm{start}}, \dots, x_t` (Polyak and Juditsky 1992), and before
  that the last iterate;
* `ExponentialAverage`: :math:`w_t = (1 - \beta) / (1 - \beta^t)`, the mean of
  :math:`x_1, \dots, x_t` with weights :math:`\propto \beta^{t - s}`. The
  denominator makes the weights add up to one from the first step on, so no
  trace of :math:`\bar x_0` is left.

An average is a frozen, hashable value with three methods: ``init(params) -> state``,
``update(params, state) -> state`` after each step, ``value(state) -> params``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import vi_lab.numpy as np
from vi_lab.checks import check_decay, check_whole
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map


class Average(ABC):
    """What every average has: the recursion; a subclass says what the weights are."""

    def init(self, params: Tree) -> Tree:
        """The state at the starting point x_0, ``params``."""
        return {"t": np.zeros(()), "average": params}

    def update(self, params: Tree, state: Tree) -> Tree:
        """The state after the next iterate, ``params``."""
        t = state["t"] + 1.0
        weight = self._weight(t)
        # Not a + w (x - a): at w = 1 that is x only up to rounding.
        keep = 1.0 - weight
        average = tree_map(lambda a, x: keep * a + weight * x, state["average"], params)
        return {"t": t, "average": average}

    def value(self, state: Tree) -> Tree:
        """The average so far."""
        return state["average"]

    @abstractmethod
    def _weight(self, t: Array) -> Array:
        """w_t, of the iterate of step ``t``."""


@dataclass(frozen=True)
class TailAverage(Average):
    """The mean of the iterates from step ``start`` on; until then the last iterate.

    Step 0 is the starting point, so ``start=1`` averages all that was computed.

    Raises
    ------
    ValueError
        if ``start`` is not a whole number, 0 or more.
    """

    start: int

    def __post_init__(self) -> None:
        check_whole("start", self.start, least=0)

    def _weight(self, t: Array) -> Array:
        return 1.0 / np.maximum(1.0, t - self.start + 1.0)


@dataclass(frozen=True)
class ExponentialAverage(Average):
    """A mean that forgets: an iterate one step older weighs ``decay`` times as much.

    Its memory is about 1 / (1 - decay) steps.

    Raises
    ------
    ValueError
        if ``decay`` is not in [0, 1).
    """

    decay: float

    def __post_init__(self) -> None:
        check_decay("decay", self.decay)

    def _weight(self, t: Array) -> Array:
        return (1.0 - self.decay) / (1.0 - self.decay**t)
