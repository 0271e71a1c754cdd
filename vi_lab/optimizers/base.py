r"""What an optimiser is, and the few lines that most of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import vi_lab.numpy as np
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.optimizers.schedules import StepSize, step_size_at

Memory = dict[str, Tree]


class Optimizer(Protocol):
    r"""A pair of pure functions: how a noisy gradient becomes the next parameters.

    **To write your own**: a frozen dataclass (equal settings are equal and hash equally, so
    that a compiled fit is found again) with

    * ``init(params) -> state``: what is remembered before the first step;
    * ``update(gradient, state, params) -> (params, state)``: the parameters after a step
      downhill, and what is remembered after it.

    Parameters and gradients are trees of the same shapes, for a fit the dictionary of
    `vi_lab.families`. A state is a dictionary of arrays, nested or empty, of the same
    shapes and dtypes at every step, so that steps can be scanned. Arithmetic is that of
    `vi_lab.numpy`; nothing is changed in place. (What comes back are parameters and not an
    increment because a step need not be a sum: `NaturalGradient` multiplies matrices.)

    Examples
    --------
    Steps of one length in every coordinate, whatever the gradient's size:

    >>> from dataclasses import dataclass
    >>> import vi_lab as vl, vi_lab.numpy as np
    >>> from vi_lab.engine.trees import tree_map
    >>> @dataclass(frozen=True)
    ... class SignDescent:
    ...     step_size: float
    ...     def init(self, params):
    ...         return {}
    ...     def update(self, gradient, state, params):
    ...         move = lambda x, g: x - self.step_size * np.sign(g)
    ...         return tree_map(move, params, gradient), state
    >>> target = vl.Target(lambda z: -0.5 * np.sum((z - 3.0) ** 2, axis=-1), dim=2)
    >>> fit = vl.advi(
    ...     target, optimizer=SignDescent(0.01), steps=2_000, seed=1, progress=False
    ... )
    >>> bool((abs(fit.params["loc"] - 3.0) < 0.1).all())
    True
    """

    def init(self, params: Tree) -> Tree:
        """The state before the first step from ``params``."""

    def update(self, gradient: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        """The parameters after a step from ``params``, and the new state."""


class Additive(ABC):
    """An `Optimizer` that counts its steps and adds an increment; a subclass says which."""

    def init(self, params: Tree) -> Tree:
        return {"t": np.zeros(()), **self._memory(params)}

    def update(self, gradient: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        t = state["t"] + 1.0  # a float: integers refuse negative powers
        increment, memory = self._increment(t, gradient, state)
        return tree_map(lambda x, i: x + i, params, increment), {**memory, "t": t}

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
