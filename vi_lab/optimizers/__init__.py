r"""Optimisers: how a noisy gradient becomes a step.

All minimise. With :math:`g_t` the gradient of the loss at step t = 1, 2, ...,
everything elementwise, each takes

.. math:: x_t = x_{t-1} - \gamma_t d_t

with a step size :math:`\gamma_t` (a number or a schedule, `vi_lab.optimizers.schedules`) and a
direction :math:`d_t` that is a function of :math:`g_1, \dots, g_t` alone.

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
`DoWG`              :math:`r_t^2 g_t / \sqrt{v_t}`, r_t the distance gone so far: no
                    step size to choose
==================  ================================================================

**A bias to know about.** An unbiased gradient, :math:`E[g_t] = 0` at the optimum, gives
unbiased steps only if its divisor does not depend on it. Where :math:`g_t^2` is a
good part of its own divisor (a window of 10, a mean that forgets 9 parts in 10),
long gradients are shortened most. If the gradient is skewed, as that of a log
scale is, then :math:`E[d_t] \ne 0` and the iterates settle beside the optimum, on
the side of the gradient's median. Step sizes that vanish do not help. A divisor
that is one step behind does: `AdviSequence` with ``lagged``.

Two are no line of the table. `Clipped` bounds the length of the gradient that another one
sees; `NaturalGradient` measures steps in distributions, not in parameters
(`vi_lab.optimizers.natural_gradient`), and is what `vi_lab.advi` takes by itself.

An optimiser is a frozen, hashable dataclass with ``init(params) -> state`` and
``update(gradient, state, params) -> (params, state)``: the class `Optimizer` says how to
write one. Parameters, gradients and states are trees (`vi_lab.engine.trees`).
"""

from __future__ import annotations

from vi_lab.checks import choose
from vi_lab.optimizers.adaptive import Adagrad, Adam, RMSProp, WindowedAdagrad
from vi_lab.optimizers.advi_sequence import AdviSequence
from vi_lab.optimizers.averaging import Average, Mean, TailAverage
from vi_lab.optimizers.base import Optimizer
from vi_lab.optimizers.clipping import Clipped
from vi_lab.optimizers.natural_gradient import NaturalGradient
from vi_lab.optimizers.parameter_free import DoWG
from vi_lab.optimizers.schedules import ConstantThenDecay, RobbinsMonro, robbins_monro_conditions
from vi_lab.optimizers.sgd import SGD, Momentum

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdviSequence",
    "Average",
    "Clipped",
    "ConstantThenDecay",
    "DoWG",
    "Mean",
    "Momentum",
    "NaturalGradient",
    "Optimizer",
    "RMSProp",
    "RobbinsMonro",
    "TailAverage",
    "WindowedAdagrad",
    "get_optimizer",
    "robbins_monro_conditions",
]

# By name, for a first try: those that mind least what their step size is.
OPTIMIZERS: dict[str, Optimizer] = {
    "adagrad": Adagrad(0.1),
    "adam": Adam(0.01),
    "advi_sequence": AdviSequence(),
    "dowg": DoWG(),
    "rmsprop": RMSProp(0.01),
    "windowed_adagrad": WindowedAdagrad(),
}


def get_optimizer(optimizer: str | Optimizer) -> Optimizer:
    """An optimiser by its name in `OPTIMIZERS`, or the optimiser itself.

    Raises
    ------
    TypeError, ValueError
        for an unknown name, or what is no optimiser.
    """
    return choose("optimizer", optimizer, OPTIMIZERS, ("init", "update"))
