"""Values that may be an engine's: numbers, arrays and tracers, told apart and checked.

A number may be a plain one, or an engine's tracer, whose value cannot be known: then its
shape and type are all that is checked. As everywhere, an error names the argument, what is
wrong and what would do.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import numpy as onp

import vi_lab.numpy as np
from vi_lab.checks import check_instance, is_whole, shown
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError

NUMBERS = (float, int)  # a tuple: `isinstance` is three times slower on `float | int`
CONSTANTS = (float, int, onp.generic)
REAL_KINDS = "biuf"  # of dtypes: booleans, integers, floats


# -------------------------------------------------------------------------- arrays
def is_constant(x: Array) -> bool:
    """Whether ``x`` is a plain number or NumPy array, whose value may be looked at.

    An engine's tracers are not; nor are arrays of a subclass, such as those with
    which a model finds out whether its program branches on values.
    """
    return isinstance(x, CONSTANTS) or type(x) is onp.ndarray


def every(condition: Any) -> bool:
    """Whether a constant condition holds in every entry; quick for a bool."""
    return condition if isinstance(condition, bool) else bool(onp.all(condition))


def as_real(name: str, x: Any) -> Array:
    """``x`` as a number, an array of numbers, or the tracer that it is.

    Lists and tuples (of numbers, or of tracers) and columns of data frames become arrays.

    Raises
    ------
    TypeError
        for anything else: text, None, complex numbers, masked arrays, a distribution.
    """
    if isinstance(x, NUMBERS):
        return x
    if _is_real_array(x):
        refuse_masked(name.removesuffix(":"), x)
        return x.to_numpy() if hasattr(x, "to_numpy") else x
    if isinstance(x, list | tuple):
        refuse_masked(name.removesuffix(":"), x)
        if _is_real_array(array := _stacked(x)):
            return array
    if isinstance(x, Real):
        return float(x)  # a fraction
    what = f"an array of {x.dtype}" if hasattr(x, "dtype") and onp.ndim(x) else shown(x)
    drawn = hasattr(x, "log_prob")  # a distribution in place of a latent
    advice = "what m.sample returns of it" if drawn else "a real number, or an array of them"
    raise ArgumentTypeError(f"{name} must be a number, not {what}; give {advice}")


def refuse_masked(what: str, value: Any) -> None:
    """Refuse a masked array, also as an entry of a list: as an array it would lose its mask.

    Raises
    ------
    ValueError
    """
    if isinstance(value, onp.ma.MaskedArray):
        raise ArgumentError(
            f"{what}: is a masked array, whose mask would be lost; remove the masked rows, or "
            "make the missing values latents (if nothing is masked, give its .data)"
        )
    for entry in value if isinstance(value, list | tuple) else ():
        if isinstance(entry, onp.ma.MaskedArray | list | tuple):
            refuse_masked(what, entry)


def _is_real_array(x: Any) -> bool:
    return getattr(getattr(x, "dtype", None), "kind", "O") in REAL_KINDS


def _stacked(x: list | tuple) -> Array:
    try:
        array = onp.asarray(x, dtype=float)
        if not (onp.isnan(array).any() and None in onp.asarray(x, dtype=object)):
            return array
    except (TypeError, ValueError):
        pass
    try:
        return np.array(x)
    except (TypeError, ValueError):  # rows of different lengths
        return None


def as_finite(name: str, value: Any) -> onp.ndarray:
    """``value``, a finite number or an array of them, as an array of floats.

    Raises
    ------
    TypeError, ValueError
        if it is none.
    """
    array = onp.asarray(as_real(f"{name}:", value), dtype=float)
    if not onp.isfinite(array).all():
        raise ArgumentError(f"{name}: must be finite, not {shown(value)}")
    return array


def check_generator(name: str, value: Any) -> None:
    """A generator of NumPy, from which random numbers are drawn."""
    check_instance(name, value, onp.random.Generator, "a numpy.random.default_rng(seed)")


def as_bound(owner: str, name: str, value: Any) -> Array:
    """``value`` as a bound of a set: a finite number or array of them, or a tracer.

    Raises
    ------
    TypeError, ValueError
        if it is none.
    """
    if isinstance(value, NUMBERS) and -math.inf < value < math.inf:
        return value
    value = as_real(f"{name}: {owner}'s {name}", value)
    if is_constant(value) and not onp.isfinite(value).all():
        raise ArgumentError(
            f"{name}: {owner}'s {name} must be finite, not {value}; a set without a bound on this "
            "side has a class of its own (Real, Positive, GreaterThan, LessThan)"
        )
    return value


def check_order(owner: str, lower: Array, upper: Array) -> None:
    """Refuse constant bounds that leave nothing between them."""
    if not (is_constant(lower) and is_constant(upper)):
        return
    try:
        ordered = every(lower < upper)  # not so for NaN
    except ValueError:
        raise ArgumentError(
            f"lower, upper: {owner}'s bounds have the shapes {onp.shape(lower)} and "
            f"{onp.shape(upper)}, which do not broadcast; make them equal"
        ) from None
    if not ordered:
        raise ArgumentError(
            f"lower, upper: {owner} needs lower < upper in every entry, "
            f"not lower={lower} and upper={upper}; exchange or move the bounds"
        )


def as_shape(name: str, shape: Any) -> tuple[int, ...]:
    """``shape``, a whole number or several, as a tuple of Python integers.

    Raises
    ------
    TypeError, ValueError
        if it is neither.
    """
    lengths = (shape,) if is_whole(shape) else shape
    if not isinstance(lengths, tuple | list | onp.ndarray) or not all(
        is_whole(n) and n >= 0 for n in lengths
    ):
        numbers = onp.asarray(shape, dtype=object).ravel()
        kind = ArgumentError if all(map(_is_number, numbers)) else ArgumentTypeError
        raise kind(
            f"{name}: must be the lengths of the axes, whole numbers that are 0 or more such as 3 "
            f"or (3, 2), not {shown(shape)}"
        )
    return tuple(int(n) for n in lengths)


def _is_number(x: Any) -> bool:
    return isinstance(x, Real) and not isinstance(x, bool)


def check_point(z: Any, dim: int) -> Array:
    """``z`` as an array or tracer of shape (..., ``dim``).

    Raises
    ------
    TypeError, ValueError
        if it has another shape, or is no array of real numbers.
    """
    z = as_real("z:", z)
    if onp.shape(z)[-1:] != (dim,):
        raise ArgumentError(
            f"z: must have the shape (..., {dim}), a number for each dimension of the "
            f"unconstrained space R^{dim}, not {onp.shape(z)}; reshape it (model.slices says what "
            "its entries are)"
        )
    return onp.asarray(z, dtype=float) if is_constant(z) else z


def check_vector(z: Any, dim: int) -> Array:
    """``z`` as an array or tracer of shape (``dim``,).

    Raises
    ------
    TypeError, ValueError
        as `check_point` does, and for more than one point.
    """
    z = check_point(z, dim)
    if onp.ndim(z) != 1:
        raise ArgumentError(
            f"z: must be one point ({dim},), not {onp.shape(z)}; give one row of it"
        )
    return z
