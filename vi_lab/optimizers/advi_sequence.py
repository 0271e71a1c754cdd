"""The step-size sequence of the ADVI paper, and a form of it without its bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import vi_lab.numpy as np
from vi_lab.checks import check_bool, check_positive
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError
from vi_lab.optimizers.base import (
    Additive,
    Memory,
    descend,
    moving_average,
    square,
    zeros_like_params,
)

# The constants of the ADVI paper.
TAU = 1.0
ALPHA = 0.1
EXPONENT = -0.5 + 1e-16


@dataclass(frozen=True)
class AdviSequence(Additive):
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
    TypeError, ValueError
    """

    eta: float | None = None
    lagged: bool = False

    exponent: ClassVar[float] = -EXPONENT  # of the steps: see `robbins_monro_conditions`

    def __post_init__(self) -> None:
        if self.eta is not None:
            check_positive("eta", self.eta)
        check_bool("lagged", self.lagged)

    def _memory(self, params: Tree) -> Memory:
        return {"s": zeros_like_params(params)}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        if self.eta is None:
            raise ArgumentError("eta: is None, so there is no step to take; give a positive number")
        past = tree_map(lambda g, s: np.where(t == 1.0, g * g, s), gradient, memory["s"])
        s = moving_average(1.0 - ALPHA, past, tree_map(square, gradient))
        d = tree_map(self._direction, gradient, past if self.lagged else s)
        return descend(self.eta * t**EXPONENT, t, d), {"s": s}

    def _direction(self, g: Array, s: Array) -> Array:
        d = g / (TAU + np.sqrt(s))
        if not self.lagged:
            return d
        longest = ALPHA**-0.5
        return np.minimum(np.maximum(d, -longest), longest)
