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
   - \tfrac12 \textstyle\sum_d (R^{-\top} R^{-1})_{dd}\, \sigma_d^2 .

Quadratic control variates for reparameterisation gradients: Miller, Foti, D'Amour and
Adams (2017), "Reducing reparameterization gradient variance"; theirs is the Taylor
expansion of log p~ at :math:`\mu`.
"""

from __future__ import annotations

from typing import Any

import vi_lab.numpy as np
from vi_lab.engine import Array
from vi_lab.families import MeanFieldGaussian, Params
from vi_lab.gradients.estimators import mean_log_density, without_axis_of_one

Reference = dict[str, Array]
"""A Gaussian N(loc, R R'): ``loc`` (D,), ``scale`` = R (D, D), ``whitener`` = R^-1; or {}."""


def controlled_negative_elbo(
    structure: Any, params: Params, eps: Array, data: dict[str, Array], reference: Reference
) -> Array:
    """-ELBO of a mean-field q in nats, unbiased, from base draws ``eps`` (S, D)."""
    family = MeanFieldGaussian()
    z = family.transform(params, without_axis_of_one(eps))
    whitener = reference["whitener"]
    log_r = -0.5 * np.sum(np.dot(z - reference["loc"], whitener.T) ** 2) / eps.shape[0]
    expected_log_r = -0.5 * (
        np.sum(np.dot(whitener, params["loc"] - reference["loc"]) ** 2)
        + np.sum(np.sum(whitener**2, axis=0) * np.exp(2.0 * params["log_scale"]))
    )
    from_draws = mean_log_density(structure, z, data) - log_r
    return -(from_draws + expected_log_r + family.entropy(params))
