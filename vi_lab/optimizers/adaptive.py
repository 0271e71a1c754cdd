"""Gradients divided by their own size, coordinate by coordinate."""

from __future__ import annotations

from dataclasses import dataclass

import vi_lab.numpy as np
from vi_lab.checks import check_decay, check_positive, check_whole
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.optimizers.base import (
    Additive,
    Memory,
    descend,
    moving_average,
    square,
    zeros_like_params,
)
from vi_lab.optimizers.schedules import StepSize, check_step_size


@dataclass(frozen=True)
class Adagrad(Additive):
    """d_t = g_t / (sqrt(s_t) + epsilon), with s_t the sum of all squared gradients.

    Duchi, Hazan and Singer (2011), "Adaptive subgradient methods for online learning
    and stochastic optimization", Figure 1, with diagonal matrices and no proximal
    term; their delta is epsilon.

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule
    epsilon : keeps the divisor from zero

    Raises
    ------
    TypeError, ValueError
    """

    step_size: StepSize
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_positive("epsilon", self.epsilon)

    def _memory(self, params: Tree) -> Memory:
        return {"s": zeros_like_params(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        s = tree_map(lambda s, g: s + g * g, memory["s"], gradient)
        d = tree_map(lambda g, s: g / (np.sqrt(s) + self.epsilon), gradient, s)
        return descend(self.step_size, t, d), {"s": s}


@dataclass(frozen=True)
class WindowedAdagrad(Additive):
    """Adagrad over the last ``window`` gradients: PyMC's default for ADVI.

    d_t = g_t / sqrt(s_t + epsilon), with s_t the *sum* of g^2 over the last
    ``window`` steps, the current one included; epsilon stands under the root. This is
    `adagrad_window` of `pymc/variational/updates.py`, defaults included. It is here
    to reproduce PyMC's results: it is biased (see the module's docstring).

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule
    window : number of gradients remembered, at least 1
    epsilon : keeps the divisor from zero

    Raises
    ------
    TypeError, ValueError
    """

    step_size: StepSize = 0.001
    window: int = 10
    epsilon: float = 0.1

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_whole("window", self.window, least=1)
        check_positive("epsilon", self.epsilon)

    def _memory(self, params: Tree) -> Memory:
        squares = tree_map(lambda x: np.zeros((self.window, *np.shape(x))), params)
        return {"squares": squares}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:

        def push(squares: Array, g: Array) -> Array:  # a queue: the oldest leaves in front
            return np.concatenate([squares[1:], (g * g)[None]])

        def scaled(g: Array, squares: Array) -> Array:
            return g / np.sqrt(np.sum(squares, axis=0) + self.epsilon)

        squares = tree_map(push, memory["squares"], gradient)
        d = tree_map(scaled, gradient, squares)
        return descend(self.step_size, t, d), {"squares": squares}


@dataclass(frozen=True)
class RMSProp(Additive):
    """d_t = g_t / (sqrt(v_t) + epsilon), v_t = beta v_{t-1} + (1 - beta) g_t^2, v_0 = 0.

    Tieleman and Hinton (2012), "Neural networks for machine learning", lecture 6.5.

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule
    decay : beta in [0, 1)
    epsilon : keeps the divisor from zero

    Raises
    ------
    TypeError, ValueError
    """

    step_size: StepSize
    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_decay("decay", self.decay)
        check_positive("epsilon", self.epsilon)

    def _memory(self, params: Tree) -> Memory:
        return {"v": zeros_like_params(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        v = moving_average(self.decay, memory["v"], tree_map(square, gradient))
        d = tree_map(lambda g, v: g / (np.sqrt(v) + self.epsilon), gradient, v)
        return descend(self.step_size, t, d), {"v": v}


@dataclass(frozen=True)
class Adam(Additive):
    r"""Debiased means of the gradient and of its square.

    .. math:: m_t = \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
       v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2, \quad
       d_t = \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}.

    Kingma and Ba (2015), "Adam: a method for stochastic optimization", Algorithm 1.

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule
    beta1, beta2 : decay of the two means, in [0, 1)
    epsilon : keeps the divisor from zero

    Raises
    ------
    TypeError, ValueError
    """

    step_size: StepSize
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_decay("beta1", self.beta1)
        check_decay("beta2", self.beta2)
        check_positive("epsilon", self.epsilon)

    def _memory(self, params: Tree) -> Memory:
        return {"m": zeros_like_params(params), "v": zeros_like_params(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        m = moving_average(self.beta1, memory["m"], gradient)
        v = moving_average(self.beta2, memory["v"], tree_map(square, gradient))
        m_mass, v_mass = 1.0 - self.beta1**t, 1.0 - self.beta2**t  # what the weights add up to

        def direction(m: Array, v: Array) -> Array:
            return (m / m_mass) / (np.sqrt(v / v_mass) + self.epsilon)

        return descend(self.step_size, t, tree_map(direction, m, v)), {"m": m, "v": v}
