"""Checks of arguments: an error names the argument, what is wrong and what would do.

Each check takes the argument's name and value, returns nothing, and raises `ArgumentError`
(a `ValueError`) for a value that cannot be used, or `ArgumentTypeError` (a `TypeError`) for
an object of the wrong kind. NumPy's integers and floats count as numbers, booleans do not.
What is called ``as_...`` returns the value in the form that the library computes with.

An array may be an engine's tracer, whose values cannot be known: then its shape and type are
all that is checked.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError

NUMBERS = (float, int)  # a tuple: `isinstance` is three times slower on `float | int`
CONSTANTS = (float, int, onp.generic)
REAL_KINDS = "biuf"  # of dtypes: booleans, integers, floats
SEEDS = 2**63  # how many there are: a seed is stored as a 64-bit integer


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
    ValueError
        for anything else: text, None, complex numbers, a distribution.
    """
    if isinstance(x, NUMBERS):
        return x
    if _is_real_array(x):
        return x.to_numpy() if hasattr(x, "to_numpy") else x
    if isinstance(x, list | tuple) and _is_real_array(array := _stacked(x)):
        return array
    if _is_real(x):
        return float(x)  # a fraction
    what = f"an array of {x.dtype}" if hasattr(x, "dtype") and onp.ndim(x) else repr(x)
    raise ArgumentError(
        f"{name} must be a number, not {what}; give a real number, an array of them, or what "
        "m.sample has returned"
    )


def _is_real_array(x: Any) -> bool:
    return getattr(getattr(x, "dtype", None), "kind", "O") in REAL_KINDS


def _stacked(x: list | tuple) -> Array:
    try:
        return onp.asarray(x, dtype=float)
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
    ValueError
        if it is none.
    """
    array = onp.asarray(as_real(f"{name}:", value), dtype=float)
    if not onp.isfinite(array).all():
        raise ArgumentError(f"{name}: must be finite, not {value}")
    return array


def as_bound(owner: str, name: str, value: Any) -> Array:
    """``value`` as a bound of a set: a finite number or array of them, or a tracer.

    Raises
    ------
    ValueError
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
    ValueError
        if it is neither.
    """
    lengths = (shape,) if is_whole(shape) else shape
    if not isinstance(lengths, tuple | list | onp.ndarray) or not all(
        is_whole(n) and n >= 0 for n in lengths
    ):
        raise ArgumentError(
            f"{name}: must be the lengths of the axes, whole numbers that are 0 or more such as 3 "
            f"or (3, 2), not {shape!r}"
        )
    return tuple(int(n) for n in lengths)


def check_point(z: Any, dim: int) -> Array:
    """``z`` as an array or tracer of shape (..., ``dim``).

    Raises
    ------
    ValueError
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
    ValueError
        as `check_point` does, and for more than one point.
    """
    z = check_point(z, dim)
    if onp.ndim(z) != 1:
        raise ArgumentError(
            f"z: must be one point ({dim},), not {onp.shape(z)}; give one row of it"
        )
    return z


# ------------------------------------------------------------------------- numbers
def check_positive(name: str, value: Any) -> None:
    """0 < value < infinity."""
    if not (_is_real(value) and 0.0 < value < math.inf):
        raise ArgumentError(f"{name}: must be a positive number, not {value!r}")


def check_not_negative(name: str, value: Any) -> None:
    """0 <= value < infinity."""
    if not (_is_real(value) and 0.0 <= value < math.inf):
        raise ArgumentError(f"{name}: must be a number that is 0 or more, not {value!r}")


def check_finite(name: str, value: Any) -> None:
    """One number, neither infinite nor NaN."""
    if as_finite(name, value).ndim:
        raise ArgumentError(f"{name}: must be one number, not {value!r}")


def check_decay(name: str, value: Any) -> None:
    """0 <= value < 1."""
    if not (_is_real(value) and 0.0 <= value < 1.0):
        raise ArgumentError(f"{name}: must be a number in [0, 1), not {value!r}")


def check_probability(name: str, value: Any) -> None:
    """0 < value < 1: neither impossible nor certain."""
    if not (_is_real(value) and 0.0 < value < 1.0):
        raise ArgumentError(f"{name}: must be between 0 and 1, not {value!r}")


def check_whole(name: str, value: Any, least: int) -> None:
    """An integer, ``least`` or more."""
    if not is_whole(value) or value < least:
        raise ArgumentError(f"{name}: must be a whole number, {least} or more, not {value!r}")


def check_seed(name: str, value: Any) -> None:
    """An integer from which random numbers follow, and which fits in 64 bits."""
    if not is_whole(value) or not 0 <= value < SEEDS:
        raise ArgumentError(
            f"{name}: must be a whole number from 0 to 2^63 - 1, not {value!r}: every draw follows "
            f"from it, so that a run can be repeated; give one, such as {name}=1"
        )


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether it is an integer, Python's or NumPy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


# -------------------------------------------------------------- names, objects, files
def check_name(name: str, value: Any, known: Iterable[str]) -> None:
    """One of the strings ``known``; the error suggests the nearest."""
    known = list(known)
    if isinstance(value, str) and value in known:
        return
    nearest = difflib.get_close_matches(str(value), known, n=1)
    advice = f"did you mean {nearest[0]!r}?" if nearest else "choose one of these"
    raise ArgumentError(f"{name}: {value!r} is none of {known}; {advice}")


def check_instance(name: str, value: Any, kind: type | tuple[type, ...], wanted: str) -> None:
    """An object of the type ``kind``, not that type itself; ``wanted`` says what to give."""
    if isinstance(value, kind):
        return
    found = f"the class {value.__name__} itself" if isinstance(value, type) else _described(value)
    raise ArgumentTypeError(f"{name}: is {found}; give {wanted}")


def check_callable(name: str, value: Any, signature: str) -> None:
    """None, or something that can be called as ``signature``."""
    if value is not None and not callable(value):
        raise ArgumentTypeError(f"{name}: is {_described(value)}; give a function {signature}")


def check_writable(name: str, path: str | Path) -> None:
    """The path of a file that can be written: not a folder, in a folder that is there."""
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"{name}: is {_described(path)}; give the path of a file")
    file = Path(path)
    if file.is_dir():
        raise ArgumentError(f"{name}: {file} is a folder; give the path of a file in it")
    if not file.parent.is_dir():
        raise ArgumentError(
            f"{name}: there is no folder {file.parent} to write {file.name} to; make it first"
        )
    if not os.access(file.parent, os.W_OK):
        raise ArgumentError(
            f"{name}: the folder {file.parent} may not be written to; give another path"
        )


def _described(value: Any) -> str:
    """What an object is, in a few words: ``a NormalModel`` or ``the str 'mean_field'``."""
    if value is None or isinstance(value, bool):
        return repr(value)
    kind = type(value).__name__
    return f"the {kind} {value!r}" if isinstance(value, str | int | float) else f"a {kind}"
