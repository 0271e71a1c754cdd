"""Checks of settings: an error names the argument, what is wrong and what would do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

T = TypeVar("T")


def check_positive(name: str, value: Any) -> None:
    """0 < value < infinity."""
    if not (_is_real(value) and 0.0 < value < math.inf):
        raise ValueError(f"{name}: must be a positive number, not {value!r}")


def check_not_negative(name: str, value: Any) -> None:
    """0 <= value < infinity."""
    if not (_is_real(value) and 0.0 <= value < math.inf):
        raise ValueError(f"{name}: must be a number that is 0 or more, not {value!r}")


def check_decay(name: str, value: Any) -> None:
    """0 <= value < 1."""
    if not (_is_real(value) and 0.0 <= value < 1.0):
        raise ValueError(f"{name}: must be a number in [0, 1), not {value!r}")


def check_whole(name: str, value: Any, least: int) -> None:
    """An integer, ``least`` or more."""
    if not is_whole(value) or value < least:
        raise ValueError(f"{name}: must be a whole number, {least} or more, not {value!r}")


def check_seed(name: str, value: Any) -> int:
    """A whole number from 0 to 2^63 - 1, as an int.

    None, which would give other numbers each time, and a Generator, whose state goes on
    changing, are refused: a result keeps its seed, by which it can be had again.
    """
    if not is_whole(value) or not 0 <= value < 2**63:
        raise ValueError(f"{name}: must be a whole number from 0 to 2^63 - 1, not {value!r}")
    return int(value)


def check_methods(name: str, value: Any, methods: tuple[str, ...], instead: str) -> None:
    """A value, not a class, with these methods; ``instead`` says what to give otherwise."""
    if isinstance(value, type):
        raise ValueError(  # noqa: TRY004 - one kind of error for every argument
            f"{name}: {value.__name__} is a class; give a value of it, {value.__name__}(...)"
        )
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing:
        raise ValueError(f"{name}: {value!r} has no method {missing[0]!r}; give {instead}")


def choose(name: str, value: str | T, known: Mapping[str, T], methods: tuple[str, ...]) -> T:
    """The one of ``known`` that ``value`` names, or ``value`` itself if it has the ``methods``."""
    if not isinstance(value, str):
        check_methods(name, value, methods, f"one of {sorted(known)}, or a value that has it")
        return value
    if value not in known:
        raise ValueError(f"{name}: {value!r} is none of {sorted(known)}; choose one of these")
    return known[value]


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether it is an integer, Python's or NumPy's; a bool is none."""
    return isinstance(value, Integral) and not isinstance(value, bool)
