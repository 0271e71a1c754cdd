r"""What every distribution is: a log density on a support, and draws from it.

A distribution is a frozen record of its parameters. With ``batch`` the shape to
which these broadcast and ``event`` the shape of one value (``()`` for scalars),

* ``log_prob(x)`` takes ``x`` of shape ``(..., *batch, *event)``, or any that broadcasts
  against it, and returns the log density, ``(..., *batch)``, minus infinity outside the
  support;
* ``log_prob_in_support(x)`` is the bare formula, for values known to be inside;
* ``log_prob_of_latent(x, log_slack)`` is the same for a latent, which comes out of a transform
  onto the support: then the logarithms of its distances to the bounds are known, exactly even
  where x itself has rounded onto one (`vi_lab.transforms.supports.LogSlack`);
* ``sample(rng, shape)`` returns a NumPy array of shape ``(*shape, *batch, *event)``: what
  ``draw(rng, size)`` makes of the checked ``size = (*shape, *batch)``.

**Outside the support** a formula may be undefined (the log of a negative number), and
automatic differentiation multiplies the derivative there, NaN, by zero, which is
NaN. So :meth:`Distribution.log_prob` selects twice: first a harmless value in place of
each one outside, then minus infinity in place of what the formula made of it. When
every value is inside and this can be seen (plain numbers), nothing is selected and
nothing is added to the tape.

**Parameters** may be numbers, arrays, or an engine's tracers. Constants are checked when
the record is made; the value of a tracer cannot be known.

**To write your own**, write a frozen dataclass (a file of this folder, and its name in
`vi_lab/distributions/__init__.py`, if others shall have it): the rules of its parameters, its
support, the formula and how to draw. The length of a vector of two normals is Rayleigh's:

>>> import numpy
>>> import vi_lab.numpy as np
>>> from dataclasses import dataclass
>>> from vi_lab.distributions import Distribution
>>> from vi_lab.distributions.base import POSITIVE
>>> from vi_lab.engine import Array
>>> from vi_lab.transforms import supports
>>> @dataclass(frozen=True, eq=False)
... class Rayleigh(Distribution):
...     scale: Array
...     constraints = {"scale": POSITIVE}
...     support = supports.NonNegative()
...
...     def log_prob_in_support(self, x):
...         return np.log(x) - 2.0 * np.log(self.scale) - 0.5 * np.square(x / self.scale)
...
...     def draw(self, rng, size):
...         return rng.rayleigh(self.scale, size)

With `vi_lab.numpy` as ``np`` both engines differentiate it, and a model finds its transform:

>>> Rayleigh(2.0).log_prob([2.0, -1.0]).round(6).tolist()
[-1.193147, -inf]
>>> Rayleigh([1.0, 2.0]).sample(numpy.random.default_rng(0), 3).shape
(3, 2)
>>> from vi_lab import Model
>>> Model(lambda m: m.sample("r", Rayleigh(2.0))).supports
{'r': NonNegative()}

What holds of every distribution is tested by the table
``tests/distributions/distribution_cases.py``: add a line.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as onp

import vi_lab.numpy as np
from vi_lab.arrays import (
    NUMBERS,
    REAL_KINDS,
    as_real,
    as_shape,
    check_generator,
    every,
    is_constant,
)
from vi_lab.checks import check_held
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, UnsupportedError
from vi_lab.transforms import supports
from vi_lab.transforms.supports import LogSlack, Support

Shape = int | tuple[int, ...]  # an int is the length of one axis

# Densities that are defined on the whole space need no check of their argument.
EVERYWHERE = (supports.Real, supports.RealVector)


class Rule(NamedTuple):
    """What a constant parameter must satisfy, entry by entry."""

    text: str
    holds: Callable[[Any], Any]


FINITE = Rule("finite", lambda v: (v > -math.inf) & (v < math.inf))
POSITIVE = Rule("positive and finite", lambda v: (v > 0) & (v < math.inf))
NON_NEGATIVE = Rule("zero or positive, and finite", lambda v: (v >= 0) & (v < math.inf))
PROBABILITY = Rule("between 0 and 1", lambda v: (v >= 0) & (v <= 1))
COUNT = Rule("a whole number, zero or positive", lambda v: (v >= 0) & (v < math.inf) & (v % 1 == 0))
NOT_NAN = Rule("a number (infinity included), not NaN", lambda v: v == v)  # noqa: PLR0124


def check(distribution: Any, name: str, rule: Rule) -> None:
    """Refuse a constant parameter that breaks ``rule``; a list becomes an array.

    Raises
    ------
    TypeError, ValueError
        naming the parameter, the rule and the first entry that breaks it.
    """
    value = getattr(distribution, name)
    # Most parameters are good plain numbers, and records are made at each step.
    if isinstance(value, NUMBERS) and rule.holds(value):
        return
    value = as_real(_names(distribution, name), value)
    if is_constant(value) and not (good := onp.asarray(rule.holds(value))).all():
        first = onp.asarray(value)[~good].flat[0]
        raise ArgumentError(
            f"{_names(distribution, name)} must be {rule.text}, but {good.size - good.sum()} of "
            f"{good.size} values break this, the first of them {first}; "
            "correct the value passed as this argument"
        )
    object.__setattr__(distribution, name, value)


def check_one_of(distribution: Any, rules: Mapping[str, Rule]) -> str:
    """The name of the one parameter among ``rules`` that is given; it is checked.

    Raises
    ------
    TypeError, ValueError
        if none of them is given, or more than one.
    """
    given = [name for name in rules if getattr(distribution, name) is not None]
    if len(given) != 1:
        names = " or ".join(f"{name}=" for name in rules)
        raise ArgumentError(
            f"{type(distribution).__name__}: give exactly one of {names}, "
            f"not {' and '.join(given) or 'none'}"
        )
    check(distribution, given[0], rules[given[0]])
    return given[0]


def _names(distribution: Any, name: str) -> str:
    return f"{name}: {type(distribution).__name__}'s {name}"


class Distribution(ABC):
    """A probability distribution; see the module's docstring for shapes."""

    constraints: ClassVar[Mapping[str, Rule]] = {}

    def __post_init__(self) -> None:
        for name, rule in self.constraints.items():
            check(self, name, rule)

    @property
    @abstractmethod
    def support(self) -> Support:
        """The set on which the density is defined."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one value: () for a scalar."""
        return ()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape to which the parameters broadcast."""
        return self._broadcast({name: onp.shape(getattr(self, name)) for name in self.constraints})

    @abstractmethod
    def log_prob_in_support(self, x: Array) -> Array:
        """The log density at ``x``, which must lie in the support: this is not checked."""

    @abstractmethod
    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        """What `sample` returns, for ``size = (*shape, *batch_shape)``; both are checked."""

    def sample(self, rng: onp.random.Generator, shape: Shape = ()) -> Any:
        """Independent draws, a NumPy array of shape ``(*shape, *batch_shape, *event_shape)``.

        Raises
        ------
        TypeError, ValueError
            for an ``rng`` that is no generator, or a ``shape`` that is none or that no memory
            holds.
        """
        check_generator("rng", rng)
        size = as_shape("shape", shape) + self.batch_shape
        check_held("shape", math.prod(size), math.prod(self.event_shape))
        return self.draw(rng, size)

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        """The log density at ``x`` in the support; ``log_slack()`` gives its exact log slacks.

        A density without the logarithm of a slack has no use for them, and does not call it.
        """
        return self.log_prob_in_support(x)

    def log_prob(self, x: Any) -> Array:
        """The log density (of counts: the log probability) at ``x``; -inf outside the support.

        Raises
        ------
        TypeError, ValueError
            if ``x`` is not made of real numbers, or has a shape that does not fit.
        """
        if type(x) is not onp.ndarray or x.dtype.kind not in REAL_KINDS:
            x = as_real("x:", x)
        support = self.support
        if support.event_ndim:
            self._check_event(onp.shape(x))
        try:
            if isinstance(support, EVERYWHERE):
                return self.log_prob_in_support(x)
            inside = support.contains(x)
            if is_constant(inside) and every(inside):
                return self.log_prob_in_support(x)
            event = (1,) * support.event_ndim
            selects = np.reshape(inside, onp.shape(inside) + event) if event else inside
            safe = np.where(selects, x, support.interior(onp.shape(x)))
            return np.where(inside, self.log_prob_in_support(safe), -onp.inf)
        except (TypeError, ValueError):
            self._check_batch(onp.shape(x))
            raise

    def _check_event(self, shape: tuple[int, ...]) -> None:
        """Refuse values that are no vectors or matrices of this distribution."""
        ndim = self.support.event_ndim
        event, found = self.event_shape, shape[max(len(shape) - ndim, 0) :]
        square = ndim == 1 or found[:1] == found[1:]
        if len(found) == ndim and square and found == (event or found):
            return
        wanted = ", ".join(map(str, event)) or ("K" if ndim == 1 else "K, K")
        raise ArgumentError(
            f"x: {type(self).__name__} is a distribution of values of shape ({wanted}), but x has "
            f"the shape {shape}; give (..., {wanted})"
        )

    def _check_batch(self, shape: tuple[int, ...]) -> None:
        """Refuse values that do not broadcast against the parameters."""
        batch = self.batch_shape
        try:
            onp.broadcast_shapes(shape, batch + self.event_shape)
        except ValueError:
            raise ArgumentError(
                f"x: of shape {shape} does not broadcast against {type(self).__name__}'s "
                f"parameters of shape {batch}; make the shapes equal, or of length 1 where they "
                "differ"
            ) from None

    def _broadcast(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
        try:
            return onp.broadcast_shapes(*shapes.values())
        except ValueError:
            listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
            raise ArgumentError(
                f"{type(self).__name__}: the shapes of {listed} do not broadcast; "
                "make them equal, or of length 1 where they differ"
            ) from None


class Continuous(Distribution):
    r"""A distribution of one real number that can be cut off: see `Truncated`.

    It knows its distribution function :math:`F(x) = \Pr(X \le x)` and its survival
    function :math:`S = 1 - F` in logarithms, each accurate in its own tail, and the
    inverses of both, which take logarithms too: a tail of :math:`e^{-1000}` is no
    special case.
    """

    @abstractmethod
    def log_cdf(self, x: Array) -> Array:
        """The logarithm of F(x), for ``x`` in the support."""

    @abstractmethod
    def log_survival(self, x: Array) -> Array:
        """The logarithm of S(x), for ``x`` in the support."""

    @abstractmethod
    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        """The x with log F(x) = ``log_p``; plain NumPy."""

    @abstractmethod
    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        """The x with log S(x) = ``log_q``; plain NumPy."""

    def _needs_constant(self, *names: str) -> None:
        """Refuse a traced shape parameter where no derivative with respect to it exists."""
        for name in names:
            if not is_constant(getattr(self, name)):
                raise UnsupportedError(
                    f"{name}: the distribution function of {type(self).__name__} has no "
                    f"derivative with respect to {name}, so a truncated one needs a constant "
                    "there: write a number (or a plain array) in place of a latent or of data"
                )


def safe_log(p: Array) -> Array:
    """The log of a probability that may underflow: -inf at 0, with derivative 0 there."""
    return np.where(p > 0, np.log(np.where(p > 0, p, 1.0)), -onp.inf)


def centred(x: Array, loc: Array) -> Array:
    """The difference x - loc; no operation on the tape where ``loc`` is plainly 0."""
    return x if isinstance(loc, NUMBERS) and loc == 0 else x - loc
