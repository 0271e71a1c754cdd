r"""A Gaussian target by coordinates: mean field at its plainest, and without data.

.. math:: p(z) = \mathcal N(z \mid \mu, \Lambda^{-1}), \qquad
   q(z) = \prod_d \mathcal N(z_d \mid m_d, s_d^2).

As a function of :math:`z_d` alone, :math:`\log p` is a parabola, so the optimum of
coordinate d is the conditional distribution at the means of the others (Bishop 2006,
section 10.1.2):

.. math:: s_d^2 = 1/\Lambda_{dd}, \qquad
   m_d = \mu_d - \frac1{\Lambda_{dd}} \sum_{e \ne d} \Lambda_{de}(m_e - \mu_e).

The variances are right (as good as mean field can be) at once; the means are those of
Gauss-Seidel's iteration for :math:`\Lambda(m - \mu) = 0`. At the optimum m = mu, and
:math:`\KL(q\,\|\,p) = \tfrac12(\sum_d\log\Lambda_{dd} - \log\det\Lambda)`, which is minus
the ELBO, as p is normalised.

Natural parameters are taken about mu: ``precision_mean`` is :math:`(m_d - \mu_d)/s_d^2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as onp

import vi_lab.numpy as np
from vi_lab.arrays import as_finite
from vi_lab.conjugate.model import ConjugateModel, Params, Statistics, check_params, only_method
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class GaussianTarget(ConjugateModel):
    """z ~ Normal(mean, inverse of precision); a block of q, ``"z[d]"``, for each coordinate.

    Attributes
    ----------
    mean : (D,)
    precision : (D, D), symmetric and positive definite

    Raises
    ------
    TypeError, ValueError
        if the shapes do not fit, or ``precision`` is not symmetric and positive definite.
    """

    has_rows: ClassVar[bool] = False

    mean: Array
    precision: Array

    def __post_init__(self) -> None:
        mean = onp.array(as_finite("mean", self.mean))
        precision = onp.array(as_finite("precision", self.precision))
        if mean.ndim != 1 or mean.size == 0:
            raise ArgumentError(f"mean: must have the shape (D,), not {mean.shape}")
        if precision.shape != (mean.size, mean.size):
            raise ArgumentError(
                f"precision: must have the shape {(mean.size, mean.size)}, as mean has, "
                f"not {precision.shape}"
            )
        if not onp.allclose(precision, precision.T) or onp.linalg.eigvalsh(precision)[0] <= 0.0:
            raise ArgumentError(
                "precision: must be symmetric and positive definite; give the inverse of a "
                "covariance matrix"
            )
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "precision", precision)

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(f"z[{d}]" for d in range(self.mean.size))

    def natural(self, mean: Array, variance: Array) -> Params:
        """Parameters of the q with these means and variances, each (..., D).

        Raises
        ------
        TypeError, ValueError
            if they are not finite, of other shapes, or a variance is not positive.
        """
        mean, variance = as_finite("mean", mean), as_finite("variance", variance)
        if mean.shape[-1:] != self.mean.shape:
            raise ArgumentError(f"mean: must have the shape (..., {self.mean.size})")
        if variance.shape not in ((), mean.shape[-1:], mean.shape) or not (variance > 0.0).all():
            raise ArgumentError("variance: must be positive, a number or of the shape of mean")
        offset = mean - self.mean
        precision = onp.broadcast_to(1.0 / variance, offset.shape)
        return {
            block: {
                "precision_mean": precision[..., d] * offset[..., d],
                "precision": onp.array(precision[..., d]),
            }
            for d, block in enumerate(self.blocks)
        }

    def moments(self, params: Params) -> tuple[onp.ndarray, onp.ndarray]:
        """Means and variances of q, each (..., D)."""
        check_params(self, params)
        offset, variance = self._offset_variance(params)
        return self.mean + offset, variance

    def check(self, rows: Any) -> onp.ndarray:
        raise ArgumentError("rows: a Gaussian target has no data")

    def prepare(self, rows: onp.ndarray, num_rows: int) -> Self:
        return self

    def init(
        self,
        rows: onp.ndarray,
        rng: onp.random.Generator,
        *,
        starts: int = 1,
        method: str | None = None,
    ) -> Params:
        """Means are drawn from the target, and variances are 1."""
        only_method(method, "target")
        scale = onp.linalg.cholesky(onp.linalg.inv(self.precision))
        means = self.mean + rng.standard_normal((starts, self.mean.size)) @ scale.T
        return self.natural(means, onp.ones_like(means))

    def statistics(self, params: Params, rows: onp.ndarray) -> Statistics:
        return {"count": onp.zeros(())}

    def optimum(self, block: str, params: Params, statistics: Statistics) -> dict[str, Array]:
        d = self.blocks.index(block)
        offset, _ = self._offset_variance(params)
        others = onp.where(onp.arange(self.mean.size) == d, 0.0, self.precision[d])
        return {
            "precision_mean": -(offset @ others),
            "precision": onp.full(offset.shape[:-1], self.precision[d, d]),
        }

    def elbo(self, params: Params, statistics: Statistics) -> Array:
        offset, variance = self._offset_variance(params)
        half_log_det = 0.5 * float(onp.linalg.slogdet(self.precision)[1])
        quadratic = np.sum((offset @ self.precision) * offset, axis=-1)
        spread = np.sum(onp.diag(self.precision) * variance - np.log(variance) - 1.0, axis=-1)
        return half_log_det - 0.5 * (quadratic + spread)

    def sample(
        self, params: Params, num_draws: int, rng: onp.random.Generator
    ) -> dict[str, onp.ndarray]:
        mean, variance = self.moments(params)
        noise = rng.standard_normal((num_draws, self.mean.size))
        return {"z": mean + noise * onp.sqrt(variance)}

    def predictive(
        self,
        params: Params,
        num_draws: int,
        rng: onp.random.Generator,
        covariates: Array | None = None,
    ) -> onp.ndarray:
        raise ArgumentError("model: a Gaussian target has no data, so nothing can be predicted")

    def _offset_variance(self, params: Params) -> tuple[Array, Array]:
        """Means less mu, and variances, (..., D)."""
        pairs = [params[block] for block in self.blocks]
        precision = np.stack([pair["precision"] for pair in pairs], axis=-1)
        precision_mean = np.stack([pair["precision_mean"] for pair in pairs], axis=-1)
        return precision_mean / precision, 1.0 / precision
