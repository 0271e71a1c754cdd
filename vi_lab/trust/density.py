"""log p~ and its gradient at many draws, and a count of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array, Engine, current
from vi_lab.errors import ArgumentError
from vi_lab.model import LogDensity, Posterior

DRAWS_AT_ONCE, NUMBERS_AT_ONCE = 1_024, 2**20  # in a call: 8 MB at most
MOST_BYTES = 2**30  # of rows


class Density:
    """log p~ with its gradient, in calls of one shape so that it compiles once.

    Attributes
    ----------
    structure, data, engine : what it is made of
    share : the rows that ``data`` hold, of all
    cost : gradients taken, each counted by that share
    """

    def __init__(
        self, structure: LogDensity, data: Mapping[str, onp.ndarray], engine: Engine, dim: int
    ) -> None:
        self.structure, self.data, self.engine = structure, data, engine
        self.share, self.cost = 1.0, 0.0
        self._size = max(1, min(DRAWS_AT_ONCE, NUMBERS_AT_ONCE // dim))
        self._run = engine.compile(values_and_gradients, static=(0,))

    @classmethod
    def of(cls, model: Posterior, engine: Engine) -> Density:
        """That of all rows of ``model``.

        Raises
        ------
        ValueError
            if there are more than fit.
        """
        return cls(model.structure, _all_rows(model), engine, model.dim)

    @property
    def gradients(self) -> int:
        """How many were taken, in units of all rows."""
        return round(self.cost)

    def __call__(self, z: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        """log p~ (S,) and its gradients (S, D) at ``z`` (S, D); what is not finite stays so."""
        num, dim = z.shape
        self.cost += num * self.share
        values, gradients = onp.empty(num), onp.empty((num, dim))
        buffer = onp.zeros((self._size, dim))
        with onp.errstate(all="ignore"):
            for start in range(0, num, self._size):
                here = slice(start, min(start + self._size, num))
                n = here.stop - start
                buffer[:n] = z[here]
                found = self._run(self.structure, buffer, n, self.data)
                values[here], gradients[here] = found[0][:n], found[1][:n]
        return values, gradients


def _all_rows(model: Posterior) -> dict[str, onp.ndarray]:
    """The data, where they fit."""
    data = dict(model.data)
    size = sum(onp.asarray(array).nbytes for array in data.values())
    if size > MOST_BYTES:
        raise ArgumentError(
            f"model: its data are {size:,} bytes, and this asks for all of them many times over; "
            f"give a model of fewer rows ({MOST_BYTES:,} bytes at most)"
        )
    return data


def values_and_gradients(
    structure: LogDensity, z: Array, length: Array, data: dict[str, Array]
) -> tuple[Array, Array]:
    """log p~ (M,) and its gradients (M, D) at the first ``length`` of ``z`` (M, D).

    One after another: on a processor that is as fast as all at once or faster, by up to three
    times, because what a gradient needs stays in the cache.
    """
    engine = current()

    def one(state: Array, z: Array) -> tuple[Array, tuple[Array, Array]]:
        return state, engine.value_and_grad(lambda z: structure.log_density(z, data))(z)

    found: tuple[Array, Array] = engine.scan(one, np.zeros(()), z, length)[1]
    return found
