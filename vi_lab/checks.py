"""Checks of arguments: an error names the argument, what is wrong and what would do.

Each check takes the argument's name and value, and raises `ArgumentError` (a `ValueError`) for
a value that cannot be used, or `ArgumentTypeError` (a `TypeError`) for an object of the wrong
kind. NumPy's integers and floats count as numbers, booleans do not. Numbers that may be an
engine's are checked in `vi_lab.arrays`.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping, Sized
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from vi_lab.errors import ArgumentError, ArgumentTypeError

T = TypeVar("T")

SEEDS = 2**63  # how many there are: a seed is stored as a 64-bit integer


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
    if not _is_real(value):
        several = isinstance(value, Sized) and not isinstance(value, str)
        wanted = "one number" if several else "a number"
        raise ArgumentError(f"{name}: must be {wanted}, not {value!r}")
    if not -math.inf < value < math.inf:
        raise ArgumentError(f"{name}: must be finite, not {value!r}")


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


def check_seed(name: str, value: Any) -> int:
    """An integer from which random numbers follow, as an int that fits in 64 bits.

    None, which would give other numbers each time, and a Generator, whose state goes on
    changing, are refused: a result keeps its seed, by which it can be had again.
    """
    if not is_whole(value) or not 0 <= value < SEEDS:
        raise ArgumentError(
            f"{name}: must be a whole number from 0 to 2^63 - 1, not {value!r}: every draw follows "
            f"from it, so that a run can be repeated; give one, such as {name}=1"
        )
    return int(value)


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


def check_methods(name: str, value: Any, methods: tuple[str, ...], instead: str) -> None:
    """A value, not a class, with these methods; ``instead`` says what to give otherwise."""
    if isinstance(value, type):
        raise ArgumentError(
            f"{name}: {value.__name__} is a class; give a value of it, {value.__name__}(...)"
        )
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing:
        raise ArgumentError(f"{name}: {value!r} has no method {missing[0]!r}; give {instead}")


def choose(name: str, value: str | T, known: Mapping[str, T], methods: tuple[str, ...]) -> T:
    """The one of ``known`` that ``value`` names, or ``value`` itself if it has the ``methods``."""
    if isinstance(value, str):
        check_name(name, value, sorted(known))
        return known[value]
    check_methods(name, value, methods, f"one of {sorted(known)}, or a value that has it")
    return value


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
