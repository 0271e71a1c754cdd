"""`nuts`: the front door of the sampler.

The chains walk independently (`vi_lab.nuts.walk`), side by side; this is where their
blocks are collected, progress is shown and Ctrl-C is answered.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import closing
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
)
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ConvergenceWarning
from vi_lab.model import Model, Target
from vi_lab.nuts.randomness import Randomness
from vi_lab.nuts.result import STATISTICS, NutsResult
from vi_lab.nuts.side_by_side import side_by_side
from vi_lab.nuts.starts import given_starts
from vi_lab.nuts.trajectory import Record
from vi_lab.nuts.walk import Block, Chain, Run, walk
from vi_lab.progress import progress_bar

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
    began = time.perf_counter()
    chosen = engines.get(engine)
    starts = None if init is None else given_starts(model, init, chains)
    walks = []
    for c in range(chains):
        randomness = Randomness.from_seed(seed, c, model.dim, max_depth)
        run = Run(chosen, model, randomness, target_accept)
        walks.append(walk(run, tune, draws, None if starts is None else starts[c]))
    with progress_bar(None, "NUTS, warm-up", progress, total=chains * (tune + draws)) as bar:
        collected = Collected(chains, bar)
        interrupted = False
        try:
            with closing(side_by_side(chosen, walks)) as blocks:
                for c, block in blocks:
                    collected.add(c, block)
        except KeyboardInterrupt:
            if not collected.kept:
                raise KeyboardInterrupt(
                    f"nuts: interrupted after {collected.done} of {bar.total} transitions of all "
                    "chains, before each had a draw to keep"
                ) from None
            interrupted = True
    records = collected.joined()
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
        kept = f"nuts: interrupted; kept the first {records.z.shape[1]} of {draws} draws a chain"
        warnings.warn(kept, ConvergenceWarning, stacklevel=2)
    for problem in result.problems:
        warnings.warn(problem, ConvergenceWarning, stacklevel=2)
    return result


class Collected:
    """What the chains have handed over, and a progress bar that shows it."""

    def __init__(self, chains: int, bar: Any) -> None:
        self.done = 0
        self._walked: list[Chain | None] = [None] * chains
        self._records: list[list[Record]] = [[] for _ in range(chains)]
        self._bar = bar
        self._divergences = 0

    def add(self, c: int, block: Block) -> None:
        """The next block of chain ``c``; those of warm-up are counted, and dropped."""
        self.done += block.length
        self._walked[c] = block.chain
        if block.record is not None:
            if not any(self._records):
                self._bar.set_description("NUTS")
            self._records[c].append(block.record)
            self._divergences += int(block.record.diverging.sum())
        step_size = onp.exp(block.chain.averaging.log_step_size)
        shown = {"divergences": self._divergences, "step_size": f"{step_size:.3g}"}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(block.length)

    @property
    def kept(self) -> int:
        """The draws that every chain has."""
        return min(sum(len(record.z) for record in records) for records in self._records)

    def chains(self) -> list[Chain]:
        """The chains where they are now, once each has draws."""
        return [chain for chain in self._walked if chain is not None]

    def joined(self) -> Record:
        """The draws that every chain has, with axes (C, N, ...)."""
        kept = self.kept
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
