"""Transforms to Cholesky factors of covariance and correlation matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.transforms import supports
from vi_lab.transforms.base import Shape, require, split
from vi_lab.transforms.supports import LogSlack

SMALLEST_NORM = 1e-150  # its square is still a normal number


@dataclass(frozen=True)
class CovarianceCholeskyTransform:
    """From z (K(K+1)/2,) to lower triangles (K, K), filled row by row.

    The diagonal is e^z, the rest z. The Jacobian is that of the entries on and
    below the diagonal; log abs det J is the sum of the diagonal's z.
    """

    event_ndim: ClassVar[int] = 2
    unconstrained_event_ndim: ClassVar[int] = 1

    def forward(self, z: Array) -> Array:
        rows, columns = onp.tril_indices(_order(np.shape(z)[-1], 0))
        on_diagonal = rows == columns
        # The inner `where` keeps an overflow of e^z elsewhere out of the derivatives.
        entries = np.where(on_diagonal, sp.positive_exp(np.where(on_diagonal, z, 0.0)), z)
        return _fill(entries, 0)

    def inverse(self, x: Array) -> Array:
        require(supports.CovarianceCholesky().contains(x), self)
        rows, columns = onp.tril_indices(np.shape(x)[-1])
        on_diagonal = rows == columns
        entries = x[..., rows, columns]
        return np.where(on_diagonal, np.log(np.where(on_diagonal, entries, 1.0)), entries)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        k = onp.arange(_order(np.shape(z)[-1], 0))
        return np.sum(z[..., k * (k + 3) // 2], axis=-1)

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack()

    def unconstrained_shape(self, shape: Sequence[int]) -> Shape:
        batch, K = _square(shape)
        return (*batch, K * (K + 1) // 2)

    def constrained_shape(self, shape: Sequence[int]) -> Shape:
        batch, (n,) = split(shape, 1)
        return (*batch, _order(n, 0), _order(n, 0))


@dataclass(frozen=True)
class CorrelationCholeskyTransform:
    r"""From z (K(K-1)/2,) to lower triangles (K, K) with rows of norm 1, row by row.

    Partial correlations c_ij = tanh z_ij, i > j; with h_ij = log(1 - c_ij^2) / 2,

        L_ij = c_ij exp(sum_{k<j} h_ik),    L_ii = exp(sum_{k<i} h_ik).

    (exp(sum_{k<j} h_ik) is the norm of what row i has left before column j.) The
    Jacobian is that of the entries below the diagonal; dc/dz = e^{2h}, hence
    log abs det J = sum_{i>j} (2 h_ij + sum_{k<j} h_ik) = sum_{i>j} (i - j + 1) h_ij.

    c rounds to 1 above abs(z) = 19, but what is left after it is still exact, down to 1e-307
    when the sum of abs(z) over a row is 707; its logarithm (`log_slack`) goes on. `inverse`
    takes what is left after an entry for 0 below 1e-150, since the squares underflow.
    """

    event_ndim: ClassVar[int] = 2
    unconstrained_event_ndim: ClassVar[int] = 1

    def forward(self, z: Array) -> Array:
        # tanh z = s(2z) - s(-2z): derivatives of any order without an overflow of cosh z.
        z = _fill(z, 1)
        c = sp.expit(2.0 * z) - sp.expit(-2.0 * z)
        return (c + onp.eye(c.shape[-1])) * sp.positive_exp(_log_left(z))

    def inverse(self, x: Array) -> Array:
        # sinh z_ij = L_ij / (norm of what row i has after column j): summed from the
        # end, so nothing cancels where c is near 1.
        K = np.shape(x)[-1]
        rows, columns = onp.tril_indices(K, -1)
        after = np.sqrt(np.matmul(x * x, onp.tril(onp.ones((K, K)), -1)))[..., rows, columns]
        inside = supports.CorrelationCholesky().contains(x)
        require(inside & np.all(after > SMALLEST_NORM, axis=-1), self)
        return np.arcsinh(x[..., rows, columns] / after)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        rows, columns = onp.tril_indices(_order(np.shape(z)[-1], 1), -1)
        return np.sum((rows - columns + 1) * _log_sech(z), axis=-1)

    def log_slack(self, z: Array) -> LogSlack:
        left = _log_left(_fill(z, 1))
        k = onp.arange(np.shape(left)[-1])
        return LogSlack(lower=left[..., k, k])

    def unconstrained_shape(self, shape: Sequence[int]) -> Shape:
        batch, K = _square(shape)
        return (*batch, K * (K - 1) // 2)

    def constrained_shape(self, shape: Sequence[int]) -> Shape:
        batch, (n,) = split(shape, 1)
        return (*batch, _order(n, 1), _order(n, 1))


def _log_left(z: Array) -> Array:
    """Log of the norm that is left before each entry, for z in a lower triangle (..., K, K)."""
    earlier_columns = onp.triu(onp.ones(np.shape(z)[-2:]), 1)
    return np.matmul(_log_sech(z), earlier_columns)


def _log_sech(z: Array) -> Array:
    """The h of z: log(1 - tanh(z)^2) / 2, without cosh z."""
    return math.log(2.0) + sp.log_expit(2.0 * z) - z


def _fill(entries: Array, below: int) -> Array:
    """A lower triangle with ``entries`` (..., n) row by row, ``below`` the diagonal or on it.

    Gathered, as the engines share no assignment; index n finds the zero put behind.
    """
    zero = np.zeros((*np.shape(entries)[:-1], 1))
    return np.concatenate([entries, zero], axis=-1)[..., _positions(np.shape(entries)[-1], below)]


@cache
def _positions(n: int, below: int) -> onp.ndarray:
    K = _order(n, below)
    positions = onp.full((K, K), n)
    positions[onp.tril_indices(K, -below)] = onp.arange(n)
    return positions


def _order(n: int, below: int) -> int:
    """K of a triangle with n entries: n = K(K+1)/2, or K(K-1)/2 without its diagonal."""
    side = (math.isqrt(8 * n + 1) - 1) // 2
    if side * (side + 1) // 2 != n:
        raise ArgumentError(f"z: {n} entries fill no triangle; give 1, 3, 6, 10, ...")
    return side + below


def _square(shape: Sequence[int]) -> tuple[Shape, int]:
    batch, (rows, columns) = split(shape, 2)
    if rows != columns:
        raise ArgumentError(f"shape: {tuple(shape)} does not end in a square matrix (K, K)")
    return batch, rows
