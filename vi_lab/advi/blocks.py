"""The loop: where model, family, objective and optimiser meet.

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

from vi_lab.engine import Array, Engine, Tree, current
from vi_lab.engine.trees import tree_map
from vi_lab.errors import NonFiniteError
from vi_lab.families import LocationScaleGaussian, Params
from vi_lab.gradients.base_draws import BaseDraws
from vi_lab.gradients.estimators import Estimator
from vi_lab.progress import progress_bar
from vi_lab.results.checkpoint import Checkpoint, Snapshot, generator_state, set_generator_state
from vi_lab.results.convergence import Convergence

SECONDS_PER_BLOCK = 0.25  # how often plain Python gets a look in
NOISE_PER_BLOCK = 2**20  # numbers: 8 MB of base draws at a time
STEPS_PER_BLOCK = 25_000
FIRST_BLOCK = 100  # steps

STATE = ("params", "optimizer", "average")  # the parts of a state, in order

Callback = Callable[[int, Params, onp.ndarray], Any]
"""``callback(steps_done, params, losses)`` after each block; a true result stops the fit."""


@dataclass(frozen=True)
class Problem:
    """Everything about a fit that is not an array; hashable, so that it compiles once."""

    structure: Any
    family: LocationScaleGaussian
    estimator: Estimator
    optimizer: Any
    average: Any

    def init(self, params: Params) -> Tree:
        return params, self.optimizer.init(params), self.average.init(params)

    def loss_and_grad(
        self, params: Params, eps: Array, data: dict[str, Array]
    ) -> tuple[Array, Params]:
        def loss(params: Params) -> Array:
            return self.estimator.negative_elbo(self.structure, self.family, params, eps, data)

        value_and_grad: tuple[Array, Params] = current().value_and_grad(loss)(params)
        return value_and_grad

    def step(self, state: Tree, eps: Array, data: dict[str, Array]) -> tuple[Tree, Array]:
        """One step of stochastic gradient descent, from base draws ``eps`` (S, D)."""
        params, optimizer_state, average_state = state
        loss, gradient = self.loss_and_grad(params, eps, data)
        increment, optimizer_state = self.optimizer.update(gradient, optimizer_state)
        params = tree_map(lambda p, i: p + i, params, increment)
        average_state = self.average.update(params, average_state)
        return (params, optimizer_state, average_state), loss


def run_block(
    problem: Problem, state: Tree, inputs: Tree, length: int, data: dict[str, Array]
) -> tuple[Tree, Array]:
    """``length`` steps over the leading axis of ``inputs``: base draws, and rows of data."""

    def step(state: Tree, inputs: Tree) -> tuple[Tree, Array]:
        eps, rows = inputs
        return problem.step(state, eps, {**data, **rows})

    return current().scan(step, state, inputs, length)


def loss_and_grad(
    problem: Problem, params: Params, eps: Array, data: dict[str, Array]
) -> tuple[Array, Params]:
    """`Problem.loss_and_grad` as a function that compiles once for equal problems."""
    return problem.loss_and_grad(params, eps, data)


@dataclass(frozen=True)
class Run:
    """What a loop leaves behind: the parameters found, and the loss of each step."""

    params: Params
    losses: onp.ndarray
    interrupted: bool
    seconds: float
    convergence: Convergence | None = None


def run_fit(
    problem: Problem,
    model: Any,
    params: Params,
    *,
    steps: int,
    draws: int,
    base_draws: BaseDraws,
    rng: onp.random.Generator,
    engine: Engine,
    progress: bool,
    callback: Callback | None,
    checkpoint: Checkpoint,
) -> Run:
    """Take ``steps`` steps from ``params`` or ``checkpoint``; Ctrl-C returns what there is.

    Raises
    ------
    NonFiniteError
        naming the step, and the latent whose gradient went bad.
    """
    began = time.perf_counter()
    block = engine.compile(run_block, static=(0,))
    gradient_of = engine.compile(loss_and_grad, static=(0,))
    state = problem.init(params)
    source = None if model.minibatch is None else model.minibatches(rng)
    data = model.data if source is None else model.shared_data
    noise = Noise(rng, base_draws, source, draws, problem.family.base_dim(model.dim))
    inputs: Tree = ()
    losses: list[onp.ndarray] = []
    done = 0
    interrupted = False
    saved = checkpoint.load()
    if saved is not None:
        set_generator_state(rng, saved["generator"])
        if source is not None:
            source.restore({name: int(value) for name, value in saved["source"].items()})
        state = tuple(saved.get(part, {}) for part in STATE)
        losses, done = [saved["losses"]], int(saved["losses"].size)

    def gradient_after(t: int) -> tuple[Array, Params]:
        before = block(problem, state, inputs, t, data)[0] if t else state
        eps, rows = tree_map(lambda x: x[t], inputs)
        gradient: tuple[Array, Params] = gradient_of(problem, before[0], eps, {**data, **rows})
        return gradient

    def snapshot() -> Snapshot:
        return {
            "generator": generator_state(rng),
            "source": {} if source is None else source.state(),
            "losses": onp.concatenate(losses),
            **dict(zip(STATE, state, strict=True)),
        }

    with progress_bar(None, "ADVI", progress, total=steps) as bar:
        pacemaker = Pacemaker(bar, callback)
        try:
            while done < steps and not pacemaker.stopped:
                n = min(pacemaker.length, len(noise), steps - done)
                inputs = noise.take(n)
                with pacemaker.block(n):
                    after, block_losses = block(problem, state, inputs, n, data)
                block_losses = block_losses[:n]
                if not (onp.isfinite(block_losses).all() and all_finite(after[0])):
                    explain_non_finite(model, block_losses, done, gradient_after)
                state, done = after, done + n
                losses.append(block_losses)
                checkpoint.keep(snapshot)
                pacemaker.report(done, problem.average.value(state[2]), losses)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            checkpoint.write()
    return Run(
        params=problem.average.value(state[2]),
        losses=onp.concatenate([onp.empty(0), *losses]),
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
    )


class Noise:
    """The random inputs of steps, in buffers of one size so that blocks compile once."""

    def __init__(
        self,
        rng: onp.random.Generator,
        base_draws: BaseDraws,
        source: Any,
        draws: int,
        dim: int,
    ) -> None:
        size = min(STEPS_PER_BLOCK, max(1, NOISE_PER_BLOCK // (draws * dim)))
        if source is not None:
            size = min(size, max(1, 8 * NOISE_PER_BLOCK // source.bytes_per_step))
        self._rng, self._base_draws, self._source = rng, base_draws, source
        self._eps = onp.zeros((size, draws, dim))
        self._rows = {} if source is None else source.empty(size)

    def __len__(self) -> int:
        return len(self._eps)

    def take(self, length: int) -> Tree:
        """``(eps, rows)`` for ``length`` steps, in the first rows of the buffers."""
        self._base_draws.fill(self._rng, self._eps[:length])
        if self._source is not None:
            self._source.take(length, out=self._rows)
        return self._eps, self._rows


class Pacemaker:
    """What happens between blocks: the next one's length, progress, the callback.

    Blocks are made as long as a quarter of a second allows, so that plain Python gets
    a look in, and Ctrl-C is answered, four times a second.
    """

    def __init__(self, bar: Any, callback: Callback | None) -> None:
        self._bar, self._callback = bar, callback
        self.length = FIRST_BLOCK
        self.stopped = False
        self.steps_before = 0  # of an earlier descent of the same fit

    @contextmanager
    def block(self, length: int) -> Iterator[None]:
        """Time the block of ``length`` steps that runs within."""
        began = time.perf_counter()
        yield
        pace = length / (time.perf_counter() - began)
        self.length = max(1, int(min(pace * SECONDS_PER_BLOCK, 10 * length)))
        self._bar.update(length)

    def report(self, done: int, params: Params, losses: list[onp.ndarray]) -> None:
        """Show the running loss; ask the callback whether to stop."""
        self._bar.set_postfix(loss=f"{onp.concatenate(losses[-10:])[-1_000:].mean():.6g}")
        if self._callback is not None:
            self.stopped = bool(
                self._callback(self.steps_before + done, params, onp.concatenate(losses))
            )


def check_start(model: Any, z: onp.ndarray) -> None:
    """Refuse to begin where the log density is not finite, and say which term is not.

    Raises
    ------
    ValueError
    """
    bad = {name: term for name, term in model.terms(z).items() if not onp.isfinite(term)}
    if bad:
        terms = ", ".join(f"{name} ({term})" for name, term in bad.items())
        raise ValueError(
            f"the log density is not finite at the start; the terms at fault: {terms}. "
            "Give a starting point with init={latent: value, ...}, or look at those priors "
            "and data"
        )


def all_finite(params: Params) -> bool:
    """True if every parameter is a finite number."""
    return all(bool(onp.isfinite(value).all()) for value in params.values())


def explain_non_finite(
    model: Any,
    losses: onp.ndarray,
    done: int,
    gradient_after: Callable[[int], tuple[Array, Params]],
) -> None:
    """Replay a block up to its first bad step and raise an error that names the cause.

    ``losses`` are those of the block, after ``done`` steps; ``gradient_after(t)`` is the
    loss and gradient of its step t = 0, 1, ...
    """
    length = len(losses)
    bad = length if onp.isfinite(losses).all() else int(onp.argmax(~onp.isfinite(losses)))
    for t in range(max(0, bad - 1), min(bad + 1, length)):
        # The gradient of the step before may be the culprit: look at both.
        loss, gradient = gradient_after(t)
        culprits = _bad_latents(model, gradient)
        if culprits or not onp.isfinite(loss):
            raise NonFiniteError(
                f"step {done + t + 1}: the loss is {float(loss):.6g} and the gradient is not "
                f"finite for {', '.join(culprits) or 'no latent'}; use a smaller step size, "
                "more draws a step, or a starting point with init="
            )
    raise NonFiniteError(f"step {done + bad}: the parameters overflowed; use a smaller step size")


def _bad_latents(model: Any, gradient: Params) -> list[str]:
    """Names of the latents in whose coordinates some gradient is not finite."""
    finite = onp.ones(model.dim, dtype=bool)
    for value in gradient.values():
        finite &= onp.isfinite(value).reshape(model.dim, -1).all(axis=1)
    return [name for name, part in model.slices.items() if not finite[part].all()]
