"""Checks of arguments: an error names the argument, what is wrong and what would do.

Each check takes the argument's name and value, and raises `ArgumentTypeError` for an object of
the wrong kind, or `ArgumentError` for one of the right kind whose value cannot be used
(`vi_lab.errors` has the rule). NumPy's integers and floats count as numbers, booleans do not.
Numbers that may be an engine's are checked in `vi_lab.arrays`.
"""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Iterable, Mapping, Sized
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from vi_lab.errors import ArgumentError, ArgumentTypeError, MissingFileError

T = TypeVar("T")

INTEGERS = 2**63  # whole numbers are kept in 64 bits
BYTES = 8  # of a number
SHOWN = 100  # characters of a value, in a message


# ------------------------------------------------------------------------- numbers
def check_positive(name: str, value: Any) -> None:
    """0 < value < infinity."""
    if not (_is_finite(value) and value > 0.0):
        raise _no_number(name, "a positive number", value)


def check_not_negative(name: str, value: Any) -> None:
    """0 <= value < infinity."""
    if not (_is_finite(value) and value >= 0.0):
        raise _no_number(name, "a number that is 0 or more", value)


def check_finite(name: str, value: Any) -> None:
    """One number, neither infinite nor NaN."""
    if not _is_real(value):
        several = isinstance(value, Sized) and not isinstance(value, str)
        raise _no_number(name, "one number" if several else "a number", value)
    if not _is_finite(value):
        raise ArgumentError(f"{name}: must be finite, not {shown(value)}")


def check_decay(name: str, value: Any) -> None:
    """0 <= value < 1."""
    if not (_is_real(value) and 0.0 <= value < 1.0):
        raise _no_number(name, "a number in [0, 1)", value)


def check_probability(name: str, value: Any) -> None:
    """0 < value < 1: neither impossible nor certain."""
    if not (_is_real(value) and 0.0 < value < 1.0):
        raise _no_number(name, "between 0 and 1", value)


def check_whole(name: str, value: Any, least: int) -> None:
    """An integer, ``least`` or more, that fits in 64 bits."""
    if not is_whole(value) or value < least:
        raise _no_number(name, f"a whole number, {least} or more", value)
    if value >= INTEGERS:
        raise ArgumentError(f"{name}: must be less than 2^63, not {shown(value)}")


def check_seed(name: str, value: Any) -> int:
    """An integer from which random numbers follow, as an int that fits in 64 bits.

    None, which would give other numbers each time, and a Generator, whose state goes on
    changing, are refused: a result keeps its seed, by which it can be had again.
    """
    if not is_whole(value) or not 0 <= value < INTEGERS:
        error = _no_number(name, "a whole number from 0 to 2^63 - 1", value)
        raise type(error)(
            f"{error}: every draw follows from it, so that a run can be repeated; give one, such "
            f"as {name}=1"
        )
    return int(value)


def check_held(name: str, count: int, numbers: int) -> None:
    """``count`` draws, or what else there may be many of, of so many ``numbers`` each.

    They must fit into the memory of this machine: NumPy would raise a MemoryError, or the
    system end the process, after the work.
    """
    needed, there = BYTES * int(count) * int(numbers), _memory()
    if needed > there:
        raise ArgumentError(
            f"{name}: {shown(int(count))} of {numbers:,} numbers each take {needed / 1e9:,.0f} GB, "
            f"more than the {there / 1e9:,.0f} GB that this machine has; give a smaller number"
        )


def check_bool(name: str, value: Any) -> None:
    """True or False, and nothing that merely counts as such."""
    if not isinstance(value, bool):
        raise ArgumentTypeError(f"{name}: must be True or False, not {shown(value)}")


def _no_number(name: str, wanted: str, value: Any) -> ArgumentError | ArgumentTypeError:
    """What to raise of a ``value`` that is not ``wanted``: of a number, that its value is wrong."""
    kind = ArgumentError if _is_real(value) else ArgumentTypeError
    return kind(f"{name}: must be {wanted}, not {shown(value)}")


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    try:
        return _is_real(value) and math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False


def is_whole(value: Any) -> bool:
    """Whether it is an integer, Python's or NumPy's."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value as messages show it: its repr, or the beginning of a long one."""
    if is_whole(value) and abs(value) >= 10**20:  # Python refuses to write out very long ones
        return f"about {'-' if value < 0 else ''}10^{math.log10(abs(value)):.0f}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _memory() -> int:
    """Bytes of memory of this machine; 2^40 on a system that does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 2**40


# -------------------------------------------------------------- names, objects, files
def check_name(name: str, value: Any, known: Iterable[str]) -> None:
    """One of the strings ``known``; the error suggests the nearest."""
    known = list(known)
    if isinstance(value, str) and value in known:
        return
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name}: {shown(value)} is none of {known}; choose one of these")
    nearest = difflib.get_close_matches(value, known, n=1)
    advice = f"did you mean {nearest[0]!r}?" if nearest else "choose one of these"
    raise ArgumentError(f"{name}: {shown(value)} is none of {known}; {advice}")


def check_names(name: str, value: Any) -> list[str]:
    """One name, or several in a list or tuple, at least one; as a list."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not all(isinstance(entry, str) for entry in names):
        raise ArgumentTypeError(f"{name}: must be a name or a list of names, not {shown(value)}")
    if not names:
        raise ArgumentError(f"{name}: is empty; give at least one name, or leave it out")
    return list(names)


def check_instance(name: str, value: Any, kind: type | tuple[type, ...], wanted: str) -> None:
    """An object of the type ``kind``, not that type itself; ``wanted`` says what to give."""
    if isinstance(value, kind):
        return
    found = f"the class {value.__name__} itself" if isinstance(value, type) else described(value)
    raise ArgumentTypeError(f"{name}: is {found}; give {wanted}")


def check_methods(name: str, value: Any, methods: tuple[str, ...], instead: str) -> None:
    """A value, not a class, with these methods; ``instead`` says what to give otherwise."""
    if isinstance(value, type):
        raise ArgumentTypeError(
            f"{name}: {value.__name__} is a class; give a value of it, {value.__name__}(...)"
        )
    missing = [method for method in methods if not callable(getattr(value, method, None))]
    if missing:
        raise ArgumentTypeError(
            f"{name}: {shown(value)} has no method {missing[0]!r}; give {instead}"
        )


def choose(name: str, value: str | T, known: Mapping[str, T], methods: tuple[str, ...]) -> T:
    """The one of ``known`` that ``value`` names, or ``value`` itself if it has the ``methods``."""
    if isinstance(value, str):
        check_name(name, value, sorted(known))
        return known[value]
    check_methods(name, value, methods, f"one of {sorted(known)}, or a value that has it")
    return value


def check_label(name: str, value: Any) -> None:
    """A name for something, which is not empty."""
    check_instance(name, value, str, "its name, a str")
    if not value:
        raise ArgumentError(f"{name}: is empty; give a name of one letter at least")


def check_callable(name: str, value: Any, signature: str, arguments: int | None = None) -> None:
    """None, or what `check_function` takes."""
    if value is not None:
        check_function(name, value, signature, arguments)


def check_function(name: str, value: Any, signature: str, arguments: int | None = None) -> None:
    """Something that can be called as ``signature``, with so many ``arguments`` if they are known.

    A function that is written in C may not say how many it takes, and passes.
    """
    if not callable(value):
        raise ArgumentTypeError(f"{name}: is {described(value)}; give a function {signature}")
    if arguments is None:
        return
    try:
        inspect.signature(value).bind(*range(arguments))
    except TypeError as error:
        raise ArgumentTypeError(
            f"{name}: cannot be called with {arguments} arguments ({error}); give a function "
            f"{signature}"
        ) from None
    except ValueError:
        pass


def check_writable(name: str, path: str | Path) -> None:
    """The path of a file that can be written: not a folder, in a folder that is there."""
    file = _path(name, path)
    if not file.parent.is_dir():
        raise ArgumentError(
            f"{name}: there is no folder {file.parent} to write {file.name} to; make it first"
        )
    if not os.access(file.parent, os.W_OK):
        raise ArgumentError(
            f"{name}: the folder {file.parent} may not be written to; give another path"
        )


def check_readable(name: str, path: str | Path) -> None:
    """The path of a file that is there and can be read."""
    file = _path(name, path)
    if not file.exists():
        raise MissingFileError(f"{name}: there is no file {file}; look at its name and folder")
    if not os.access(file, os.R_OK):
        raise ArgumentError(f"{name}: {file} may not be read; ask for the permission to")


def _path(name: str, path: str | Path) -> Path:
    """``path``, which is not that of a folder."""
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"{name}: is {described(path)}; give the path of a file")
    if "\0" in os.fspath(path):
        raise ArgumentError(f"{name}: {shown(path)} is no path; leave out the null character")
    file = Path(path)
    if file.is_dir():
        raise ArgumentError(f"{name}: {file} is a folder; give the path of a file in it")
    return file


def described(value: Any) -> str:
    """What an object is, in a few words: ``a NormalModel`` or ``the str 'mean_field'``."""
    if value is None or isinstance(value, bool):
        return repr(value)
    kind = type(value).__name__
    return f"the {kind} {shown(value)}" if isinstance(value, str | int | float) else f"a {kind}"
