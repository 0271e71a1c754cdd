"""What every optimiser has, and the few lines that they share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import vi_lab.numpy as np
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.optimizers.schedules import StepSize, step_size_at

Memory = dict[str, Tree]


class Optimizer(ABC):
    """What every optimiser has: it counts the steps; a subclass says what else it remembers."""

    def init(self, params: Tree) -> Tree:
        """The state before the first step from ``params``."""
        return {"t": np.zeros(()), **self._memory(params)}

    def update(self, gradient: Tree, state: Tree) -> tuple[Tree, Tree]:
        """The increment of the parameters, and the new state."""
        t = state["t"] + 1.0  # a float: integers refuse negative powers
        increment, memory = self._increment(t, gradient, state)
        return increment, {**memory, "t": t}

    @abstractmethod
    def _memory(self, params: Tree) -> Memory:
        """What is remembered besides t, before the first step."""

    @abstractmethod
    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        """The increment of step ``t``, and what is remembered after it."""


def descend(step_size: StepSize, t: Array, direction: Tree) -> Tree:
    """-gamma_t d_t."""
    gamma = step_size_at(step_size, t)
    return tree_map(lambda d: -gamma * d, direction)


def moving_average(decay: float, average: Tree, new: Tree) -> Tree:
    """Of every leaf: decay * average + (1 - decay) * new."""
    return tree_map(lambda a, x: decay * a + (1.0 - decay) * x, average, new)


def square(x: Array) -> Array:
    """x^2."""
    return x * x


def zeros_like_params(params: Tree) -> Tree:
    """Zeros in the shape of ``params``."""
    # By shape, not zeros_like: a state is float64 whatever the parameters are.
    return tree_map(lambda x: np.zeros(np.shape(x)), params)
