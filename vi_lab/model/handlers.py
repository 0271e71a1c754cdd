r"""What the ``m`` of a model program does: one handler for each way of running it.

A program ``program(m, **data)`` states a joint density for *one* draw,

.. math:: \log p(x, \theta) = \sum_i \log p(\theta_i \mid \theta_{<i})
          + \sum_j \log p(x_j \mid \theta) + \text{factors},

by four calls: ``m.sample``, ``m.observe``, ``m.deterministic``, ``m.factor``. What
they return and remember depends on the question asked, so there is a handler for
each question, all with these four methods:

================== =====================================================
`Unconstrained`    log p~(z), Jacobians included, at an unconstrained z
`Conditioned`      log p(x, theta) at given constrained values
`Constrain`        the constrained values that belong to an unconstrained z
`Unconstrain`      the unconstrained z that belongs to constrained values
`Simulate`         random draws: from the prior, or of data given draws
================== =====================================================

(`vi_lab.model.discover` has one more, which finds out what latents there are.)
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as onp

import vi_lab.numpy as np
from vi_lab.arrays import as_real, as_shape
from vi_lab.checks import check_instance
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.transforms import Identity, to_support

Shape = int | tuple[int, ...]


class Handler(Protocol):
    """What a program is given as ``m``: the four calls by which it states a joint density."""

    def sample(self, name: str, distribution: Any, shape: Shape | None = None) -> Array:
        """A latent called ``name`` with this prior.

        ``shape`` is the shape of the whole value (event axes included) when it is
        larger than the distribution's own: independent copies. 3 is short for (3,).
        """

    def observe(self, name: str, distribution: Any, value: Array) -> None:
        """Data ``value``, distributed as ``distribution``."""

    def deterministic(self, name: str, value: Array) -> Array:
        """A function of the latents that is to be kept with the draws; returns ``value``."""

    def factor(self, name: str, value: Array) -> None:
        """Add ``value`` (summed over its axes) to the log density."""


@dataclass(frozen=True)
class Latent:
    """One latent of a program: where it lies in z, and its two shapes."""

    name: str
    shape: tuple[int, ...]
    unconstrained_shape: tuple[int, ...]
    start: int
    stop: int

    def of(self, z: Array) -> Array:
        """The part of ``z`` (..., D) that is this latent, as ``(..., *unconstrained_shape)``."""
        if z.ndim == 1 and not self.unconstrained_shape:
            return z[self.start]
        return np.reshape(z[..., self.start : self.stop], z.shape[:-1] + self.unconstrained_shape)


def total(x: Array) -> Array:
    """The sum of all entries; a scalar costs nothing on the tape."""
    return np.sum(x) if np.ndim(x) else x


class Unconstrained:
    """log p~(z) = log p(x, T(z)) + log abs det J_T(z), term by term."""

    def __init__(self, latents: Mapping[str, Latent], z: Array) -> None:
        self._latents, self._z = latents, z
        self.terms: dict[str, Array] = {}

    @property
    def log_density(self) -> Array:
        return reduce(operator.add, self.terms.values())

    def sample(self, name: str, distribution: Any, shape: Shape | None = None) -> Array:
        z = self._latents[name].of(self._z)
        transform = to_support(distribution.support)
        value = transform.forward(z)
        term = total(distribution.log_prob_of_latent(value, lambda: transform.log_slack(z)))
        if not isinstance(transform, Identity):  # whose log-Jacobian is 0
            term = term + total(transform.log_abs_det_jacobian(z))
        self.terms[name] = term
        return value

    def observe(self, name: str, distribution: Any, value: Array) -> None:
        self.terms[name] = total(distribution.log_prob(value))

    def deterministic(self, name: str, value: Array) -> Array:
        return value

    def factor(self, name: str, value: Array) -> None:
        self.terms[name] = total(value)


class Conditioned:
    """log p(x, theta) at the constrained values ``values``: no Jacobian."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self._values = values
        self.terms: dict[str, Array] = {}

    def sample(self, name: str, distribution: Any, shape: Shape | None = None) -> Array:
        value = self._values[name]
        self.terms[name] = total(distribution.log_prob(value))
        return value

    def observe(self, name: str, distribution: Any, value: Array) -> None:
        self.terms[name] = total(distribution.log_prob(value))

    def deterministic(self, name: str, value: Array) -> Array:
        return value

    def factor(self, name: str, value: Array) -> None:
        self.terms[name] = total(value)


class Constrain:
    """theta = T(z), and the deterministic quantities that follow from it."""

    def __init__(self, latents: Mapping[str, Latent], z: Array) -> None:
        self._latents, self._z = latents, z
        self.values: dict[str, Array] = {}

    def sample(self, name: str, distribution: Any, shape: Shape | None = None) -> Array:
        transform = to_support(distribution.support)
        self.values[name] = transform.forward(self._latents[name].of(self._z))
        return self.values[name]

    def observe(self, name: str, distribution: Any, value: Array) -> None:
        pass

    def deterministic(self, name: str, value: Array) -> Array:
        self.values[name] = value
        return value

    def factor(self, name: str, value: Array) -> None:
        pass


class Unconstrain:
    """z = T^-1(theta), for starting points and for checks against other programs."""

    def __init__(self, latents: Mapping[str, Latent], values: Mapping[str, Array]) -> None:
        self._latents, self._values = latents, values
        self.z = onp.zeros(max(latent.stop for latent in latents.values()))

    def sample(self, name: str, distribution: Any, shape: Shape | None = None) -> Array:
        latent = self._latents[name]
        value = self._values[name]
        try:
            z = to_support(distribution.support).inverse(value)
        except ValueError:
            raise ArgumentError(
                f"{name}: the value {value} lies outside the support {distribution.support}, or "
                "on its boundary; give one strictly inside"
            ) from None
        self.z[latent.start : latent.stop] = onp.ravel(z)
        return value

    def observe(self, name: str, distribution: Any, value: Array) -> None:
        pass

    def deterministic(self, name: str, value: Array) -> Array:
        return value

    def factor(self, name: str, value: Array) -> None:
        pass


class Simulate:
    """Random draws in the program's order.

    Latents found in ``given`` keep their value and the others are drawn from
    their prior; observed quantities are always drawn anew.
    """

    def __init__(self, rng: onp.random.Generator, given: Mapping[str, Array] | None = None) -> None:
        self._rng, self._given = rng, given
        self.latents: dict[str, Array] = {}
        self.observed: dict[str, Array] = {}

    def sample(self, name: str, distribution: Any, shape: Shape | None = None) -> Array:
        if self._given is not None:
            self.latents[name] = self._given[name]
        else:
            whole = whole_shape(name, distribution, shape)
            self.latents[name] = draw_of_shape(self._rng, distribution, whole)
        return self.latents[name]

    def observe(self, name: str, distribution: Any, value: Array) -> None:
        self.observed[name] = draw_of_shape(self._rng, distribution, onp.shape(value))

    def deterministic(self, name: str, value: Array) -> Array:
        self.latents[name] = value
        return value

    def factor(self, name: str, value: Array) -> None:
        if self._given is None:
            raise ArgumentError(
                f"factor {name!r}: a program with a factor has no prior to simulate from; "
                "use m.sample and m.observe, or simulate given draws of its latents"
            )


def of_every_latent(values: Any, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, onp.ndarray]:
    """Constrained ``values`` of every latent, broadcast to the ``shapes``.

    Raises
    ------
    TypeError, ValueError
        if a latent is missing, unknown, of another shape, or no number.
    """
    check_instance("values", values, Mapping, "a value for each latent, by name")
    wrong = set(shapes) ^ set(values)
    if wrong:
        raise ArgumentError(
            f"values: need exactly the latents {list(shapes)}; "
            f"missing or unknown: {sorted(wrong, key=str)}"
        )
    full = {}
    for name, shape in shapes.items():
        value = as_real(f"{name}: the value", values[name])
        try:
            full[name] = onp.broadcast_to(onp.asarray(value, dtype=float), shape)
        except ValueError:
            raise ArgumentError(
                f"{name}: the value has the shape {onp.shape(value)}, but the latent {shape}; "
                "give one of that shape"
            ) from None
    return full


def draw_of_shape(
    rng: onp.random.Generator, distribution: Any, shape: tuple[int, ...]
) -> onp.ndarray:
    """A draw of the whole ``shape``, to which ``distribution``'s own broadcasts.

    Entries that share parameters are independent: parameters of shape (3, 1) give a value of
    shape (3, 5) five independent columns, as they give its log density five terms.
    """
    event = tuple(distribution.event_shape)
    ndim = len(shape) - len(event)
    batch = tuple(distribution.batch_shape)
    batch = (1,) * (ndim - len(batch)) + batch
    repeated = [axis for axis in range(ndim) if batch[axis] != shape[axis]]
    # Copies first, (*copies, *batch, *event); then each in place of the axis of 1 that it fills.
    copies = tuple(shape[axis] for axis in repeated)
    draw = onp.reshape(distribution.sample(rng, copies), copies + batch + event)
    for first, axis in enumerate(repeated):
        draw = onp.swapaxes(draw, first, len(copies) + axis)
    return onp.reshape(draw, shape)


def whole_shape(name: str, distribution: Any, shape: Shape | None) -> tuple[int, ...]:
    """The shape of a whole value: ``shape``, which must hold the distribution's own, or that.

    Raises
    ------
    ValueError
        if it does not hold it: the batch must broadcast to it, and an event is what it is.
    """
    if shape is None:
        return own_shape(distribution)
    shape = as_shape(f"latent {name!r}: shape", shape)
    if not holds(shape, distribution):
        raise ArgumentError(
            f"latent {name!r}: shape={shape} does not hold a distribution of shape "
            f"{own_shape(distribution)}; shape is that of the whole value, to which the "
            "distribution's must broadcast"
        )
    return shape


def holds(shape: tuple[int, ...], distribution: Any) -> bool:
    """Whether a value of ``shape`` is made of whole events of ``distribution``, batch included."""
    event = tuple(distribution.event_shape)
    if shape[max(len(shape) - len(event), 0) :] != event:
        return False
    try:
        return onp.broadcast_shapes(shape, own_shape(distribution)) == shape
    except ValueError:
        return False


def own_shape(distribution: Any) -> tuple[int, ...]:
    """The shape of one draw."""
    return tuple(distribution.batch_shape) + tuple(distribution.event_shape)
