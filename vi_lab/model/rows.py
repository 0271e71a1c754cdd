r"""Rows, from arrays, memory maps or blocks: first to last, or in random order, a batch a step.

A *source* gives its N rows *first to last*, block by block, to whoever adds up all of them,
or in *parts* to `Batches`: the stream of row numbers :math:`i_1, i_2, \dots` is cut into
batches of B. Each N numbers in a row (an epoch) hold every row exactly once, and the epochs
are shuffled independently. If at every position each row is equally likely,
:math:`\Pr(i_t = n) = 1/N`, then whatever is summed over a batch and multiplied by N/B is
unbiased for the sum over all rows:

.. math:: E\Bigl[\frac NB \sum_{t \in \text{batch}} \ell_{i_t}\Bigr] = \sum_{n=1}^N \ell_n .

The argument is about single positions, so it also holds for the batch in which one epoch
ends and the next begins (where B does not divide N). That batch alone may hold a row twice.
Nothing is dropped.

**In memory**, or from a map that fits into a buffer of 32 MB, an epoch is a uniform
permutation. **A longer map** is read in contiguous blocks of C rows: the rows are laid on a
circle and cut into blocks from a random place on, the blocks are put in a uniformly random
order, K of them at a time fill a buffer, and the rows of the buffer are permuted uniformly.
The random place makes every row equally likely at every position although the last block is
shorter. What is *not* as in a permutation of everything: rows of one block come from the same
buffer, so a batch holds rows of at most K blocks (or 2 K, where a buffer ends), and where
neighbouring rows resemble each other the batches vary more, by the variance between blocks,
divided by K. **Blocks that somebody else reads** fill the buffer in the order in which they
come: nothing is shuffled over longer distances, so they should come in random order.

Row t of the stream is a function of a key and t alone, so the state is these two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as onp

from vi_lab.checks import BYTES, check_held, check_instance, check_whole
from vi_lab.errors import ArgumentError
from vi_lab.model.data import widen
from vi_lab.model.maps import is_mapped, read, row_extent

BUFFER_BYTES = 2**25  # 32 MB of rows are shuffled at a time
BLOCK_BYTES = 2**17  # 128 KB of a map: long enough for a disk to be read at its pace
LOOK_ROWS = 2**16  # what is looked at of a longer map before all of it is read,
LOOK_BLOCKS = 64  # in so many places

Rows = Mapping[str, onp.ndarray]
"""Some rows, (n, ...) by name."""

Convert = Callable[[Any], onp.ndarray]
Part = tuple[int, Callable[[], Rows]]
"""Rows of an epoch that are shuffled together: how many, and what reads them."""

Buffer = tuple[int, onp.ndarray, Rows]
"""Rows at hand: the position in the stream where they begin, their order, and what they hold."""


@dataclass(frozen=True, eq=False)
class Arrays:
    """Rows of ``arrays`` (N, ...), of which some may lie in memory maps.

    ``convert`` is applied to what is read. An epoch has parts of ``buffer_blocks`` blocks of
    ``block_rows`` rows; it is one part if those are None, or hold all rows.
    """

    arrays: Rows
    convert: Convert = onp.asarray
    block_rows: int | None = None
    buffer_blocks: int = 1

    @classmethod
    def of(cls, arrays: Rows, convert: Convert = onp.asarray) -> Arrays:
        """The source of ``arrays``, with parts of 32 MB if one of them lies in a memory map."""
        if not any(map(is_mapped, arrays.values())):
            return cls(arrays, convert)
        block_rows = max(1, BLOCK_BYTES // sum(map(row_extent, arrays.values())))
        row_bytes = sum(row.nbytes for row in cls(arrays, convert).like.values())
        return cls(arrays, convert, block_rows, max(1, BUFFER_BYTES // (row_bytes * block_rows)))

    @property
    def num_rows(self) -> int:
        """N."""
        return _length(self.arrays)

    @property
    def like(self) -> Rows:
        """A row, which shows shapes and types."""
        return {name: self.convert(array[:1]) for name, array in self.arrays.items()}

    @property
    def in_one_part(self) -> bool:
        return self.block_rows is None or self.block_rows * self.buffer_blocks >= self.num_rows

    def look(self, rng: onp.random.Generator) -> Rows:
        """All rows, or a sample of a long map."""
        if self.block_rows is None:
            return self._read([slice(0, self.num_rows)])
        size = LOOK_ROWS // LOOK_BLOCKS
        starts = rng.permutation(onp.arange(0, self.num_rows, size))[:LOOK_BLOCKS].tolist()
        return self._read([slice(start, min(start + size, self.num_rows)) for start in starts])

    def blocks(self, size: int) -> Iterator[Rows]:
        """All rows, first to last, ``size`` at a time."""
        for start in range(0, self.num_rows, size):
            yield self._read([slice(start, min(start + size, self.num_rows))])

    def parts(self, layout: Callable[[], onp.random.Generator]) -> Iterator[Part]:
        """The parts of an epoch, laid out at random (from ``layout()``) if there are several."""
        N, C, K = self.num_rows, self.block_rows, self.buffer_blocks
        if C is None or self.in_one_part:
            yield N, partial(self._read, [slice(0, N)])
            return
        rng = layout()
        place = int(rng.integers(N))
        blocks = rng.permutation(-(-N // C))
        for i in range(0, len(blocks), K):
            chosen = blocks[i : i + K]
            lengths = onp.minimum(C, N - chosen * C)
            slices = _on_circle((place + chosen * C) % N, lengths, N)
            yield int(lengths.sum()), partial(self._read, slices)

    def _read(self, slices: list[slice]) -> Rows:
        return {name: read(array, slices, self.convert) for name, array in self.arrays.items()}


@dataclass(frozen=True, eq=False)
class Blocks:
    """Rows in blocks of any lengths, from ``begin()`` in each epoch; ``like`` is the first."""

    begin: Callable[[], Iterable[Rows]]
    num_rows: int
    like: Rows

    def look(self, rng: onp.random.Generator) -> Rows:
        """The first block, as far as anybody knows."""
        return self.like

    def blocks(self, size: int) -> Iterator[Rows]:
        """All rows, in the blocks in which they come."""
        seen, wanted = 0, _layout(self.like)
        for block in self.begin():
            if (found := _layout(block)) != wanted:
                name = next(name for name in wanted if found[name] != wanted[name])
                raise ArgumentError(
                    f"{name}: a block has rows of shape and type {found[name]}, but those of the "
                    f"first are {wanted[name]}; give all blocks the same"
                )
            seen += _length(block)
            yield block
        if seen not in {0, self.num_rows}:  # 0: an iterator that was used up before
            missing = seen + _length(self.like) == self.num_rows
            first = ", as if the first were missing: let a function begin anew at each call, or"
            raise ArgumentError(
                f"num_rows: {self.num_rows} were announced, but the blocks held {seen}"
                f"{first if missing else '; statistics were scaled wrongly, so'} give the true "
                "number"
            )

    def parts(self, layout: Callable[[], onp.random.Generator]) -> Iterator[Part]:
        """Blocks that together fill the buffer, in the order in which they come."""
        most = BUFFER_BYTES // sum(rows[:1].nbytes for rows in self.like.values())
        held: list[Rows] = []
        length = 0
        for block in self.blocks(most):
            held.append(block)
            length += _length(block)
            if length >= most:
                yield length, partial(_joined, held)
                held, length = [], 0
        if held:
            yield length, partial(_joined, held)


# ---------------------------------------------------------------------- random order
@dataclass(frozen=True)
class Keyed:
    """A generator for each part of each epoch, and one, number 0, for their layout."""

    key: int

    def __post_init__(self) -> None:
        check_whole("key", self.key, least=0)

    def generator(self, epoch: int, number: int) -> onp.random.Generator:
        return onp.random.default_rng([self.key, epoch, number])


@dataclass
class InTurn:
    """One generator, from which epoch after epoch draws a permutation of all N rows.

    So would one shuffle rows by hand; epochs of several parts need a generator for each. The
    key is the state in which the generator starts, as text: its integers have 128 bits.
    """

    start: str
    num_rows: int

    @classmethod
    def of(cls, rng: onp.random.Generator, num_rows: int) -> InTurn:
        """From a copy of ``rng``."""
        return cls(json.dumps(rng.bit_generator.state), num_rows)

    def __post_init__(self) -> None:
        self._rng, self._epoch = onp.random.default_rng(), 0
        self._rng.bit_generator.state = json.loads(self.start)

    def generator(self, epoch: int, number: int) -> onp.random.Generator:
        """The generator after ``epoch`` permutations; the caller draws the next one."""
        if epoch < self._epoch:
            self.__post_init__()
        for _ in range(self._epoch, epoch):
            self._rng.permutation(self.num_rows)
        self._epoch = epoch + 1
        return self._rng


class Batches:
    """The batches of a source's rows in random order; `vi_lab.Model.minibatches` makes them.

    Attributes
    ----------
    size : B, rows in a batch
    num_rows : N
    bytes_per_step : memory of one batch as `take` returns it
    """

    def __init__(self, source: Arrays | Blocks, size: int, order: Keyed | InTurn) -> None:
        self._source, self._order = source, order
        self._buffer: Buffer | None
        self._buffers: Iterator[Buffer]  # that follow
        self.size, self.num_rows = size, source.num_rows
        self._seek(0)

    @property
    def bytes_per_step(self) -> int:
        rows = (widen(rows[:1]) for rows in self._source.like.values())
        return self.size * sum(row.nbytes for row in rows)

    def empty(self, length: int) -> dict[str, onp.ndarray]:
        """Arrays for ``length`` batches, to be filled by `take`: {name: (length, B, ...)}.

        Raises
        ------
        TypeError, ValueError
            if ``length`` is no whole number, or one that no memory holds.
        """
        check_whole("length", length, least=0)
        check_held("length", length, -(-self.bytes_per_step // BYTES))
        return {
            name: onp.empty((length, self.size, *rows.shape[1:]), dtype=widen(rows[:1]).dtype)
            for name, rows in self._source.like.items()
        }

    def take(self, length: int, out: Rows | None = None) -> dict[str, onp.ndarray]:
        """The next ``length`` batches, {name: (length, B, ...)}, as float64 and int64.

        They are written to the first ``length`` batches of ``out`` (from `empty`) if it is
        given, which is then returned whole.

        Raises
        ------
        TypeError, ValueError
            if ``length`` is not a whole number, ``out`` is too short or not contiguous, or the
            source ends before.
        """
        check_whole("length", length, least=0)
        out = self.empty(length) if out is None else self._checked(out)
        if any(len(a) < length or not a.flags.c_contiguous for a in out.values()):
            raise ArgumentError(f"out: cannot hold {length} batches; make it with empty({length})")
        flat = {name: a[:length].reshape(-1, *a.shape[2:]) for name, a in out.items()}
        filled = self._fill(flat)
        if filled < length * self.size:
            raise ArgumentError(f"length: the source ended {filled} rows into {length} batches")
        return out

    def _checked(self, out: Any) -> dict[str, onp.ndarray]:
        """``out``, arrays with the axes of those from `empty`."""
        check_instance("out", out, Mapping, "arrays by name, made with empty(length)")
        wanted = {name: (a.shape[1:], a.dtype) for name, a in self.empty(0).items()}
        found = {name: (onp.shape(a)[1:], getattr(a, "dtype", None)) for name, a in out.items()}
        if found != wanted:
            raise ArgumentError("out: does not hold such batches; make it with empty(length)")
        return dict(out)

    def __iter__(self) -> Iterator[dict[str, onp.ndarray]]:
        """Batch after batch, {name: (B, ...)}; only the very last of a source may be shorter."""
        while True:
            batch = {name: array[0] for name, array in self.empty(1).items()}
            filled = self._fill(batch)
            if filled:
                yield {name: array[:filled] for name, array in batch.items()}
            if filled < self.size:
                return

    def state(self) -> dict[str, Any]:
        """Where the stream stands; with `restore`, batches continue bit for bit."""
        return {**asdict(self._order), "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a ``state`` of batches of the same rows.

        Raises
        ------
        TypeError, ValueError
            if it is none.
        """
        wanted = "what state() of batches of the same rows returned"
        check_instance("state", state, Mapping, wanted)
        if state.keys() != self.state().keys():
            raise ArgumentError(
                f"state: needs {sorted(self.state())}, not {sorted(state, key=str)}; give {wanted}"
            )
        check_whole("state['position']", state["position"], least=0)
        key = {name: value for name, value in state.items() if name != "position"}
        self._order = replace(self._order, **key)
        self._seek(int(state["position"]))

    # ---------------------------------------------------------------- the stream
    def _fill(self, out: Rows) -> int:
        """The next rows in ``out`` (n, ...); how many there were before the source ended."""
        began, done, wanted = self._position, 0, _length(out)
        try:
            while done < wanted and (given := self._give({n: a[done:] for n, a in out.items()})):
                done += given
        except BaseException:  # Ctrl-C while reading: the next call gives the same rows
            self._seek(began)
            raise
        return done

    def _give(self, out: Rows) -> int:
        """The next rows in ``out``, as many as are at hand; 0 at the end of the source."""
        if self._buffer is None or self._position >= self._buffer[0] + len(self._buffer[1]):
            self._buffer = None  # give its memory back before the next one is read
            self._buffer = next(self._buffers, None)
            if self._buffer is None:
                return 0
        start, order, rows = self._buffer
        chosen = order[self._position - start :][: _length(out)]
        for name, array in rows.items():
            out[name][: len(chosen)] = array.take(chosen, axis=0)
        self._position += len(chosen)
        return len(chosen)

    def _seek(self, position: int) -> None:
        self._position, self._buffer = position, None
        self._buffers = self._buffers_from(position)

    def _buffers_from(self, position: int) -> Iterator[Buffer]:
        for epoch in count(position // self.num_rows):
            start = began = epoch * self.num_rows
            layout = partial(self._order.generator, epoch, 0)
            for number, (length, read_part) in enumerate(self._source.parts(layout), start=1):
                if position < start + length:
                    shuffle = self._order.generator(epoch, number)
                    yield start, shuffle.permutation(length), read_part()
                start += length
            if start == began:
                return


def _length(rows: Rows) -> int:
    return len(next(iter(rows.values())))


def _layout(rows: Rows) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape of a row, and the kind of number in it, by name."""
    kinds = {"u": "integer", "i": "integer", "f": "float", "b": "bool"}
    return {name: (array.shape[1:], kinds[array.dtype.kind]) for name, array in rows.items()}


def _joined(blocks: list[Rows]) -> Rows:
    return {name: onp.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _on_circle(begins: onp.ndarray, lengths: onp.ndarray, num_rows: int) -> list[slice]:
    """Blocks on the circle: each a slice of the rows, or two if it runs past the last."""
    slices = []
    for begin, end in zip(begins.tolist(), (begins + lengths).tolist(), strict=True):
        slices.append(slice(begin, min(end, num_rows)))
        if end > num_rows:
            slices.append(slice(0, end - num_rows))
    return slices
