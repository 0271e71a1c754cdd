"""What a fit needs of a model: two protocols, which `Model` and `Target` follow."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any, Protocol

import numpy as onp

from vi_lab.engine import Array
from vi_lab.model.minibatch import Minibatch
from vi_lab.model.rows import Batches


class LogDensity(Hashable, Protocol):
    """log p~ on R^D as functions that an engine runs, without the data.

    Equal ones share their compiled code, so it is compared and hashed by what it computes.
    """

    def log_density(self, z: Array, data: dict[str, Array]) -> Array:
        """log p~(z), a scalar, for ``z`` (D,); of some rows it is scaled to all."""

    def log_density_batch(self, z: Array, data: dict[str, Array]) -> Array:
        """log p~(z) of shape (S,), for ``z`` (S, D)."""


class Posterior(Protocol):
    """An unnormalised log density on R^D, with names for the parts of z and data."""

    @property
    def structure(self) -> LogDensity:
        """All but the data."""

    @property
    def data(self) -> Mapping[str, onp.ndarray]:
        """All data, in memory."""

    @property
    def shared_data(self) -> Mapping[str, onp.ndarray]:
        """The data that are not rows; with a batch of rows they are what ``structure`` takes."""

    @property
    def observed(self) -> Mapping[str, Array]:
        """Observed values by name."""

    @property
    def minibatch(self) -> Minibatch | None:
        """Which data are rows, and how many of them a step sees."""

    @property
    def num_rows(self) -> int:
        """N, of which minibatches are taken; 0 without minibatches."""

    @property
    def dim(self) -> int:
        """D."""

    @property
    def latents(self) -> tuple[str, ...]:
        """Names of the parts of z, in order."""

    @property
    def slices(self) -> Mapping[str, slice]:
        """Where each of them lies in z."""

    @property
    def unconstrained_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Its shape, on the unconstrained scale."""

    def minibatches(self, rng: onp.random.Generator) -> Batches:
        """The rows in random order, a batch a step."""

    def blocks(self) -> Iterator[tuple[Mapping[str, onp.ndarray], float]]:
        """The data with some of the rows at a time, and these rows' share of all."""

    def log_density(self, z: Array, engine: str | None = None) -> onp.ndarray:
        """log p~(z) of shape (...), for ``z`` (..., D); of all rows."""

    def terms(self, z: Array) -> Mapping[str, float]:
        """The terms of log p~(z) by name, for ``z`` (D,)."""

    def constrain(self, z: Array, engine: str | None = None) -> Mapping[str, onp.ndarray]:
        """Values by name, (..., *shape), for ``z`` (..., D)."""

    def unconstrain(self, values: Mapping[str, Any]) -> onp.ndarray:
        """z (D,), for values by name."""
