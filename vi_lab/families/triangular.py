"""Mean field and full rank: the families whose scale L is a square lower triangle."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.engine import Array
from vi_lab.families.base import (
    LocationScaleGaussian,
    Params,
    dimension,
    entropy_of,
    log_normal,
    refuse,
)
from vi_lab.families.low_rank import LowRankGaussian


class TriangularGaussian(LocationScaleGaussian):
    """L is lower triangular with diagonal sigma, so log det L = sum_d log sigma_d."""

    @abstractmethod
    def scale_solve(self, params: Params, residual: Array) -> Array:
        """L^-1 residual, for ``residual`` (D,) or (S, D)."""

    @abstractmethod
    def scale_solve_transposed(self, params: Params, eps: Array) -> Array:
        """L^-T eps, for ``eps`` (D,) or (S, D)."""

    @abstractmethod
    def scale_tril(self, params: Params) -> Array:
        """L, of shape (D, D)."""

    def log_density(self, params: Params, z: Array) -> Array:
        return self.log_density_at(params, self.scale_solve(params, z - params["loc"]))

    def log_density_at(self, params: Params, eps: Array) -> Array:
        quadratic = np.sum(eps**2, axis=-1)
        return log_normal(quadratic, np.sum(params["log_scale"]), dimension(params))

    def log_density_and_score(self, params: Params, eps: Array) -> tuple[Array, Array]:
        """grad_z log q(mu + L eps) = -L^-T eps: no differentiation needed."""
        return self.log_density_at(params, eps), -self.scale_solve_transposed(params, eps)

    def entropy(self, params: Params) -> Array:
        return entropy_of(np.sum(params["log_scale"]), dimension(params))

    def std(self, params: Params) -> onp.ndarray:
        return onp.sqrt(onp.sum(onp.asarray(self.scale_tril(params)) ** 2, axis=1))

    def covariance(self, params: Params) -> onp.ndarray:
        scale = onp.asarray(self.scale_tril(params))
        return onp.asarray(scale @ scale.T)


@dataclass(frozen=True)
class MeanFieldGaussian(TriangularGaussian):
    """Independent normals: L = diag(sigma)."""

    def init(self, loc: Array, scale: float) -> Params:
        loc = onp.array(loc, dtype=float)
        return {"loc": loc, "log_scale": onp.full(loc.shape, onp.log(scale))}

    def init_from(self, params: Params) -> Params:
        if params.keys() != {"loc", "log_scale"}:
            refuse(params, "mean_field", "a mean_field fit")
        return {name: onp.array(value, dtype=float) for name, value in params.items()}

    def scale_times(self, params: Params, eps: Array) -> Array:
        return np.exp(params["log_scale"]) * eps

    def scale_solve(self, params: Params, residual: Array) -> Array:
        return residual * np.exp(-params["log_scale"])

    def scale_solve_transposed(self, params: Params, eps: Array) -> Array:
        return self.scale_solve(params, eps)

    def scale_tril(self, params: Params) -> Array:
        return np.diag(np.exp(params["log_scale"]))


@dataclass(frozen=True)
class FullRankGaussian(TriangularGaussian):
    """Correlated normals: L = diag(sigma) T, T unit lower triangular.

    With an optimiser of your own, mind that a step of gamma in all entries of a row of T
    is one of gamma sqrt(D) in the row. At D = 500 Adam with a step size of 0.05 or 0.01
    blows up, and with 0.05 / sqrt(D) the loss falls steadily.
    """

    def init(self, loc: Array, scale: float) -> Params:
        loc = onp.array(loc, dtype=float)
        (dim,) = loc.shape
        return {
            "loc": loc,
            "log_scale": onp.full(dim, onp.log(scale)),
            "lower": onp.zeros((dim, dim)),
        }

    def init_from(self, params: Params) -> Params:
        """From mean field exactly; from low rank exactly, by one Cholesky factorisation."""
        loc = onp.array(params["loc"], dtype=float)
        if "factors" in params:
            scale = onp.linalg.cholesky(LowRankGaussian().covariance(params))
            sigma = onp.diag(scale)
            lower = onp.tril(scale / sigma[:, None], -1)
            return {"loc": loc, "log_scale": onp.log(sigma), "lower": lower}
        lower = onp.array(params.get("lower", onp.zeros((loc.size, loc.size))), dtype=float)
        return {"loc": loc, "log_scale": onp.array(params["log_scale"], float), "lower": lower}

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
        return np.tril(params["lower"], -1) + onp.eye(dimension(params))
