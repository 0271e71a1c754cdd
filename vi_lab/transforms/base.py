"""What a transform is, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as onp

import vi_lab.numpy as np
from vi_lab.checks import is_constant
from vi_lab.engine import Array, namespace
from vi_lab.engine.floats import EPSILON, SMALLEST
from vi_lab.supports import LogSlack

Shape = tuple[int, ...]


class Transform(Protocol):
    """A bijector from unconstrained z to constrained x = T(z)."""

    @property
    def event_ndim(self) -> int:
        """How many trailing axes one x has."""
        ...

    @property
    def unconstrained_event_ndim(self) -> int:
        """How many trailing axes one z has."""
        ...

    def forward(self, z: Array) -> Array:
        """The constrained x = T(z) ``(..., *event)``."""
        ...

    def inverse(self, x: Array) -> Array:
        """The z that x comes from.

        Raises
        ------
        ValueError
            if a value lies outside the image of T: outside the support, or on its
            boundary. Only in plain NumPy; within an engine, values cannot be read,
            and such a z is not finite or has no meaning.
        """
        ...

    def log_abs_det_jacobian(self, z: Array) -> Array:
        """The log abs det of dx/dz: one number for each event, shape (...)."""
        ...

    def unconstrained_shape(self, shape: Sequence[int]) -> Shape:
        """The shape of z, batch axes included, for an x of this shape."""
        ...

    def constrained_shape(self, shape: Sequence[int]) -> Shape:
        """The shape of x, batch axes included, for a z of this shape."""
        ...


class OntoSupport(Transform, Protocol):
    """A transform onto a support of `vi_lab.supports`: it knows how far x is from the bounds."""

    def log_slack(self, z: Array) -> LogSlack:
        """The logarithms of the slacks of x = T(z), from z: exact where x rounds onto a bound.

        Empty where no density here is made of them.
        """
        ...


def at_least(z: Array, floor: Array) -> Array:
    """``z``, or ``floor`` where z is below it; a constant floor is one operation on the tape."""
    return np.clip(z, floor, np.inf) if is_constant(floor) else np.where(z < floor, floor, z)


def log_spacing(bound: Array) -> Array:
    """The log of a step from ``bound`` that addition does not lose."""
    if is_constant(bound):  # in plain NumPy, off the tape
        return onp.log(onp.maximum(2.0 * EPSILON * onp.abs(bound), SMALLEST))
    return np.log(np.maximum(2.0 * EPSILON * np.abs(bound), SMALLEST))


def require(inside: Array, transform: Transform) -> None:
    """Refuse an inverse outside the image of ``transform``, where values can be read."""
    if namespace().numpy is not onp or onp.all(inside):
        return
    outside = onp.size(inside) - int(onp.sum(inside))
    raise ValueError(
        f"x: {outside} of {onp.size(inside)} values lie outside what {transform} reaches, "
        "or on its boundary; give finite values strictly inside the support"
    )


class KeepsShape:
    """Shape functions of a transform whose z has the shape of x."""

    def unconstrained_shape(self, shape: Sequence[int]) -> Shape:
        return tuple(shape)

    def constrained_shape(self, shape: Sequence[int]) -> Shape:
        return tuple(shape)


def split(shape: Sequence[int], event_ndim: int) -> tuple[Shape, Shape]:
    """Batch shape and event shape."""
    shape = tuple(shape)
    if len(shape) < event_ndim:
        raise ValueError(f"shape: {shape} has fewer than the {event_ndim} axes of one event")
    return shape[: len(shape) - event_ndim], shape[len(shape) - event_ndim :]
