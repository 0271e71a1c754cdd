r"""Optimisers: how a noisy gradient becomes a step.

All minimise. With :math:`g_t` the gradient of the loss at step t = 1, 2, ...,
everything elementwise, each takes

.. math:: x_t = x_{t-1} - \gamma_t d_t

with a step size :math:`\gamma_t` (a number or a schedule, `vi_lab.schedules`) and a
direction :math:`d_t` that is a function of :math:`g_1, \dots, g_t` alone:

==================  ================================================================
`SGD`               :math:`g_t`
`Momentum`          :math:`v_t = \beta v_{t-1} + g_t`
`Adagrad`           :math:`g_t / (\sqrt{s_t} + \epsilon)`, :math:`s_t = s_{t-1} + g_t^2`
`WindowedAdagrad`   :math:`g_t / \sqrt{s_t + \epsilon}`, s_t the sum over a window
`RMSProp`           :math:`g_t / (\sqrt{v_t} + \epsilon)`,
                    :math:`v_t = \beta v_{t-1} + (1 - \beta) g_t^2`
`Adam`              :math:`\hat m_t / (\sqrt{\hat v_t} + \epsilon)`, debiased means
                    of :math:`g` and :math:`g^2`
`AdviSequence`      :math:`t^{-1/2} g_t / (1 + \sqrt{s_t})`, s_t a mean that forgets
==================  ================================================================

**A bias to know about.** An unbiased gradient, :math:`E[g_t] = 0` at the optimum, gives
unbiased steps only if its divisor does not depend on it. Where :math:`g_t^2` is a
good part of its own divisor (a window of 10, a mean that forgets 9 parts in 10),
long gradients are shortened most. If the gradient is skewed, as that of a log
scale is, then :math:`E[d_t] \ne 0` and the iterates settle beside the optimum, on
the side of the gradient's median. Step sizes that vanish do not help. A divisor
that is one step behind does: `AdviSequence` with ``lagged``.

An optimiser is a frozen, hashable dataclass with ``init(params) -> state`` and
``update(gradient, state) -> (increment, state)``; the new parameters are params +
increment. Parameters, gradients and states are trees (`vi_lab.trees`); a state has
the same shapes and dtypes at every step, so that it can be scanned.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import vi_lab.numpy as np
from vi_lab.checks import check_decay, check_positive, check_whole
from vi_lab.engine import Array, Tree
from vi_lab.schedules import StepSize, check_step_size, step_size_at
from vi_lab.trees import tree_map

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


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent (Robbins and Monro 1951): d_t = g_t.

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule

    Raises
    ------
    ValueError
    """

    step_size: StepSize

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)

    def _memory(self, params: Tree) -> Memory:
        return {}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        return _descend(self.step_size, t, gradient), memory


@dataclass(frozen=True)
class Momentum(Optimizer):
    """The heavy ball (Polyak 1964): d_t = v_t = beta v_{t-1} + g_t, v_0 = 0.

    A steady gradient g is followed at speed gamma g / (1 - beta).

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule
    decay : beta in [0, 1)

    Raises
    ------
    ValueError
    """

    step_size: StepSize
    decay: float = 0.9

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_decay("decay", self.decay)

    def _memory(self, params: Tree) -> Memory:
        return {"v": _zeros(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        v = tree_map(lambda v, g: self.decay * v + g, memory["v"], gradient)
        return _descend(self.step_size, t, v), {"v": v}


@dataclass(frozen=True)
class Adagrad(Optimizer):
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
    ValueError
    """

    step_size: StepSize
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_positive("epsilon", self.epsilon)

    def _memory(self, params: Tree) -> Memory:
        return {"s": _zeros(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        s = tree_map(lambda s, g: s + g * g, memory["s"], gradient)
        d = tree_map(lambda g, s: g / (np.sqrt(s) + self.epsilon), gradient, s)
        return _descend(self.step_size, t, d), {"s": s}


@dataclass(frozen=True)
class WindowedAdagrad(Optimizer):
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
    ValueError
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
        return _descend(self.step_size, t, d), {"squares": squares}


@dataclass(frozen=True)
class RMSProp(Optimizer):
    """d_t = g_t / (sqrt(v_t) + epsilon), v_t = beta v_{t-1} + (1 - beta) g_t^2, v_0 = 0.

    Tieleman and Hinton (2012), "Neural networks for machine learning", lecture 6.5.

    Parameters
    ----------
    step_size : gamma, a positive number or a schedule
    decay : beta in [0, 1)
    epsilon : keeps the divisor from zero

    Raises
    ------
    ValueError
    """

    step_size: StepSize
    decay: float = 0.9
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_step_size("step_size", self.step_size)
        check_decay("decay", self.decay)
        check_positive("epsilon", self.epsilon)

    def _memory(self, params: Tree) -> Memory:
        return {"v": _zeros(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        v = _moving_average(self.decay, memory["v"], tree_map(_square, gradient))
        d = tree_map(lambda g, v: g / (np.sqrt(v) + self.epsilon), gradient, v)
        return _descend(self.step_size, t, d), {"v": v}


@dataclass(frozen=True)
class Adam(Optimizer):
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
    ValueError
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
        return {"m": _zeros(params), "v": _zeros(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        m = _moving_average(self.beta1, memory["m"], gradient)
        v = _moving_average(self.beta2, memory["v"], tree_map(_square, gradient))
        m_mass, v_mass = 1.0 - self.beta1**t, 1.0 - self.beta2**t  # what the weights add up to

        def direction(m: Array, v: Array) -> Array:
            return (m / m_mass) / (np.sqrt(v / v_mass) + self.epsilon)

        return _descend(self.step_size, t, tree_map(direction, m, v)), {"m": m, "v": v}


# The constants of the ADVI paper.
TAU = 1.0
ALPHA = 0.1
EXPONENT = -0.5 + 1e-16


@dataclass(frozen=True)
class AdviSequence(Optimizer):
    r"""The step of the ADVI paper, which Stan uses too.

    .. math:: x_t - x_{t-1} = -\eta\, t^{-1/2 + 10^{-16}} \frac{g_t}{\tau + \sqrt{s_t}},
       \qquad s_t = \alpha g_t^2 + (1 - \alpha) s_{t-1}, \quad s_1 = g_1^2,

    with tau = 1 and alpha = 0.1: Kucukelbir, Tran, Ranganath, Gelman and Blei (2017),
    "Automatic differentiation variational inference", equations 10 and 11. (The
    exponent is the paper's. Squares of these steps add up to infinity, so the second
    Robbins-Monro condition fails, by as little as can be.)

    As every gradient is a tenth of its own divisor, the sequence is biased (see the
    module's docstring). With ``lagged`` the divisor of step t is one step behind,

    .. math:: \frac{g_t}{\tau + \sqrt{s_{t-1}}} \text{ cut off to } \pm \alpha^{-1/2},
       \qquad s_0 = g_1^2 .

    The cut-off is no new constant. In the paper's rule
    :math:`|g_t| / \sqrt{s_t} \le \alpha^{-1/2}` always, which bounds its steps; a
    divisor that has not seen :math:`g_t` bounds nothing, and without the cut-off one
    long gradient among short ones throws the fit away. Before the first gradient
    nothing is known of the scale, hence :math:`s_0`.

    Parameters
    ----------
    eta : the scale of the steps, a positive number; None leaves it to be searched for
        (by `vi_lab.advi`, over 100, 10, 1, 0.1, 0.01), and `update` refuses
    lagged : take the divisor one step behind

    Raises
    ------
    ValueError
    """

    eta: float | None = None
    lagged: bool = False

    def __post_init__(self) -> None:
        if self.eta is not None:
            check_positive("eta", self.eta)

    def _memory(self, params: Tree) -> Memory:
        return {"s": _zeros(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        if self.eta is None:
            raise ValueError("eta: is None, so there is no step to take; give a positive number")
        past = tree_map(lambda g, s: np.where(t == 1.0, g * g, s), gradient, memory["s"])
        s = _moving_average(1.0 - ALPHA, past, tree_map(_square, gradient))
        d = tree_map(self._direction, gradient, past if self.lagged else s)
        return _descend(self.eta * t**EXPONENT, t, d), {"s": s}

    def _direction(self, g: Array, s: Array) -> Array:
        d = g / (TAU + np.sqrt(s))
        if not self.lagged:
            return d
        longest = ALPHA**-0.5
        return np.minimum(np.maximum(d, -longest), longest)


def _descend(step_size: StepSize, t: Array, direction: Tree) -> Tree:
    """-gamma_t d_t."""
    gamma = step_size_at(step_size, t)
    return tree_map(lambda d: -gamma * d, direction)


def _moving_average(decay: float, average: Tree, new: Tree) -> Tree:
    """Of every leaf: decay * average + (1 - decay) * new."""
    return tree_map(lambda a, x: decay * a + (1.0 - decay) * x, average, new)


def _square(x: Array) -> Array:
    return x * x


def _zeros(params: Tree) -> Tree:
    # By shape, not zeros_like: a state is float64 whatever the parameters are.
    return tree_map(lambda x: np.zeros(np.shape(x)), params)
