r"""Steps of a natural descent: momentum over 1 + the size of recent gradients.

With :math:`u_t` the gradient in natural coordinates (`vi_lab.advi.natural_gradient`), a descent
moves by minus gamma times

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

import vi_lab.numpy as np
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map

BETA_1 = 0.9
MOST_UNITS = 0.5  # that a single gradient may move q
TINY = 1e-300  # keeps a vanished gradient's size from being a divisor of zero


@dataclass(frozen=True)
class UnitSteps:
    """The direction d_t; see the module.

    Attributes
    ----------
    beta2 : how slowly sizes are forgotten, in [0, 1)
    shared : one size for all entries of an array
    """

    beta2: float
    shared: bool

    def init(self, tangent: Tree) -> Tree:
        """The memory before the first step; ``tangent`` gives the shapes."""
        zeros = tree_map(lambda u: np.zeros(np.shape(u)), tangent)
        sizes = tree_map(lambda u: np.zeros(()), tangent) if self.shared else zeros
        return {"t": np.zeros(()), "m": zeros, "v": sizes}

    def update(self, tangent: Tree, memory: Tree, step_size: Array) -> tuple[Tree, Tree]:
        """-gamma d_t, and the memory after it."""
        t = memory["t"] + 1.0
        v_mass_before = np.maximum(1.0 - self.beta2 ** (t - 1.0), self.beta2 * 1e-9)

        def cut(u: Array, v: Array) -> Array:
            longest = MOST_UNITS / step_size * (1.0 + np.sqrt(v / v_mass_before))
            if self.shared:
                top = np.max(np.abs(u)) + TINY  # its squares must not overflow
                return u * np.minimum(1.0, longest / (top * np.sqrt(self._size(u / top)) + TINY))
            return np.minimum(np.maximum(u, -longest), longest)

        tangent = tree_map(cut, tangent, memory["v"])
        m = tree_map(lambda m, u: BETA_1 * m + (1.0 - BETA_1) * u, memory["m"], tangent)
        v = tree_map(
            lambda v, u: self.beta2 * v + (1.0 - self.beta2) * self._size(u),
            memory["v"],
            tangent,
        )
        m_mass, v_mass = 1.0 - BETA_1**t, 1.0 - self.beta2**t

        def step(m: Array, v: Array) -> Array:
            return (-step_size / m_mass) * m / (1.0 + np.sqrt(v / v_mass))

        return tree_map(step, m, v), {"t": t, "m": m, "v": v}

    def _size(self, u: Array) -> Array:
        return np.sum(u * u) / np.shape(u)[0] if self.shared else u * u
