"""The loop: where model, family, estimator and optimiser meet.

A fit is a fold of pure steps, cut into blocks. The engine runs a block (compiled
once, data and noise as arguments); between blocks, and only there, plain Python
looks at the losses, shows progress, calls the callback and can be interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as onp

from vi_lab.advi.non_finite import all_finite, explain_non_finite
from vi_lab.advi.settings import Callback, Settings
from vi_lab.engine import Array, Tree, current
from vi_lab.engine.trees import tree_map
from vi_lab.families import Family, Params
from vi_lab.gradients import Estimator
from vi_lab.gradients.base_draws import BaseDraws
from vi_lab.model import LogDensity, Posterior
from vi_lab.optimizers import Average, Optimizer
from vi_lab.progress import progress_bar
from vi_lab.results.checkpoint import Checkpoint, Snapshot, generator_state, set_generator_state
from vi_lab.results.convergence import Convergence, Stage

SECONDS_PER_BLOCK = 0.25  # how often plain Python gets a look in
NOISE_PER_BLOCK = 2**20  # numbers: 8 MB of base draws at a time
STEPS_PER_BLOCK = 25_000
FIRST_BLOCK = 100  # steps

State = tuple[Params, Tree, Tree]
"""Parameters, the state of the optimiser, the state of the average."""


@dataclass(frozen=True)
class Problem:
    """Everything about a descent that is not an array; hashable, so that it compiles once."""

    structure: LogDensity
    family: Family
    estimator: Estimator
    optimizer: Optimizer
    average: Average

    def init(self, params: Params) -> State:
        return params, self.optimizer.init(params), self.average.init(params)

    def loss_and_grad(
        self, params: Params, eps: Array, data: dict[str, Array]
    ) -> tuple[Array, Params]:
        def loss(params: Params) -> Array:
            return self.estimator.negative_elbo(self.structure, self.family, params, eps, data)

        value_and_grad: tuple[Array, Params] = current().value_and_grad(loss)(params)
        return value_and_grad

    def step(self, state: State, eps: Array, data: dict[str, Array]) -> tuple[State, Array]:
        """One step of stochastic gradient descent, from base draws ``eps`` (S, base_dim)."""
        params, optimizer_state, average_state = state
        loss, gradient = self.loss_and_grad(params, eps, data)
        params, optimizer_state = self.optimizer.update(gradient, optimizer_state, params)
        return (params, optimizer_state, self.average.update(params, average_state)), loss


def run_block(
    problem: Problem,
    state: State,
    inputs: Tree,
    length: int,
    data: dict[str, Array],
) -> tuple[State, Array]:
    """``length`` steps over the leading axis of ``inputs``: base draws, and rows of data."""

    def step(state: State, inputs: Tree) -> tuple[State, Array]:
        eps, rows = inputs
        return problem.step(state, eps, {**data, **rows})

    return current().scan(step, state, inputs, length)


def loss_and_grad(
    problem: Problem, params: Params, eps: Array, data: dict[str, Array]
) -> tuple[Array, Params]:
    """`Problem.loss_and_grad` as a function that compiles once for equal problems."""
    return problem.loss_and_grad(params, eps, data)


class Source:
    """All randomness of a fit: where base draws come from, and rows of data if these come in turn.

    Attributes
    ----------
    rng : the generator
    rows : minibatches, or None
    """

    def __init__(self, model: Posterior, rng: onp.random.Generator) -> None:
        self.rng = rng
        self.rows = None if model.minibatch is None else model.minibatches(rng)

    def snapshot(self) -> Snapshot:
        """Where it stands."""
        rows = {} if self.rows is None else self.rows.state()
        return {"generator": generator_state(self.rng), "rows": rows}

    def restore(self, saved: Snapshot) -> None:
        """Go back to where a snapshot was taken."""
        set_generator_state(self.rng, saved["generator"])
        if self.rows is not None:
            self.rows.restore({name: int(value) for name, value in saved["rows"].items()})


class Noise:
    """The random inputs of steps, in buffers of one size so that blocks compile once."""

    def __init__(self, source: Source, base_draws: BaseDraws, draws: int, dim: int) -> None:
        size = min(STEPS_PER_BLOCK, max(1, NOISE_PER_BLOCK // (draws * dim)))
        if source.rows is not None:
            size = min(size, max(1, 8 * NOISE_PER_BLOCK // source.rows.bytes_per_step))
        self._source, self._base_draws = source, base_draws
        self._eps = onp.zeros((size, draws, dim))
        self._rows = {} if source.rows is None else source.rows.empty(size)

    def __len__(self) -> int:
        return len(self._eps)

    def take(self, length: int) -> Tree:
        """``(eps, rows)`` for ``length`` steps, in the first rows of the buffers."""
        self._base_draws.fill(self._source.rng, self._eps[:length])
        if self._source.rows is not None:
            self._source.rows.take(length, out=self._rows)
        return self._eps, self._rows


class Loop:
    """The loop of one fit: blocks of steps, and what is in between.

    Blocks are made as long as a quarter of a second allows, so that plain Python gets a look
    in, and Ctrl-C is answered, four times a second.

    Attributes
    ----------
    stopped : the callback has returned something true
    interrupted : Ctrl-C
    """

    def __init__(self, settings: Settings, bar: Any) -> None:
        self._model, self._engine = settings.model, settings.engine
        self._callback: Callback | None = settings.callback
        self._bar, self._length = bar, FIRST_BLOCK
        self.stopped = self.interrupted = False

    def blocks(
        self,
        problem: Problem,
        state: State,
        noise: Noise,
        steps: int,
        *,
        done: int = 0,
    ) -> Iterator[tuple[State, onp.ndarray]]:
        """Take ``steps`` steps after the first ``done``: the state and losses of each block.

        Raises
        ------
        NonFiniteError
            naming the step, and the latent whose gradient went bad.
        """
        run = self._engine.compile(run_block, static=(0,))
        data, end = self._model.shared_data, done + steps
        while done < end:
            n = min(self._length, len(noise), end - done)
            inputs = noise.take(n)
            began = time.perf_counter()
            after, losses = run(problem, state, inputs, n, data)
            pace = n / (time.perf_counter() - began)
            self._length = max(1, int(min(pace * SECONDS_PER_BLOCK, 10 * n)))
            self._bar.update(n)
            losses = losses[:n]
            if not (onp.isfinite(losses).all() and all_finite(after[0])):
                replay = self._replay(problem, state, inputs)
                explain_non_finite(self._model, losses, done, replay)
            state, done = after, done + n
            yield state, losses

    def report(self, done: int, params: Params, losses: list[onp.ndarray]) -> None:
        """Show the running loss; ask the callback whether to stop."""
        self._bar.set_postfix(loss=f"{onp.concatenate(losses[-10:])[-1_000:].mean():.6g}")
        if self._callback is not None:
            self.stopped = bool(self._callback(done, params, onp.concatenate(losses)))

    def _replay(
        self, problem: Problem, state: State, inputs: Tree
    ) -> Callable[[int], tuple[Array, Params]]:
        """``t ->`` loss and gradient after t steps of the block that begins at ``state``."""
        run = self._engine.compile(run_block, static=(0,))
        gradient = self._engine.compile(loss_and_grad, static=(0,))
        data = self._model.shared_data

        def at(t: int) -> tuple[Array, Params]:
            before = run(problem, state, inputs, t, data)[0] if t else state
            eps, rows = tree_map(lambda x: x[t], inputs)
            found: tuple[Array, Params] = gradient(problem, before[0], eps, {**data, **rows})
            return found

        return at


@contextmanager
def looping(settings: Settings, checkpoint: Checkpoint) -> Iterator[Loop]:
    """A loop with its progress bar; Ctrl-C ends the block, and the checkpoint is written."""
    with progress_bar(None, "ADVI", settings.progress, total=settings.steps) as bar:
        loop = Loop(settings, bar)
        try:
            yield loop
        except KeyboardInterrupt:
            loop.interrupted = True
        finally:
            checkpoint.write()


@dataclass(frozen=True)
class Run:
    """What a method leaves behind: the parameters found, and the loss of each step."""

    params: Params
    losses: onp.ndarray
    interrupted: bool
    convergence: Convergence | None = None
    stages: tuple[Stage, ...] = ()
