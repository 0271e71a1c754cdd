"""A chain from its start to its last draw, a block of transitions at a time.

`walk` is a generator: it runs a block inside the engine, hands over what came out, and
waits to be asked for the next. So whoever asks decides when and where a chain runs, in
turn with others or on a thread of its own (`vi_lab.nuts.side_by_side`), and a chain
knows nothing of that, nor of progress bars and interruptions.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as onp

from vi_lab.engine import Engine
from vi_lab.errors import ArgumentError
from vi_lab.nuts import chains as compiled
from vi_lab.nuts.adaptation import DualAveraging, metric, settle, start_averaging, windows
from vi_lab.nuts.hamiltonian import Point
from vi_lab.nuts.randomness import Randomness
from vi_lab.nuts.starts import Obstacle, no_start, obstacle, random_starts
from vi_lab.nuts.trajectory import Record

SECONDS_PER_BLOCK = 0.25  # how often plain Python gets a look in
FEW_NUMBERS = 5_000  # in an array of data, up to which an engine is told that rows are few


class Chain(NamedTuple):
    """Where a chain is and how it moves, between blocks."""

    point: Point
    averaging: DualAveraging
    inverse_mass_matrix: onp.ndarray
    """diagonal of M^-1, (D,)"""


class Block(NamedTuple):
    """What a chain hands over after a block of transitions."""

    chain: Chain
    length: int
    """n, the transitions; negative if so many were in vain, and the chain starts anew"""
    record: Record | None = None
    """with axes (n, ...), but of warm-up"""


class Run:
    """The blocks of one chain, at a pace that lets Python in often enough."""

    def __init__(
        self, engine: Engine, model: Any, randomness: Randomness, target_accept: float
    ) -> None:
        self.model, self.randomness = model, randomness
        self._target_accept = target_accept
        few = all(x.size <= FEW_NUMBERS for x in model.data.values())
        self._start = engine.compile(compiled.start, static=(0,), few_rows=few)
        self._transitions = engine.compile(compiled.transitions, static=(0,), few_rows=few)
        self._length = 10

    def start(
        self,
        z: onp.ndarray,
        inverse_mass_matrix: onp.ndarray,
        normal: onp.ndarray,
        guess: onp.ndarray,
    ) -> Chain:
        """The chain at ``z`` with a new metric, and a first step size; ``normal`` is noise."""
        point, step_size = self._start(
            self.model.structure, z, inverse_mass_matrix, normal, guess, self.model.data
        )
        return Chain(point, start_averaging(step_size), inverse_mass_matrix)

    def blocks(
        self, chain: Chain, count: int, adapting: bool
    ) -> Iterator[tuple[Chain, Record, onp.ndarray]]:
        """``count`` transitions of ``chain``, some at a time.

        After each block where the chain is, its record with axes (n, ...), and the gradients
        (n, D) of its draws.
        """
        while count:
            length = min(self._length, self.randomness.block_size, count)
            started = time.perf_counter()
            (point, averaging), (record, gradients) = self._transitions(
                self.model.structure,
                *chain,
                self.randomness.block(length),
                length,
                adapting,
                self._target_accept,
                self.model.data,
            )
            chain = Chain(point, averaging, chain.inverse_mass_matrix)
            count -= length
            pace = length / (time.perf_counter() - started)
            self._length = max(1, int(min(pace * SECONDS_PER_BLOCK, 10 * length)))
            # Copies, because a view would keep the whole buffer, and a slow chain has many.
            record = Record(*(onp.array(part[:length]) for part in record))
            yield chain, record, onp.array(gradients[:length])


def walk(run: Run, tune: int, draws: int, init: onp.ndarray | None) -> Iterator[Block]:
    """``tune`` transitions that adapt and ``draws`` that are kept, from ``init`` (D,) on.

    Without ``init`` from the first of `random_starts` where the chain can move.

    Raises
    ------
    ValueError
        if there is none, or the log density is flat or not continuous.
    """
    starts = random_starts(run.randomness) if init is None else (init,)
    chain = yield from _warmed_up(run, tune, starts, given=init is not None)
    for moved, record, _ in run.blocks(chain, draws, adapting=False):
        yield Block(moved, len(record.z), record)


def _warmed_up(
    run: Run, tune: int, starts: Iterable[onp.ndarray], given: bool
) -> Generator[Block, None, Chain]:
    """The chain in the typical set, with the step size and the metric to sample with."""
    tried: list[Obstacle] = []
    normal = run.randomness.start_normal()
    for z in starts:
        chain = run.start(z, onp.ones(len(z)), normal, onp.array(1.0))
        found = chain_obstacle(chain)
        if found is None:
            outcome = yield from _adapted(run, chain, tune)
            if isinstance(outcome, Chain):
                return outcome
            found = outcome
        tried.append(found)
    raise ArgumentError(no_start(run.model, tried, given))


def _adapted(run: Run, chain: Chain, tune: int) -> Generator[Block, None, Chain | Obstacle]:
    """``chain`` after ``tune`` transitions, or what stopped it on the way."""
    lengths, final = windows(tune)
    done = 0
    for length in lengths:
        draws, slopes = [], []
        for moved, record, gradients in run.blocks(chain, length, adapting=True):
            draws.append(record.z)
            slopes.append(gradients)
            yield Block(moved, len(gradients))
            chain = moved
        # The first third of the first window is on the way down from the start.
        late = slice(0 if done else length // 3, None)
        before = chain.inverse_mass_matrix
        after = metric(onp.concatenate(draws)[late], onp.concatenate(slopes)[late], before)
        guess = onp.exp(chain.averaging.log_step_size)
        chain = run.start(chain.point.z, after, run.randomness.start_normal(), guess)
        done += length
        found = chain_obstacle(chain)
        if found is not None:
            yield Block(chain, -done)
            return found
    for moved, _, gradients in run.blocks(chain, final, adapting=True):
        yield Block(moved, len(gradients))
        chain = moved
    return chain._replace(averaging=settle(chain.averaging))


def chain_obstacle(chain: Chain) -> Obstacle | None:
    """Why ``chain`` cannot move with its metric and first step size, if it cannot."""
    return obstacle(chain.point, onp.exp(chain.averaging.log_step_size))
