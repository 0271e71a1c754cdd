r"""Normal-Wishart distributions by their natural parameters.

The pair of a mean :math:`\mu \in \R^D` and a precision matrix :math:`\Lambda` has

.. math:: p(\mu, \Lambda) = N(\mu \mid m, (\kappa\Lambda)^{-1})\,
          \text{Wishart}(\Lambda \mid \nu, W),

which is conjugate to normal rows (Bishop 2006, section 10.2). Written out, its logarithm is
linear in :math:`t = (\tfrac12\log|\Lambda|,\ -\tfrac12\mu'\Lambda\mu,\ \Lambda\mu,\
-\tfrac12\Lambda)`, up to :math:`-\tfrac D2 \log|\Lambda|` that belongs to the base measure.
The natural parameters that go with these four, in the same order, are

.. math:: \nu, \qquad \kappa, \qquad h = \kappa m, \qquad S = W^{-1} + \kappa\, m m',

and a row x that counts r times adds :math:`r`, :math:`r`, :math:`r x` and :math:`r x x'` to
them. The log normalising constant is

.. math:: A = \tfrac\nu2\log|W| + \tfrac{\nu D}2\log 2 + \log\Gamma_D(\tfrac\nu2)
          + \tfrac D2\log\tfrac{2\pi}{\kappa},

and its gradient is :math:`\E[t]` (a test says so). Shapes: matrices have any leading axes,
:math:`\nu` and :math:`\kappa` (...), h (..., D), S (..., D, D). `normal_wishart_bound` and
`dirichlet_bound` are what one factor of q brings to an ELBO.

:math:`W^{-1} = S - hh'/\kappa` is a difference: of 16 digits it loses about
:math:`2\log_{10}` of (distance of m from the origin / sd of a component), so the data should
be taken about their mean.
"""

from __future__ import annotations

import math

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array
from vi_lab.errors import NonFiniteError

Naturals = dict[str, Array]
"""``degrees_of_freedom`` nu, ``pseudo_count`` kappa, ``pseudo_sum`` h, ``pseudo_scatter`` S."""


def to_naturals(nu: Array, kappa: Array, m: Array, inverse_scale: Array) -> Naturals:
    """Natural parameters from nu, kappa, m and W^-1."""
    h = kappa[..., None] * m
    return {
        "degrees_of_freedom": nu,
        "pseudo_count": kappa,
        "pseudo_sum": h,
        "pseudo_scatter": inverse_scale + h[..., :, None] * m[..., None, :],
    }


def mean_and_inverse_scale(naturals: Naturals) -> tuple[Array, Array]:
    """The mean m (..., D) and the inverse scale W^-1 (..., D, D)."""
    h = naturals["pseudo_sum"]
    m = h / naturals["pseudo_count"][..., None]
    return m, naturals["pseudo_scatter"] - h[..., :, None] * m[..., None, :]


def log_normalizer(naturals: Naturals) -> Array:
    """The log normalising constant A, (...)."""
    _, inverse_scale = mean_and_inverse_scale(naturals)
    return _log_normalizer(naturals, _log_det(inverse_scale))


def expectations(naturals: Naturals) -> Naturals:
    """The expected sufficient statistics E[t], under the names of their natural parameters.

    Bishop (2006), equations 10.64 and 10.65.
    """
    m, inverse_scale = mean_and_inverse_scale(naturals)
    return _expectations(naturals, m, inverse_scale, _log_det(inverse_scale))


def normal_wishart_bound(q: Naturals, prior: Naturals, statistics: Naturals) -> Array:
    r"""E_q[log p(rows | mu, Lambda)] - KL(q || prior), without :math:`-\tfrac D2 \log 2\pi` a row.

    Both terms are linear in E[t] but for the normalising constants:
    :math:`\langle s + \lambda_0 - \lambda, \E_q[t]\rangle + A(\lambda) - A(\lambda_0)`,
    with statistics s under the names of the natural parameters. The first term is zero
    where q is optimal for s, so no digits are lost there.
    """
    m, inverse_scale = mean_and_inverse_scale(q)
    log_det = _log_det(inverse_scale)
    mean = _expectations(q, m, inverse_scale, log_det)
    gap = {name: prior[name] + statistics[name] - q[name] for name in q}
    linear = (
        gap["degrees_of_freedom"] * mean["degrees_of_freedom"]
        + gap["pseudo_count"] * mean["pseudo_count"]
        + np.sum(gap["pseudo_sum"] * mean["pseudo_sum"], axis=-1)
        + np.sum(gap["pseudo_scatter"] * mean["pseudo_scatter"], axis=(-2, -1))
    )
    return linear + _log_normalizer(q, log_det) - log_normalizer(prior)


def dirichlet_expectations(concentration: Array) -> Array:
    """The expected log weights E[log pi], (..., K)."""
    total = np.sum(concentration, axis=-1, keepdims=True)
    return sp.digamma(concentration) - sp.digamma(total)


def dirichlet_log_normalizer(concentration: Array) -> Array:
    """The logarithm of the multivariate Beta function, (...)."""
    total = np.sum(concentration, axis=-1)
    return np.sum(sp.gammaln(concentration), axis=-1) - sp.gammaln(total)


def dirichlet_bound(q: Array, prior: Array, counts: Array) -> Array:
    """E_q[log p(labels | pi)] - KL(q || prior), (...), as in `normal_wishart_bound`."""
    linear = np.sum((prior + counts - q) * dirichlet_expectations(q), axis=-1)
    return linear + dirichlet_log_normalizer(q) - dirichlet_log_normalizer(prior)


def _expectations(naturals: Naturals, m: Array, inverse_scale: Array, log_det: Array) -> Naturals:
    nu, kappa = naturals["degrees_of_freedom"], naturals["pseudo_count"]
    D = m.shape[-1]
    precision = nu[..., None, None] * np.linalg.inv(inverse_scale)
    precision_mean = np.sum(precision * m[..., None, :], axis=-1)
    half_log_det = 0.5 * (
        np.sum(sp.digamma(_half_degrees(nu, D)), axis=-1) + D * math.log(2.0) - log_det
    )
    return {
        "degrees_of_freedom": half_log_det,
        "pseudo_count": -0.5 * (D / kappa + np.sum(precision_mean * m, axis=-1)),
        "pseudo_sum": precision_mean,
        "pseudo_scatter": -0.5 * precision,
    }


def _log_normalizer(naturals: Naturals, log_det: Array) -> Array:
    nu, kappa = naturals["degrees_of_freedom"], naturals["pseudo_count"]
    D = naturals["pseudo_sum"].shape[-1]
    log_gamma = 0.25 * D * (D - 1) * math.log(math.pi) + np.sum(
        sp.gammaln(_half_degrees(nu, D)), axis=-1
    )
    normal = 0.5 * D * (LOG_TWO_PI - np.log(kappa))
    return 0.5 * nu * (D * math.log(2.0) - log_det) + log_gamma + normal


def _half_degrees(nu: Array, D: int) -> Array:
    """(nu + 1 - i)/2 for i = 1, ..., D, on a new last axis."""
    return 0.5 * (nu[..., None] - np.arange(D))


def _log_det(positive_definite: Array) -> Array:
    """log|M| from its Cholesky factor, which exists only if M is positive definite."""
    try:
        L = np.linalg.cholesky(positive_definite)
    except onp.linalg.LinAlgError as error:
        raise NonFiniteError(
            "the scale matrix of a component has lost all its digits: the components are too far "
            "apart for their size; give a larger scatter, or transform the data"
        ) from error
    return 2.0 * np.sum(np.log(np.diagonal(L, axis1=-1, axis2=-2)), axis=-1)
