r"""Objectives: the negative ELBO as a function of parameters and base draws.

.. math:: \mathrm{ELBO}(\lambda) = E_{q_\lambda}[\log \tilde p(z)] + H[q_\lambda]
   = E_{q_\lambda}[\log \tilde p(z) - \log q_\lambda(z)]

with :math:`z = \mu + L\epsilon` (the reparameterisation): :math:`\epsilon` does not
depend on :math:`\lambda`, so the gradient moves inside the expectation. Base draws
are an argument. Both estimators below are unbiased for the ELBO *and* its gradient;
they differ in their noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import vi_lab.numpy as np
from vi_lab.engine import Array, current
from vi_lab.families import LocationScaleGaussian, Params


class Estimator(Protocol):
    """A Monte Carlo estimate of the negative ELBO whose gradient is unbiased."""

    def negative_elbo(
        self,
        structure: Any,
        family: LocationScaleGaussian,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        """-ELBO in nats, a scalar, from base draws ``eps`` (S, D)."""


@dataclass(frozen=True)
class Reparameterised:
    """-ELBO with the entropy in closed form: -mean_s log p~(z_s) - H[q].

    The objective of Kucukelbir et al. (2017). Its gradient is noisy even where q is
    the posterior itself.
    """

    def negative_elbo(
        self,
        structure: Any,
        family: LocationScaleGaussian,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        z = family.transform(params, without_axis_of_one(eps))
        return -(mean_log_density(structure, z, data) + family.entropy(params))


@dataclass(frozen=True)
class StickingTheLanding:
    """-ELBO with a sampled entropy, log q's own parameters held constant.

    -mean_s [log p~(z_s) - log q(z_s; stop(lambda))]: the gradient sees lambda only
    through z. The term left out, the score of q, has expectation zero, so the
    gradient stays unbiased, and it is zero *for every draw* where q is the posterior.

    With lambda held constant, grad_z log q(z) = -L^-T eps, which needs no
    differentiation: the loss is that of a function of z with this gradient.

    Roeder, Wu and Duvenaud (2017), "Sticking the landing".
    """

    def negative_elbo(
        self,
        structure: Any,
        family: LocationScaleGaussian,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        num_draws, eps = eps.shape[0], without_axis_of_one(eps)
        z = family.transform(params, eps)
        fixed = current().stop_gradient(params)
        score = family.scale_solve_transposed(fixed, eps) / -num_draws
        log_q = np.mean(family.log_density_at(fixed, eps))
        path = np.sum(z * score)
        return (path - mean_log_density(structure, z, data)) + (
            log_q - current().stop_gradient(path)
        )


def without_axis_of_one(eps: Array) -> Array:
    """A single base draw (1, D) as (D,): it needs no map over draws, nor a mean."""
    return eps[0] if eps.shape[0] == 1 else eps


def mean_log_density(structure: Any, z: Array, data: dict[str, Array]) -> Array:
    """mean_s log p~(z_s) for ``z`` (S, D), or log p~(z) for a single ``z`` (D,)."""
    if z.ndim == 1:
        return structure.log_density(z, data)
    return np.mean(structure.log_density_batch(z, data))


ESTIMATORS: dict[str, Estimator] = {
    "reparameterised": Reparameterised(),
    "sticking_the_landing": StickingTheLanding(),
}


def get_estimator(estimator: str | Estimator) -> Estimator:
    """An estimator by name, or the estimator itself.

    Raises
    ------
    ValueError
        for an unknown name.
    """
    if not isinstance(estimator, str):
        return estimator
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"estimator: {estimator!r} is none of {sorted(ESTIMATORS)}; choose one of these"
        )
    return ESTIMATORS[estimator]
