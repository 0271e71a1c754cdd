"""Discovery: run a program once to learn its latents, shapes and supports."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as onp

from vi_lab.arrays import as_real
from vi_lab.checks import check_function, check_label
from vi_lab.distributions import Distribution
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError, OutOfRangeError
from vi_lab.model.data import guard
from vi_lab.model.handlers import Latent, Shape, holds, own_shape, whole_shape
from vi_lab.transforms import to_support
from vi_lab.transforms.supports import Support

LARGEST_DIM = 10**8  # a vector of 0.8 GB


@dataclass(frozen=True)
class Discovery:
    """What a program contains.

    ``supports`` holds the support of each latent that is the same whatever the
    other latents are; a latent missing there has bounds that depend on others.
    """

    latents: tuple[Latent, ...]
    supports: dict[str, Support]
    observed: dict[str, Array]
    deterministics: tuple[str, ...]
    always: frozenset[str]
    """observations whose support is the same whatever the latents are"""


def discover(program: Callable[..., None], data: dict[str, Any]) -> Discovery:
    """Look at ``program`` twice, at two points, and report what both looks agree on.

    Raises
    ------
    TypeError
        if the program's arguments do not fit ``data``, or it branches on values.
    ValueError
        if a name is used twice, a latent is discrete, a shape does not fit, an
        observation lies outside its support, or the latents differ between the
        two looks.
    """
    check_arguments(program, data)
    first = Look(point=0.0)
    look(program, first, data)
    if not first.latents:
        raise ArgumentError(
            f"program {program_name(program)}: has no latents; add at least one "
            "m.sample(name, prior)"
        )
    # The second look: other values, and data that refuse to steer a branch.
    second = Look(point=0.25)
    guarded = {
        name: guard(value, f"data {name!r}") if isinstance(value, onp.ndarray) else value
        for name, value in data.items()
    }
    look(program, second, guarded)
    if first.latents != second.latents:
        raise ArgumentError(
            f"program {program_name(program)}: has the latents {_names(first)} at one point and "
            f"{_names(second)} at another; its latents and their shapes must not depend on values"
        )
    supports = {
        name: support
        for name, support in first.supports.items()
        if same_support(support, second.supports[name])
    }
    # A support with a bound that depends on latents may hold the data elsewhere.
    always = frozenset(
        name
        for name, distribution in first.distributions.items()
        if same_support(distribution.support, second.distributions[name].support)
    )
    for name in sorted(always):
        check_inside(name, first.distributions[name], first.observed[name])
    return Discovery(
        tuple(first.latents), supports, first.observed, tuple(first.deterministics), always
    )


class Look:
    """The handler of discovery: latents sit at T(point), a valid value of any support."""

    def __init__(self, point: float) -> None:
        self._point = point
        self._names: set[str] = set()
        self.latents: list[Latent] = []
        self.supports: dict[str, Support] = {}
        self.distributions: dict[str, Distribution] = {}  # of what is observed
        self.observed: dict[str, Array] = {}
        self.deterministics: list[str] = []

    def sample(self, name: str, distribution: Any, shape: Shape | None = None) -> Array:
        self._new(name)
        _check_distribution(f"sample({name!r})", distribution)
        support = distribution.support
        if support.is_discrete:
            raise ArgumentError(
                f"latent {name!r}: is discrete ({type(distribution).__name__}), and gradients need "
                "a continuous one; marginalise it: sum it out of the log density with "
                "vi_lab.scipy.logsumexp and m.factor, as vi_lab.zoo's mixture and hidden Markov "
                "models do"
            )
        full = whole_shape(name, distribution, shape)
        transform = to_support(support)
        if len(full) < transform.event_ndim:
            raise ArgumentError(
                f"latent {name!r}: {distribution} does not know the shape of one value, which has "
                f"{transform.event_ndim} axes; give it, m.sample({name!r}, ..., shape=...)"
            )
        unconstrained = transform.unconstrained_shape(full)
        start = self.latents[-1].stop if self.latents else 0
        size = math.prod(unconstrained)
        if start + size > LARGEST_DIM:
            raise ArgumentError(
                f"latent {name!r}: shape {full} makes {start + size:,} dimensions, more than the "
                f"{LARGEST_DIM:,} that are taken for meant; give it a smaller shape"
            )
        self.latents.append(Latent(name, full, unconstrained, start, start + size))
        self.supports[name] = support
        # Guarded, so that no check is made of its value: z = 0 may be where no posterior goes.
        return guard(transform.forward(onp.full(unconstrained, self._point)), f"latent {name!r}")

    def observe(self, name: str, distribution: Any, value: Array) -> None:
        self._new(name)
        _check_distribution(f"observe({name!r})", distribution)
        as_real(f"observation {name!r}: its value", value)
        if not holds(onp.shape(value), distribution):
            raise ArgumentError(
                f"observation {name!r}: data of shape {onp.shape(value)} do not fit a "
                f"distribution of shape {own_shape(distribution)}; they must agree, or broadcast "
                "to the shape of the data"
            )
        self.distributions[name] = distribution
        self.observed[name] = value

    def deterministic(self, name: str, value: Array) -> Array:
        self._new(name)
        as_real(f"deterministic {name!r}: its value", value)
        self.deterministics.append(name)
        return value

    def factor(self, name: str, value: Array) -> None:
        self._new(name)
        as_real(f"factor {name!r}: its value", value)

    def _new(self, name: str) -> None:
        check_label("name", name)
        if name in self._names:
            raise ArgumentError(f"name: {name!r} is used twice; give each quantity its own")
        self._names.add(name)


def look(program: Callable[..., None], handler: Any, data: Mapping[str, Any]) -> Any:
    """Run ``program`` with ``handler``, which is returned; overflows are no matter."""
    # Whether the density is finite at this point is asked later, where a fit starts.
    try:
        with onp.errstate(all="ignore"):
            program(handler, **data)
    except IndexError as error:
        raise OutOfRangeError(
            f"program {program_name(program)}: {error}; codes that choose among K entries count "
            "from 0, so subtract 1 from codes 1, ..., K"
        ) from error
    return handler


def check_arguments(program: Callable[..., None], data: Mapping[str, Any]) -> None:
    """Refuse data whose names are not the program's arguments."""
    check_function("program", program, "program(m, **data)")
    try:
        inspect.signature(program).bind(None, **data)
    except TypeError as error:
        raise ArgumentTypeError(
            f"program {program_name(program)}: its arguments {inspect.signature(program)} do not "
            f"fit the data {sorted(data)}: {error}; pass each argument after m as "
            "Model(program, name=value)"
        ) from None


def program_name(program: Callable) -> str:
    """What to call a program in messages."""
    return getattr(program, "__name__", type(program).__name__)


def same_support(a: Support, b: Support) -> bool:
    """Equal in type and bounds; bounds may be arrays."""
    return type(a) is type(b) and all(
        onp.array_equal(value, vars(b)[name]) for name, value in vars(a).items()
    )


def _names(look: Look) -> list[str]:
    return [f"{latent.name}{list(latent.shape)}" for latent in look.latents]


def _check_distribution(call: str, distribution: Any) -> None:
    if isinstance(distribution, Distribution):
        return
    is_class = isinstance(distribution, type) and issubclass(distribution, Distribution)
    remedy = "give it its parameters" if is_class else "give one, such as vi_lab.Normal(0.0, 1.0)"
    found = f"the class {distribution.__name__}" if is_class else repr(distribution)
    raise ArgumentTypeError(
        f"{call}: the second argument must be a distribution, not {found}; {remedy}"
    )


def check_inside(name: str, distribution: Any, value: Array) -> None:
    """Refuse an observation that lies outside the support of its distribution."""
    inside = onp.asarray(distribution.support.contains(value))
    if not inside.all():
        raise ArgumentError(
            f"observation {name!r}: {int((~inside).sum())} of {inside.size} values lie outside "
            f"{distribution.support}, the support of {type(distribution).__name__}"
        )
