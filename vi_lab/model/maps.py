"""Arrays that lie in files: recognised as such, read a part at a time, and let go of.

A `numpy.memmap` is such an array, and so is every view of one: a column ``table[:, 3]``, a
field ``table["age"]``, what `numpy.asarray` makes of it. What they have in common is the
owner of their memory, at the end of the chain of arrays that each is a view of.

Pages that were read count as memory in use until the system runs short of it. Read a part at
a time, and let go of after each part, a map of any length takes the memory of one part.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Any

import numpy as onp
from numpy.lib.array_utils import byte_bounds

PART_BYTES = 2**23  # 8 MB of pages at a time
NEAR_BYTES = 2**21  # within 2 MB, pages may come along with one that is touched
SHARED = ("r", "r+", "w+")  # modes of a map without changes that are nowhere else


def is_mapped(array: Any) -> bool:
    """Whether ``array`` lies in a memory map, as a view of whatever kind."""
    return isinstance(array, onp.ndarray) and isinstance(_owners(array)[-1], mmap.mmap)


def row_extent(array: onp.ndarray) -> int:
    """Bytes from one row to the next, or of one row: those that reading a row touches."""
    return max(1, abs(array.strides[0]), array[:1].nbytes)


def parts(array: onp.ndarray) -> Iterator[onp.ndarray]:
    """``array``, some rows at a time; the pages of each are let go of when it has been used."""
    array = onp.atleast_1d(array)
    step = max(1, PART_BYTES // row_extent(array))
    for start in range(0, len(array), step):
        part = array[start : start + step]
        yield part
        release(part)


def read(
    array: onp.ndarray, slices: list[slice], convert: Callable[[onp.ndarray], onp.ndarray]
) -> onp.ndarray:
    """``convert`` of the rows in ``slices``, one after another: in memory if they were not."""
    if not is_mapped(array):
        one_by_one = [array[chosen] for chosen in slices]
        return convert(onp.concatenate(one_by_one) if len(slices) > 1 else one_by_one[0])
    one = convert(array[:1])
    rows = onp.empty((sum(s.stop - s.start for s in slices), *one.shape[1:]), dtype=one.dtype)
    done = 0
    for chosen in slices:
        for part in parts(array[chosen]):
            rows[done : done + len(part)] = convert(part)
            done += len(part)
    return rows


def release(array: onp.ndarray) -> None:
    """Let go of the pages of a memory map in which ``array`` lies; of another array, nothing."""
    owners = _owners(array)
    owner = owners[-1]
    # A private copy ("c") may hold changes that are nowhere else.
    shared = any(isinstance(view, onp.memmap) and view.mode in SHARED for view in owners)
    if shared and isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        first, end = byte_bounds(onp.frombuffer(owner, onp.uint8))
        low, high = byte_bounds(array)
        low, high = max(first, low - low % NEAR_BYTES), min(end, high + -high % NEAR_BYTES)
        owner.madvise(mmap.MADV_DONTNEED, low - first, high - low)


def _owners(array: onp.ndarray) -> list[Any]:
    """``array``, what it is a view of, and so on to the owner of the memory."""
    owners: list[Any] = [array]
    while (of := getattr(owners[-1], "obj", getattr(owners[-1], "base", None))) is not None:
        owners.append(of)
    return owners
