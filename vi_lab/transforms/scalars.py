"""Transforms of one number at a time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.arrays import NUMBERS, is_constant
from vi_lab.checks import check_whole
from vi_lab.engine import Array
from vi_lab.engine.floats import EPSILON, SMALLEST
from vi_lab.transforms import supports
from vi_lab.transforms.base import (
    KeepsShape,
    at_least,
    log_spacing,
    require,
)
from vi_lab.transforms.supports import LogSlack, hold_bounds, hold_interval


class _Elementwise(KeepsShape):
    event_ndim: ClassVar[int] = 0
    unconstrained_event_ndim: ClassVar[int] = 0


@dataclass(frozen=True)
class Identity(KeepsShape):
    """x = z, for scalars or, with ``event_ndim=1``, for vectors."""

    event_ndim: int = 0

    def __post_init__(self) -> None:
        check_whole("event_ndim", self.event_ndim, least=0)

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

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack()


@dataclass(frozen=True)
class Exp(_Elementwise):
    """x = e^z; at least 1e-307, which is e^-707."""

    def forward(self, z: Array) -> Array:
        return sp.positive_exp(z)

    def inverse(self, x: Array) -> Array:
        require(supports.Positive().contains(x), self)
        return np.log(x)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return z

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack(lower=z)


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
    """x = lower + e^z; as near to the bound as addition tells it from the bound.

    ``lower`` broadcasts against z, which has the full shape.

    Raises
    ------
    ValueError
        if a constant ``lower`` is not finite.
    """

    lower: Array

    def __post_init__(self) -> None:
        hold_bounds(self, "lower")

    def forward(self, z: Array) -> Array:
        return self.lower + np.exp(at_least(z, log_spacing(self.lower)))

    def inverse(self, x: Array) -> Array:
        require(supports.GreaterThan(self.lower).contains(x), self)
        return np.log(x - self.lower)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return z

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack(lower=z)


@dataclass(frozen=True)
class UpperBound(_Elementwise):
    """x = upper - e^z; as near to the bound as subtraction tells it from the bound.

    ``upper`` broadcasts against z, which has the full shape.

    Raises
    ------
    ValueError
        if a constant ``upper`` is not finite.
    """

    upper: Array

    def __post_init__(self) -> None:
        hold_bounds(self, "upper")

    def forward(self, z: Array) -> Array:
        return self.upper - np.exp(at_least(z, log_spacing(self.upper)))

    def inverse(self, x: Array) -> Array:
        require(supports.LessThan(self.upper).contains(x), self)
        return np.log(self.upper - x)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        return z

    def log_slack(self, z: Array) -> LogSlack:
        return LogSlack(upper=z)


@dataclass(frozen=True)
class IntervalTransform(_Elementwise):
    """x = lower + (upper - lower) s(z).

    Above z = 35 or so, and below -35 if ``lower`` is not 0, x would round onto a bound;
    there it stays at the nearest number that is safely inside, while the log determinant and
    the log slacks go on. Bounds broadcast against z, which has the full shape.

    Raises
    ------
    ValueError
        if a constant bound is not finite, or ``lower`` is not below ``upper``.
    """

    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        hold_interval(self)

    def forward(self, z: Array) -> Array:
        inside = _away_from_bounds(z, self.lower, self.upper)
        return self.lower + (self.upper - self.lower) * sp.expit(inside)

    def inverse(self, x: Array) -> Array:
        require((x > self.lower) & (x < self.upper), self)
        return np.log(x - self.lower) - np.log(self.upper - x)

    def log_abs_det_jacobian(self, z: Array) -> Array:
        # log s(z) + log s(-z), where log s(z) = z + log s(-z).
        return _plus_log(self.upper - self.lower, z) + 2.0 * sp.log_expit(-z)

    def log_slack(self, z: Array) -> LogSlack:
        rest = _plus_log(self.upper - self.lower, sp.log_expit(-z))
        return LogSlack(lower=z + rest, upper=rest)


def _plus_log(width: Array, x: Array) -> Array:
    """Add log ``width`` to ``x``: no operation on the tape where the width is plainly 1."""
    return x if isinstance(width, NUMBERS) and width == 1 else np.log(width) + x


def _away_from_bounds(z: Array, lower: Array, upper: Array) -> Array:
    """``z``, held where x = lower + (upper - lower) s(z) does not round onto a bound."""
    if isinstance(lower, NUMBERS) and isinstance(upper, NUMBERS):
        return np.clip(z, *_range_of_numbers(lower, upper))
    if is_constant(lower) and is_constant(upper):
        return np.clip(z, *_range(onp, lower, upper))
    first, last = _range(np, lower, upper)
    return np.where(z > last, last, at_least(z, first))


def _range(namespace: Any, lower: Array, upper: Array) -> tuple[Array, Array]:
    """The smallest and the largest z there.

    Rounding moves x by less than eps (abs(lower) + abs(upper)), or eps abs(lower) near it.
    """
    width, m, n = upper - lower, namespace.abs(lower), namespace.abs(upper)
    share_below = namespace.maximum(2.0 * EPSILON * m, SMALLEST) / width
    share_above = 2.0 * EPSILON * (m + n) / width
    return namespace.log(namespace.maximum(share_below, SMALLEST)), -namespace.log(share_above)


@cache
def _range_of_numbers(lower: float, upper: float) -> tuple[float, float]:
    first, last = _range(onp, lower, upper)
    return float(first), float(last)
