"""A chain from its start to its last draw, a block of transitions at a time.

`walk` is a generator: it runs a block inside the engine, hands over what came out, and
waits to be asked for the next. So whoever asks decides when and where a chain runs, in
turn with others or on a thread of its own (`vi_lab.nuts.side_by_side`), and a chain
knows nothing of that, nor of progress bars and interruptions. With each block comes all that
the chain needs to go on from there, at another time and in another process.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
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
from vi_lab.results.checkpoint import Snapshot

SECONDS_PER_BLOCK = 0.25  # how often plain Python gets a look in
FEW_NUMBERS = 5_000  # in an array of data, up to which an engine is told that rows are few


class Chain(NamedTuple):
    """Where a chain is and how it moves, between blocks."""

    point: Point
    averaging: DualAveraging
    inverse_mass_matrix: onp.ndarray
    """diagonal of M^-1, (D,)"""

    def snapshot(self) -> Snapshot:
        """As a tree."""
        return {
            "point": self.point._asdict(),
            "averaging": self.averaging._asdict(),
            "inverse_mass_matrix": self.inverse_mass_matrix,
        }

    @classmethod
    def restore(cls, saved: Snapshot) -> Chain:
        """What a snapshot was taken of."""
        point, averaging = Point(**saved["point"]), DualAveraging(**saved["averaging"])
        return cls(point, averaging, saved["inverse_mass_matrix"])


class Block(NamedTuple):
    """What a chain hands over after a block of transitions."""

    chain: Chain
    length: int
    """n, the transitions; negative if so many were in vain, and the chain starts anew"""
    state: Snapshot | None
    """all that the chain needs to go on from here; None if it starts anew"""
    record: Record | None = None
    """with axes (n, ...), but of warm-up"""


@dataclass
class Progress:
    """How far a chain has come, which changes before each block is handed over.

    Attributes
    ----------
    normal : (D,), for the first step size of every start
    tried : starts so far, the last of which is the one in use
    stage : windows of the warm-up that are over; one more is the time for the step size
    done : transitions of the stage under way
    chain : where it is
    draws, slopes : of the window under way, by block: z and its gradient, (n, D) each
    """

    normal: onp.ndarray
    tried: int = 0
    stage: int = 0
    done: int = 0
    chain: Chain | None = None
    draws: list[onp.ndarray] = field(default_factory=list)
    slopes: list[onp.ndarray] = field(default_factory=list)

    def begin_stage(self, stage: int, chain: Chain | None) -> None:
        """Before the first transition of ``stage``."""
        self.stage, self.done, self.chain = stage, 0, chain
        self.draws, self.slopes = [], []

    def snapshot(self, randomness: Randomness) -> Snapshot:
        """All of it, and where its random numbers are; lists are copied, not what is in them."""
        chain = {} if self.chain is None else self.chain.snapshot()
        parts = {"chain": chain, "draws": [*self.draws], "slopes": [*self.slopes]}
        return {**vars(self), **parts, "randomness": randomness.snapshot()}

    @classmethod
    def restore(cls, saved: Snapshot, randomness: Randomness) -> Progress:
        """What a snapshot was taken of."""
        randomness.restore(saved["randomness"])
        return cls(
            normal=saved["normal"],
            tried=int(saved["tried"]),
            stage=int(saved["stage"]),
            done=int(saved["done"]),
            chain=Chain.restore(saved["chain"]),
            draws=[saved["draws"]] if "draws" in saved else [],
            slopes=[saved["slopes"]] if "slopes" in saved else [],
        )


class Run:
    """The blocks of one chain, at a pace that lets Python in often enough.

    ``saved`` is the state of a chain that goes on.
    """

    def __init__(
        self,
        engine: Engine,
        model: Any,
        randomness: Randomness,
        target_accept: float,
        saved: Snapshot | None = None,
    ) -> None:
        self.model, self.randomness = model, randomness
        if saved is None:
            self.at = Progress(randomness.start_normal())
        else:
            self.at = Progress.restore(saved, randomness)
        self._structure = model.structure
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
            self._structure, z, inverse_mass_matrix, normal, guess, self.model.data
        )
        return Chain(point, start_averaging(step_size), inverse_mass_matrix)

    @property
    def state(self) -> Snapshot:
        """All that the chain needs to go on from where it is."""
        return self.at.snapshot(self.randomness)

    def blocks(
        self, chain: Chain, count: int, adapting: bool
    ) -> Iterator[tuple[Chain, Record, onp.ndarray]]:
        """``count`` transitions of ``chain``, some at a time.

        After each block where the chain is, its record with axes (n, ...), and the gradients
        (n, D) of its draws.
        """
        while count > 0:
            length = min(self._length, self.randomness.block_size, count)
            started = time.perf_counter()
            (point, averaging), (record, gradients) = self._transitions(
                self._structure,
                *chain,
                self.randomness.block(length),
                length,
                adapting,
                self._target_accept,
                self.model.data,
            )
            chain = Chain(point, averaging, chain.inverse_mass_matrix)
            self.at.chain, self.at.done = chain, self.at.done + length
            count -= length
            pace = length / (time.perf_counter() - started)
            self._length = max(1, int(min(pace * SECONDS_PER_BLOCK, 10 * length)))
            # Copies, because a view would keep the whole buffer, and a slow chain has many.
            record = Record(*(onp.array(part[:length]) for part in record))
            yield chain, record, onp.array(gradients[:length])


def walk(run: Run, tune: int, draws: int, init: onp.ndarray | None) -> Iterator[Block]:
    """``tune`` transitions that adapt and ``draws`` that are kept, from ``init`` (D,) on.

    Without ``init`` from the first of `random_starts` where the chain can move. What ``run`` has
    behind it is not walked again.

    Raises
    ------
    ValueError
        if there is no start, or the log density is flat or not continuous.
    """
    chain = yield from _warmed_up(run, tune, init)
    for moved, record, _ in run.blocks(chain, draws - run.at.done, adapting=False):
        yield Block(moved, len(record.z), run.state, record)


def _warmed_up(run: Run, tune: int, init: onp.ndarray | None) -> Generator[Block, None, Chain]:
    """The chain in the typical set, with the step size and the metric to sample with."""
    at, tried = run.at, list[Obstacle]()
    starts = (
        iter([init][at.tried :]) if init is not None else random_starts(run.randomness, at.tried)
    )
    while True:
        if at.chain is not None:
            outcome = yield from _adapted(run, at.chain, tune)
            if isinstance(outcome, Chain):
                return outcome
            tried.append(outcome)
            at.begin_stage(0, None)
        z = next(starts, None)
        if z is None:
            raise ArgumentError(no_start(run.model, tried, given=init is not None))
        at.tried += 1
        chain = run.start(z, onp.ones(len(z)), at.normal, onp.array(1.0))
        found = chain_obstacle(chain)
        if found is None:
            at.begin_stage(0, chain)
        else:
            tried.append(found)


def _adapted(run: Run, chain: Chain, tune: int) -> Generator[Block, None, Chain | Obstacle]:
    """``chain`` after the rest of ``tune`` transitions, or what stopped it on the way."""
    at, (lengths, final) = run.at, windows(tune)
    while at.stage < len(lengths):
        length = lengths[at.stage]
        for moved, record, gradients in run.blocks(chain, length - at.done, adapting=True):
            at.draws.append(record.z)
            at.slopes.append(gradients)
            yield Block(moved, len(gradients), run.state)
            chain = moved
        # The first third of the first window is on the way down from the start.
        late = slice(0 if at.stage else length // 3, None)
        before = chain.inverse_mass_matrix
        after = metric(onp.concatenate(at.draws)[late], onp.concatenate(at.slopes)[late], before)
        guess = onp.exp(chain.averaging.log_step_size)
        chain = run.start(chain.point.z, after, run.randomness.start_normal(), guess)
        at.begin_stage(at.stage + 1, chain)
        found = chain_obstacle(chain)
        if found is not None:
            yield Block(chain, -sum(lengths[: at.stage]), None)
            return found
    if at.stage == len(lengths):
        for moved, _, gradients in run.blocks(chain, final - at.done, adapting=True):
            yield Block(moved, len(gradients), run.state)
            chain = moved
        chain = chain._replace(averaging=settle(chain.averaging))
        at.begin_stage(at.stage + 1, chain)
    return chain


def chain_obstacle(chain: Chain) -> Obstacle | None:
    """Why ``chain`` cannot move with its metric and first step size, if it cannot."""
    return obstacle(chain.point, onp.exp(chain.averaging.log_step_size))
