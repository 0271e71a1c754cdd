"""`Target`: a bare log density on R^D, for those who have one and need no program.

Its function may speak of one vector, ``-0.5 * np.sum(z**2)``, or of a batch, ``-0.5 *
np.sum(z**2, axis=-1)``. Shown a batch of S points, the first adds up the log densities of all
of them in silence: every gradient is S times too long, and every sd too small by the root of S.
So a target asks, once, which of the two it has, and maps the first over the points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.arrays import as_real, check_generator, check_point, check_vector
from vi_lab.checks import check_function, check_held, check_instance, check_label, check_whole
from vi_lab.engine import Array, namespace
from vi_lab.engine.captured import Captured, Watched
from vi_lab.engine.failures import tell_of
from vi_lab.errors import ArgumentError
from vi_lab.model.rows import Batches

POINTS = 4  # on which a function is asked about batches; two sets, so that no D equals both


@dataclass(frozen=True)
class Target:
    """An unnormalised log density on R^D.

    Parameters
    ----------
    density : function of ``z`` that returns log p~(z), written with `vi_lab.numpy` (or with the
        NumPy of the engine in use): of one vector (D,), returning a number, or of any number of
        them (..., D), returning (...). The second is faster where there are many
    dim : D
    name : what the vector is called in results

    Raises
    ------
    TypeError
        if ``density`` is not a function.
    ValueError
        if ``dim`` is not a positive integer, ``name`` is empty, or ``density`` neither gives a
        number for a vector nor (S,) for a batch (S, D).
    """

    density: Callable[[Array], Array]
    dim: int
    name: str = "z"
    _structure: BareDensity = field(init=False, repr=False, compare=False)
    _watched: Watched = field(init=False, repr=False, compare=False)

    data: ClassVar[dict[str, onp.ndarray]] = {}
    shared_data: ClassVar[dict[str, onp.ndarray]] = {}
    observed: ClassVar[dict[str, onp.ndarray]] = {}
    minibatch: ClassVar[None] = None
    num_rows: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check_function("density", self.density, "of z")
        check_whole("dim", self.dim, least=1)
        check_held("dim", self.dim, POINTS)
        check_label("name", self.name)
        object.__setattr__(self, "dim", int(self.dim))
        object.__setattr__(self, "_watched", Watched(self.density))
        self._look()

    def _look(self) -> None:
        """Find out what ``density`` takes, by calling it."""
        takes = _understood(self.density, self.dim)
        self._watched.has_run()
        structure = BareDensity(self.density, *takes, self._watched.now())
        object.__setattr__(self, "_structure", structure)

    @property
    def structure(self) -> BareDensity:
        """The density, as it is now: what it captures may have changed."""
        if self._watched.now() != self._structure.captured:
            self._look()
        return self._structure

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

    def minibatches(self, rng: onp.random.Generator) -> Batches:
        check_generator("rng", rng)
        raise ArgumentError("minibatch: a Target has no rows; make a Model with minibatch=...")

    def log_density(self, z: Array, engine: str | None = None) -> onp.ndarray:
        """log p~(z), for ``z`` (..., D): an array of shape (...)."""
        z = check_point(z, self.dim)
        run = engines.get(engine).compile(_log_density_batch, static=(0,))
        flat = run(self.structure, onp.reshape(z, (-1, self.dim)))
        return onp.asarray(flat).reshape(onp.shape(z)[:-1])

    def blocks(self) -> Iterator[tuple[dict[str, onp.ndarray], float]]:
        """No data, which are all."""
        yield {}, 1.0

    def terms(self, z: Array) -> dict[str, float]:
        """The one term there is, by the name of the function."""
        value = self.log_density(check_vector(z, self.dim))
        return {getattr(self.density, "__name__", "density"): float(value)}

    def constrain(self, z: Array, engine: str | None = None) -> dict[str, onp.ndarray]:
        """``z`` itself, by name: a target lives on R^D."""
        if engine is not None:
            engines.get(engine)
        return {self.name: onp.asarray(check_point(z, self.dim))}

    def unconstrain(self, values: Mapping[str, Any]) -> onp.ndarray:
        """z (D,), by name.

        Raises
        ------
        ValueError
            if ``values`` has not exactly this name, or its value not the shape (D,).
        """
        check_instance("values", values, Mapping, f"a dictionary of {self.name!r}")
        if set(values) != {self.name}:
            found = sorted(values, key=str)
            raise ArgumentError(f"values: need exactly {self.name!r}, not {found}")
        value = as_real(f"{self.name}:", values[self.name])
        return onp.array(check_vector(value, self.dim))


@dataclass(frozen=True)
class BareDensity:
    """A `vi_lab.model.LogDensity` that is a function of z alone."""

    density: Callable[[Array], Array] = field(compare=False)
    takes_vectors: bool
    takes_batches: bool
    captured: Captured
    """what ``density`` is and depends on, by value"""

    def log_density(self, z: Array, data: Mapping[str, Array]) -> Array:
        if self.takes_vectors:
            return _number(self._run(z))
        return self._run(z[None])[0]

    def log_density_batch(self, z: Array, data: Mapping[str, Array]) -> Array:
        if self.takes_batches:  # one call, whatever the engine
            return self._run(z)
        if namespace().numpy is onp:  # no engine runs
            return onp.array([_number(self._run(row)) for row in z])
        return engines.current().vmap(lambda row: _number(self._run(row)))(z)

    def _run(self, z: Array) -> Array:
        try:
            return self.density(z)
        except Exception as error:
            tell_of(f"density {getattr(self.density, '__name__', 'of z')}:", error)
            raise


def _log_density_batch(structure: BareDensity, z: Array) -> Array:
    return structure.log_density_batch(z, {})


def _number(value: Array) -> Array:
    """A value of shape (), or (1,) as some functions of one dimension give it, as a number."""
    return np.reshape(value, ()) if onp.ndim(value) else value


def _of(density: Callable[[Array], Array], z: Array) -> Array:
    return density(z)


def _understood(density: Callable[[Array], Array], dim: int) -> tuple[bool, bool]:
    """Whether ``density`` takes a vector (D,), and whether it takes a batch (S, D).

    It takes a batch if each point's value is what the point has alone; if it takes no vector,
    alone means as a batch of one.

    Raises
    ------
    ValueError
        if it takes neither.
    """
    points = onp.random.default_rng(0).uniform(-1.0, 1.0, size=(POINTS, dim))
    try:
        alone, vectors = [_value(density, z, ()) for z in points], True
    except Exception as error:  # noqa: BLE001 - whatever a user's function raises
        of_vector = error
        vectors = False
    try:
        if not vectors:
            alone = [_value(density, z[None], (1,))[0] for z in points]
        together = [*_value(density, points, (POINTS,))]
        together += [*_value(density, points[1:], (POINTS - 1,))]
    except Exception as of_batch:
        if vectors:
            return True, False
        raise ArgumentError(
            f"density: must give a number for z of shape ({dim},), or (S,) for z of shape "
            f"(S, {dim}). For a vector: {of_vector}. For a batch: {of_batch}. Sum over the last "
            "axis, and compare dim with what the function expects"
        ) from of_batch
    same = onp.allclose(together, [*alone, *alone[1:]], rtol=1e-4, atol=1e-6, equal_nan=True)
    if not (vectors or same):
        raise ArgumentError(
            "density: the value of a point depends on the others in its batch; give a function of "
            "one vector, or sum over the last axis alone"
        )
    return vectors, same


def _value(density: Callable[[Array], Array], z: onp.ndarray, shape: tuple[int, ...]) -> Any:
    """density(z) as an array of ``shape``; for one vector a shape (1,) will do.

    Raises
    ------
    ValueError
        if it has another shape.
    """
    with onp.errstate(all="ignore"):  # not finite at this point is no matter
        try:
            value = density(z)
        except (AttributeError, RuntimeError):  # what only an engine's arrays can, or operators
            value = engines.get().compile(_of, static=(0,))(density, z)
    value = as_real("it", value)
    if onp.shape(value) != shape and not (shape == () and onp.size(value) == 1):
        raise ArgumentError(f"it gives the shape {onp.shape(value)}")
    return onp.asarray(value, dtype=float).reshape(shape)
