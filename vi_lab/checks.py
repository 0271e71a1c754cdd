"""Checks of settings: an error names the argument, what is wrong and what would do."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

from vi_lab.errors import ArgumentError


def check_positive(name: str, value: Any) -> None:
    """0 < value < infinity."""
    if not (_is_real(value) and 0.0 < value < math.inf):
        raise ArgumentError(f"{name}: must be a positive number, not {value!r}")


def check_not_negative(name: str, value: Any) -> None:
    """0 <= value < infinity."""
    if not (_is_real(value) and 0.0 <= value < math.inf):
        raise ArgumentError(f"{name}: must be a number that is 0 or more, not {value!r}")


def check_decay(name: str, value: Any) -> None:
    """0 <= value < 1."""
    if not (_is_real(value) and 0.0 <= value < 1.0):
        raise ArgumentError(f"{name}: must be a number in [0, 1), not {value!r}")


def check_whole(name: str, value: Any, least: int) -> None:
    """An integer, ``least`` or more."""
    if not _is_whole(value) or value < least:
        raise ArgumentError(f"{name}: must be a whole number, {least} or more, not {value!r}")


def _is_real(value: Any) -> bool:
    return isinstance(value, Real)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral)
