"""Transforms one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import vi_lab.numpy as np
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.transforms.base import Shape, Transform


@dataclass(frozen=True)
class Chain:
    """``parts`` one after the other: x = T_n(... T_2(T_1(z))).

    An event of the chain holds whole events of every part: scalar parts of a chain
    of vectors add up their log determinants over the vector.

    Raises
    ------
    ValueError
        if there are no parts, or a part other than the last changes the shape. (A
        simplex or a Cholesky factor has entries that follow from its others, and
        the determinant of what comes after would count them.)
    """

    parts: tuple[Transform, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ArgumentError("parts: a chain needs at least one transform")
        for part in self.parts[:-1]:
            if part.constrained_shape((3, 3)) != (3, 3):
                raise ArgumentError(f"parts: {part} changes the shape, so it can only come last")

    @property
    def event_ndim(self) -> int:
        last = self.parts[-1]
        return self.unconstrained_event_ndim + last.event_ndim - last.unconstrained_event_ndim

    @property
    def unconstrained_event_ndim(self) -> int:
        return max(part.unconstrained_event_ndim for part in self.parts)

    def forward(self, z: Array) -> Array:
        for part in self.parts:
            z = part.forward(z)
        return z

    def inverse(self, x: Array) -> Array:
        for part in reversed(self.parts):
            x = part.inverse(x)
        return x

    def log_abs_det_jacobian(self, z: Array) -> Array:
        total: Any = 0.0
        for part in self.parts:
            each = part.log_abs_det_jacobian(z)
            extra = self.unconstrained_event_ndim - part.unconstrained_event_ndim
            total = total + (np.sum(each, axis=tuple(range(-extra, 0))) if extra else each)
            z = part.forward(z)
        return total

    def unconstrained_shape(self, shape: Sequence[int]) -> Shape:
        return self.parts[-1].unconstrained_shape(shape)

    def constrained_shape(self, shape: Sequence[int]) -> Shape:
        return self.parts[-1].constrained_shape(shape)
