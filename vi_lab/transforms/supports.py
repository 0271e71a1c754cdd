"""Supports: the sets on which distributions live.

A support says whether a value belongs to it, and over how many trailing axes one
value extends (its *event*): 0 for a scalar, 1 for a vector, 2 for a matrix. Axes
before those are *batch* axes, one value for each index. A transform
(:mod:`vi_lab.transforms`) maps the real line, or R^n, onto a continuous support.

Bounds are numbers or arrays that broadcast against the values; in a model they may
depend on other latents. Constant ones are checked: a ValueError says which is not finite, or
that they leave nothing between them. Infinity belongs to no support. Equality of vectors and
matrices (a simplex sums to 1, rows have norm 1) holds to 1e-8, as in Stan.

An inequality has a *slack*, by how much it holds: x - lower and upper - x of an interval, every
entry of a simplex, the diagonal of a Cholesky factor. Densities such as the beta's are made of
logarithms of slacks, and a slack of e^-800 is lost in x: 1 - x is 0 once x has rounded to 1.
The unconstrained z still has it, so transforms know the logarithms exactly (`LogSlack`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import vi_lab.numpy as np
from vi_lab.arrays import NUMBERS, as_bound, check_order, every, is_constant
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError

INF = math.inf
TOLERANCE = 1e-8  # of the equalities; Stan's CONSTRAINT_TOLERANCE


class LogSlack(NamedTuple):
    """Logarithms of the slacks of a value's inequalities; None where there is none.

    Attributes
    ----------
    lower : of x > lower; of a simplex, log x; of a Cholesky factor, the log of its diagonal
    upper : of x < upper
    """

    lower: Array = None
    upper: Array = None


class Support(Protocol):
    """A set of scalars, vectors or matrices."""

    event_ndim: ClassVar[int]
    is_discrete: ClassVar[bool]

    def contains(self, x: Array) -> Array:
        """Which values of ``x`` ``(..., *event)`` belong to it: booleans (...)."""
        ...

    def interior(self, shape: tuple[int, ...]) -> Array:
        """A value that belongs to it, far from its boundary, and broadcasts to ``shape``."""
        ...


def hold_bounds(record: object, *names: str) -> None:
    """Check the bounds of a frozen record, and hold lists as arrays."""
    for name in names:
        value = getattr(record, name)
        bound = as_bound(type(record).__name__, name, value)
        if bound is not value:
            object.__setattr__(record, name, bound)


def hold_interval(record: Any) -> None:
    """The same for ``lower`` and ``upper``, between which there must be something."""
    lower, upper = record.lower, record.upper
    if isinstance(lower, NUMBERS) and isinstance(upper, NUMBERS) and -INF < lower < upper < INF:
        return  # made anew at each step, so this is quick
    hold_bounds(record, "lower", "upper")
    check_order(type(record).__name__, record.lower, record.upper)


# ------------------------------------------------------------------------- scalars


class _Scalar:
    event_ndim: ClassVar[int] = 0
    is_discrete: ClassVar[bool] = False

    def interior(self, shape: tuple[int, ...]) -> Array:
        return 1.0


@dataclass(frozen=True)
class Real(_Scalar):
    """The real line."""

    def contains(self, x: Array) -> Array:
        return np.isfinite(x)


@dataclass(frozen=True)
class Positive(_Scalar):
    """Positive numbers: 0 < x."""

    def contains(self, x: Array) -> Array:
        return (x > 0) & (x < np.inf)


@dataclass(frozen=True)
class NonNegative(_Scalar):
    """Positive numbers and 0, for densities that are finite at 0, as of an exponential."""

    def contains(self, x: Array) -> Array:
        return (x >= 0) & (x < np.inf)


@dataclass(frozen=True)
class GreaterThan(_Scalar):
    """Numbers above a bound: lower < x."""

    lower: Array

    def __post_init__(self) -> None:
        hold_bounds(self, "lower")

    def contains(self, x: Array) -> Array:
        return (x > self.lower) & (x < np.inf)

    def interior(self, shape: tuple[int, ...]) -> Array:
        return self.lower + 1.0


@dataclass(frozen=True)
class LessThan(_Scalar):
    """Numbers below a bound: x < upper."""

    upper: Array

    def __post_init__(self) -> None:
        hold_bounds(self, "upper")

    def contains(self, x: Array) -> Array:
        return (x < self.upper) & (x > -np.inf)

    def interior(self, shape: tuple[int, ...]) -> Array:
        return self.upper - 1.0


@dataclass(frozen=True)
class Interval(_Scalar):
    """Numbers between two bounds, lower <= x <= upper: data may sit on a bound."""

    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        hold_interval(self)

    def contains(self, x: Array) -> Array:
        return (x >= self.lower) & (x <= self.upper)

    def interior(self, shape: tuple[int, ...]) -> Array:
        return 0.5 * (self.lower + self.upper)


# ------------------------------------------------------------------------- vectors


class _Vector:
    event_ndim: ClassVar[int] = 1
    is_discrete: ClassVar[bool] = False

    def interior(self, shape: tuple[int, ...]) -> Array:
        return np.arange(1.0, shape[-1] + 1.0)


@dataclass(frozen=True)
class RealVector(_Vector):
    """Vectors of K real numbers."""

    def contains(self, x: Array) -> Array:
        return np.all(np.isfinite(x), axis=-1)


@dataclass(frozen=True)
class Simplex(_Vector):
    """Vectors of K shares: x_k >= 0 with sum 1."""

    def contains(self, x: Array) -> Array:
        return np.all(x >= 0, axis=-1) & (np.abs(np.sum(x, axis=-1) - 1.0) <= TOLERANCE)

    def interior(self, shape: tuple[int, ...]) -> Array:
        return np.full(shape[-1:], 1.0 / shape[-1])


@dataclass(frozen=True)
class Ordered(_Vector):
    """Vectors whose entries rise: x_1 < x_2 < ... < x_K."""

    def contains(self, x: Array) -> Array:
        increasing = np.all(x[..., 1:] > x[..., :-1], axis=-1)
        return increasing & np.all(np.isfinite(x), axis=-1)


@dataclass(frozen=True)
class PositiveOrdered(_Vector):
    """Vectors of positive entries that rise: 0 < x_1 < x_2 < ... < x_K."""

    def contains(self, x: Array) -> Array:
        return Ordered().contains(x) & (x[..., 0] > 0)


# ------------------------------------------------------------------------ matrices


class _Matrix:
    event_ndim: ClassVar[int] = 2
    is_discrete: ClassVar[bool] = False

    def interior(self, shape: tuple[int, ...]) -> Array:
        return np.eye(shape[-1])


@dataclass(frozen=True)
class CovarianceCholesky(_Matrix):
    """Lower triangles L (K, K) with positive diagonal: L L' is a covariance matrix."""

    def contains(self, x: Array) -> Array:
        diagonal = np.diagonal(x, axis1=-2, axis2=-1)
        is_lower = np.all(x == np.tril(x), axis=(-2, -1))
        return is_lower & np.all(diagonal > 0, axis=-1) & np.all(np.isfinite(x), axis=(-2, -1))


@dataclass(frozen=True)
class CorrelationCholesky(_Matrix):
    """Lower triangles L, positive diagonal, rows of norm 1: L L' is a correlation matrix."""

    def contains(self, x: Array) -> Array:
        has_unit_rows = np.all(np.abs(np.sum(x * x, axis=-1) - 1.0) <= TOLERANCE, axis=-1)
        return CovarianceCholesky().contains(x) & has_unit_rows


# ------------------------------------------------------------------------ discrete


class _Discrete:
    event_ndim: ClassVar[int] = 0
    is_discrete: ClassVar[bool] = True

    def interior(self, shape: tuple[int, ...]) -> Array:
        return 0.0


@dataclass(frozen=True)
class Boolean(_Discrete):
    """One of two values: 0 or 1 (False or True)."""

    def contains(self, x: Array) -> Array:
        return (x == 0) | (x == 1)


@dataclass(frozen=True)
class IntegerInterval(_Discrete):
    """Whole numbers lower <= x <= upper, bounds included."""

    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        hold_bounds(self, "lower", "upper")
        lower, upper = self.lower, self.upper
        if is_constant(lower) and is_constant(upper) and not every(lower <= upper):
            raise ArgumentError(
                "lower, upper: IntegerInterval needs lower <= upper in every entry, "
                f"not lower={lower} and upper={upper}; exchange or move the bounds"
            )

    def contains(self, x: Array) -> Array:
        return (x >= self.lower) & (x <= self.upper) & (np.floor(x) == x)

    def interior(self, shape: tuple[int, ...]) -> Array:
        return self.lower


@dataclass(frozen=True)
class NonNegativeInteger(_Discrete):
    """Counts: 0, 1, 2, ..."""

    def contains(self, x: Array) -> Array:
        return (x >= 0) & (x < np.inf) & (np.floor(x) == x)
