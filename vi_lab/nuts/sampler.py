"""`nuts`: the front door of the sampler.

The chains walk independently (`vi_lab.nuts.walk`), side by side; this is where their
blocks are collected, progress is shown and Ctrl-C is answered.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab import engine as engines
from vi_lab.checks import (
    check_bool,
    check_held,
    check_instance,
    check_name,
    check_probability,
    check_seed,
    check_whole,
    check_writable,
)
from vi_lab.engine import Array, Engine
from vi_lab.errors import ArgumentError, ConvergenceWarning
from vi_lab.model import Model, Target
from vi_lab.nuts.randomness import Randomness
from vi_lab.nuts.result import STATISTICS, NutsResult
from vi_lab.nuts.side_by_side import side_by_side
from vi_lab.nuts.starts import given_starts
from vi_lab.nuts.trajectory import Record
from vi_lab.nuts.walk import Block, Chain, Run, walk
from vi_lab.progress import one_interrupt, progress_bar
from vi_lab.results.checkpoint import Checkpoint, Snapshot
from vi_lab.results.identity import of_library, of_model, of_options

DEEPEST = 30  # doublings: a billion steps


def nuts(
    model: Any,
    *,
    chains: int = 4,
    tune: int = 1_000,
    draws: int = 1_000,
    seed: int = 0,
    target_accept: float = 0.8,
    max_depth: int = 10,
    init: Mapping[str, Array] | Array | None = None,
    engine: str | None = None,
    progress: bool = True,
    checkpoint: str | Path | None = None,
) -> NutsResult:
    """Draw from the posterior with the no-U-turn sampler, adapted in windows as Stan does.

    Hoffman and Gelman (2014), with multinomial trajectories (Betancourt 2017); see
    `vi_lab.nuts.trajectory` for the algorithm and `vi_lab.nuts.adaptation` for the
    warm-up.

    Parameters
    ----------
    model : `Model` or `Target`
    chains : independent Markov chains; R-hat compares them. On JAX they run at the same
        time, on as many threads as there are cores
    tune : warm-up transitions of each chain, which adapt the step size and the metric
        and are then dropped
    draws : draws kept of each chain
    seed : every random number follows from it: the same seed gives the same bits, and
        a chain's depend neither on how many chains there are nor on threads
    target_accept : mean acceptance probability at which warm-up aims; nearer to 1, steps
        are smaller and divergences fewer
    max_depth : a trajectory is doubled at most so often
    init : where the chains start: constrained value by latent, for all chains; or
        unconstrained z, of shape (D,) or (chains, D). By default uniform on (-2, 2) on
        the unconstrained scale, another point where a chain cannot move, up to 100 times
        (see `vi_lab.nuts.starts`)
    engine : "autograd" or "jax"; by default the one in force (`vi_lab.use`)
    progress : show a progress bar with divergences and step size
    checkpoint : a file (.npz) to write chains and draws to, about once a second and at the end,
        and to go on from if it is there: draws that were interrupted and resumed are, to the
        bit, those that were not. With more ``draws`` than before it adds to them

    Returns
    -------
    NutsResult
        If Ctrl-C comes while draws are made, the draws that every chain has.

    Raises
    ------
    TypeError, ValueError
        for a bad argument, or a log density that is not finite at the start, is flat,
        or is not continuous.

    Warns
    -----
    ConvergenceWarning
        for each of `NutsResult.problems`, and if interrupted.
    """
    settings = {"chains": chains, "tune": tune, "draws": draws, "max_depth": max_depth}
    _check(model, settings, target_accept)
    check_seed("seed", seed)
    check_bool("progress", progress)
    if engine is not None:
        check_name("engine", engine, engines.NAMES)
    if checkpoint is not None:
        check_writable("checkpoint", checkpoint)
    began = time.perf_counter()
    chosen = engines.get(engine)
    starts = None if init is None else given_starts(model, init, chains)
    options = {**settings, "seed": seed, "target_accept": target_accept, "init": starts}
    kept = _checkpoint(checkpoint, model, chosen, options)
    saved = kept.load() or {}
    walks = []
    for c in range(chains):
        randomness = Randomness.from_seed(seed, c, model.dim, max_depth)
        state = saved.get(str(c), {}).get("state")
        run = Run(chosen, model, randomness, target_accept, state)
        walks.append(walk(run, tune, draws, None if starts is None else starts[c]))
    total = chains * (tune + draws)
    with one_interrupt(), progress_bar(None, "NUTS, warm-up", progress, total=total) as bar:
        collected = Collected(chains, bar, saved)
        interrupted = _collect(collected, side_by_side(chosen, walks), kept)
        if interrupted and not collected.kept:
            raise KeyboardInterrupt(
                f"nuts: interrupted after {collected.done} of {total} transitions of all chains, "
                "before each had a draw to keep"
            )
        records = collected.joined(draws)
        result = NutsResult(
            model=model,
            z=records.z,
            step_size=onp.array([onp.exp(c.averaging.log_step_size) for c in collected.chains()]),
            inverse_mass_matrix=onp.stack([c.inverse_mass_matrix for c in collected.chains()]),
            max_depth=max_depth,
            engine=chosen.name,
            seed=seed,
            interrupted=interrupted,
            seconds=time.perf_counter() - began,
            **{name: getattr(records, name) for name in STATISTICS},
        )
        if interrupted:
            number = records.z.shape[1]
            first = f"nuts: interrupted; kept the first {number} of {draws} draws a chain"
            warnings.warn(first, ConvergenceWarning, stacklevel=2)
        for problem in result.problems:
            warnings.warn(problem, ConvergenceWarning, stacklevel=2)
    return result


def _collect(
    collected: Collected, blocks: Generator[tuple[int, Block], None, None], kept: Checkpoint
) -> bool:
    """Take in all ``blocks``; whether Ctrl-C ended it before."""
    try:
        with closing(blocks):
            for c, block in blocks:
                collected.add(c, block)
                kept.keep(collected.snapshot)
    except KeyboardInterrupt:
        return True
    finally:
        kept.write()
    return False


def _checkpoint(path: str | Path | None, model: Any, engine: Engine, options: Any) -> Checkpoint:
    """The file to go on from; how many draws it has is no matter."""
    if path is None:
        return Checkpoint(None, {})
    same = {name: value for name, value in options.items() if name != "draws"}
    return Checkpoint(path, {**of_library(engine), **of_model(model), **of_options(**same)})


class Collected:
    """What the chains have handed over, and a progress bar that shows it."""

    def __init__(self, chains: int, bar: Any, saved: Snapshot) -> None:
        self.done = 0
        self._lengths = [0] * chains
        self._walked: list[Chain | None] = [None] * chains
        self._states: list[Snapshot] = [{} for _ in range(chains)]
        self._records: list[list[Record]] = [[] for _ in range(chains)]
        self._bar = bar
        self._divergences = 0
        for name, part in saved.items():
            state, c = part["state"], int(name)
            record = Record(**part["record"]) if "record" in part else None
            self.add(c, Block(Chain.restore(state["chain"]), int(part["length"]), state, record))

    def add(self, c: int, block: Block) -> None:
        """The next block of chain ``c``; those of warm-up are counted, and dropped."""
        self.done += block.length
        self._lengths[c] += block.length
        self._walked[c] = block.chain
        if block.state is not None:
            self._states[c] = block.state
        if block.record is not None:
            if not any(self._records):
                self._bar.set_description("NUTS")
            self._records[c].append(block.record)
            self._divergences += int(block.record.diverging.sum())
        step_size = onp.exp(block.chain.averaging.log_step_size)
        shown = {"divergences": self._divergences, "step_size": f"{step_size:.3g}"}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(block.length)

    def snapshot(self) -> Snapshot:
        """What each chain has handed over, and what it needs to go on."""
        chains = enumerate(zip(self._states, self._lengths, self._records, strict=True))
        return {
            str(c): {
                "state": state,
                "length": length,
                "record": {n: [getattr(r, n) for r in records] for n in Record._fields},
            }
            for c, (state, length, records) in chains
            if state
        }

    @property
    def kept(self) -> int:
        """The draws that every chain has."""
        return min(sum(len(record.z) for record in records) for records in self._records)

    def chains(self) -> list[Chain]:
        """The chains where they are now, once each has draws."""
        return [chain for chain in self._walked if chain is not None]

    def joined(self, draws: int) -> Record:
        """The draws that every chain has, with axes (C, N, ...), ``draws`` at most."""
        kept = min(self.kept, draws)
        each = [
            [onp.concatenate(parts)[:kept] for parts in zip(*records, strict=True)]
            for records in self._records
        ]
        return Record(*map(onp.stack, zip(*each, strict=True)))


def _check(model: Any, settings: Mapping[str, Any], target_accept: Any) -> None:
    """Refuse arguments that cannot work, each by its name."""
    wanted = "a Model(program, **data) or a Target(log_density, dim)"
    check_instance("model", model, (Model, Target), wanted)
    for name, value in settings.items():
        check_whole(name, value, least=1)
    if settings["max_depth"] > DEEPEST:
        raise ArgumentError(
            f"max_depth: {settings['max_depth']} doublings are a trajectory of 2^{DEEPEST} steps "
            f"and more, which never ends; give {DEEPEST} at most"
        )
    kept = model.dim + len(STATISTICS)  # numbers a draw
    check_held("draws", settings["draws"], kept)
    check_held("chains", settings["chains"], settings["draws"] * kept)
    check_probability("target_accept", target_accept)
