"""`nuts`: the front door of the sampler.

Blocks of transitions run inside the engine; between blocks, plain Python adapts the
metric, shows progress and can be interrupted.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as onp

from vi_lab import engine as engines
from vi_lab.checks import check_whole
from vi_lab.engine import Array, Engine
from vi_lab.errors import ConvergenceWarning
from vi_lab.nuts import chains as compiled
from vi_lab.nuts.adaptation import (
    FASTEST_SEARCH,
    SLOWEST_SEARCH,
    DualAveraging,
    metric,
    schedule,
    start_averaging,
)
from vi_lab.nuts.hamiltonian import Point
from vi_lab.nuts.randomness import Randomness
from vi_lab.nuts.result import STATISTICS, NutsResult
from vi_lab.nuts.trajectory import Record
from vi_lab.progress import progress_bar

SECONDS_PER_BLOCK = 0.25  # how often plain Python gets a look in
STARTS = 100  # tried for each chain before giving up, as in Stan


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
    """Draw from the posterior with the no-U-turn sampler, adapted as Stan does.

    Hoffman and Gelman (2014), with multinomial trajectories (Betancourt 2017); see
    `vi_lab.nuts.trajectory` for the algorithm and `vi_lab.nuts.adaptation` for the
    warm-up.

    Parameters
    ----------
    model : `Model` or `Target`
    chains : independent Markov chains; R-hat compares them
    tune : warm-up transitions of each chain, which adapt the step size and the metric
        and are then dropped
    draws : draws kept of each chain
    seed : every random number follows from it: the same seed gives the same bits, and
        a chain's do not depend on how many chains there are
    target_accept : mean acceptance probability at which warm-up aims; nearer to 1, steps
        are smaller and divergences fewer
    max_depth : a trajectory is doubled at most so often
    init : where the chains start: constrained value by latent, for all chains; or
        unconstrained z, of shape (D,) or (chains, D). By default uniform on (-2, 2) on
        the unconstrained scale, tried up to 100 times
    engine : "autograd" or "jax"; by default the one in force (`vi_lab.use`)
    progress : show a progress bar with divergences and step size

    Returns
    -------
    NutsResult
        If Ctrl-C comes while draws are made, the draws so far.

    Raises
    ------
    ValueError
        for a bad argument, or a log density that is not finite at the start, is flat,
        or is not continuous.

    Warns
    -----
    ConvergenceWarning
        for each of `NutsResult.problems`, and if interrupted.
    """
    for name, value in {"chains": chains, "tune": tune, "draws": draws}.items():
        check_whole(name, value, least=1)
    check_whole("max_depth", max_depth, least=1)
    if not 0.0 < target_accept < 1.0:
        raise ValueError(f"target_accept: must be between 0 and 1, not {target_accept!r}")
    began = time.perf_counter()
    randomness = Randomness.from_seed(seed, chains, model.dim, max_depth)
    with progress_bar(None, "NUTS, warm-up", progress, total=tune + draws) as bar:
        run = Run(engines.get(engine), model, randomness, target_accept, bar)
        records: list[Record] = []
        interrupted = False
        try:
            state = _warm_up(run, tune, init)
            bar.set_description("NUTS")
            for _, record in run.blocks(state, draws, adapting=False):
                records.append(record)
        except KeyboardInterrupt:
            if not records:
                raise KeyboardInterrupt(
                    f"nuts: interrupted after {run.done} of {tune + draws} transitions, "
                    f"{tune} of them warm-up: there are no draws to keep yet"
                ) from None
            interrupted = True
    joined = Record(*(onp.concatenate(parts, axis=1) for parts in zip(*records, strict=True)))
    result = NutsResult(
        model=model,
        z=joined.z,
        step_size=onp.exp(state.averaging.log_step_size),
        inverse_mass_matrix=state.inverse_mass_matrix,
        max_depth=max_depth,
        engine=run.engine.name,
        seed=seed,
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
        **{name: getattr(joined, name) for name in STATISTICS},
    )
    if interrupted:
        kept = f"nuts: interrupted; kept the first {joined.z.shape[1]} of {draws} draws a chain"
        warnings.warn(kept, ConvergenceWarning, stacklevel=2)
    for problem in result.problems:
        warnings.warn(problem, ConvergenceWarning, stacklevel=2)
    return result


class Chains(NamedTuple):
    """Where the chains are and how they move, between blocks."""

    points: Point
    averaging: DualAveraging
    inverse_mass_matrix: onp.ndarray


class Run:
    """The blocks of one call of `nuts`, at a pace that lets Python in often enough."""

    def __init__(
        self, engine: Engine, model: Any, randomness: Randomness, target_accept: float, bar: Any
    ) -> None:
        self.engine, self.model, self.randomness = engine, model, randomness
        self._target_accept, self._bar = target_accept, bar
        self._start = engine.compile(compiled.start, static=(0,))
        self._transitions = engine.compile(compiled.transitions, static=(0,))
        self._length = 10
        self.done = 0

    def start(
        self,
        z: onp.ndarray,
        inverse_mass_matrix: onp.ndarray,
        guess: onp.ndarray,
        normals: onp.ndarray,
    ) -> Chains:
        """The chains at ``z`` with a new metric, and a first step size for each."""
        structure, data = self.model.structure, self.model.data
        points, step_size = self._start(structure, z, inverse_mass_matrix, normals, guess, data)
        return Chains(points, start_averaging(step_size), inverse_mass_matrix)

    def blocks(self, state: Chains, count: int, adapting: bool) -> Iterator[tuple[Chains, Record]]:
        """``count`` transitions; after each block, the chains and the block's record."""
        divergences = 0
        while count:
            length = min(self._length, self.randomness.block_size, count)
            started = time.perf_counter()
            (points, averaging), record = self._transitions(
                self.model.structure,
                *state,
                self.randomness.block(length),
                length,
                adapting,
                self._target_accept,
                self.model.data,
            )
            state = Chains(points, averaging, state.inverse_mass_matrix)
            record = Record(*(part[:, :length] for part in record))
            count -= length
            self.done += length
            pace = length / (time.perf_counter() - started)
            self._length = max(1, int(min(pace * SECONDS_PER_BLOCK, 10 * length)))
            yield state, record
            divergences += int(record.diverging.sum())
            step_size = onp.exp(averaging.log_step_size).mean()
            self._bar.update(length)
            self._bar.set_postfix(divergences=divergences, step_size=f"{step_size:.3g}")


def _warm_up(run: Run, tune: int, init: Mapping[str, Array] | Array | None) -> Chains:
    """Chains in the typical set, with the step size and the metric to sample with."""
    initial, windows, final = schedule(tune)
    state = _begin(run, init)
    state, _ = _adapt(run, state, initial)
    for length in windows:
        state, z = _adapt(run, state, length)
        guess = onp.exp(state.averaging.log_step_size)
        state = run.start(state.points.z, metric(z), guess, run.randomness.start_normals())
        _check_step_sizes(state)
    state, _ = _adapt(run, state, final)
    averaging = state.averaging._replace(log_step_size=state.averaging.log_averaged)
    return state._replace(averaging=averaging)


def _adapt(run: Run, state: Chains, count: int) -> tuple[Chains, onp.ndarray]:
    """``count`` transitions that adapt the step size, and their draws (C, count, D)."""
    draws = [onp.empty((*state.points.z.shape[:1], 0, state.points.z.shape[1]))]
    for after, record in run.blocks(state, count, adapting=True):
        state = after
        draws.append(record.z)
    return state, onp.concatenate(draws, axis=1)


def _begin(run: Run, init: Mapping[str, Array] | Array | None) -> Chains:
    """The chains where ``init`` says, or at random points where the density is finite."""
    chains, dim = len(run.randomness.starts), run.model.dim
    everyone = onp.arange(chains)
    normals = run.randomness.start_normals()
    if init is None:
        z = run.randomness.start_points(everyone)
    else:
        z = _as_start(run.model, init, chains)
    for _ in range(STARTS):
        state = run.start(z, onp.ones((chains, dim)), onp.ones(chains), normals)
        good = onp.isfinite(state.points.log_density)
        good &= onp.isfinite(state.points.gradient).all(axis=1)
        if good.all() or init is not None:
            break
        z[~good] = run.randomness.start_points(everyone[~good])
    if not good.all():
        raise ValueError(_bad_start(run.model, state.points, int(onp.argmin(good)), init is None))
    _check_step_sizes(state)
    return state


def _as_start(model: Any, init: Mapping[str, Array] | Array, chains: int) -> onp.ndarray:
    """``init`` as unconstrained z, (chains, D)."""
    z = onp.asarray(model.unconstrain(init) if isinstance(init, Mapping) else init, dtype=float)
    if z.shape not in ((model.dim,), (chains, model.dim)):
        raise ValueError(
            f"init: has shape {z.shape}; give z of shape ({model.dim},) for all chains or "
            f"({chains}, {model.dim}) for each of them, or a constrained value for each latent"
        )
    return onp.array(onp.broadcast_to(z, (chains, model.dim)))


def _check_step_sizes(state: Chains) -> None:
    """Refuse a density on which no step size is right."""
    step_size = onp.exp(state.averaging.log_step_size)
    if (step_size >= FASTEST_SEARCH).any():
        raise ValueError(
            "model: leapfrog steps of any length leave the energy as it is, so the log density is "
            "flat and cannot be normalised; give every latent a proper prior"
        )
    if (step_size <= SLOWEST_SEARCH).any():
        raise ValueError(
            "model: no step is short enough to keep the energy, so the log density is not "
            "continuous where a chain is, or its gradient is wrong; check its terms there"
        )


def _bad_start(model: Any, points: Point, chain: int, random: bool) -> str:
    """Why chain number ``chain`` cannot start where it is."""
    terms = model.terms(points.z[chain])
    bad = [f"{name} ({term})" for name, term in terms.items() if not onp.isfinite(term)]
    culprits = f"terms at fault: {', '.join(bad)}" if bad else _bad_gradient(model, points, chain)
    tried = f" at any of {STARTS} random points (the last is meant here)" if random else ""
    return (
        f"the log density or its gradient is not finite at the start{tried}; {culprits}. Give "
        "another start with init={latent: value, ...}, or look at those priors and data"
    )


def _bad_gradient(model: Any, points: Point, chain: int) -> str:
    """Which latents' gradients are not finite."""
    finite = onp.isfinite(points.gradient[chain])
    bad = [name for name, part in model.slices.items() if not finite[part].all()]
    return f"latents whose gradient is not finite: {', '.join(bad)}"
