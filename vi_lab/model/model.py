"""`Model`: a program and its data, as a log density on R^D with named parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as onp

from vi_lab import engine as engines
from vi_lab.arrays import check_generator, check_point, check_vector
from vi_lab.checks import check_instance
from vi_lab.engine import Array
from vi_lab.engine.captured import Captured, Watched, captured
from vi_lab.engine.failures import tell_of
from vi_lab.errors import ArgumentError
from vi_lab.model.data import guard, split, widen
from vi_lab.model.discover import Discovery, discover, program_name
from vi_lab.model.handlers import (
    Conditioned,
    Constrain,
    Latent,
    Unconstrain,
    Unconstrained,
    of_every_latent,
)
from vi_lab.model.minibatch import Minibatch, Scaling
from vi_lab.model.row_terms import ROWS_AT_ONCE, discover_rows, observed_values
from vi_lab.model.rows import Batches, Keyed
from vi_lab.transforms import to_support
from vi_lab.transforms.supports import Support

NUMBERS_AT_ONCE = 2**22  # draws times rows in one evaluation for all rows


@dataclass(frozen=True)
class Structure:
    """All of a model but its arrays: what a compiled function depends on.

    Two models whose programs have the same code and captured the same values
    (`vi_lab.engine.captured`), of the same shapes and structural data, have equal structures
    and share their compiled code. With minibatches, ``scaling`` says which terms are sums over
    rows, and a log density of some rows is scaled to all.
    """

    program: Callable[..., None] = field(compare=False)
    constants: tuple[tuple[str, Any], ...] = field(compare=False)
    latents: tuple[Latent, ...] = field(compare=False)
    scaling: Scaling | None = field(compare=False)
    captured: Captured
    """all of the above, by value"""

    @property
    def dim(self) -> int:
        return self.latents[-1].stop

    def log_density(self, z: Array, data: dict[str, Array]) -> Array:
        """log p~(z), a scalar, for ``z`` of shape (D,); log-Jacobians included.

        ``data`` may hold some of the rows only: then their terms count N/B times.
        """
        handler = self.run(Unconstrained(self.by_name, z), data)
        if self.scaling is None:
            return handler.log_density
        return self.scaling.log_density(handler.terms, data)

    def log_density_batch(self, z: Array, data: dict[str, Array]) -> Array:
        """log p~(z) of shape (S,), for ``z`` of shape (S, D)."""
        return engines.current().vmap(lambda row: self.log_density(row, data))(z)

    def constrain(self, z: Array, data: dict[str, Array]) -> dict[str, Array]:
        """theta = T(z) by name, deterministic quantities included, for ``z`` (D,)."""
        return self.run(Constrain(self.by_name, z), data).values

    def constrain_batch(self, z: Array, data: dict[str, Array]) -> dict[str, Array]:
        return engines.current().vmap(lambda row: self.constrain(row, data))(z)

    def run(self, handler: Any, data: Mapping[str, Array]) -> Any:
        """Run the program with ``handler`` as its ``m``; returns the handler."""
        try:
            self.program(handler, **data, **dict(self.constants))
        except Exception as error:
            tell_of(f"program {program_name(self.program)}:", error)
            raise
        return handler

    @cached_property
    def by_name(self) -> dict[str, Latent]:
        """The latents by name: looked up at every evaluation, so made once."""
        return {latent.name: latent for latent in self.latents}


@dataclass(frozen=True, eq=False)
class Model:
    """A model program with its data.

    ``Model(program, **data)`` where ``program(m, **data)`` states the joint density
    of one draw through ``m.sample``, ``m.observe``, ``m.deterministic`` and
    ``m.factor`` (see :class:`vi_lab.model.handlers.Handler`). Supports are found
    from the distributions, and latents are moved to the real line by themselves:
    z in R^D holds them in the program's order, and its log density includes the
    log absolute Jacobian determinants.

    Arrays and floats among the data are arguments of the compiled log density;
    Python ints, bools and strings are structure on which the program may branch.

    With ``minibatch=Minibatch(rows=(...), size=B)``, each step of a stochastic fit sees B
    rows, and counts their terms N/B times (see `vi_lab.model.minibatch`). Rows are arrays,
    memory maps, or blocks that a function gives one after another. What is asked of
    the model itself is still about all rows: `log_density`, `terms`, draws of data, NUTS.

    Attributes
    ----------
    latents : names of the latents, in order
    shapes : constrained shape by latent
    supports : support by latent (those that do not depend on other latents)
    observed : the observed values by name
    dim : D, the length of z
    minibatch : which data are rows, and how many a step sees; or None

    Raises
    ------
    TypeError, ValueError
        for data or programs that cannot work; see `vi_lab.model.data`,
        `vi_lab.model.discover` and `vi_lab.model.row_terms`.

    Examples
    --------
    >>> import vi_lab as vl
    >>> def coin(m, heads):
    ...     p = m.sample("p", vl.Beta(1.0, 1.0))
    ...     m.observe("heads", vl.Bernoulli(probs=p), heads)
    >>> vl.Model(coin, heads=[1, 0, 1, 1])
    Model coin: 1 latent on R^1
      p ()  Interval(lower=0.0, upper=1.0)
    observed: heads (4,)
    """

    arrays: dict[str, onp.ndarray] = field(repr=False)
    discovery: Discovery = field(repr=False)
    minibatch: Minibatch | None
    some_data: dict[str, onp.ndarray] = field(repr=False)
    _structure: Structure = field(repr=False)
    _watched: Watched = field(repr=False)
    _now: Captured = field(repr=False)
    """what the program captured when it was last looked at"""

    def __init__(
        self,
        program: Callable[..., None],
        /,
        *,
        minibatch: Minibatch | None = None,
        **data: Any,
    ) -> None:
        if minibatch is not None:
            check_instance("minibatch", minibatch, Minibatch, "a Minibatch(rows=..., size=...)")
        arrays, constants = split(data, rows=minibatch.rows if minibatch else ())
        watched = Watched(program)
        for name, value in (("arrays", arrays), ("minibatch", minibatch), ("_watched", watched)):
            object.__setattr__(self, name, value)
        self._look(program, constants)

    def _look(self, program: Callable[..., None], constants: tuple[tuple[str, Any], ...]) -> None:
        """Find out by running it what is in ``program``; a second time, it must be the same.

        Raises
        ------
        ValueError
            if there are other latents now.
        """
        scaling, some_data = None, self.arrays
        if self.minibatch is None:
            discovery = discover(program, {**self.arrays, **dict(constants)})
        else:
            found = discover_rows(program, self.minibatch, self.arrays, dict(constants))
            discovery, scaling = found.discovery, found.scaling
            some_data = found.some_data
        before = getattr(self, "_structure", None)
        if before is not None and before.latents != discovery.latents:
            raise ArgumentError(
                f"model: what its program {program_name(program)!r} captures has changed since it "
                f"was made, and with it the latents, from {before.latents} to "
                f"{discovery.latents}; make a new Model"
            )
        self._watched.has_run()
        now = self._watched.now()
        plain = captured(constants, discovery.latents, scaling)
        both = Captured(((("", ""), (plain,)), *now.parts), now.readable)
        structure = Structure(program, constants, discovery.latents, scaling, both)
        found_out = {"discovery": discovery, "some_data": some_data, "_structure": structure}
        for name, value in {**found_out, "_now": now}.items():
            object.__setattr__(self, name, value)

    @property
    def structure(self) -> Structure:
        """All but the arrays, as it is now: what the program captures may have changed."""
        if self._watched.now() != self._now:
            self._look(self._structure.program, self._structure.constants)
        return self._structure

    @cached_property
    def data(self) -> dict[str, onp.ndarray]:
        """All data arrays in memory, as the program sees them: memory maps are read.

        Raises
        ------
        ValueError
            if rows come in blocks, which nobody keeps.
        """
        if self.minibatch is not None and self.minibatch.blocks is not None:
            raise ArgumentError(
                "model: its rows come in blocks, and this asks for all of them at once (as NUTS, "
                "deterministic ADVI and simulated data do); give them as arrays or memory maps"
            )
        return {name: widen(array) for name, array in self.arrays.items()}

    @cached_property
    def shared_data(self) -> dict[str, onp.ndarray]:
        """The data arrays that are not rows; with a batch they make a program's data."""
        return self.minibatch.split(self.arrays)[1] if self.minibatch else self.data

    @property
    def num_rows(self) -> int:
        """N, the rows that minibatches are taken from; 0 without minibatches."""
        return self._structure.scaling.num_rows if self._structure.scaling else 0

    def minibatches(self, rng: onp.random.Generator) -> Batches:
        """The rows in random order, a batch a step.

        Raises
        ------
        TypeError
            if ``rng`` is no generator.
        ValueError
            if the model was made without ``minibatch``.
        """
        check_generator("rng", rng)
        if self.minibatch is None:
            raise ArgumentError(
                "minibatch: the model has none; Model(program, minibatch=..., **data)"
            )
        source = self.minibatch.source(self.arrays)
        return Batches(source, self.minibatch.size, Keyed(int(rng.integers(2**63))))

    @property
    def dim(self) -> int:
        return self._structure.dim

    @property
    def latents(self) -> tuple[str, ...]:
        return tuple(latent.name for latent in self._structure.latents)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {latent.name: latent.shape for latent in self._structure.latents}

    @property
    def unconstrained_shapes(self) -> dict[str, tuple[int, ...]]:
        return {latent.name: latent.unconstrained_shape for latent in self._structure.latents}

    @property
    def slices(self) -> dict[str, slice]:
        """Where each latent lies in z."""
        return {latent.name: slice(latent.start, latent.stop) for latent in self._structure.latents}

    @property
    def supports(self) -> dict[str, Support]:
        return self.discovery.supports

    @property
    def observed(self) -> dict[str, Array]:
        """The observed values by name; with minibatches they are looked up at each call."""
        scaling, constants = self.structure.scaling, dict(self.structure.constants)
        if self.minibatch is None or scaling is None:
            return self.discovery.observed
        program = self.structure.program
        return observed_values(program, self.minibatch, self.arrays, constants, scaling.terms)

    def log_density(self, z: Array, engine: str | None = None) -> onp.ndarray:
        """log p~(z), Jacobians included, for ``z`` (..., D): an array of shape (...)."""
        run = engines.get(engine).compile(_log_density_batch, static=(0,))
        z = check_point(z, self.dim)
        flat = z.reshape(-1, self.dim)
        if self.minibatch is None:
            return onp.asarray(run(self.structure, flat, self.data)).reshape(z.shape[:-1])
        value = onp.zeros(len(flat))
        for block, share in self.blocks():
            step = max(1, NUMBERS_AT_ONCE // min(ROWS_AT_ONCE, self.num_rows))
            for i in range(0, len(flat), step):
                # Scaled to all rows each, so the mean over blocks is that of all rows.
                value[i : i + step] += share * run(self.structure, flat[i : i + step], block)
        return value.reshape(z.shape[:-1])

    def log_joint(self, values: Mapping[str, Array]) -> float:
        """log p(x, theta) at constrained ``values`` of every latent: no Jacobian.

        Raises
        ------
        ValueError
            if a latent is missing, unknown, or of another shape.
        """
        handler = Conditioned(of_every_latent(values, self.shapes))
        self.run(handler)
        return float(sum(handler.terms.values()))

    def terms(self, z: Array) -> dict[str, float]:
        """The terms of log p~(z) by latent, observation and factor, for ``z`` (D,)."""
        terms: dict[str, float] = {}
        # Guarded: a scale that is negative at this z makes its term NaN, and no error.
        z = guard(check_vector(z, self.dim), "a latent")
        for block, _ in self.blocks():
            handler = Unconstrained(self.structure.by_name, z)
            with onp.errstate(all="ignore"):
                self.structure.run(handler, block)
            for name, term in handler.terms.items():
                over_rows = self.structure.scaling and name in self.structure.scaling.terms
                before = terms.get(name, 0.0) if over_rows else 0.0
                terms[name] = before + float(onp.asarray(term))
        return terms

    def constrain(self, z: Array, engine: str | None = None) -> dict[str, onp.ndarray]:
        """theta = T(z) by name, ``(..., *shape)``, deterministics included, for ``z`` (..., D)."""
        if engine is not None:
            engines.get(engine)  # not asked below, where transforms are all there is
        z = check_point(z, self.dim)
        if not self.discovery.deterministics and set(self.supports) == set(self.latents):
            return {
                latent.name: to_support(self.supports[latent.name]).forward(latent.of(z))
                for latent in self._structure.latents
            }
        run = engines.get(engine).compile(_constrain_batch, static=(0,))
        flat = run(self.structure, z.reshape(-1, self.dim), self._data_for_latents)
        # JAX returns dictionaries in sorted order: latents come first here, on every engine.
        names = (*self.latents, *self.discovery.deterministics)
        return {name: flat[name].reshape(z.shape[:-1] + flat[name].shape[1:]) for name in names}

    def unconstrain(self, values: Mapping[str, Array]) -> onp.ndarray:
        """z (D,) for constrained ``values`` of every latent.

        Raises
        ------
        ValueError
            if a latent is missing, unknown, of another shape, or outside its support.
        """
        handler = Unconstrain(self.structure.by_name, of_every_latent(values, self.shapes))
        self.structure.run(handler, self._data_for_latents)
        return handler.z

    def run(self, handler: Any) -> Any:
        """Run the program once, eagerly, with ``handler`` as its ``m``."""
        self.structure.run(handler, self.data)
        return handler

    @property
    def _data_for_latents(self) -> dict[str, onp.ndarray]:
        """Data with which the program gives all latents and deterministics: few, if few will do."""
        scaling = self.structure.scaling
        return self.data if scaling is None or scaling.deterministics else self.some_data

    def blocks(self) -> Iterator[tuple[dict[str, onp.ndarray], float]]:
        """The data with some of the rows at a time, and these rows' share of all."""
        if self.minibatch is None:
            yield self.data, 1.0
            return
        others = self.shared_data
        for block in self.minibatch.source(self.arrays, widen).blocks(ROWS_AT_ONCE):
            length = len(block[self.minibatch.rows[0]])
            yield {**others, **block}, length / self.num_rows

    def __repr__(self) -> str:
        name, n = program_name(self.structure.program), len(self.latents)
        lines = [f"Model {name}: {n} latent{'s' if n > 1 else ''} on R^{self.dim}"]
        for name, shape in self.shapes.items():
            support = self.supports.get(name, "support depends on other latents")
            lines.append(f"  {name} {shape}  {support}")
        if self.discovery.observed:
            shapes = {name: onp.shape(value) for name, value in self.discovery.observed.items()}
            for name in self.structure.scaling.terms if self.structure.scaling else ():
                if name in shapes:  # a factor is not; and these are shapes of some rows
                    shapes[name] = (self.num_rows, *shapes[name][1:])
            lines.append("observed: " + ", ".join(f"{name} {s}" for name, s in shapes.items()))
        if self.minibatch:
            size, rows = self.minibatch.size, ", ".join(self.minibatch.rows)
            lines.append(f"minibatches: {size} of {self.num_rows} rows of {rows}")
        return "\n".join(lines)


def _log_density_batch(structure: Any, z: Array, data: dict[str, Array]) -> Array:
    return structure.log_density_batch(z, data)


def _constrain_batch(structure: Any, z: Array, data: dict[str, Array]) -> dict[str, Array]:
    return structure.constrain_batch(z, data)
