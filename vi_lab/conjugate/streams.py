"""Where rows come from: an array, a memory map, or a stream of blocks.

CAVI reads all rows in every sweep, block after block, and adds up statistics; stochastic
CAVI reads minibatches. Either way a memory map or a stream is never held whole.

*What is random in a minibatch.* From an array in memory, each epoch is a fresh permutation
of all rows, cut into minibatches: sampling without replacement. From a memory map,
contiguous chunks are read in a fresh random order, about 64 of them fill a buffer, the
buffer is shuffled and cut: each row is read once an epoch and is equally likely to come at
any time, but rows that lie together in the file tend to share a buffer (a cluster sample,
noisier if the file is sorted). A stream's blocks fill the same buffer in the order in
which they come: nothing is shuffled over distances beyond 32 MB. Rows left over at the
end of an epoch, too few for a minibatch, sit out.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, Protocol

import numpy as onp

from vi_lab.checks import check_whole
from vi_lab.conjugate.model import ConjugateModel
from vi_lab.errors import ArgumentError

BUFFER_BYTES = 2**25  # 32 MB of rows are shuffled at a time
CHUNKS_PER_BUFFER = 64
LOOK_ROWS = 2**16  # what a model sees of a memory map before it starts


class Source(Protocol):
    """Rows, checked by the model as they are read."""

    @property
    def num_rows(self) -> int:
        """N."""

    def look(self, rng: onp.random.Generator) -> onp.ndarray:
        """All rows, or a sample of them."""

    def blocks(self, size: int) -> Iterator[onp.ndarray]:
        """All rows, about ``size`` at a time (a stream's blocks as they come)."""

    def epoch(self, batch: int, rng: onp.random.Generator) -> Iterator[onp.ndarray]:
        """Minibatches of ``batch`` rows that together are all, but for a few left over."""


def source_of(model: ConjugateModel, rows: Any, num_rows: int | None = None) -> Source:
    """The source for what a user gave as rows; ``num_rows`` is for streams only.

    Raises
    ------
    ValueError
        if the rows are bad, or their number is missing or given where it is known.
    """
    if callable(rows) or isinstance(rows, Iterator):
        if num_rows is None:
            raise ArgumentError(
                "num_rows: must be given with a stream of blocks, because statistics of a "
                "minibatch are scaled to all rows"
            )
        check_whole("num_rows", num_rows, least=1)
        return _stream_source(model, rows, num_rows)
    if num_rows is not None:
        raise ArgumentError("num_rows: is for streams of blocks; an array's rows can be counted")
    if isinstance(rows, onp.memmap) and len(rows) > LOOK_ROWS:
        return MapSource(model, rows)
    return ArraySource(model.check(rows))


def _stream_source(model: ConjugateModel, stream: Any, num_rows: int) -> Source:
    blocks = iter(stream()) if callable(stream) else stream
    block = next(blocks, None)
    if block is None:
        raise ArgumentError("rows: the stream has no blocks")
    first = model.check(block)
    if callable(stream):
        return StreamSource(model, first, stream, num_rows)
    whole = chain([block], blocks)
    return StreamSource(model, first, lambda: whole, num_rows)


@dataclass(frozen=True, eq=False)
class ArraySource:
    """Rows in memory."""

    rows: onp.ndarray

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def look(self, rng: onp.random.Generator) -> onp.ndarray:
        return self.rows

    def blocks(self, size: int) -> Iterator[onp.ndarray]:
        for start in range(0, self.num_rows, size):
            yield self.rows[start : start + size]

    def epoch(self, batch: int, rng: onp.random.Generator) -> Iterator[onp.ndarray]:
        order = rng.permutation(self.num_rows)
        for start in range(0, self.num_rows - batch + 1, batch):
            yield self.rows[order[start : start + batch]]


@dataclass(frozen=True, eq=False)
class MapSource:
    """Rows in a memory map, of which only a buffer is in memory at a time."""

    model: ConjugateModel
    rows: onp.memmap

    @property
    def num_rows(self) -> int:
        return len(self.rows)

    def look(self, rng: onp.random.Generator) -> onp.ndarray:
        size = LOOK_ROWS // CHUNKS_PER_BUFFER
        return onp.concatenate(list(islice(self._chunks(size, rng), CHUNKS_PER_BUFFER)))

    def blocks(self, size: int) -> Iterator[onp.ndarray]:
        for start in range(0, self.num_rows, size):
            yield self._read(start, size)

    def epoch(self, batch: int, rng: onp.random.Generator) -> Iterator[onp.ndarray]:
        buffer = _buffer_rows(self.rows, batch)
        size = max(1, buffer // CHUNKS_PER_BUFFER)
        return shuffled(self._chunks(size, rng), batch, buffer, rng)

    def _chunks(self, size: int, rng: onp.random.Generator) -> Iterator[onp.ndarray]:
        for start in rng.permutation(onp.arange(0, self.num_rows, size)):
            yield self._read(int(start), size)

    def _read(self, start: int, size: int) -> onp.ndarray:
        checked = self.model.check(onp.array(self.rows[start : start + size], dtype=float))
        _forget_pages(self.rows)
        return checked


@dataclass(frozen=True, eq=False)
class StreamSource:
    """Blocks of rows from a function that begins them anew, or from an iterator, once."""

    model: ConjugateModel
    first: onp.ndarray
    begin: Callable[[], Iterable[Any]]
    num_rows: int

    def look(self, rng: onp.random.Generator) -> onp.ndarray:
        return self.first

    def epoch(self, batch: int, rng: onp.random.Generator) -> Iterator[onp.ndarray]:
        buffer = _buffer_rows(self.first, batch)
        return shuffled(self.blocks(buffer), batch, buffer, rng)

    def blocks(self, size: int) -> Iterator[onp.ndarray]:
        read = 0
        for block in self.begin():
            rows = self.model.check(block)
            read += len(rows)
            yield rows
        if read not in {0, self.num_rows}:  # 0: an iterator that was used up before
            raise ArgumentError(
                f"num_rows: {self.num_rows} were announced, but the blocks held {read}; "
                "statistics were scaled wrongly, so give the true number"
            )


def shuffled(
    blocks: Iterable[onp.ndarray], batch: int, buffer: int, rng: onp.random.Generator
) -> Iterator[onp.ndarray]:
    """Minibatches from ``blocks`` of any lengths, shuffled ``buffer`` rows at a time.

    What is left of a buffer after its last full minibatch joins the next one.
    """
    held: list[onp.ndarray] = []
    size = 0
    for block in chain(blocks, [None]):
        if block is not None:
            held.append(block)
            size += len(block)
            if size < buffer:
                continue
        if size >= batch:
            rows = onp.concatenate(held)
            order = rng.permutation(size)
            used = size - size % batch
            for start in range(0, used, batch):
                yield rows[order[start : start + batch]]
            held, size = [rows[order[used:]]], size - used


def _buffer_rows(sample: onp.ndarray, batch: int) -> int:
    """How many rows like those of ``sample`` fit in the buffer: at least a minibatch."""
    return max(batch, BUFFER_BYTES // (8 * sample[0].size))


def _forget_pages(rows: onp.ndarray) -> None:
    """Let go of a map's pages, which count as memory in use until somebody else needs it.

    Pages of private maps (mode "c") are kept: they may hold what the user wrote.
    """
    owner: Any = rows
    while owner is not None and not isinstance(owner, mmap.mmap):
        owner = owner.base
    if owner is not None and hasattr(mmap, "MADV_DONTNEED") and getattr(rows, "mode", "c") != "c":
        owner.madvise(mmap.MADV_DONTNEED)
