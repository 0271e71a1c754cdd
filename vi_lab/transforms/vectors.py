"""Transforms to vectors: ordered ones, and the simplex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.engine import Array
from vi_lab.engine.floats import EPSILON
from vi_lab.errors import ArgumentError
from vi_lab.transforms import supports
from vi_lab.transforms.base import KeepsShape, Shape, at_least, require, split
from vi_lab.transforms.supports import LogSlack


class _Vector(KeepsShape):
    event_ndim: ClassVar[int] = 1
    unconstrained_event_ndim: ClassVar[int] = 1


@dataclass(frozen=True)
class OrderedTransform(_Vector):
    """x_1 = z_1, x_k = x_{k-1} + e^{z_k}; log abs det J = sum_{k>1} z_k.

    Where e^{z_k} would be lost in the sum, x_k is the next number that is safely larger.
    """

    def forward(self, z: Array) -> Array:
        is_first = onp.arange(np.shape(z)[-1]) == 0
        # The inner `where` keeps an overflow of e^{z_1} out of the derivatives.
        steps = np.where(is_first, z, np.exp(np.where(is_first, 0.0, z)))
        return np.cumsum(np.where(is_first, steps, _not_lost(steps)), axis=-1)

    def inverse(self, x: Array) -> Array:
        require(supports.Ordered().contains(x), self)
        gaps = x[..., 1:] - x[..., :-1]
        return np.concatenate([x[..., :1], np.log(gaps)], axis=-1)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return np.sum(z[..., 1:], axis=-1)

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack()


@dataclass(frozen=True)
class PositiveOrderedTransform(_Vector):
    """x_1 = e^{z_1}, x_k = x_{k-1} + e^{z_k}; log abs det J = sum_k z_k.

    Where e^{z_k} would be lost in the sum, x_k is the next number that is safely larger.
    """

    def forward(self, z: Array) -> Array:
        return np.cumsum(_not_lost(sp.positive_exp(z)), axis=-1)

    def inverse(self, x: Array) -> Array:
        require(supports.PositiveOrdered().contains(x), self)
        gaps = x[..., 1:] - x[..., :-1]
        return np.log(np.concatenate([x[..., :1], gaps], axis=-1))

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return np.sum(z, axis=-1)

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack()


def _not_lost(steps: Array) -> Array:
    """``steps`` (..., K), each at least so large that a cumulative sum tells it from nothing.

    A sum of K numbers, in whatever order an engine adds them, is off by at most
    eps log2(K) times the sum of their magnitudes.
    """
    rounding = EPSILON * (2 + np.shape(steps)[-1].bit_length())
    magnitudes = np.where(steps < 0.0, -steps, steps)  # abs, without its second derivative x / x^2
    return at_least(steps, rounding * np.cumsum(magnitudes, axis=-1))


@dataclass(frozen=True)
class StickBreaking:
    """From z (K-1,) to the simplex (K,): break x_k off what is left of a stick.

    x_k = s(u_k) (1 - sum_{j<k} x_j) for k < K, and x_K is the rest. The shift
    u_k = z_k - log(K - k) takes z = 0 to the uniform simplex. In logarithms, with
    b_k = log s(-u_k) the log share that is left, log s(u_k) = u_k + b_k and

        log x_k = u_k + sum_{j<=k} b_j,    log x_K = sum_{j<K} b_j.

    The Jacobian is that of the first K-1 entries; log abs det J = sum_{k<=K} log x_k.
    No entry of x is below 1e-307, or e^-707; their logarithms (`log_slack`) go on.

    This is Stan's transform up to 2025; later versions use an isometric log-ratio
    transform (stan-dev/math, pull request 3171), whose z and Jacobian differ.
    """

    event_ndim: ClassVar[int] = 1
    unconstrained_event_ndim: ClassVar[int] = 1

    def forward(self, z: Array) -> Array:
        return sp.positive_exp(self._log(z))

    def _log(self, z: Array) -> Array:
        u = z - _log_sticks_left(np.shape(z)[-1])
        rest = np.cumsum(sp.log_expit(-u), axis=-1)
        return np.concatenate([u + rest, rest[..., -1:]], axis=-1)

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack(lower=self._log(z))

    def inverse(self, x: Array) -> Array:
        require(supports.Simplex().contains(x) & np.all(x > 0, axis=-1), self)
        # Summed from the end: 1 - sum_{j<=k} x_j would cancel.
        rest = np.cumsum(x[..., :0:-1], axis=-1)[..., ::-1]
        return np.log(x[..., :-1]) - np.log(rest) + _log_sticks_left(np.shape(x)[-1] - 1)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        # b_j is in log x_j, in the K - 1 - j after it, and in log x_K.
        n = np.shape(z)[-1]
        u = z - _log_sticks_left(n)
        return np.sum(u + onp.arange(n + 1, 1, -1) * sp.log_expit(-u), axis=-1)

    def unconstrained_shape(self, shape: Sequence[int]) -> Shape:
        batch, (K,) = split(shape, 1)
        if K < 2:
            raise ArgumentError(
                f"shape: a simplex of {K} entries has nothing to infer; give K >= 2"
            )
        return (*batch, K - 1)

    def constrained_shape(self, shape: Sequence[int]) -> Shape:
        batch, (n,) = split(shape, 1)
        return (*batch, n + 1)


@cache
def _log_sticks_left(n: int) -> onp.ndarray:
    """log(K - k) for k = 1 ... K-1, with K - 1 = n."""
    return onp.log(onp.arange(n, 0, -1))
