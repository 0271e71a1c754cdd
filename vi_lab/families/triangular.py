r"""Mean field and full rank: the families whose scale L is a square lower triangle.

**Natural coordinates** (`vi_lab.optimizers.natural_gradient`):

============  ============================================  =================================
family        tangent of the gradient                       the step d leads to
============  ============================================  =================================
mean field    loc: :math:`\sigma \nabla_\mu`,               :math:`\mu + \sigma d_\mu`,
              log_scale: :math:`\tfrac12\nabla_\omega`       :math:`\omega + d_\omega`
full rank     loc: :math:`L^\top \nabla_\mu`,               :math:`\mu + L d_\mu`,
              scale: :math:`\Phi(L^\top \nabla_L)`          :math:`L\,\exp_\triangle(d_L)`
============  ============================================  =================================

Phi takes the lower triangle and halves its diagonal; :math:`\exp_\triangle` takes a
lower triangle D to itself off the diagonal and to exp(D_ii) on it, so that the
diagonal of L stays positive.

In those of full rank a descent is invariant: if the posterior's coordinates are changed by
:math:`z \to A z + b` with A lower triangular (other units, a regression of each on those
before it), the same draws give the same steps. How narrow its ridges are is no issue.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.engine import Array, Tree
from vi_lab.families.base import (
    LocationScaleGaussian,
    Params,
    check_mean_field,
    dimension,
    entropy_of,
    log_normal,
)
from vi_lab.families.charts import FullRankChart, MeanFieldChart
from vi_lab.families.low_rank import LowRankGaussian

DIMS_PER_DRAW = 8  # of a full-rank step


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

    def scale_times(self, params: Params, eps: Array) -> Array:
        return np.exp(params["log_scale"]) * eps

    def scale_solve(self, params: Params, residual: Array) -> Array:
        return residual * np.exp(-params["log_scale"])

    def scale_solve_transposed(self, params: Params, eps: Array) -> Array:
        return self.scale_solve(params, eps)

    def scale_tril(self, params: Params) -> Array:
        return np.diag(np.exp(params["log_scale"]))

    def chart(self, params: Params) -> MeanFieldChart:
        return MeanFieldChart(onp.array(params["loc"]), onp.exp(params["log_scale"]))


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
        if "factors" in params:
            return self.of_gaussian(
                params["loc"], onp.linalg.cholesky(LowRankGaussian().covariance(params))
            )
        if "lower" not in params:
            check_mean_field(params, "full_rank")
        loc = onp.array(params["loc"], dtype=float)
        log_scale = onp.array(onp.broadcast_to(params["log_scale"], loc.shape), dtype=float)
        lower = onp.array(params.get("lower", onp.zeros((loc.size, loc.size))), dtype=float)
        return {"loc": loc, "log_scale": log_scale, "lower": lower}

    def of_gaussian(self, loc: Array, scale: Array) -> Params:
        """Parameters of N(loc, L L'), for L = ``scale`` (D, D), a lower triangle."""
        sigma = onp.diag(scale)
        lower = onp.tril(scale / sigma[:, None], -1)
        return {"loc": onp.array(loc, dtype=float), "log_scale": onp.log(sigma), "lower": lower}

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

    # ------------------------------------------------------------ how a fit moves in it
    def num_parameters(self, dim: int) -> int:
        return dim + dim * (dim + 1) // 2

    def default_draws(self, dim: int) -> int:
        """One for every 8 dimensions: the draws of a step share its D^3 operations."""
        return max(1, dim // DIMS_PER_DRAW)

    def chart(self, params: Params) -> FullRankChart:
        return FullRankChart(onp.array(params["loc"]), onp.asarray(self.scale_tril(params)))

    def zero_tangent(self, params: Params) -> Tree:
        dim = dimension(params)
        return {"loc": onp.zeros(dim), "scale": onp.zeros((dim, dim))}

    def tangent(self, params: Params, gradient: Params) -> Tree:
        r"""Locations in units of L; L itself by what multiplies it from the right.

        The parameters are sigma and T, with L = diag(sigma) T. By the chain rule the
        gradient with respect to L is G with

        .. math:: G_{ij} = \nabla_{T_{ij}} / \sigma_i \; (i > j), \qquad
           G_{ii} = \bigl(\nabla_{\omega_i} - \textstyle\sum_{j<i} L_{ij} G_{ij}\bigr)
           / \sigma_i .
        """
        sigma, scale = self._sigma_and_scale(params)
        below = np.tril(gradient["lower"], -1) / sigma[:, None]
        on = (gradient["log_scale"] - np.sum(np.tril(scale, -1) * below, axis=1)) / sigma
        triangle = np.tril(np.dot(scale.T, below + np.diag(on)))
        return {
            "loc": np.dot(scale.T, gradient["loc"]),
            "scale": triangle - 0.5 * np.diag(np.diag(triangle)),
        }

    def retract(self, params: Params, step: Tree) -> Params:
        sigma, scale = self._sigma_and_scale(params)
        on = np.diag(step["scale"])
        moved = np.dot(scale, np.tril(step["scale"], -1) + np.diag(np.exp(on)))
        return {
            "loc": params["loc"] + np.dot(scale, step["loc"]),
            "log_scale": params["log_scale"] + on,
            "lower": np.tril(moved, -1) / (sigma * np.exp(on))[:, None],
        }

    def _sigma_and_scale(self, params: Params) -> tuple[Array, Array]:
        """sigma (D,) and L = diag(sigma) T (D, D)."""
        sigma = np.exp(params["log_scale"])
        unit = np.tril(params["lower"], -1) + np.diag(np.ones(np.shape(sigma)))
        return sigma, sigma[:, None] * unit
