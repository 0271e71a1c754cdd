"""Rows that come as a stream: what may be given as such, and how it begins again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as onp

from vi_lab.checks import check_function, check_whole, described
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.model.maps import is_mapped
from vi_lab.model.rows import LOOK_ROWS, Arrays, Blocks, Convert, Rows

BEGINS = "that begins an iterator over the blocks, because each pass needs a new one"


def source_of(rows: Any, check: Convert, num_rows: int | None = None) -> Arrays | Blocks:
    """The source, under the name "rows", of what a user gave as such.

    Parameters
    ----------
    rows : an array; a memory map; a function that returns an iterator over blocks of rows, or
        such an iterator itself, which has one epoch
    check : makes an array of floats of some rows, or refuses them
    num_rows : N, for blocks only

    Raises
    ------
    ValueError
        if the rows are bad, or their number is missing or given where it is known.
    """
    if num_rows is not None:
        check_whole("num_rows", num_rows, least=1)
    if not (callable(rows) or isinstance(rows, Iterator)):
        if num_rows is not None:
            raise ArgumentError(
                "num_rows: is for streams of blocks; an array's rows can be counted"
            )
        if is_mapped(rows) and onp.ndim(rows) and len(rows) > LOOK_ROWS:
            return Arrays.of({"rows": rows}, check)
        return Arrays({"rows": check(rows)})
    if num_rows is None:
        raise ArgumentError(
            "num_rows: must be given with a stream of blocks, because statistics of a "
            "minibatch are scaled to all rows"
        )
    if callable(rows):
        begins = _called("rows", rows)
        first = next(_not_empty("rows", begins))
        if isinstance(begins, Iterator) and rows() is begins:
            raise ArgumentError(
                "rows: the function returns the same iterator at each call, which can be gone "
                "through only once; let it begin a new one"
            )
    else:
        first = next(_not_empty("rows", rows))
        whole = chain([first], rows)

    def begin() -> Iterator[Rows]:
        again = begun("rows", rows) if callable(rows) else whole
        return ({"rows": check(block)} for block in again)

    return Blocks(begin, num_rows, {"rows": check(first)})


def begun(name: str, function: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """The blocks that ``function``, the argument called ``name``, gives from the beginning.

    Raises
    ------
    TypeError
        if it takes arguments, or returns no iterator.
    ValueError
        if it has no blocks, such as an iterator that was used up before.
    """
    return _not_empty(name, _called(name, function))


def _called(name: str, function: Callable[[], Iterable[Any]]) -> Iterable[Any]:
    check_function(name, function, BEGINS, 0)
    blocks = function()
    if not isinstance(blocks, Iterable) or isinstance(blocks, str | Mapping):
        raise ArgumentTypeError(
            f"{name}: the function returns {described(blocks)}; return an iterator over blocks"
        )
    return blocks


def _not_empty(name: str, blocks: Iterable[Any]) -> Iterator[Any]:
    empty = True
    for block in blocks:
        empty = False
        yield block
    if empty:
        raise ArgumentError(
            f"{name}: there are no blocks; a stream that was gone through before has none left, so "
            "let a function begin a new one at each call"
        )
