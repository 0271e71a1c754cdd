r"""Rows in random order, a batch a step, from arrays in memory or on disk.

A stream of row numbers :math:`i_1, i_2, \dots` is cut into batches of B. Each N numbers in
a row (an epoch) hold every row exactly once, and the epochs are shuffled independently. At
every position each row is equally likely, :math:`\Pr(i_t = n) = 1/N`, so whatever is summed
over a batch and multiplied by N/B is unbiased for the sum over all rows:

.. math:: E\Bigl[\frac NB \sum_{t \in \text{batch}} \ell_{i_t}\Bigr] = \sum_{n=1}^N \ell_n .

The argument is about single positions, so it also holds for the batch in which one epoch
ends and the next begins (where B does not divide N). That batch alone may hold a row twice.
Nothing is dropped.

**In memory** an epoch is a uniform permutation. **On disk** (`numpy.memmap`) it is read in
contiguous blocks of C rows: the rows are laid on a circle and cut into blocks from a random
place on, the blocks are put in a uniformly random order, K of them at a time fill a buffer,
and the rows of the buffer are permuted uniformly. The random place makes every row equally
likely at every position although the last block is shorter. What is *not* as in a
permutation of everything: rows of one block come from the same buffer, so a batch holds
rows of at most K blocks, and where neighbouring rows resemble each other the batches vary
more, by the variance between blocks, divided by K. A map that fits into the buffer is
permuted as if it were in memory.

Row t of the stream is a function of a key and t alone, so the state is two integers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as onp

from vi_lab.checks import check_whole
from vi_lab.errors import ArgumentError
from vi_lab.model.data import is_mapped, release, widen

BUFFER_BYTES = 2**25  # 32 MB of rows
BUFFER_BLOCKS = 256  # so a block is 128 KB: long enough for a disk to be read at its pace


class Buffer(NamedTuple):
    """Rows that are at hand: positions ``start`` to ``start + len(order)`` of the stream."""

    start: int
    order: onp.ndarray
    rows: Mapping[str, onp.ndarray]


class Batches:
    """The batches of a model's rows, in order: made by `vi_lab.Model.minibatches`.

    Attributes
    ----------
    size : B, rows in a batch
    num_rows : N
    bytes_per_step : memory of one batch as `take` returns it
    """

    def __init__(
        self,
        arrays: Mapping[str, onp.ndarray],
        size: int,
        key: int,
        *,
        block_rows: int | None = None,
        buffer_blocks: int = BUFFER_BLOCKS,
    ) -> None:
        """``arrays`` (N, ...) by name; one block holds ``block_rows`` rows, all if None."""
        self._arrays = dict(arrays)
        self.size = size
        self.num_rows = len(next(iter(self._arrays.values())))
        self._block = self.num_rows if block_rows is None else min(block_rows, self.num_rows)
        self._buffer_blocks = buffer_blocks
        self._key, self._position = key, 0
        self._buffer: Buffer | None = None

    @classmethod
    def of(cls, arrays: Mapping[str, onp.ndarray], size: int, rng: onp.random.Generator) -> Batches:
        """Batches of ``arrays``, streamed in blocks if one of them is a memory map."""
        block_rows = None
        if any(map(is_mapped, arrays.values())):
            row_bytes = sum(array[:1].nbytes for array in arrays.values())
            block_rows = max(1, BUFFER_BYTES // (BUFFER_BLOCKS * row_bytes))
        return cls(arrays, size, int(rng.integers(2**63)), block_rows=block_rows)

    @property
    def bytes_per_step(self) -> int:
        return sum(array.nbytes for array in self.empty(1).values())

    def empty(self, length: int) -> dict[str, onp.ndarray]:
        """Arrays for ``length`` batches, to be filled by `take`: {name: (length, B, ...)}."""
        return {
            name: onp.empty((length, self.size, *array.shape[1:]), dtype=widen(array[:1]).dtype)
            for name, array in self._arrays.items()
        }

    def take(
        self, length: int, out: Mapping[str, onp.ndarray] | None = None
    ) -> dict[str, onp.ndarray]:
        """The next ``length`` batches, {name: (length, B, ...)}, as float64 and int64.

        They are written to the first ``length`` batches of ``out`` (from `empty`) if it is
        given, which is then returned whole.

        Raises
        ------
        ValueError
            if ``length`` is not a whole number, or ``out`` is too short or not contiguous.
        """
        check_whole("length", length, least=0)
        out = self.empty(length) if out is None else dict(out)
        if any(len(a) < length or not a.flags.c_contiguous for a in out.values()):
            raise ArgumentError(f"out: cannot hold {length} batches; make it with empty({length})")
        flat = {name: _flat(out[name][:length]) for name in self._arrays}
        done, wanted = 0, length * self.size
        while done < wanted:
            buffer = self._buffer_at(self._position)
            first = self._position - buffer.start
            chosen = buffer.order[first : first + wanted - done]
            for name, rows in buffer.rows.items():
                flat[name][done : done + len(chosen)] = rows[chosen]
            done += len(chosen)
            self._position += len(chosen)
        return out

    def state(self) -> dict[str, int]:
        """Where the stream stands; with `restore`, batches continue bit for bit."""
        return {"key": self._key, "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state`` of batches of the same arrays."""
        self._key, self._position = int(state["key"]), int(state["position"])
        self._buffer = None

    # ---------------------------------------------------------------- the stream
    def _buffer_at(self, position: int) -> Buffer:
        """The buffer that holds ``position``, read if it is not at hand."""
        buffer = self._buffer
        if buffer is None or not buffer.start <= position < buffer.start + len(buffer.order):
            self._buffer = None  # give its memory back before the next one is read
            buffer = self._buffer = self._read_buffer(position)
        return buffer

    def _read_buffer(self, position: int) -> Buffer:
        epoch, within = divmod(position, self.num_rows)
        rng = onp.random.default_rng([self._key, epoch])
        place = int(rng.integers(self.num_rows))
        blocks = rng.permutation(-(-self.num_rows // self._block))
        lengths = onp.minimum(self._block, self.num_rows - blocks * self._block)
        starts = onp.concatenate([[0], onp.cumsum(lengths)])[:: self._buffer_blocks]
        number = int(onp.searchsorted(starts, within, side="right")) - 1
        chosen = slice(number * self._buffer_blocks, (number + 1) * self._buffer_blocks)
        # One more than `number`: a seed that ends in 0 is the same seed without it.
        shuffle = onp.random.default_rng([self._key, epoch, number + 1])
        order = shuffle.permutation(int(lengths[chosen].sum()))
        start = epoch * self.num_rows + int(starts[number])
        if self._block == self.num_rows and not any(map(is_mapped, self._arrays.values())):
            return Buffer(start, order, self._arrays)
        begins = (place + blocks[chosen] * self._block) % self.num_rows
        pieces = [
            piece
            for begin, length in zip(begins.tolist(), lengths[chosen].tolist(), strict=True)
            for piece in self._pieces(begin, length)
        ]
        return Buffer(start, order, {n: _read(a, pieces) for n, a in self._arrays.items()})

    def _pieces(self, begin: int, length: int) -> Iterator[slice]:
        """A block on the circle as one slice of the rows, or two if it runs past the last."""
        end = begin + length
        yield slice(begin, min(end, self.num_rows))
        if end > self.num_rows:
            yield slice(0, end - self.num_rows)


def _flat(batches: onp.ndarray) -> onp.ndarray:
    """``batches`` (length, B, ...) as a view (length * B, ...)."""
    return batches.reshape(-1, *batches.shape[2:])


def _read(array: onp.ndarray, pieces: list[slice]) -> onp.ndarray:
    """The rows in ``pieces``, one after another, in memory."""
    total = sum(piece.stop - piece.start for piece in pieces)
    rows = onp.empty((total, *array.shape[1:]), dtype=array.dtype)
    done = 0
    for piece in pieces:
        length = piece.stop - piece.start
        rows[done : done + length] = array[piece]
        done += length
    release(array)
    return rows
