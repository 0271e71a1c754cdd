r"""A descent that stops by itself: natural coordinates, halved step sizes, settled windows.

One step moves q against its gradient, measured in natural coordinates and divided, as by
Adam, by 1 + its recent root mean square (`vi_lab.optimizers.natural_gradient`): where
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

import numpy as onp

from vi_lab.advi.blocks import Loop, Noise, Problem
from vi_lab.advi.stopping import BATCHES, Judge, Window
from vi_lab.engine import Tree
from vi_lab.families import Params, Reference
from vi_lab.results.checkpoint import Snapshot

FIRST_WINDOW = 400  # steps


@dataclass
class Progress:
    """Where a descent is, between two batches of a window: all that it needs to go on.

    Attributes
    ----------
    iterate : the parameters
    memory : the state of the optimiser, its step size gamma included
    length : steps of the window under way
    done : steps taken
    batches : means of the batches of this window that are complete
    window : the last complete window
    converged : its gap is below the tolerance
    losses : by block, in nats
    """

    iterate: Params
    memory: dict[str, Tree]
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
            memory=snapshot["memory"],
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
class Descent:
    """A descent with what it works on; `run` carries `Progress` forward.

    With ``at_once`` the first settled window whose noise is below the tolerance will do,
    whatever its bias.
    """

    problem: Problem
    judge: Judge
    reference: Reference
    tolerance: float
    at_once: bool

    def run(
        self, at: Progress, noise: Noise, loop: Loop, *, steps: int, keep: Callable[[], None]
    ) -> None:
        """Carry ``at`` on until a settled window's gap is below the tolerance.

        At most ``steps`` steps in all are taken. ``keep`` is called where ``at`` and the
        random inputs are in step.

        Raises
        ------
        NonFiniteError
            naming the step, and the latent whose gradient went bad.
        """
        while not at.converged and (at.batches or steps - at.done >= BATCHES):
            if not at.batches:
                at.length = min(at.length, (steps - at.done) // BATCHES * BATCHES)
            while len(at.batches) < BATCHES:
                self._batch(at, noise, loop)
                if loop.stopped:
                    return
                if len(at.batches) < BATCHES:
                    keep()
            self._close_window(at)
            keep()

    def _batch(self, at: Progress, noise: Noise, loop: Loop) -> None:
        """One batch of a window; ``at`` changes when it is complete."""
        problem, average = self.problem, self.problem.average
        state, losses, done = (
            (at.iterate, at.memory, average.init(at.iterate)),
            [*at.losses],
            at.done,
        )
        length = at.length // BATCHES
        blocks = loop.blocks(problem, state, noise, length, done=done, reference=self.reference)
        for state, block in blocks:
            losses.append(block)
            done += block.size
            loop.report(done, state[0], losses)
            if loop.stopped:
                return
        at.iterate, at.memory = state[:2]
        at.losses, at.done = losses, done
        at.batches.append(average.value(state[2]))

    def _close_window(self, at: Progress) -> None:
        before, window = at.window, self.judge.look(at.batches, self.tolerance, at.window)
        at.window, at.batches = window, []
        if window.settled:
            enough = window.noise if self.at_once else window.gap
            at.converged = enough < self.tolerance
        stuck = before is not None and not before.settled and window.elbo < before.elbo
        if window.settled or stuck:
            at.memory = {**at.memory, "step_size": 0.5 * at.memory["step_size"]}
        at.length *= 2
