"""`Model`: a program and its data, as a log density on R^D with named parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as onp

from vi_lab import engine as engines
from vi_lab.engine import Array
from vi_lab.model.data import split
from vi_lab.model.discover import Discovery, discover, program_name
from vi_lab.model.handlers import Conditioned, Constrain, Latent, Unconstrain, Unconstrained
from vi_lab.supports import Support
from vi_lab.transforms import to_support


@dataclass(frozen=True)
class Structure:
    """All of a model but its arrays: what a compiled function depends on.

    Hashable: two models made of the same program, shapes and structural data have
    equal structures and share their compiled code.
    """

    program: Callable[..., None]
    constants: tuple[tuple[str, Any], ...]
    latents: tuple[Latent, ...]

    @property
    def dim(self) -> int:
        return self.latents[-1].stop

    def log_density(self, z: Array, data: dict[str, Array]) -> Array:
        """log p~(z), a scalar, for ``z`` of shape (D,); log-Jacobians included."""
        return self.run(Unconstrained(self.by_name, z), data).log_density

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
        self.program(handler, **data, **dict(self.constants))
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

    Attributes
    ----------
    latents : names of the latents, in order
    shapes : constrained shape by latent
    supports : support by latent (those that do not depend on other latents)
    observed : the observed values by name
    dim : D, the length of z

    Raises
    ------
    TypeError, ValueError
        for data or programs that cannot work; see `vi_lab.model.data` and
        `vi_lab.model.discover`.

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

    structure: Structure
    data: dict[str, onp.ndarray]
    discovery: Discovery = field(repr=False)

    def __init__(self, program: Callable[..., None], /, **data: Any) -> None:
        arrays, constants = split(data)
        discovery = discover(program, {**arrays, **dict(constants)})
        object.__setattr__(self, "structure", Structure(program, constants, discovery.latents))
        object.__setattr__(self, "data", arrays)
        object.__setattr__(self, "discovery", discovery)

    @property
    def dim(self) -> int:
        return self.structure.dim

    @property
    def latents(self) -> tuple[str, ...]:
        return tuple(latent.name for latent in self.structure.latents)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {latent.name: latent.shape for latent in self.structure.latents}

    @property
    def unconstrained_shapes(self) -> dict[str, tuple[int, ...]]:
        return {latent.name: latent.unconstrained_shape for latent in self.structure.latents}

    @property
    def slices(self) -> dict[str, slice]:
        """Where each latent lies in z."""
        return {latent.name: slice(latent.start, latent.stop) for latent in self.structure.latents}

    @property
    def supports(self) -> dict[str, Support]:
        return self.discovery.supports

    @property
    def observed(self) -> dict[str, Array]:
        return self.discovery.observed

    def log_density(self, z: Array, engine: str | None = None) -> onp.ndarray:
        """log p~(z), Jacobians included, for ``z`` (..., D): an array of shape (...)."""
        run = engines.get(engine).compile(_log_density_batch, static=(0,))
        z = onp.asarray(z, dtype=float)
        flat = run(self.structure, z.reshape(-1, self.dim), self.data)
        return onp.asarray(flat).reshape(z.shape[:-1])

    def log_joint(self, values: Mapping[str, Array]) -> float:
        """log p(x, theta) at constrained ``values`` of every latent: no Jacobian."""
        handler = Conditioned({name: onp.asarray(values[name]) for name in self.latents})
        self.run(handler)
        return float(sum(handler.terms.values()))

    def terms(self, z: Array) -> dict[str, float]:
        """The terms of log p~(z) by latent, observation and factor, for ``z`` (D,)."""
        handler = Unconstrained(self.structure.by_name, onp.asarray(z, dtype=float))
        with onp.errstate(all="ignore"):
            self.run(handler)
        return {name: float(term) for name, term in handler.terms.items()}

    def constrain(self, z: Array, engine: str | None = None) -> dict[str, onp.ndarray]:
        """theta = T(z) by name, ``(..., *shape)``, deterministics included, for ``z`` (..., D)."""
        z = onp.asarray(z, dtype=float)
        if not self.discovery.deterministics and set(self.supports) == set(self.latents):
            return {
                latent.name: to_support(self.supports[latent.name]).forward(latent.of(z))
                for latent in self.structure.latents
            }
        run = engines.get(engine).compile(_constrain_batch, static=(0,))
        flat = run(self.structure, z.reshape(-1, self.dim), self.data)
        # JAX returns dictionaries in sorted order: latents come first here, on every engine.
        names = (*self.latents, *self.discovery.deterministics)
        return {name: flat[name].reshape(z.shape[:-1] + flat[name].shape[1:]) for name in names}

    def unconstrain(self, values: Mapping[str, Array]) -> onp.ndarray:
        """z (D,) for constrained ``values`` of every latent.

        Raises
        ------
        ValueError
            if a latent is missing, unknown, or outside its support.
        """
        missing = set(self.latents) ^ set(values)
        if missing:
            raise ValueError(
                f"values: need exactly the latents {list(self.latents)}; "
                f"missing or unknown: {sorted(missing)}"
            )
        handler = Unconstrain(self.structure.by_name, values)
        self.run(handler)
        return handler.z

    def run(self, handler: Any) -> Any:
        """Run the program once, eagerly, with ``handler`` as its ``m``."""
        self.structure.run(handler, self.data)
        return handler

    def __repr__(self) -> str:
        name, n = program_name(self.structure.program), len(self.latents)
        lines = [f"Model {name}: {n} latent{'s' if n > 1 else ''} on R^{self.dim}"]
        for name, shape in self.shapes.items():
            support = self.supports.get(name, "support depends on other latents")
            lines.append(f"  {name} {shape}  {support}")
        if self.observed:
            seen = ", ".join(f"{name} {onp.shape(v)}" for name, v in self.observed.items())
            lines.append("observed: " + seen)
        return "\n".join(lines)


def _log_density_batch(structure: Any, z: Array, data: dict[str, Array]) -> Array:
    return structure.log_density_batch(z, data)


def _constrain_batch(structure: Any, z: Array, data: dict[str, Array]) -> dict[str, Array]:
    return structure.constrain_batch(z, data)
