r"""A descent that stops by itself: natural coordinates, halved step sizes, settled windows.

One step moves q against its gradient, measured in natural coordinates
(`vi_lab.advi.natural_gradient`) and divided, as by Adam, by 1 + its recent root mean square: where
noise is small it is a natural-gradient step of size gamma, where gradients are huge
it has length gamma. It comes to rest where gradients vanish, and its divisor,
which forgets in 100 or 1,000 steps, leaves no bias to speak of.

Windows of 400, 800, 1,600, ... steps are judged one by one (`vi_lab.advi.stopping`): one
that has not settled is followed by a longer one at the same step size, one that has
by a longer one at half of it, until the gap is below the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as onp

from vi_lab.advi.blocks import (
    Noise,
    Pacemaker,
    all_finite,
    explain_non_finite,
)
from vi_lab.advi.natural_gradient import Coordinates
from vi_lab.advi.step_rule import UnitSteps
from vi_lab.advi.stopping import BATCHES, Judge, Window
from vi_lab.engine import Array, Engine, Tree, current
from vi_lab.engine.trees import tree_map
from vi_lab.families import LocationScaleGaussian, Params
from vi_lab.gradients.control_variate import Reference, controlled_negative_elbo
from vi_lab.gradients.estimators import Estimator
from vi_lab.results.checkpoint import Snapshot

FIRST_WINDOW = 400  # steps


@dataclass(frozen=True)
class Descent:
    """Everything about a descent that is not an array; hashable, so that it compiles once.

    ``estimator`` None stands for the reference Gaussian as control variate.
    """

    structure: Any
    family: LocationScaleGaussian
    estimator: Estimator | None
    coordinates: Coordinates
    steps: UnitSteps

    def loss_and_grad(
        self, params: Params, eps: Array, data: dict[str, Array], reference: Reference
    ) -> tuple[Array, Params]:
        def loss(params: Params) -> Array:
            if self.estimator is None:
                return controlled_negative_elbo(self.structure, params, eps, data, reference)
            return self.estimator.negative_elbo(self.structure, self.family, params, eps, data)

        value_and_grad: tuple[Array, Params] = current().value_and_grad(loss)(params)
        return value_and_grad

    def step(
        self,
        state: Tree,
        eps: Array,
        step_size: Array,
        data: dict[str, Array],
        reference: Reference,
    ) -> tuple[Tree, Array]:
        """One step of (parameters, memory, sum of iterates), from base draws ``eps`` (S, D)."""
        params, memory, total = state
        loss, gradient = self.loss_and_grad(params, eps, data, reference)
        tangent = self.coordinates.tangent(params, gradient, reference)
        step, memory = self.steps.update(tangent, memory, step_size)
        params = self.coordinates.retract(params, step, reference)
        return (params, memory, tree_map(lambda s, x: s + x, total, params)), loss


def run_steps(
    descent: Descent,
    state: Tree,
    inputs: Tree,
    length: int,
    step_size: float,
    data: dict[str, Array],
    reference: Reference,
) -> tuple[Tree, Array]:
    """``length`` steps over the leading axis of ``inputs``: (eps, rows)."""

    def step(state: Tree, inputs: Tree) -> tuple[Tree, Array]:
        eps, rows = inputs
        return descent.step(state, eps, step_size, {**data, **rows}, reference)

    return current().scan(step, state, inputs, length)


def gradient_at(
    descent: Descent, params: Params, eps: Array, data: dict[str, Array], reference: Reference
) -> tuple[Array, Params]:
    """`Descent.loss_and_grad` as a function that compiles once for equal descents."""
    return descent.loss_and_grad(params, eps, data, reference)


@dataclass
class Progress:
    """Where a descent is, between two batches of a window: all that it needs to go on.

    Attributes
    ----------
    iterate : the parameters
    step_size : gamma
    memory : that of `UnitSteps`
    length : steps of the window under way
    done : steps taken
    batches : means of the batches of this window that are complete
    window : the last complete window
    converged : its gap is below the tolerance
    losses : by block, in nats
    """

    iterate: Params
    step_size: float
    memory: dict[str, Tree] = field(default_factory=dict)
    length: int = FIRST_WINDOW
    done: int = 0
    batches: list[Params] = field(default_factory=list)
    window: Window | None = None
    converged: bool = False
    losses: list[onp.ndarray] = field(default_factory=list)

    @property
    def gap(self) -> float:
        """Nats to the optimum, as far as is known."""
        if self.window is None or not self.window.settled:
            return onp.inf
        return self.window.gap

    @property
    def elbo(self) -> float:
        """Of the last window, on the judge's draws; minus infinity before there is one."""
        return -onp.inf if self.window is None else self.window.elbo

    def snapshot(self) -> Snapshot:
        """All of it as a tree."""
        window = {} if self.window is None else vars(self.window)
        return {
            **vars(self),
            "batches": {str(i): batch for i, batch in enumerate(self.batches)},
            "window": window,
            "losses": onp.concatenate([onp.empty(0), *self.losses]),
        }

    @classmethod
    def restore(cls, snapshot: Snapshot) -> Progress:
        """What `snapshot` was taken of."""
        batches, saved = snapshot.get("batches", {}), snapshot.get("window")
        window = None
        if saved is not None:
            nats = {name: float(saved[name]) for name in ("elbo", "noise", "bias", "gap")}
            window = Window(mean=saved["mean"], settled=bool(saved["settled"]), **nats)
        return cls(
            iterate=snapshot["iterate"],
            step_size=float(snapshot["step_size"]),
            memory=snapshot.get("memory", {}),
            length=int(snapshot["length"]),
            done=int(snapshot["done"]),
            batches=[batches[str(i)] for i in range(len(batches))],
            window=window,
            converged=bool(snapshot["converged"]),
            losses=[snapshot["losses"]],
        )

    @property
    def params(self) -> Params:
        """The best answer so far: the mean of the last window, or the last iterate."""
        return self.iterate if self.window is None else self.window.mean


@dataclass(frozen=True)
class Descender:
    """A descent with what it works on; `run` carries `Progress` forward."""

    descent: Descent
    model: Any
    engine: Engine
    judge: Judge
    reference: Reference
    tolerance: float
    at_once: bool

    def run(
        self,
        at: Progress,
        noise: Noise,
        *,
        steps: int,
        pacemaker: Pacemaker,
        keep: Callable[[], None],
    ) -> None:
        """Carry ``at`` on until a settled window's gap is below the tolerance.

        With ``at_once`` the first settled window whose noise is below it will do,
        whatever its bias. At most ``steps`` steps in all are taken.
        ``keep`` is called where ``at`` and the random inputs are in step.

        Raises
        ------
        NonFiniteError
            naming the step, and the latent whose gradient went bad.
        """
        if not at.memory:
            at.memory = self.descent.steps.init(self.descent.coordinates.zero(at.iterate))
        while not at.converged and (at.batches or steps - at.done >= BATCHES):
            if not at.batches:
                at.length = min(at.length, (steps - at.done) // BATCHES * BATCHES)
            while len(at.batches) < BATCHES:
                self._batch(at, noise, pacemaker)
                if pacemaker.stopped:
                    return
                if len(at.batches) < BATCHES:
                    keep()
            self._close_window(at)
            keep()

    def _batch(self, at: Progress, noise: Noise, pacemaker: Pacemaker) -> None:
        """One batch of a window, in blocks; ``at`` changes when it is complete."""
        block = self.engine.compile(run_steps, static=(0,))
        length = at.length // BATCHES
        state = (at.iterate, at.memory, tree_map(onp.zeros_like, at.iterate))
        losses: list[onp.ndarray] = []
        left = length
        while left:
            n = min(left, pacemaker.length, len(noise))
            inputs = noise.take(n)
            arguments = (at.step_size, self.judge.data, self.reference)
            with pacemaker.block(n):
                after, block_losses = block(self.descent, state, inputs, n, *arguments)
            block_losses = block_losses[:n]
            if not (onp.isfinite(block_losses).all() and all_finite(after[0])):
                self._explain(state, inputs, block_losses, at.done + length - left, at.step_size)
            state, left = after, left - n
            losses.append(block_losses)
            pacemaker.report(at.done + length - left, state[0], [*at.losses, *losses])
            if pacemaker.stopped:
                return
        (at.iterate, at.memory, total), at.done = state, at.done + length
        at.losses += losses
        at.batches.append(tree_map(lambda x: x / length, total))

    def _close_window(self, at: Progress) -> None:
        before, window = at.window, self.judge.look(at.batches, self.tolerance, at.window)
        at.window, at.batches = window, []
        if window.settled:
            enough = window.noise if self.at_once else window.gap
            at.converged = enough < self.tolerance
        stuck = before is not None and not before.settled and window.elbo < before.elbo
        if window.settled or stuck:
            at.step_size *= 0.5
        at.length *= 2

    def _explain(
        self, state: Tree, inputs: Tree, losses: onp.ndarray, done: int, step_size: float
    ) -> None:
        block = self.engine.compile(run_steps, static=(0,))
        gradient = self.engine.compile(gradient_at, static=(0,))
        data = self.judge.data

        def params_after(t: int) -> Params:
            arguments = (state, inputs, t, step_size, data, self.reference)
            return block(self.descent, *arguments)[0][0] if t else state[0]

        def gradient_after(t: int) -> tuple[Array, Params]:
            eps, rows = tree_map(lambda x: x[t], inputs)
            return gradient(self.descent, params_after(t), eps, {**data, **rows}, self.reference)

        explain_non_finite(self.model, losses, done, gradient_after)
