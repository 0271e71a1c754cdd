"""Transforms of one number at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.engine import Array
from vi_lab.transforms import supports
from vi_lab.transforms.base import KeepsShape, require


class _Elementwise(KeepsShape):
    event_ndim: ClassVar[int] = 0
    unconstrained_event_ndim: ClassVar[int] = 0


@dataclass(frozen=True)
class Identity(KeepsShape):
    """x = z, for scalars or, with ``event_ndim=1``, for vectors."""

    event_ndim: int = 0

    @property
    def unconstrained_event_ndim(self) -> int:
        return self.event_ndim

    def forward(self, z: Array) -> Array:
        return z

    def inverse(self, x: Array) -> Array:
        require(np.isfinite(x), self)
        return x

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return np.zeros(np.shape(z)[: np.ndim(z) - self.event_ndim])


@dataclass(frozen=True)
class Exp(_Elementwise):
    """x = e^z. It underflows to 0 below z = -745."""

    def forward(self, z: Array) -> Array:
        return np.exp(z)

    def inverse(self, x: Array) -> Array:
        require(supports.Positive().contains(x), self)
        return np.log(x)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return z


@dataclass(frozen=True)
class Softplus(_Elementwise):
    """x = log(1 + e^z): like e^z far left, like z far right."""

    def forward(self, z: Array) -> Array:
        return -sp.log_expit(-z)

    def inverse(self, x: Array) -> Array:
        # log(e^x - 1), without forming e^x.
        require(supports.Positive().contains(x), self)
        return x + np.log(-np.expm1(-x))

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return sp.log_expit(z)


@dataclass(frozen=True)
class LowerBound(_Elementwise):
    """x = lower + e^z. Rounds to the bound when e^z < 1e-16 abs(lower).

    ``lower`` broadcasts against z, which has the full shape.
    """

    lower: Array

    def forward(self, z: Array) -> Array:
        return self.lower + np.exp(z)

    def inverse(self, x: Array) -> Array:
        require(supports.GreaterThan(self.lower).contains(x), self)
        return np.log(x - self.lower)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return z


@dataclass(frozen=True)
class UpperBound(_Elementwise):
    """x = upper - e^z. Rounds to the bound when e^z < 1e-16 abs(upper).

    ``upper`` broadcasts against z, which has the full shape.
    """

    upper: Array

    def forward(self, z: Array) -> Array:
        return self.upper - np.exp(z)

    def inverse(self, x: Array) -> Array:
        require(supports.LessThan(self.upper).contains(x), self)
        return np.log(self.upper - x)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return z


@dataclass(frozen=True)
class IntervalTransform(_Elementwise):
    """x = lower + (upper - lower) s(z).

    Rounds to ``upper`` above z = 37, and to a ``lower`` other than 0 below about
    z = -37; the log determinant stays exact. Bounds broadcast against z, which
    has the full shape.
    """

    lower: Array
    upper: Array

    def forward(self, z: Array) -> Array:
        x = self.lower + (self.upper - self.lower) * sp.expit(z)
        return np.minimum(x, self.upper)  # the sum may round to beyond it

    def inverse(self, x: Array) -> Array:
        require((x > self.lower) & (x < self.upper), self)
        return np.log(x - self.lower) - np.log(self.upper - x)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        # log s(z) + log s(-z), where log s(z) = z + log s(-z).
        return np.log(self.upper - self.lower) + z + 2.0 * sp.log_expit(-z)
