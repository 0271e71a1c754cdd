r"""Averages of the iterates :math:`x_0, x_1, x_2, \dots` of a stochastic optimiser.

At a constant step size the iterates circle the optimum for ever; their average goes there
(Polyak and Juditsky 1992):

* `TailAverage`: the mean of :math:`x_{\mathrm{start}}, \dots, x_t`, whatever t will be:
  :math:`\bar x_t = (1 - w_t)\, \bar x_{t-1} + w_t\, x_t` with
  :math:`w_t = 1 / \max(1,\, t - \mathrm{start} + 1)`, so that before ``start`` it is the
  last iterate;
* `Mean`: the mean of all, :math:`x_1, \dots, x_t`, as a sum that is divided when asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import vi_lab.numpy as np
from vi_lab.checks import check_whole
from vi_lab.engine import Tree
from vi_lab.engine.trees import tree_map


class Average(Protocol):
    """How iterates become an answer.

    **To write your own**: a frozen dataclass with these three methods. Parameters are trees;
    a state is a tree that keeps its shapes and dtypes, so that it can be scanned.
    """

    def init(self, params: Tree) -> Tree:
        """The state at the starting point x_0, ``params``."""

    def update(self, params: Tree, state: Tree) -> Tree:
        """The state after the next iterate, ``params``."""

    def value(self, state: Tree) -> Tree:
        """The average so far."""


@dataclass(frozen=True)
class TailAverage:
    """The mean of the iterates from step ``start`` on; until then the last iterate.

    Step 0 is the starting point, so ``start=1`` averages all that was computed.

    Raises
    ------
    TypeError, ValueError
        if ``start`` is not a whole number, 0 or more.
    """

    start: int

    def __post_init__(self) -> None:
        check_whole("start", self.start, least=0)

    def init(self, params: Tree) -> Tree:
        return {"t": np.zeros(()), "average": params}

    def update(self, params: Tree, state: Tree) -> Tree:
        t = state["t"] + 1.0
        weight = 1.0 / np.maximum(1.0, t - self.start + 1.0)
        # Not a + w (x - a): at w = 1 that is x only up to rounding.
        keep = 1.0 - weight
        average = tree_map(lambda a, x: keep * a + weight * x, state["average"], params)
        return {"t": t, "average": average}

    def value(self, state: Tree) -> Tree:
        return state["average"]


@dataclass(frozen=True)
class Mean:
    """The mean of all iterates, the starting point excluded; there must be one."""

    def init(self, params: Tree) -> Tree:
        return {"t": np.zeros(()), "sum": tree_map(lambda x: np.zeros(np.shape(x)), params)}

    def update(self, params: Tree, state: Tree) -> Tree:
        total = tree_map(lambda s, x: s + x, state["sum"], params)
        return {"t": state["t"] + 1.0, "sum": total}

    def value(self, state: Tree) -> Tree:
        return tree_map(lambda s: s / state["t"], state["sum"])
