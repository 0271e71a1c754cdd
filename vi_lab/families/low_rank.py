r"""Low rank plus diagonal: correlations along a few directions, in thousands of dimensions.

.. math:: z = \mu + \sigma \odot (\epsilon + W \eta), \qquad
   \epsilon \sim \mathcal N(0, I_D), \quad \eta \sim \mathcal N(0, I_r)

so that :math:`q(z) = \mathcal N(z \mid \mu, \Sigma)` with

.. math:: \Sigma = \mathrm{diag}(\sigma)\,(I_D + W W^\top)\,\mathrm{diag}(\sigma)
   = \mathrm{diag}(\sigma^2) + B B^\top, \qquad B = \mathrm{diag}(\sigma)\, W .

W is (D, r) and free of units, as T of the full-rank family is. A draw costs O(Dr) and
needs D + r base draws: L = diag(sigma) [I, W] is (D, D + r). With the small matrix
:math:`M = I_r + W^\top W` (r, r), the matrix determinant lemma and the Woodbury
identity give

.. math:: \log\det\Sigma = 2\sum_d \log\sigma_d + \log\det M, \qquad
   (I_D + WW^\top)^{-1} y = y - W M^{-1} W^\top y .

At :math:`y = \epsilon + W\eta` the last one is :math:`u = \epsilon - W M^{-1}
(W^\top\epsilon - \eta)`, because :math:`W^\top W \eta = M\eta - \eta`: the part of y
along W, which may be large, never has to cancel. The score of q there is
:math:`-u / \sigma`. Nor does the exponent of q, as the sum of squares of the least y = u + W c:

.. math:: y^\top (I_D + WW^\top)^{-1} y = |u|^2 + |c|^2, \qquad c = M^{-1} W^\top y, \quad
   u = y - W c.

The ELBO depends on W through :math:`W W^\top` alone, so W = 0 is a saddle where the
gradient vanishes; `init` starts beside it.

Ong, Nott and Smith (2018), "Gaussian variational approximation with a factor
covariance structure".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.checks import check_whole
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.families.base import (
    LocationScaleGaussian,
    Params,
    check_mean_field,
    dimension,
    entropy_of,
    log_normal,
)
from vi_lab.families.charts import FullRankChart

INITIAL_NORM = 0.1  # of the rows of W, roughly: 1% of the variance


@dataclass(frozen=True)
class LowRankGaussian(LocationScaleGaussian):
    """N(mu, diag(sigma^2) + B B'), B = diag(sigma) W of rank r.

    Parameters (of q): ``loc`` (D,), ``log_scale`` (D,) = log sigma, ``factors`` (D, r) = W.

    Attributes
    ----------
    rank : r; in fewer dimensions than r there are only D factors. The default, 10, costs
        ten multiplications a coordinate and draw, which few log densities do with less,
        and is more directions than a hierarchical model usually has strong ones

    Raises
    ------
    ValueError
        if ``rank`` is not a whole number, 1 or more.
    """

    rank: int = 10

    def __post_init__(self) -> None:
        check_whole("rank", self.rank, least=1)

    def base_dim(self, dim: int) -> int:
        return dim + min(self.rank, dim)

    def init(self, loc: Array, scale: float) -> Params:
        loc = onp.array(loc, dtype=float)
        return self.init_from({"loc": loc, "log_scale": onp.full(loc.shape, onp.log(scale))})

    def num_parameters(self, dim: int) -> int:
        """Those of full rank, if there are not fewer."""
        return min(dim * (2 + min(self.rank, dim)), dim + dim * (dim + 1) // 2)

    def chart(self, params: Params) -> FullRankChart | None:
        """In at most r + 1 dimensions every Gaussian is in the family: it moves as full rank.

        Elsewhere nothing is known but ``retract``.
        """
        if not self._is_full(params):
            return None
        return FullRankChart(onp.array(params["loc"]), onp.linalg.cholesky(self.covariance(params)))

    def init_from(self, params: Params) -> Params:
        """From mean field or fewer factors: the same means and sds, and small new factors.

        From full rank in at most r + 1 dimensions: the same q.
        """
        if "lower" in params and self._is_full(params):
            return self._of_full_rank(params)
        known = onp.asarray(params.get("factors", onp.zeros((dimension(params), 0))), dtype=float)
        check_mean_field({name: v for name, v in params.items() if name != "factors"}, "low_rank")
        loc = onp.array(params["loc"], dtype=float)
        new = min(self.rank, loc.size) - known.shape[1]
        if new < 0:
            raise ArgumentError(
                f"params: of rank {known.shape[1]} are not those of a simpler family than "
                f"low_rank of rank {self.rank}; give LowRankGaussian({known.shape[1]}), or more"
            )
        log_scale = onp.array(onp.broadcast_to(params["log_scale"], loc.shape), dtype=float)
        if not new:
            return {"loc": loc, "log_scale": log_scale, "factors": known.copy()}
        # Any directions would do, if they are not along the axes; these are always the same.
        factors = onp.random.default_rng(0).standard_normal((loc.size, new))
        factors *= INITIAL_NORM / new**0.5
        rows = 1.0 + onp.sum(known**2, axis=1)
        log_scale -= 0.5 * onp.log1p(onp.sum(factors**2, axis=1) / rows)
        return {"loc": loc, "log_scale": log_scale, "factors": onp.hstack([known, factors])}

    def _is_full(self, params: Params) -> bool:
        return dimension(params) <= self.rank + 1

    def _of_full_rank(self, params: Params) -> Params:
        """sigma^2 is the smallest eigenvalue's share of the variances; B B' has rank D - 1."""
        sigma = onp.exp(onp.asarray(params["log_scale"], dtype=float))
        unit = onp.tril(onp.asarray(params["lower"], dtype=float), -1) + onp.eye(sigma.size)
        sd = sigma * onp.sqrt(onp.sum(unit**2, axis=1))
        correlation = (sigma / sd)[:, None] * (unit @ unit.T) * (sigma / sd)
        w, V = onp.linalg.eigh(correlation)
        factors = onp.zeros((sd.size, min(self.rank, sd.size)))
        factors[:, : sd.size - 1] = V[:, 1:] * onp.sqrt(w[1:] / w[0] - 1.0)
        return {
            "loc": onp.array(params["loc"], dtype=float),
            "log_scale": onp.log(sd) + 0.5 * onp.log(w[0]),
            "factors": factors,
        }

    def scale_times(self, params: Params, eps: Array) -> Array:
        own, common = _split(params, eps)
        return np.exp(params["log_scale"]) * (own + np.dot(common, params["factors"].T))

    def log_density(self, params: Params, z: Array) -> Array:
        y = (z - params["loc"]) * np.exp(-params["log_scale"])
        root = _root(params)
        common = _solve(root, np.dot(y, params["factors"]))
        own = y - np.dot(common, params["factors"].T)
        return log_normal(_norm(own, common), _log_det_scale(params, root), dimension(params))

    def log_density_and_score(self, params: Params, eps: Array) -> tuple[Array, Array]:
        factors, root = params["factors"], _root(params)
        own, common = _split(params, eps)
        change = _solve(root, np.dot(own, factors) - common)  # from eta to c
        u = own - np.dot(change, factors.T)
        squares = _norm(u, common + change)
        log_q = log_normal(squares, _log_det_scale(params, root), dimension(params))
        return log_q, -u * np.exp(-params["log_scale"])

    def entropy(self, params: Params) -> Array:
        return entropy_of(_log_det_scale(params, _root(params)), dimension(params))

    def std(self, params: Params) -> onp.ndarray:
        rows = 1.0 + onp.sum(onp.asarray(params["factors"]) ** 2, axis=1)
        return onp.asarray(onp.exp(params["log_scale"]) * onp.sqrt(rows))

    def covariance(self, params: Params) -> onp.ndarray:
        sigma = onp.exp(onp.asarray(params["log_scale"]))
        common = sigma[:, None] * onp.asarray(params["factors"])
        return onp.asarray(onp.diag(sigma**2) + common @ common.T)


def _split(params: Params, eps: Array) -> tuple[Array, Array]:
    """Epsilon (..., D), each coordinate's own, and eta (..., r), common to all."""
    dim = dimension(params)
    return eps[..., :dim], eps[..., dim:]


def _root(params: Params) -> Array:
    """The Cholesky factor C of M = I + W' W, (r, r)."""
    factors = params["factors"]
    return np.linalg.cholesky(onp.eye(np.shape(factors)[1]) + np.dot(factors.T, factors))


def _solve(root: Array, v: Array) -> Array:
    """M^-1 v = C^-T C^-1 v, for ``v`` (r,) or (S, r)."""
    return sp.solve_triangular(root, sp.solve_triangular(root, v.T), trans=1).T


def _norm(own: Array, common: Array) -> Array:
    """The sum of squares of ``own`` (..., D) and ``common`` (..., r)."""
    return np.sum(np.square(own), axis=-1) + np.sum(np.square(common), axis=-1)


def _log_det_scale(params: Params, root: Array) -> Array:
    """log det(Sigma) / 2."""
    return np.sum(params["log_scale"]) + np.sum(np.log(np.diag(root)))
