r"""What a transform is, and what several of them share.

**To write your own**, write a frozen dataclass with the methods of `OntoSupport` (a file of this
folder, and its name in `vi_lab/transforms/__init__.py`), and, if models shall find it by
itself, a line in `vi_lab.transforms.TRANSFORMS` that says onto which support it leads.
Correlations, -1 < r < 1, by :math:`r = \tanh z`, whose derivative is
:math:`1 - \tanh^2 z = 4 s(2z) s(-2z)` with the logistic s:

>>> import vi_lab.numpy as np
>>> import vi_lab.scipy as sp
>>> from dataclasses import dataclass
>>> from vi_lab.transforms.base import KeepsShape, require
>>> from vi_lab.transforms.supports import LogSlack
>>> @dataclass(frozen=True)
... class Correlation:
...     event_ndim, is_discrete = 0, False  # one number, of a continuum
...
...     def contains(self, x):
...         return (x > -1.0) & (x < 1.0)
...
...     def interior(self, shape):
...         return 0.0
>>> @dataclass(frozen=True)
... class Tanh(KeepsShape):
...     event_ndim = unconstrained_event_ndim = 0
...
...     def forward(self, z):
...         return np.tanh(z)
...
...     def inverse(self, x):
...         require(Correlation().contains(x), self)
...         return np.arctanh(x)
...
...     def log_abs_det_jacobian(self, z):
...         return np.log(4.0) + sp.log_expit(2.0 * z) + sp.log_expit(-2.0 * z)
...
...     def log_slack(self, z):
...         return LogSlack()  # no density here is made of 1 - r or 1 + r

In a model:

>>> from vi_lab import Flat, Model, transforms
>>> transforms.TRANSFORMS[Correlation] = lambda support: Tanh()
>>> model = Model(lambda m: m.sample("r", Flat(Correlation())))
>>> float(model.constrain([0.5])["r"].round(6))
0.462117
>>> float(model.log_density([0.5]).round(6))  # log(1 - 0.462117^2)
-0.240229
>>> del transforms.TRANSFORMS[Correlation]  # as this was an example only

What holds of every transform is tested by the table of ``tests/transforms/test_transforms.py``: add
a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as onp

import vi_lab.numpy as np
from vi_lab.arrays import is_constant
from vi_lab.engine import Array, namespace
from vi_lab.engine.floats import EPSILON, SMALLEST
from vi_lab.errors import ArgumentError
from vi_lab.transforms.supports import LogSlack

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
    """A transform onto a support: it knows how far x is from the bounds."""

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
    raise ArgumentError(
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
        raise ArgumentError(f"shape: {shape} has fewer than the {event_ndim} axes of one event")
    return shape[: len(shape) - event_ndim], shape[len(shape) - event_ndim :]
