r"""Factors of q that several models share: their moments, and their KL to a prior.

With :math:`\E_q[\log p(\beta_j) - \log q(\beta_j)] = -\KL(q_j \,\|\, p_j)`, the ELBO of a
conjugate model is its expected log likelihood minus one KL for each global factor.

The arithmetic is the active engine's, so that an ELBO can be differentiated.
"""

from __future__ import annotations

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array

__all__ = ["LOG_TWO_PI", "gamma_kl", "gamma_mean_log"]


def gamma_mean_log(shape: Array, rate: Array) -> Array:
    """E[log x] for x ~ Gamma(shape, rate)."""
    return sp.digamma(shape) - np.log(rate)


def gamma_kl(shape: Array, rate: Array, prior_shape: Array, prior_rate: Array) -> Array:
    """KL(Gamma(shape, rate) || Gamma(prior_shape, prior_rate)) in nats."""
    return (
        (shape - prior_shape) * sp.digamma(shape)
        - sp.gammaln(shape)
        + sp.gammaln(prior_shape)
        + prior_shape * (np.log(rate) - np.log(prior_rate))
        + shape * (prior_rate / rate - 1.0)
    )
