"""The data of a model: what is an array, what is structure, and what is refused.

Arrays and floats are *arguments* of the compiled log density: another data set of
the same shape needs no new compilation. Python integers, booleans and strings
(a number of components, a switch) are *structure*: programs may branch and loop
on them.

Arrays are copied and held as float64 and int64, so that no program overflows the small
integers in which data are stored. Arrays of rows for minibatches (`vi_lab.Minibatch`) keep
their type, and memory maps stay on disk: they are made wide a batch or a block at a time.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as onp

from vi_lab.errors import ArgumentError, ArgumentTypeError

STRUCTURE = (bool, int, str, type(None))
NUMBERS_AT_ONCE = 2**20  # of one array, where all of it is looked at


def split(
    data: dict[str, Any], rows: Collection[str] = ()
) -> tuple[dict[str, onp.ndarray], tuple[tuple[str, Any], ...]]:
    """Arrays by name, and the structural values as sorted pairs.

    Arrays named in ``rows`` keep their type, and memory maps among them are not copied.

    Raises
    ------
    TypeError
        if a value is neither numeric nor structure.
    ValueError
        if a value holds NaN, or is empty.
    """
    arrays, structure = {}, []
    for name, value in data.items():
        if isinstance(value, STRUCTURE):
            structure.append((name, value))
        else:
            arrays[name] = _as_array(name, value, as_stored=name in rows)
    return arrays, tuple(sorted(structure))


def _as_array(name: str, value: Any, as_stored: bool) -> onp.ndarray:
    try:
        # A copy: a later change of the caller's array is no change here.
        array = value.view() if as_stored and is_mapped(value) else onp.array(value)
    except ValueError as error:
        raise ArgumentTypeError(f"data {name!r}: cannot be made an array ({error})") from None
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(
            f"data {name!r}: holds {array.dtype} values; give numbers "
            "(for categories, integer codes)"
        )
    if array.size == 0:
        raise ArgumentError(f"data {name!r}: is empty; give at least one value")
    if array.dtype.kind == "f":
        bad = sum(int(onp.isnan(part).sum()) for part in _parts(array))
        if bad:
            raise ArgumentError(
                f"data {name!r}: {bad} of {array.size} values are NaN; remove those rows, or "
                "make the missing values latents"
            )
    if not as_stored:
        array = widen(array)
    array.setflags(write=False)
    return array


def widen(array: onp.ndarray) -> onp.ndarray:
    """``array`` in memory as float64, int64 or bool."""
    dtype = {"f": onp.float64, "b": onp.bool_}.get(array.dtype.kind, onp.int64)
    return onp.asarray(array).astype(dtype, copy=is_mapped(array))


def row_blocks(
    arrays: Mapping[str, onp.ndarray], block_rows: int
) -> Iterator[dict[str, onp.ndarray]]:
    """``arrays`` (N, ...) from first row to last, at most ``block_rows`` at a time, wide."""
    for start in range(0, len(next(iter(arrays.values()))), block_rows):
        block = {name: widen(array[start : start + block_rows]) for name, array in arrays.items()}
        for array in arrays.values():
            release(array)
        yield block


def is_mapped(array: Any) -> bool:
    """Whether ``array`` is a memory map."""
    return isinstance(array, onp.memmap)


def release(array: onp.ndarray) -> None:
    """Let go of the pages of a memory map that were read; of another array, nothing.

    The system would do so when memory runs short, and until then count them as ours.
    """
    # A private copy ("c") may hold changes that are nowhere else.
    if not (isinstance(array, onp.memmap) and array.mode in ("r", "r+")):
        return
    base: Any = array
    while isinstance(base, onp.ndarray | memoryview):
        base = base.base if isinstance(base, onp.ndarray) else base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def _parts(array: onp.ndarray) -> Iterator[onp.ndarray]:
    """``array``, some rows at a time."""
    array = onp.atleast_1d(array)
    step = max(1, NUMBERS_AT_ONCE * len(array) // array.size)
    for start in range(0, len(array), step):
        yield array[start : start + step]
        release(array)


class Guarded(onp.ndarray):
    """An array whose *values* must not steer the program.

    A compiled program is traced once for all values, so ``if x.mean() > 0:`` would
    fix the branch for ever. While a program is first looked at, its data and
    latents are of this type, and a branch is refused with a message to act on, on
    every engine alike.
    """

    what: str = ""

    def __array_finalize__(self, parent: Any) -> None:
        self.what = getattr(parent, "what", "") or self.what

    def __getitem__(self, index: Any) -> Any:
        return guard(super().__getitem__(index), self.what)

    def _refuse(self, *_: Any) -> Any:
        raise ArgumentTypeError(
            f"the program branches on the value of {self.what}, but it is compiled once for "
            "all values: choose with vi_lab.numpy.where, or pass a Python int, bool or str as "
            "data to make the choice part of the model's structure"
        )

    __bool__ = __int__ = __float__ = __index__ = _refuse


def guard(value: Any, what: str) -> Guarded:
    """``value`` as an array that refuses to steer a branch; ``what`` names it in the error."""
    guarded = onp.asarray(value).view(Guarded)
    guarded.what = what
    return guarded
