r"""Variational families: Gaussians on R^D, as location and scale.

.. math:: z = \mu + L \epsilon, \qquad \epsilon \sim \mathcal N(0, I),
   \qquad q(z) = \mathcal N(z \mid \mu, L L^\top).

The two families differ in the scale L alone:

* mean field: :math:`L = \mathrm{diag}(\sigma)`, D scales;
* full rank: :math:`L = \mathrm{diag}(\sigma)\, T` with T lower triangular and ones
  on its diagonal. The diagonal of L is positive, and the entries of T are free of
  units: a step of a given size means the same for a latent in grams or tonnes.

Parameters are a dictionary: ``loc`` (D,), ``log_scale`` (D,) = log sigma and, for
full rank, ``lower`` (D, D), of which only the part below the diagonal counts.

See Kucukelbir et al. (2017), "Automatic differentiation variational inference",
Journal of Machine Learning Research 18, section 2.4.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.engine import Array

Params = dict[str, Any]
LOG_TWO_PI = float(onp.log(2.0 * onp.pi))


@dataclass(frozen=True)
class LocationScaleGaussian(ABC):
    """q(z) = N(z | mu, L L'); a subclass says what L is."""

    @abstractmethod
    def init(self, loc: Array, scale: float) -> Params:
        """Parameters of N(loc, scale^2 I), for ``loc`` (D,)."""

    @abstractmethod
    def scale_times(self, params: Params, eps: Array) -> Array:
        """L eps, for ``eps`` (..., D)."""

    @abstractmethod
    def scale_solve(self, params: Params, residual: Array) -> Array:
        """L^-1 residual, for ``residual`` (D,) or (S, D)."""

    @abstractmethod
    def scale_solve_transposed(self, params: Params, eps: Array) -> Array:
        """L^-T eps, for ``eps`` (D,) or (S, D)."""

    @abstractmethod
    def scale_tril(self, params: Params) -> Array:
        """L, of shape (D, D)."""

    def transform(self, params: Params, eps: Array) -> Array:
        """z = mu + L eps, for ``eps`` (..., D)."""
        return params["loc"] + self.scale_times(params, eps)

    def entropy(self, params: Params) -> Array:
        """H[q] = sum_d log sigma_d + D/2 (1 + log 2 pi), in nats."""
        dim = np.shape(params["loc"])[0]
        return np.sum(params["log_scale"]) + 0.5 * dim * (1.0 + LOG_TWO_PI)

    def log_density(self, params: Params, z: Array) -> Array:
        """log q(z) of shape (...), for ``z`` (D,) or (S, D)."""
        return self.log_density_at(params, self.scale_solve(params, z - params["loc"]))

    def log_density_at(self, params: Params, eps: Array) -> Array:
        """log q(mu + L eps) of shape (...), for ``eps`` (..., D)."""
        dim = np.shape(params["loc"])[0]
        quadratic = -0.5 * np.sum(eps**2, axis=-1)
        return quadratic - np.sum(params["log_scale"]) - 0.5 * dim * LOG_TWO_PI

    def std(self, params: Params) -> onp.ndarray:
        """Marginal standard deviations of z, (D,)."""
        return onp.sqrt(onp.sum(onp.asarray(self.scale_tril(params)) ** 2, axis=1))

    def covariance(self, params: Params) -> onp.ndarray:
        """L L', (D, D)."""
        scale = onp.asarray(self.scale_tril(params))
        return onp.asarray(scale @ scale.T)


@dataclass(frozen=True)
class MeanFieldGaussian(LocationScaleGaussian):
    """Independent normals: L = diag(sigma)."""

    def init(self, loc: Array, scale: float) -> Params:
        loc = onp.array(loc, dtype=float)
        return {"loc": loc, "log_scale": onp.full(loc.shape, onp.log(scale))}

    def scale_times(self, params: Params, eps: Array) -> Array:
        return np.exp(params["log_scale"]) * eps

    def scale_solve(self, params: Params, residual: Array) -> Array:
        return residual * np.exp(-params["log_scale"])

    def scale_solve_transposed(self, params: Params, eps: Array) -> Array:
        return self.scale_solve(params, eps)

    def scale_tril(self, params: Params) -> Array:
        return np.diag(np.exp(params["log_scale"]))


@dataclass(frozen=True)
class FullRankGaussian(LocationScaleGaussian):
    """Correlated normals: L = diag(sigma) T, T unit lower triangular."""

    def init(self, loc: Array, scale: float) -> Params:
        loc = onp.array(loc, dtype=float)
        (dim,) = loc.shape
        return {
            "loc": loc,
            "log_scale": onp.full(dim, onp.log(scale)),
            "lower": onp.zeros((dim, dim)),
        }

    def scale_times(self, params: Params, eps: Array) -> Array:
        correlated = eps + np.dot(eps, np.tril(params["lower"], -1).T)
        return np.exp(params["log_scale"]) * correlated

    def scale_solve(self, params: Params, residual: Array) -> Array:
        standardised = residual * np.exp(-params["log_scale"])
        return sp.solve_triangular(self._unit(params), standardised.T).T

    def scale_solve_transposed(self, params: Params, eps: Array) -> Array:
        solved = sp.solve_triangular(self._unit(params), eps.T, trans=1).T
        return solved * np.exp(-params["log_scale"])

    def scale_tril(self, params: Params) -> Array:
        return np.exp(params["log_scale"])[:, None] * self._unit(params)

    def _unit(self, params: Params) -> Array:
        """T, with ones on its diagonal."""
        return np.tril(params["lower"], -1) + onp.eye(np.shape(params["loc"])[0])


FAMILIES: dict[str, LocationScaleGaussian] = {
    "mean_field": MeanFieldGaussian(),
    "full_rank": FullRankGaussian(),
}


def get_family(family: str | LocationScaleGaussian) -> LocationScaleGaussian:
    """A family by name, or the family itself.

    Raises
    ------
    ValueError
        for an unknown name.
    """
    if isinstance(family, LocationScaleGaussian):
        return family
    if family not in FAMILIES:
        raise ValueError(f"family: {family!r} is none of {sorted(FAMILIES)}; choose one of these")
    return FAMILIES[family]
