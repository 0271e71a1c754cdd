r"""A fit with no setting: how `vi_lab.advi` chooses where nothing is asked of it.

* Full rank: natural-gradient descent that sticks the landing (`vi_lab.advi.stages`). The
  step size at the start is S / (S + D) for S draws, at most 0.1, because a step along
  S random directions of D multiplies what is off in the others by noise.
* Mean field, up to 200 dimensions: first a rough full-rank fit, which costs little
  since conditioning does not matter to it, and then the mean-field descent with
  that Gaussian as control variate (`vi_lab.gradients.control_variate`) and as unit of length
  (`vi_lab.advi.natural_gradient.Referred`). For a Gaussian posterior the first makes the gradient
  exact, the second the problem perfectly conditioned. Where that Gaussian turns out to
  be no help, a descent without it takes over.
* Mean field beyond, other families, or an estimator by the user's choice: the descent
  in the coordinates of q itself.

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

import time
from collections.abc import Callable
from typing import Any

import numpy as onp

import vi_lab.scipy as sp
from vi_lab.advi.blocks import Callback, Noise, Pacemaker, Run
from vi_lab.advi.natural_gradient import Referred, coordinates_of
from vi_lab.advi.stages import FIRST_WINDOW, Descender, Descent, Progress
from vi_lab.advi.step_rule import UnitSteps
from vi_lab.advi.stopping import judge
from vi_lab.engine import Engine
from vi_lab.errors import NonFiniteError
from vi_lab.families import FullRankGaussian, LocationScaleGaussian, MeanFieldGaussian, Params
from vi_lab.gradients.base_draws import BaseDraws, Independent
from vi_lab.gradients.control_variate import Reference
from vi_lab.gradients.estimators import Estimator, StickingTheLanding
from vi_lab.progress import progress_bar
from vi_lab.results.checkpoint import Checkpoint, Snapshot, generator_state, set_generator_state
from vi_lab.results.convergence import Convergence

MOST_STEPS = 400_000
PRECISION = 0.005  # of a standard deviation, in each of MOST_DIMS directions
MOST_DIMS = 40
COARSE_PRECISION = 0.03  # with minibatches
ROUGHNESS = 10.0  # how many times less precise the warm-up may be
LARGEST_STEP = 0.1
TRIAL_STEPS = 7 * FIRST_WINDOW  # three windows, each twice as long as the one before
HOPEFUL = 10.0  # times the tolerance: a descent so close after its trial goes on unrivalled
REFERENCE_DIM = 200  # beyond, D x D matrices cost more than they save
DIMS_PER_DRAW = 8  # of a full-rank step, whose draws share its D^3 operations

# Full-rank gradients fall by orders of magnitude on the way and vanish at its end: their
# divisor has to forget fast, and cannot bias. Mean-field ones stay noisy: it must not.
FULL_RANK_STEPS = UnitSteps(beta2=0.99, shared=True)
OTHER_STEPS = UnitSteps(beta2=0.999, shared=False)


def default_draws(family: LocationScaleGaussian, dim: int) -> int:
    """Base draws a step: one; for full rank one for every 8 dimensions."""
    return max(1, dim // DIMS_PER_DRAW) if isinstance(family, FullRankGaussian) else 1


def run_automatic(
    model: Any,
    family: LocationScaleGaussian,
    params: Params,
    *,
    estimator: Estimator | None,
    base_draws: BaseDraws,
    draws: int,
    steps: int,
    rng: onp.random.Generator,
    engine: Engine,
    progress: bool,
    callback: Callback | None,
    checkpoint: Checkpoint,
) -> Run:
    """Fit from ``params`` in at most ``steps`` steps; Ctrl-C returns what there is.

    Raises
    ------
    NonFiniteError
        naming the step, and the latent whose gradient went bad.
    """
    began = time.perf_counter()
    search = Search(model, family, estimator, base_draws, draws, rng, engine)
    interrupted = False
    with progress_bar(None, "ADVI", progress, total=steps) as bar:
        pacemaker = Pacemaker(bar, callback)
        try:
            search.run(params, steps, pacemaker, checkpoint)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            checkpoint.write()
    ended = "interrupt" if interrupted else "callback" if pacemaker.stopped else "steps"
    return Run(
        params=params if search.params is None else search.params,
        losses=search.losses,
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
        convergence=search.convergence(ended),
    )


class Search:
    """One automatic fit: a warm-up, perhaps, and the descent proper."""

    def __init__(
        self,
        model: Any,
        family: LocationScaleGaussian,
        estimator: Estimator | None,
        base_draws: BaseDraws,
        draws: int,
        rng: onp.random.Generator,
        engine: Engine,
    ) -> None:
        self.model, self.family, self.estimator = model, family, estimator
        self.base_draws, self.draws, self.rng, self.engine = base_draws, draws, rng, engine
        self.source = None if model.minibatch is None else model.minibatches(rng)
        if self.source is None:
            self.tolerance = min(model.dim, MOST_DIMS) * PRECISION**2
        else:
            self.tolerance = model.dim * COARSE_PRECISION**2
        self.judge_seed = int(rng.integers(2**63))
        self.warm: Progress | None = None
        self.main: Progress | None = None
        self.rival: Progress | None = None  # of the descent that has the reference
        self.rival_wins: bool | None = None
        self.reference: Reference = {}

    def run(self, params: Params, steps: int, pacemaker: Pacemaker, checkpoint: Checkpoint) -> None:
        """Search from ``params``, or from the checkpoint, in at most ``steps`` steps in all."""

        def keep() -> None:
            checkpoint.keep(self.snapshot)

        saved = checkpoint.load()
        if saved is not None:
            self.restore(saved)
        chosen = self.estimator is not None or not isinstance(self.family, MeanFieldGaussian)
        small = self.source is None and self.model.dim <= REFERENCE_DIM
        if self.main is None and not chosen and small:
            self.warm_up(params, steps // 2, pacemaker, keep)
            if pacemaker.stopped:
                return
        if self.main is None:
            start = best_mean_field(self.reference) if self.reference else params
            self.main = Progress(start, self.first_step_size(self.family, self.draws))
        if self.reference and self.rival_wins is None:
            self.trial(self.main, steps, pacemaker, keep)
            if pacemaker.stopped:
                return
        leader = self.leader or self.main
        refer = bool(self.reference) and not self.rival_wins
        self.descend(leader, refer, steps, pacemaker, keep)

    def trial(
        self, main: Progress, steps: int, pacemaker: Pacemaker, keep: Callable[[], None]
    ) -> None:
        """Does the reference help? If it is not soon clear, try without, and compare.

        Where a posterior is far from any Gaussian (a funnel) the best mean-field q lies far from
        the best full-rank one, and what was to take noise out brings some in.
        """
        self.descend(main, True, steps, pacemaker, keep, limit=TRIAL_STEPS)
        if not (pacemaker.stopped or main.gap < HOPEFUL * self.tolerance):
            if self.rival is None:
                self.rival = Progress(main.params, LARGEST_STEP)
            self.descend(self.rival, False, steps, pacemaker, keep, limit=TRIAL_STEPS)
        if not pacemaker.stopped:
            self.rival_wins = self.rival is not None and self.rival.elbo > main.elbo

    def descend(
        self,
        at: Progress,
        refer: bool,
        steps: int,
        pacemaker: Pacemaker,
        keep: Callable[[], None],
        *,
        limit: int | None = None,
    ) -> None:
        """Carry ``at`` on, with the reference or without, to ``limit`` or ``steps`` in all."""
        others = self.steps - at.done
        pacemaker.steps_before = others
        left = steps - others
        estimator = None if refer else self.estimator or StickingTheLanding()
        self.descender(self.family, estimator, self.tolerance).run(
            at,
            self.noise(self.family, self.base_draws, self.draws),
            steps=left if limit is None else min(left, limit),
            pacemaker=pacemaker,
            keep=keep,
        )

    def warm_up(
        self, params: Params, steps: int, pacemaker: Pacemaker, keep: Callable[[], None]
    ) -> None:
        """A rough full-rank fit, as reference.

        Where full rank overflows, mean field may not: then there is no reference.
        """
        full = FullRankGaussian()
        draws = default_draws(full, self.model.dim)
        if self.warm is None:
            self.warm = Progress(full.init_from(params), self.first_step_size(full, draws))
        tolerance = self.tolerance * ROUGHNESS**2
        descender = self.descender(full, StickingTheLanding(), tolerance, at_once=True)
        # Its own independent draws: their number may not suit the base draws of the fit.
        noise = self.noise(full, Independent(), draws)
        try:
            descender.run(self.warm, noise, steps=steps, pacemaker=pacemaker, keep=keep)
        except NonFiniteError:
            return
        self.reference = reference_from(self.warm.params)

    def first_step_size(self, family: LocationScaleGaussian, draws: int) -> float:
        """Gamma at the start: a fraction of the way to where the gradient points.

        Gradients have N / B times the variance if B of N rows are seen. To the
        coordinates of a mean-field q that is no harm, each of which is divided by its
        own noise. In a matrix the noise of D^2 entries adds up.
        """
        gamma = LARGEST_STEP
        if isinstance(family, FullRankGaussian):
            gamma = min(gamma, draws / (draws + self.model.dim))
        if self.source is not None and not isinstance(family, MeanFieldGaussian):
            gamma *= (self.model.minibatch.size / self.model.num_rows) ** 0.5
        return float(gamma)

    def descender(
        self,
        family: LocationScaleGaussian,
        estimator: Estimator | None,
        tolerance: float,
        *,
        at_once: bool = False,
    ) -> Descender:
        """A descent of ``family``; ``estimator`` None takes the reference as control variate."""
        full = isinstance(family, FullRankGaussian)
        return Descender(
            descent=Descent(
                structure=self.model.structure,
                family=family,
                estimator=estimator,
                coordinates=Referred() if estimator is None else coordinates_of(family),
                steps=FULL_RANK_STEPS if full else OTHER_STEPS,
            ),
            model=self.model,
            engine=self.engine,
            judge=judge(self.model, family, self.engine, self.judge_seed),
            reference=self.reference,
            tolerance=tolerance,
            at_once=at_once,
        )

    def noise(self, family: LocationScaleGaussian, base_draws: BaseDraws, draws: int) -> Noise:
        """The random inputs of a descent of ``family``."""
        return Noise(self.rng, base_draws, self.source, draws, family.base_dim(self.model.dim))

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
        return None if self.warm is None else best_mean_field(reference_from(self.warm.params))

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
            gradients=warm * default_draws(FullRankGaussian(), self.model.dim)
            + (self.steps - warm) * self.draws,
        )

    def snapshot(self) -> Snapshot:
        """All that the rest of the search depends on."""
        return {
            "generator": generator_state(self.rng),
            "source": {} if self.source is None else self.source.state(),
            "warm": {} if self.warm is None else self.warm.snapshot(),
            "main": {} if self.main is None else self.main.snapshot(),
            "rival": {} if self.rival is None else self.rival.snapshot(),
            **({} if self.rival_wins is None else {"rival_wins": self.rival_wins}),
            "reference": self.reference,
        }

    def restore(self, saved: Snapshot) -> None:
        """Go back to where a snapshot was taken."""
        set_generator_state(self.rng, saved["generator"])
        if self.source is not None:
            self.source.restore({name: int(v) for name, v in saved["source"].items()})
        if "warm" in saved:
            self.warm = Progress.restore(saved["warm"])
        if "main" in saved:
            self.main = Progress.restore(saved["main"])
        if "rival" in saved:
            self.rival = Progress.restore(saved["rival"])
        if "rival_wins" in saved:
            self.rival_wins = bool(saved["rival_wins"])
        self.reference = saved.get("reference", {})


def reference_from(params: Params) -> Reference:
    """The Gaussian of full-rank ``params`` as a reference."""
    scale = FullRankGaussian().scale_tril(params)
    whitener = sp.solve_triangular(scale, onp.eye(len(scale)))
    return {"loc": params["loc"], "scale": scale, "whitener": whitener}


def best_mean_field(reference: Reference) -> Params:
    """The mean-field Gaussian closest to the reference: its mean, and 1 / precision_dd."""
    precision = onp.sum(reference["whitener"] ** 2, axis=0)
    return {"loc": reference["loc"], "log_scale": -0.5 * onp.log(precision)}
