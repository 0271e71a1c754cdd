"""`Target`: a bare log density on R^D, for those who have one and need no program."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as onp

from vi_lab import engine as engines
from vi_lab.checks import check_whole
from vi_lab.engine import Array
from vi_lab.errors import ArgumentTypeError


@dataclass(frozen=True)
class Target:
    """An unnormalised log density on R^D.

    Parameters
    ----------
    density : function of ``z`` with shape (..., D) that returns shape (...),
        written with `vi_lab.numpy` (or with the NumPy of the engine in use)
    dim : D
    name : what the vector is called in results

    Raises
    ------
    TypeError
        if ``density`` is not a function.
    ValueError
        if ``dim`` is not a positive integer.
    """

    density: Callable[[Array], Array]
    dim: int
    name: str = "z"

    data: ClassVar[dict[str, onp.ndarray]] = {}
    observed: ClassVar[dict[str, onp.ndarray]] = {}
    minibatch: ClassVar[None] = None

    def __post_init__(self) -> None:
        if not callable(self.density):
            raise ArgumentTypeError(f"density: {self.density!r} is not a function of z")
        check_whole("dim", self.dim, least=1)

    @property
    def structure(self) -> Target:
        """A target has no data: it is its own structure (see `vi_lab.model.Structure`)."""
        return self

    @property
    def latents(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {self.name: (self.dim,)}

    @property
    def unconstrained_shapes(self) -> dict[str, tuple[int, ...]]:
        return self.shapes

    @property
    def slices(self) -> dict[str, slice]:
        return {self.name: slice(0, self.dim)}

    def log_density(self, z: Array, data: Mapping[str, Array] | None = None) -> Array:
        """log p~(z) for ``z`` (D,), inside a function that an engine runs."""
        return self.density(z)

    def log_density_batch(self, z: Array, data: Mapping[str, Array] | None = None) -> Array:
        """log p~(z) of shape (S,), for ``z`` (S, D): one call, whatever the engine."""
        return self.density(z)

    def terms(self, z: Array) -> dict[str, float]:
        """The one term there is, by the name of the function."""
        value = engines.get().compile(self.density)(onp.asarray(z, dtype=float))
        return {getattr(self.density, "__name__", "density"): float(value)}

    def constrain(self, z: Array, engine: str | None = None) -> dict[str, onp.ndarray]:
        """``z`` itself, by name: a target lives on R^D."""
        return {self.name: onp.asarray(z, dtype=float)}

    def unconstrain(self, values: Mapping[str, Any]) -> onp.ndarray:
        return onp.asarray(values[self.name], dtype=float)
