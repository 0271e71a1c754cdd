"""Plain and accelerated descent: one step size for all coordinates."""

from __future__ import annotations

from dataclasses import dataclass

from vi_lab.checks import check_decay
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.optimizers.base import Additive, Memory, descend, zeros_like_params
from vi_lab.optimizers.schedules import StepSize, check_step_size


@dataclass(frozen=True)
class SGD(Additive):
    """Stochastic gradient descent (Robbins and Monro 1951): d_t = g_t.

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule

    Raises
    ------
    TypeError, ValueError
    """

    step_size: StepSize

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)

    def _memory(self, params: Tree) -> Memory:
        return {}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        return descend(self.step_size, t, gradient), memory


@dataclass(frozen=True)
class Momentum(Additive):
    """The heavy ball (Polyak 1964): d_t = v_t = beta v_{t-1} + g_t, v_0 = 0.

    A steady gradient g is followed at speed gamma g / (1 - beta).

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule
    decay : beta in [0, 1)

    Raises
    ------
    TypeError, ValueError
    """

    step_size: StepSize
    decay: float = 0.9

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_decay("decay", self.decay)

    def _memory(self, params: Tree) -> Memory:
        return {"v": zeros_like_params(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        v = tree_map(lambda v, g: self.decay * v + g, memory["v"], gradient)
        return descend(self.step_size, t, v), {"v": v}
