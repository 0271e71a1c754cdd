r"""A reference Gaussian as control variate.

Let r = N(m, R R') be a Gaussian near the posterior. For a Gaussian q the
expectation of log r is known, so that

.. math:: -\mathrm{ELBO} = -E_q[\log\tilde p(z) - \log r(z)] - E_q[\log r(z)] - H[q],

where only the first expectation needs draws, and of a function that is nearly
constant if r is nearly the posterior. Its gradient, the usual one through
:math:`z = \mu + \sigma\epsilon`, is as free of noise as r is good, at *every* q: sticking
the landing gets there only where q is the posterior itself, which a mean-field q
cannot be if the posterior is correlated. Up to a constant,

.. math::
   \log r(z) &= -\tfrac12 \|R^{-1}(z - m)\|^2, \\
   E_q[\log r] &= -\tfrac12 \|R^{-1}(\mu - m)\|^2
   - \tfrac12 E_q \|R^{-1}(z - \mu)\|^2 ,

and of a mean-field q the last expectation is :math:`\sum_d (R^{-\top} R^{-1})_{dd}\,
\sigma_d^2`. The locations of such a q are measured by R too (`Referred`): where a narrow
ridge makes sigma a poor unit of length, R is a good one.

Quadratic control variates for reparameterisation gradients: Miller, Foti, D'Amour and
Adams (2017), "Reducing reparameterization gradient variance"; theirs is the Taylor
expansion of log p~ at :math:`\mu`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.families import Family, Params, Reference
from vi_lab.gradients.estimators import mean_log_density, without_axis_of_one
from vi_lab.model import LogDensity


@dataclass(frozen=True, eq=False)
class ControlVariate:
    """-ELBO with log r, of the ``reference`` r, as control variate: an `Estimator`.

    It holds arrays, so a compiled function takes the reference as an argument and makes the
    estimator of it (`vi_lab.advi.blocks.Problem`).
    """

    reference: Reference

    def negative_elbo(
        self,
        structure: LogDensity,
        family: Family,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        z = family.transform(params, without_axis_of_one(eps))
        centre, whitener = self.reference["loc"], self.reference["whitener"]
        log_r = -0.5 * np.sum(np.dot(z - centre, whitener.T) ** 2) / eps.shape[0]
        expected_log_r = -0.5 * (
            np.sum(np.dot(whitener, params["loc"] - centre) ** 2)
            + family.expected_square(params, whitener)
        )
        from_draws = mean_log_density(structure, z, data) - log_r
        return -(from_draws + expected_log_r + family.entropy(params))


@dataclass(frozen=True, eq=False)
class Referred:
    r"""Coordinates of a mean-field q: locations in units of a reference's scale R; log sigma.

    The tangent of a gradient is :math:`R^\top \nabla_\mu` and
    :math:`\tfrac12 \nabla_\omega`; the step d leads to :math:`\mu + R d_\mu` and
    :math:`\omega + d_\omega`.
    """

    scale: Array

    def zero_tangent(self, params: Params) -> Tree:
        return tree_map(lambda x: onp.zeros(onp.shape(x)), params)

    def tangent(self, params: Params, gradient: Params) -> Tree:
        return {
            "loc": np.dot(self.scale.T, gradient["loc"]),
            "log_scale": 0.5 * gradient["log_scale"],
        }

    def retract(self, params: Params, step: Tree) -> Params:
        return {
            "loc": params["loc"] + np.dot(self.scale, step["loc"]),
            "log_scale": params["log_scale"] + step["log_scale"],
        }
