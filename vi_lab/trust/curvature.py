r"""The posterior's covariance as q sees it: from draws of q, and the gradients there.

With z = mu + L epsilon and u = L' grad log p~(z), Stein's identity gives

.. math:: A = -E[\epsilon u^\top] = L^\top E_q[-\nabla^2 \log\tilde p]\, L,

and L A^{-1} L' is the covariance of the Gaussian that has this curvature: the posterior's, if that
is Gaussian, however wrong the scales of q. Draws are in pairs, :math:`\pm\epsilon`, and A is that
of the least-squares line of what is odd in u on epsilon: exact for a Gaussian posterior. Opper and
Archambeau (2009), "The variational Gaussian approximation revisited", equation 2.5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

from vi_lab.families import Family, Params

DENSE_DIM = 300  # beyond it L and A are diagonal
DRAWS_A_DIMENSION = 4
FLATTEST = 1e-6  # a curvature, in units of q


@dataclass(frozen=True, eq=False)
class White:
    """Coordinates in which q is a standard normal: z = loc + L epsilon.

    Attributes
    ----------
    loc : (D,)
    scale : L, (D, D); or the standard deviations (D,), which leave correlations out
    """

    loc: onp.ndarray
    scale: onp.ndarray

    def times(self, v: onp.ndarray) -> onp.ndarray:
        """L v (..., D), for ``v`` (..., D)."""
        return v * self.scale if self.scale.ndim == 1 else v @ self.scale.T

    def transposed(self, gradients: onp.ndarray) -> onp.ndarray:
        """L' g (..., D), for ``gradients`` (..., D)."""
        return gradients * self.scale if self.scale.ndim == 1 else gradients @ self.scale

    def scaled(self, right: onp.ndarray) -> White:
        """With L ``right`` for L."""
        if self.scale.ndim == 1 and right.ndim == 1:
            return White(self.loc, self.scale * right)
        left = onp.diag(self.scale) if self.scale.ndim == 1 else self.scale
        return White(self.loc, left @ right)


def white(family: Family, params: Params) -> White:
    """The coordinates of q."""
    loc = onp.asarray(params["loc"])
    if loc.size > DENSE_DIM:
        return White(loc, onp.asarray(family.std(params)))
    return White(loc, onp.linalg.cholesky(family.covariance(params)))


def pairs(rng: onp.random.Generator, num: int, dim: int) -> onp.ndarray:
    """Standard normal draws (num, dim), the second half minus the first."""
    half = rng.standard_normal((-(-num // 2), dim))
    return onp.concatenate([half, -half])


def draws_for_line(dim: int, least: int) -> int:
    """How many draws a line takes; none is fitted beyond `DENSE_DIM`."""
    return max(least, DRAWS_A_DIMENSION * (dim + 2)) if dim <= DENSE_DIM else least


def bent(q: White, z: onp.ndarray, gradients: onp.ndarray) -> White:
    """Coordinates in which the posterior, as q sees it, has the covariance I.

    ``z`` (S, D) are draws of q in pairs, with their ``gradients`` (S, D); a curvature that does not
    exceed twice its own noise counts as that.
    """
    n = len(z) // 2  # of a pair, what is odd in epsilon: half the difference
    u = q.transposed(0.5 * (gradients[:n] - gradients[n:]))
    away = 0.5 * (z[:n] - z[n:])
    if q.scale.ndim == 1:
        eps = away / q.scale
        slope = -(eps * u).mean(axis=0) / (eps**2).mean(axis=0)
        noise = (eps * (u + slope * eps)).std(axis=0) / n**0.5
        return q.scaled(onp.maximum(onp.maximum(slope, 2.0 * noise), FLATTEST) ** -0.5)
    eps = onp.linalg.solve(q.scale, away.T).T
    line = onp.linalg.lstsq(eps, -u, rcond=None)[0]
    w, V = onp.linalg.eigh(0.5 * (line + line.T))
    rest = (u + eps @ line) @ V
    noise = (rest * (eps @ V)).std(axis=0) / n**0.5
    w = onp.maximum(onp.maximum(w, 2.0 * noise), FLATTEST)
    return q.scaled(V * w**-0.5)
