"""The loop: where model, family, objective and optimiser meet.

A fit is a fold of pure steps, cut into blocks. The engine runs a block (compiled
once, data and noise as arguments); between blocks, and only there, plain Python
looks at the losses, shows progress, calls the callback and can be interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as onp

from vi_lab.engine import Array, Engine, Tree, current
from vi_lab.errors import NonFiniteError
from vi_lab.families import LocationScaleGaussian, Params
from vi_lab.objectives import Estimator
from vi_lab.progress import progress_bar
from vi_lab.trees import tree_map

SECONDS_PER_BLOCK = 0.25  # how often plain Python gets a look in
NOISE_PER_BLOCK = 2**20  # numbers: 8 MB of base draws at a time
STEPS_PER_BLOCK = 10_000

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
    problem: Problem, state: Tree, eps: Array, length: int, data: dict[str, Array]
) -> tuple[Tree, Array]:
    """``length`` steps over the leading axis of ``eps`` (at least ``length``, S, D)."""
    return current().scan(lambda state, eps: problem.step(state, eps, data), state, eps, length)


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


def run_fit(
    problem: Problem,
    model: Any,
    params: Params,
    *,
    steps: int,
    draws: int,
    rng: onp.random.Generator,
    engine: Engine,
    progress: bool,
    callback: Callback | None,
) -> Run:
    """Take ``steps`` steps from ``params``; Ctrl-C returns what there is.

    Raises
    ------
    NonFiniteError
        naming the step, and the latent whose gradient went bad.
    """
    began = time.perf_counter()
    block = engine.compile(run_block, static=(0,))
    state = problem.init(params)
    size = min(STEPS_PER_BLOCK, max(1, NOISE_PER_BLOCK // (draws * model.dim)))
    eps = onp.zeros((size, draws, model.dim))
    losses = onp.empty(steps)
    done, length = 0, min(100, steps, size)
    interrupted = False
    with progress_bar(None, "ADVI", progress, total=steps) as bar:
        try:
            while done < steps:
                started = time.perf_counter()
                rng.standard_normal(out=eps[:length])
                after, block_losses = block(problem, state, eps, length, model.data)
                block_losses = block_losses[:length]
                if not (onp.isfinite(block_losses).all() and _all_finite(after[0])):
                    _explain_non_finite(
                        problem, model, engine, state, eps, length, block_losses, done
                    )
                state = after
                losses[done : done + length] = block_losses
                done += length
                bar.update(length)
                bar.set_postfix(loss=f"{losses[max(0, done - 1_000) : done].mean():.6g}")
                if callback is not None and callback(
                    done, problem.average.value(state[2]), losses[:done].copy()
                ):
                    break
                pace = length / (time.perf_counter() - started)
                wanted = int(min(pace * SECONDS_PER_BLOCK, 10 * length))
                length = max(1, min(wanted, size, steps - done))
        except KeyboardInterrupt:
            interrupted = True
    return Run(
        params=problem.average.value(state[2]),
        losses=losses[:done],
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
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


def _all_finite(params: Params) -> bool:
    return all(bool(onp.isfinite(value).all()) for value in params.values())


def _explain_non_finite(
    problem: Problem,
    model: Any,
    engine: Engine,
    state: Tree,
    eps: onp.ndarray,
    length: int,
    losses: onp.ndarray,
    done: int,
) -> None:
    """Replay the block up to the first bad step and raise an error that names the cause."""
    bad = int(onp.argmax(~onp.isfinite(losses))) if not onp.isfinite(losses).all() else length
    block = engine.compile(run_block, static=(0,))
    gradient_of = engine.compile(loss_and_grad, static=(0,))
    for t in range(max(0, bad - 1), min(bad + 1, length)):
        # The gradient of the step before may be the culprit: look at both.
        before, _ = block(problem, state, eps, t, model.data) if t else (state, None)
        loss, gradient = gradient_of(problem, before[0], eps[t], model.data)
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
