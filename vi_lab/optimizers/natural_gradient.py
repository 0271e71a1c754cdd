r"""Steps along the natural gradient: momentum over 1 + the size of recent gradients.

A step of 0.05 in a location is a crawl if the posterior is wide and a leap if it is
narrow. Measured in the standard deviations of q itself it is a statement about
distributions. So a *tangent* (a gradient, a direction, a step) is expressed in coordinates
in which the Fisher information of q is the identity, up to a constant factor for the
scale; a plain step in them is a step along the natural gradient (Amari 1998). Which these
are, every family states (`vi_lab.families`).

With :math:`u_t` the gradient in natural coordinates, a step is minus gamma times

.. math:: d_t = \frac{\hat m_t}{1 + \sqrt{\hat v_t}}, \qquad
   m_t = \beta_1 m_{t-1} + (1 - \beta_1) u_t, \quad
   v_t = \beta_2 v_{t-1} + (1 - \beta_2) s(u_t),

where the hats divide by what the weights of the means add up to, as in Adam (Kingma and
Ba 2015). Adam's epsilon is 1 here, which natural coordinates make sense of: where
gradients are small the step is along the natural gradient, and it vanishes with it;
where they are huge it has length gamma.

One draw far out in a heavy tail must not throw q away: before anything else, :math:`u_t` is
cut off where it alone would move q by more than half a unit,

.. math:: |u_t| \le \frac{1}{2\gamma} \bigl(1 + \sqrt{\hat v_{t-1}}\bigr).

A cut-off biases, but this one is out of reach of ordinary noise and recedes as gamma
falls.

The size s(u) is :math:`u^2`, entry by entry, or one number for an array of D rows,
:math:`\|u\|^2 / D`. The second keeps the direction of the natural gradient, and so
its invariance, which full rank lives on: entries scaled one by one would add up to
matrices whose norm grows with D.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import vi_lab.numpy as np
from vi_lab.checks import check_bool, check_decay, check_methods, check_positive
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map

BETA_1 = 0.9
MOST_UNITS = 0.5  # that a single gradient may move q
TINY = 1e-300  # keeps a vanished gradient's size from being a divisor of zero


class Coordinates(Protocol):
    """How tangents of parameters are measured, and where they lead: any family of q, say."""

    def zero_tangent(self, params: Tree) -> Tree:
        """The zero tangent at ``params``."""

    def tangent(self, params: Tree, gradient: Tree) -> Tree:
        """The gradient with respect to ``params`` in these coordinates."""

    def retract(self, params: Tree, step: Tree) -> Tree:
        """The parameters that the tangent ``step`` leads to from ``params``."""


@dataclass(frozen=True)
class NaturalGradient:
    """Steps along d_t in natural coordinates; see the module.

    The step size is part of the state, under ``step_size``: whoever replaces it there goes
    on with another one, and nothing is compiled again.

    Parameters
    ----------
    coordinates : the family whose parameters these are, or others that suit it
    step_size : gamma, the one to begin with
    beta2 : how slowly sizes are forgotten, in [0, 1)
    shared : one size for all entries of an array

    Raises
    ------
    TypeError, ValueError
    """

    coordinates: Coordinates
    step_size: float = 0.1
    beta2: float = 0.999
    shared: bool = False

    def __post_init__(self) -> None:
        wanted = "the family whose parameters are moved, such as MeanFieldGaussian()"
        check_methods(
            "coordinates", self.coordinates, ("zero_tangent", "tangent", "retract"), wanted
        )
        check_positive("step_size", self.step_size)
        check_decay("beta2", self.beta2)
        check_bool("shared", self.shared)

    def init(self, params: Tree) -> Tree:
        zeros = self.coordinates.zero_tangent(params)
        sizes = tree_map(lambda u: np.zeros(()), zeros) if self.shared else zeros
        gamma = np.zeros(()) + self.step_size
        return {"step_size": gamma, "t": np.zeros(()), "m": zeros, "v": sizes}

    def update(self, gradient: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        tangent = self.coordinates.tangent(params, gradient)
        step, state = self._step(tangent, state)
        return self.coordinates.retract(params, step), state

    def _step(self, tangent: Tree, state: Tree) -> tuple[Tree, Tree]:
        """-gamma d_t, and the state after it."""
        step_size, t = state["step_size"], state["t"] + 1.0
        v_mass_before = np.maximum(1.0 - self.beta2 ** (t - 1.0), self.beta2 * 1e-9)

        def cut(u: Array, v: Array) -> Array:
            longest = MOST_UNITS / step_size * (1.0 + np.sqrt(v / v_mass_before))
            if self.shared:
                top = np.max(np.abs(u)) + TINY  # its squares must not overflow
                return u * np.minimum(1.0, longest / (top * np.sqrt(self._size(u / top)) + TINY))
            return np.minimum(np.maximum(u, -longest), longest)

        tangent = tree_map(cut, tangent, state["v"])
        m = tree_map(lambda m, u: BETA_1 * m + (1.0 - BETA_1) * u, state["m"], tangent)
        v = tree_map(
            lambda v, u: self.beta2 * v + (1.0 - self.beta2) * self._size(u), state["v"], tangent
        )
        m_mass, v_mass = 1.0 - BETA_1**t, 1.0 - self.beta2**t

        def step(m: Array, v: Array) -> Array:
            return (-step_size / m_mass) * m / (1.0 + np.sqrt(v / v_mass))

        return tree_map(step, m, v), {"step_size": step_size, "t": t, "m": m, "v": v}

    def _size(self, u: Array) -> Array:
        return np.sum(u * u) / np.shape(u)[0] if self.shared else u * u
