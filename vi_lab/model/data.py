"""The data of a model: what is an array, what is structure, and what is refused.

Arrays and floats are *arguments* of the compiled log density: another data set of
the same shape needs no new compilation. Integers, booleans and strings, Python's or NumPy's
(a number of components, a switch) are *structure*: programs may branch and loop
on them.

Arrays are copied and held as float64 and int64, so that no program overflows the small
integers in which data are stored. Arrays of rows for minibatches (`vi_lab.Minibatch`) keep
their type, and memory maps stay on disk: they are made wide a batch or a block at a time.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as onp

from vi_lab.arrays import refuse_masked
from vi_lab.engine.failures import line_now
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.model.maps import is_mapped, parts

STRUCTURE = (bool, int, str, type(None))


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
        if a value is masked or empty, or holds NaN or an integer beyond int64.
    """
    arrays, structure = {}, []
    for name, value in data.items():
        if isinstance(value, onp.integer | onp.bool_):
            structure.append((name, value.item()))
        elif isinstance(value, STRUCTURE):
            structure.append((name, value))
        else:
            arrays[name] = as_array(name, value, as_stored=name in rows)
    return arrays, tuple(sorted(structure))


def as_array(name: str, value: Any, as_stored: bool) -> onp.ndarray:
    """``value`` as a read-only array: checked, copied and made wide, or ``as_stored``."""
    what = f"data {name!r}"
    refuse_masked(what, value)
    try:
        # A copy: a later change of the caller's array is no change here.
        array = value.view() if as_stored and is_mapped(value) else onp.array(value)
    except ValueError as error:
        raise ArgumentTypeError(f"{what}: cannot be made an array ({error})") from None
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(
            f"{what}: holds {array.dtype} values; give numbers (for categories, integer codes; for "
            "complex numbers, both parts)"
        )
    if array.size == 0:
        raise ArgumentError(f"{what}: is empty; give at least one value")
    _refuse_nan(what, array)
    refuse_large(what, array)
    if not as_stored:
        array = widen(array)
    array.setflags(write=False)
    return array


def _refuse_nan(what: str, array: onp.ndarray) -> None:
    if array.dtype.kind == "f":
        bad = sum(int(onp.isnan(part).sum()) for part in parts(array))
        if bad:
            raise ArgumentError(
                f"{what}: {bad} of {array.size} values are NaN; remove those rows, or make the "
                "missing values latents"
            )


def refuse_large(what: str, array: onp.ndarray) -> None:
    """Refuse integers that would come out negative as int64, and lose digits as float64.

    Raises
    ------
    ValueError
    """
    if array.dtype == onp.uint64 and array.size:
        largest = max(int(part.max()) for part in parts(array))
        if largest >= 2**63:
            raise ArgumentError(
                f"{what}: holds {largest}, and integers are kept as int64, up to 2**63 - 1; give "
                "floats, or codes from 0 on"
            )


def widen(array: onp.ndarray) -> onp.ndarray:
    """``array`` in memory as float64, int64 or bool."""
    dtype = {"f": onp.float64, "b": onp.bool_}.get(array.dtype.kind, onp.int64)
    return onp.asarray(array).astype(dtype, copy=is_mapped(array))


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
            f"program: branches on the value of {self.what}{line_now()}, but it is compiled once "
            "for all values: choose with vi_lab.numpy.where, or pass a Python int, bool or str as "
            "data to make the choice part of the model's structure"
        )

    def __float__(self) -> Any:
        raise ArgumentTypeError(
            f"program: takes the value of {self.what} as a Python number{line_now()}, as "
            "float(), a function of Python's math or assigning to an entry of an array does, but "
            "it is compiled once for all values: use vi_lab.numpy or vi_lab.scipy in place of "
            "math and NumPy, and np.stack in place of assigning"
        )

    __bool__ = __int__ = __index__ = _refuse


def guard(value: Any, what: str) -> Guarded:
    """``value`` as an array that refuses to steer a branch; ``what`` names it in the error."""
    guarded = onp.asarray(value).view(Guarded)
    guarded.what = what
    return guarded
