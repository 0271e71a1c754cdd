r"""A fit with no setting: how `vi_lab.advi` chooses where nothing is asked of it.

* A natural-gradient descent that sticks the landing, or by an estimator of the user's choice
  (`vi_lab.advi.stages`). Its natural coordinates, draws a step and first step size are those
  that the family states (`vi_lab.families.Family`).
* A family that asks for a reference, as mean field does, in up to 200 dimensions and with no
  estimator chosen: first a rough full-rank fit, which costs little since conditioning does
  not matter to it, and then the descent with that Gaussian as control variate and as unit
  of length (`vi_lab.gradients.control_variate`). For a Gaussian posterior the first makes
  the gradient exact, the second the problem perfectly conditioned. Where that Gaussian
  turns out to be no help, a descent without it takes over.

The tolerance is half a percent of a standard deviation: the gap that remains when each
location is off by 0.005 of its standard deviation, and each logarithm of a standard
deviation by 0.0035, which is :math:`D \cdot 0.005^2` nats. Half of the one percent that
users would like, because a gap is an estimate, and in few directions luck decides how
it is shared out. From 40 dimensions on it stays at :math:`40 \cdot 0.005^2`: a gap is
a sum over directions and may sit in the flattest of them, where 0.001 nats are an error
of 4.5%. With minibatches it is 3%, of D directions: their noise is spread evenly, and
the rows that have to be read grow with the inverse square.
"""

from __future__ import annotations

import numpy as onp

from vi_lab.advi.blocks import Loop, Noise, Problem, Run, Source, looping
from vi_lab.advi.settings import Settings
from vi_lab.advi.stages import FIRST_WINDOW, Descent, Progress
from vi_lab.advi.stopping import judge
from vi_lab.errors import NonFiniteError
from vi_lab.families import Family, FullRankGaussian, Params, Reference
from vi_lab.gradients import BaseDraws, Estimator, Independent, StickingTheLanding
from vi_lab.optimizers import Mean, NaturalGradient
from vi_lab.results.checkpoint import Checkpoint, Snapshot
from vi_lab.results.convergence import Convergence

PRECISION = 0.005  # of a standard deviation, in each of MOST_DIMS directions
MOST_DIMS = 40
COARSE_PRECISION = 0.03  # with minibatches
ROUGHNESS = 10.0  # how many times less precise the warm-up may be
TRIAL_STEPS = 7 * FIRST_WINDOW  # three windows, each twice as long as the one before
HOPEFUL = 10.0  # times the tolerance: a descent so close after its trial goes on unrivalled
REFERENCE_DIM = 200  # beyond, D x D matrices cost more than they save

FULL = FullRankGaussian()  # of the warm-up


def run_automatic(
    settings: Settings, params: Params, rng: onp.random.Generator, checkpoint: Checkpoint
) -> Run:
    """Fit from ``params`` in at most ``settings.steps`` steps; Ctrl-C returns what there is.

    Raises
    ------
    NonFiniteError
        naming the step, and the latent whose gradient went bad.
    """
    search = Search(settings, rng, checkpoint)
    with looping(settings, checkpoint) as loop:
        search.run(params, loop)
    ended = "interrupt" if loop.interrupted else "callback" if loop.stopped else "steps"
    return Run(
        params=params if search.params is None else search.params,
        losses=search.losses,
        interrupted=loop.interrupted,
        convergence=search.convergence(ended),
    )


class Search:
    """One automatic fit: a warm-up, perhaps, and the descent proper."""

    def __init__(
        self, settings: Settings, rng: onp.random.Generator, checkpoint: Checkpoint
    ) -> None:
        self.settings, self.checkpoint = settings, checkpoint
        self.model, self.family = settings.model, settings.family
        self.source = Source(self.model, rng)
        self.share = 1.0  # B / N, of the rows that a step sees
        self.tolerance = min(self.model.dim, MOST_DIMS) * PRECISION**2
        if self.model.minibatch is not None:
            self.share = self.model.minibatch.size / self.model.num_rows
            self.tolerance = self.model.dim * COARSE_PRECISION**2
        self.judge_seed = int(rng.integers(2**63))
        self.warm: Progress | None = None
        self.main: Progress | None = None
        self.rival: Progress | None = None  # of the descent that has the reference
        self.rival_wins: bool | None = None
        self.reference: Reference = {}

    def run(self, params: Params, loop: Loop) -> None:
        """Search from ``params``, or from the checkpoint."""
        saved = self.checkpoint.load()
        if saved is not None:
            self.restore(saved)
        if self.main is None and self.wants_reference:
            self.warm_up(params, loop)
            if loop.stopped:
                return
        if self.main is None:
            start = self.family.closest_to(self.reference) if self.reference else params
            self.main = self.begin(self.family, start, self.settings.draws)
        if self.reference and self.rival_wins is None:
            self.trial(self.main, loop)
            if loop.stopped:
                return
        self.descend(self.leader or self.main, loop, refer=not self.rival_wins)

    @property
    def wants_reference(self) -> bool:
        """Whether a rough full-rank fit comes first."""
        small = self.model.minibatch is None and self.model.dim <= REFERENCE_DIM
        return self.family.referred and self.settings.estimator is None and small

    def warm_up(self, params: Params, loop: Loop) -> None:
        """A rough full-rank fit, as reference, in at most half of the steps.

        Where full rank overflows, mean field may not: then there is no reference.
        """
        draws = FULL.default_draws(self.model.dim)
        if self.warm is None:
            self.warm = self.begin(FULL, FULL.init_from(params), draws)
        # Its own independent draws: their number may not suit the base draws of the fit.
        noise = self.noise(FULL, Independent(), draws)
        descent = Descent(
            problem=self.problem(FULL, StickingTheLanding(), draws),
            judge=judge(self.model, FULL, self.settings.engine, self.judge_seed),
            reference={},
            tolerance=self.tolerance * ROUGHNESS**2,
            at_once=True,
        )
        try:
            descent.run(self.warm, noise, loop, steps=self.settings.steps // 2, keep=self.keep)
        except NonFiniteError:
            return
        self.reference = FULL.reference(self.warm.params)

    def trial(self, main: Progress, loop: Loop) -> None:
        """Does the reference help? If it is not soon clear, try without, and compare.

        Where a posterior is far from any Gaussian (a funnel) the best mean-field q lies far from
        the best full-rank one, and what was to take noise out brings some in.
        """
        self.descend(main, loop, refer=True, limit=TRIAL_STEPS)
        if not (loop.stopped or main.gap < HOPEFUL * self.tolerance):
            if self.rival is None:
                self.rival = self.begin(self.family, main.params, self.settings.draws)
            self.descend(self.rival, loop, refer=False, limit=TRIAL_STEPS)
        if not loop.stopped:
            self.rival_wins = self.rival is not None and self.rival.elbo > main.elbo

    def descend(self, at: Progress, loop: Loop, *, refer: bool, limit: int | None = None) -> None:
        """Carry ``at`` on, with the reference or without, to ``limit`` or all steps in all."""
        others = self.steps - at.done
        loop.steps_before = others
        left = self.settings.steps - others
        draws = self.settings.draws
        estimator = self.settings.estimator or StickingTheLanding()
        descent = Descent(
            problem=self.problem(self.family, estimator, draws),
            judge=judge(self.model, self.family, self.settings.engine, self.judge_seed),
            reference=self.reference if refer else {},
            tolerance=self.tolerance,
            at_once=False,
        )
        noise = self.noise(self.family, self.settings.base_draws, draws)
        steps = left if limit is None else min(left, limit)
        descent.run(at, noise, loop, steps=steps, keep=self.keep)

    def problem(self, family: Family, estimator: Estimator, draws: int) -> Problem:
        """What a descent in ``family`` is, but for its arrays."""
        optimizer = NaturalGradient(
            family,
            step_size=family.first_step_size(self.model.dim, draws, self.share),
            beta2=family.beta2,
            shared=family.shared,
        )
        return Problem(self.model.structure, family, estimator, optimizer, Mean())

    def begin(self, family: Family, params: Params, draws: int) -> Progress:
        """A descent in ``family`` before its first step."""
        optimizer = self.problem(family, StickingTheLanding(), draws).optimizer
        return Progress(params, optimizer.init(params))

    def noise(self, family: Family, base_draws: BaseDraws, draws: int) -> Noise:
        """The random inputs of a descent in ``family``."""
        return Noise(self.source, base_draws, draws, family.base_dim(self.model.dim))

    def keep(self) -> None:
        """Put a snapshot into the checkpoint."""
        self.checkpoint.keep(self.snapshot)

    @property
    def steps(self) -> int:
        """Steps taken, in all."""
        return sum(at.done for at in (self.warm, self.main, self.rival) if at is not None)

    @property
    def leader(self) -> Progress | None:
        """The descent that goes on."""
        return self.rival if self.rival_wins else self.main

    @property
    def params(self) -> Params | None:
        """The best q so far; None if there was no time for anything."""
        if self.leader is not None:
            return self.leader.params
        return (
            None if self.warm is None else self.family.closest_to(FULL.reference(self.warm.params))
        )

    @property
    def losses(self) -> onp.ndarray:
        """Of the descent that led, one a step."""
        leader = self.leader
        return onp.concatenate([onp.empty(0), *(leader.losses if leader else [])])

    def convergence(self, ended: str) -> Convergence:
        """The verdict; ``ended`` says what ended the fit if it did not converge."""
        warm = 0 if self.warm is None else self.warm.done
        leader = self.leader
        converged = leader is not None and leader.converged
        return Convergence(
            converged=converged,
            why="settled" if converged else ended,
            gap=onp.inf if leader is None else leader.gap,
            tolerance=self.tolerance,
            steps=self.steps,
            gradients=warm * FULL.default_draws(self.model.dim)
            + (self.steps - warm) * self.settings.draws,
        )

    def snapshot(self) -> Snapshot:
        """All that the rest of the search depends on."""
        return {
            **self.source.snapshot(),
            "warm": {} if self.warm is None else self.warm.snapshot(),
            "main": {} if self.main is None else self.main.snapshot(),
            "rival": {} if self.rival is None else self.rival.snapshot(),
            **({} if self.rival_wins is None else {"rival_wins": self.rival_wins}),
            "reference": self.reference,
        }

    def restore(self, saved: Snapshot) -> None:
        """Go back to where a snapshot was taken."""
        self.source.restore(saved)
        if "warm" in saved:
            self.warm = Progress.restore(saved["warm"])
        if "main" in saved:
            self.main = Progress.restore(saved["main"])
        if "rival" in saved:
            self.rival = Progress.restore(saved["rival"])
        if "rival_wins" in saved:
            self.rival_wins = bool(saved["rival_wins"])
        self.reference = saved.get("reference", {})
