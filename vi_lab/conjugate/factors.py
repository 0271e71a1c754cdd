r"""Factors of q that several models share: their moments, and their KL to a prior.

With :math:`\E_q[\log p(\beta_j) - \log q(\beta_j)] = -\KL(q_j \,\|\, p_j)`, the ELBO of a
conjugate model is its expected log likelihood minus one KL for each global factor.

The arithmetic is the active engine's, so that an ELBO can be differentiated.
"""

from __future__ import annotations

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array


def gamma_mean_log(shape: Array, rate: Array) -> Array:
    """The mean of log x for x ~ Gamma(shape, rate)."""
    return sp.digamma(shape) - np.log(rate)


def normal_gamma_evidence(
    prior: tuple[float, float], posterior: tuple[float, float], log_shrinkage: float, num_rows: int
) -> float:
    r"""log p(x) in nats of N normal rows whose precision is Gamma, by its posterior.

    .. math:: \log p(x) = \log\frac{\Gamma(a_N)}{\Gamma(a_0)} + a_0\log b_0 - a_N\log b_N
              + \tfrac12\log\frac{|A|}{|A_N|} - \tfrac N2\log 2\pi,

    with ``prior`` (a_0, b_0), ``posterior`` (a_N, b_N), ``log_shrinkage`` log(|A| / |A_N|) of the
    prior and posterior precisions of the means (over tau).
    """
    (prior_shape, prior_rate), (shape, rate) = prior, posterior
    return float(
        sp.gammaln(shape)
        - sp.gammaln(prior_shape)
        + prior_shape * onp.log(prior_rate)
        - shape * onp.log(rate)
        + 0.5 * log_shrinkage
        - 0.5 * num_rows * LOG_TWO_PI
    )


def gamma_kl(shape: Array, rate: Array, prior_shape: Array, prior_rate: Array) -> Array:
    """KL(Gamma(shape, rate) || Gamma(prior_shape, prior_rate)) in nats."""
    return (
        (shape - prior_shape) * sp.digamma(shape)
        - sp.gammaln(shape)
        + sp.gammaln(prior_shape)
        + prior_shape * (np.log(rate) - np.log(prior_rate))
        + shape * (prior_rate / rate - 1.0)
    )
