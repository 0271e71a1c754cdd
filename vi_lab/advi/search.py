r"""A fit with no setting: stages of climbs on ever more draws, until the verdict.

1. **Starts.** A narrow mean-field q at zero, and seven at draws from the prior, climb the ELBO of
   the same few draws (`vi_lab.advi.climb`). If they end in more than one place, or most of them
   nowhere, sixteen more are tried, then thirty-two. The best goes on.
2. **Draws.** In the family that was asked for, on draws enough for its curvature, and then on as
   many more as the gap asks for, 2 to 4 times as many a stage: the gap falls at least as 1/S.
   Rivals less than a nat below the best come along.
3. **Verdict** (`vi_lab.advi.verdict`). If the gap is below the tolerance, draws that were not seen
   are heard. If they disagree, stage 2 goes on.

The tolerance is half a percent of a standard deviation: the gap that remains when each location is
off by 0.005 of its standard deviation, and each other parameter by as much in natural coordinates,
which is :math:`\frac12\, 0.005^2` nats a parameter. Half of the one percent that users would like,
because a gap is an estimate. With rows that are sampled (`vi_lab.advi.rows`) it is 3%.

What was done, how long it took and why it ended stands in ``fit.stages``.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import numpy as onp

from vi_lab.advi.blocks import Run
from vi_lab.advi.climb import MOST_STEPS, Climb, climb, look_again
from vi_lab.advi.local import MULTIPLE, fresh_pairs, stratified_pairs
from vi_lab.advi.objective import Expanded, Objective, expands
from vi_lab.advi.rows import SomeRows, needs_rows
from vi_lab.advi.settings import Settings
from vi_lab.advi.starts import (
    BATCHES_OF_STARTS,
    batch_of_starts,
    distinct,
    draws_for_family,
    draws_for_starts,
    narrow,
    params_of,
    refuse_start,
)
from vi_lab.advi.verdict import beyond, level_for_ever, rises_for_ever, runaways
from vi_lab.families import Chart, NaturalChart, Params, chart_of
from vi_lab.progress import progress_bar
from vi_lab.results.checkpoint import Checkpoint, Snapshot, generator_state, set_generator_state
from vi_lab.results.convergence import Convergence, Stage
from vi_lab.results.fit import Fit

PRECISION = 0.005  # of a standard deviation
COARSE_PRECISION = 0.03  # with rows that are sampled
ROUGH_PRECISION = 0.05  # with fixed draws
MOST_GRADIENTS = 2_000_000
MOST_RESTLESS = 8  # stages that end before q has come to rest
LEAST_GROWTH, MOST_GROWTH = 2.0, 4.0  # of the number of draws
SPARE = 1.2  # times what the gap asks for
EXPLORING_STEPS = 50
RIVALS, RIVALRY, MOST_RIVALRY = 3, 1.0, 10.0  # nats below the best, besides its gap
SIGMAS = 3.0  # by which fresh draws may disagree, in standard errors and in tolerances
FRESH, FEWEST_FRESH = 8, 32  # fresh draws: one for so many of the search, and at least


class Search:
    """One search: `run` carries it on, and `snapshot` is all that the rest of it depends on.

    Attributes
    ----------
    climbs : of the stage under way; once the starts are over the best is the first
    exploring : the stage is one of starts
    draws : S, of the stage
    ended : why, where somebody or something from outside has ended it
    """

    def __init__(
        self, settings: Settings, rng: onp.random.Generator, checkpoint: Checkpoint
    ) -> None:
        self.settings, self.rng, self.checkpoint = settings, rng, checkpoint
        self.model, self.family, self.engine = settings.model, settings.family, settings.engine
        self.fixed = settings.method == "deterministic"
        precision, self.objective = self._objective()
        self.tolerance = 0.5 * precision**2 * self.family.num_parameters(self.model.dim)
        self.start_seeds = [int(rng.integers(2**63)) for _ in BATCHES_OF_STARTS]
        self.stage_rng = generator_state(rng)  # before the draws of the stage were drawn
        self.climbs: list[Climb] = []
        self.exploring, self.batch = True, 0
        self.draws = draws_for_starts(settings)
        self.before: Chart = narrow(onp.zeros(self.model.dim))  # where the stage began
        self.stages: list[Stage] = []
        self.modes: list[float] = []
        self.steps = self.restless = 0
        self.ended = ""
        self.gain = self.error = onp.nan
        self.unseen, self.level = 0.0, onp.zeros(self.model.dim, bool)
        self.resumed: list[Climb] | None = None  # those of which something was known

    def _objective(self) -> tuple[float, Objective]:
        """The precision that is asked for, and what is climbed."""
        if self.fixed:
            return ROUGH_PRECISION, Objective(self.model, self.engine)
        if self.model.minibatch is not None and needs_rows(self.model):
            return COARSE_PRECISION, SomeRows(self.model, self.engine, self.rng)
        kind = Expanded if expands(self.family, self.model.dim) else Objective
        return PRECISION, kind(self.model, self.engine)

    # ------------------------------------------------------------------------ the loop

    def run(self) -> Run:
        """Search, from the start or the checkpoint; Ctrl-C returns what there is.

        Raises
        ------
        ValueError
            if the log density is not finite at any start.
        """
        saved, why = self.checkpoint.load(), ""
        with progress_bar(None, "ADVI", self.settings.progress) as self.bar:
            try:
                self.climbs = self.first_climbs()
                if saved is not None:
                    self.restore(saved)
                while not why:
                    self.climb_stage()
                    why = self.ended or self.next_stage()
            except KeyboardInterrupt:
                why = "interrupt"
            finally:
                self.checkpoint.write()
        return self.result(why)

    def first_climbs(self) -> list[Climb]:
        """Of the first stage: from an earlier fit, or the first batch of starts."""
        init = self.settings.init
        if isinstance(init, Fit):
            self.exploring, self.draws = False, draws_for_family(self.settings)
            return [Climb(self._chart(params_of(init, self.settings)))]
        return batch_of_starts(self.settings, 0, self.start_seeds[0])

    def climb_stage(self) -> None:
        """Carry the climbs up on the draws of this stage, and note what came of it."""
        began, steps, gradients = time.perf_counter(), self.steps, self.objective.density.gradients
        set_generator_state(self.rng, self.stage_rng)
        self.eps = stratified_pairs(self.rng, self.draws, self.climbs[0].at.base_dim)
        if self.resumed is not None:
            self._look_again()
        else:
            self.before = self.climbs[0].at  # the best that is known
        while not self.ended:
            climb(
                self.objective.density,
                self.climbs,
                self.eps,
                self.tolerance,
                most_steps=EXPLORING_STEPS if self.exploring else MOST_STEPS,
                after_step=self.after_step,
            )
            best = self.best
            if self.exploring or best.why != "settled":
                break
            if not self.objective.again(best, self.tolerance):
                break
            for c in self.climbs:
                c.begin()
        self._note(began, steps, gradients)

    def after_step(self) -> bool:
        """Between two rounds of steps: show, keep, ask. True if that is all."""
        self.steps += 1
        best = self.best
        self.bar.update()
        self.bar.set_postfix(elbo=f"{best.elbo:.6g}", gap=f"{best.gap:.1g}")
        self.checkpoint.keep(self.snapshot)
        callback = self.settings.callback
        if callback is not None and callback(
            self.steps, self._params(best), onp.array(best.losses)
        ):
            self.ended = "callback"
        self._count()
        return bool(self.ended)

    def _count(self) -> None:
        """Have the search ended where steps or gradients have run out."""
        if self.settings.steps is not None and self.steps >= self.settings.steps:
            self.ended = self.ended or "steps"
        elif self.objective.density.gradients >= MOST_GRADIENTS:
            self.ended = self.ended or "gradients"

    def _note(self, began: float, steps: int, gradients: int) -> None:
        """Add a line to the stages."""
        best = self.best
        line = Stage(
            name="starts" if self.exploring else "draws",
            draws=self.draws,
            steps=self.steps - steps,
            gradients=self.objective.density.gradients - gradients,
            seconds=time.perf_counter() - began,
            elbo=best.elbo,
            gap=best.gap,
            why=", ".join(c.why or self.ended for c in self.climbs),
        )
        self.stages.append(line)

    # ---------------------------------------------------------------------- the stages

    def next_stage(self) -> str:
        """Prepare the next stage; or why there is none."""
        if self.exploring:
            self._explore_further()
            return ""
        if self.best.why != "settled":
            corner = self.best.why == "stuck"  # that more draws would round
            return self._why_restless() or self._go_on(MOST_GROWTH if corner else 1.0)
        self.restless = 0
        missing = self.best.gap / self.tolerance
        if missing <= 1.0:
            return self._after_verdict(self.verdict(self.best))
        growth = min(MOST_GROWTH, max(LEAST_GROWTH, SPARE * missing))
        return "draws" if self.fixed else self._go_on(growth)

    def _after_verdict(self, against: str) -> str:
        """Go on where something speaks against the best climb, or say what ended the search."""
        if not against or against == "no optimum" or self.fixed:
            return against or "settled"
        if against == "tail" or self.objective.seen:
            return self._go_on(MOST_GROWTH)
        return self._go_on(1.0) if self.objective.more() else "rows"

    def _why_restless(self) -> str:
        """Why a best climb that did not settle is given up; "" if it is not."""
        best, density = self.best, self.objective.density
        self.restless += 1
        gone = best.why == "runs away" or rises_for_ever(density, self.before, best.at, self.eps)
        if gone and self.objective.seen:
            return "no optimum"
        if gone:  # as other rows might not let it
            best.at, best.memory = self.before, []
            return "" if self.objective.more() else "rows"
        going = best.why == "steps" or (best.why == "stuck" and not self.fixed)
        if going and self.restless < MOST_RESTLESS:
            return ""
        return "restless" if best.why == "steps" else "stuck"

    def _go_on(self, growth: float) -> str:
        """Prepare a stage with so many times the draws; or why there is none."""
        draws = round(self.draws * growth / MULTIPLE) * MULTIPLE if growth > 1.0 else self.draws
        if self.objective.density.gradients + 2 * draws > MOST_GRADIENTS:
            return "gradients"
        self._begin_stage([self.best, *self._rivals()], draws)
        return ""

    def _begin_stage(self, climbs: list[Climb], draws: int) -> None:
        self.draws, self.climbs, self.unseen = draws, climbs, 0.0
        self.stage_rng = generator_state(self.rng)
        self.objective.prepare(climbs[0])
        for c in climbs:
            c.begin()

    def _explore_further(self) -> None:
        """After a batch of starts: prepare another, or the first stage in the family itself."""
        alive = [c for c in self.climbs if c.local is not None and c.why != "joins"]
        if not alive:
            refuse_start(self.model, self.settings.init)
        alive.sort(key=lambda c: -c.elbo)
        others = distinct(alive[0], alive)
        more = self.settings.starts is None and not self.fixed
        self.climbs = [alive[0], *others]
        silent = 2 * sum(c.why == "steps" for c in alive) > len(alive)  # which is no agreement
        if (others or silent) and more and self.batch + 1 < len(BATCHES_OF_STARTS):
            self.batch += 1
            self.climbs += batch_of_starts(self.settings, self.batch, self.start_seeds[self.batch])
            return
        going, draws = [alive[0], *self._rivals()], draws_for_family(self.settings)
        self.exploring = False
        for c in going:
            c.at, c.memory = self._chart(self.family.init_from(c.at.params())), []
        self._begin_stage(going, draws)

    def _rivals(self) -> list[Climb]:
        """Of the other climbs those that go on with the best; what the others lack is noted."""
        best = self.best
        going: list[Climb] = []
        for c in distinct(best, self.climbs):
            near = c.elbo > best.elbo - RIVALRY - min(best.gap, MOST_RIVALRY)
            if near and len(going) < RIVALS:
                going.append(c)
            elif c.why == "settled":
                self.modes.append(c.elbo - best.elbo)
        return going

    # --------------------------------------------------------------------- the verdict

    def verdict(self, best: Climb) -> str:
        """What fresh draws, and a look beyond the draws, say against ``best``: "" if nothing."""
        num = max(FEWEST_FRESH, self.draws // (FRESH * MULTIPLE) * MULTIPLE)
        fresh = fresh_pairs(self.rng, self.objective.fresh(num), best.at.base_dim)
        self.gain, self.error = self.objective.first_order(best, fresh)
        if not self.gain <= SIGMAS * (self.tolerance + self.error):
            return "fresh"
        if self._gap(best) > self.tolerance:
            return "fresh"
        self.unseen = beyond(best, self.objective.density, self.draws)
        if not self._gap(best) <= self.tolerance:
            return "tail"
        self.level = level_for_ever(best, self.objective.density, self.eps, self.tolerance)
        return "no optimum" if self.level.any() else ""

    def _gap(self, best: Climb) -> float:
        """Of the draws, the rows, and what lies beyond the draws."""
        return best.gap + self.objective.lack + self.unseen

    def result(self, why: str) -> Run:
        """What is handed back."""
        best = self.best
        others = [c.elbo - best.elbo for c in distinct(best, self.climbs) if c.why == "settled"]
        none = why == "no optimum"
        return Run(
            params=self._params(best),
            losses=onp.array(best.losses),
            interrupted=why == "interrupt",
            convergence=Convergence(
                converged=why == "settled",
                why=why,
                gap=onp.inf if none or best.why != "settled" else self._gap(best),
                tolerance=self.tolerance,
                steps=self.steps,
                gradients=self.objective.density.gradients,
                gain=self.gain,
                error=self.error,
                modes=() if none else tuple(sorted([*self.modes, *others], reverse=True)),
                runaways=runaways(self.model, self.before, best.at, self.level) if none else (),
            ),
            stages=tuple(self.stages),
        )

    # ------------------------------------------------------------------- what q it is

    @property
    def best(self) -> Climb:
        """The climb that is highest, of those that have not joined another."""
        alone = [c for c in self.climbs if c.why != "joins"]
        return max(alone, key=lambda c: c.elbo)

    def _chart(self, params: Params) -> Chart:
        """The q of these parameters of the family."""
        return self.family.chart(params) or NaturalChart(self.family, self.engine, params)

    def _params(self, c: Climb) -> Params:
        """Parameters of the family for where a climb is."""
        return self.family.init_from(c.at.params())

    # -------------------------------------------------------------------- to and from disk

    def snapshot(self) -> Snapshot:
        """All that the rest of the search depends on."""
        names = ("stage_rng", "draws", "batch", "exploring", "steps", "restless", "gain", "error")
        return {
            **{name: getattr(self, name) for name in names},
            "cost": self.objective.density.cost,
            "modes": onp.array(self.modes),
            "stages": json.dumps([asdict(stage) for stage in self.stages]),
            "objective": self.objective.snapshot(),
            "before": {"scales": self.before.scales, "at": self.before.arrays()},
            "climbs": {str(i): c.snapshot() for i, c in enumerate(self.climbs)},
        }

    def restore(self, saved: Snapshot) -> None:
        """Go back to where a snapshot was taken."""
        self.stage_rng, self.draws = str(saved["stage_rng"]), int(saved["draws"])
        self.exploring, self.batch = bool(saved["exploring"]), int(saved["batch"])
        self.steps, self.restless = int(saved["steps"]), int(saved["restless"])
        self.gain, self.error = float(saved["gain"]), float(saved["error"])
        self.modes = list(saved.get("modes", ()))
        self.stages = [Stage(**line) for line in json.loads(str(saved["stages"]))]
        self.objective.restore(saved.get("objective", {}))
        self.objective.density.cost = float(saved["cost"])
        climbs, before = saved["climbs"], saved["before"]
        numbers = range(len(climbs))
        self.climbs = [Climb.restore(climbs[str(i)], self.family, self.engine) for i in numbers]
        self.before = chart_of(str(before["scales"]), before["at"], self.family, self.engine)
        self.resumed = [c for i, c in enumerate(self.climbs) if climbs[str(i)]["looked"]]
        self._count()

    def _look_again(self) -> None:
        """What the climbs knew where they were: not counted, for it was."""
        density = self.objective.density
        cost = density.cost
        for c in self.resumed or ():
            look_again(density, c, self.eps)
        density.cost = cost
        self.resumed = None
