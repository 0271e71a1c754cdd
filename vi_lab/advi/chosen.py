"""A fit with an optimiser of the user's choice: so many steps, which nothing judges.

An `AdviSequence` without an eta comes with the search for one of the ADVI paper
(Kucukelbir et al. 2017): each eta of 100, 10, 1, 0.1, 0.01 gets 50 steps from the same start
on the same draws, and the one that lowers the loss most is taken.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as onp

from vi_lab.advi.blocks import Noise, Problem, Run, Source, looping
from vi_lab.advi.non_finite import check_start
from vi_lab.advi.search import Search
from vi_lab.advi.settings import Settings
from vi_lab.advi.starts import INITIAL_SCALE, first_point, params_of, prior_points
from vi_lab.errors import ArgumentError, NonFiniteError
from vi_lab.families import MeanFieldGaussian, Params
from vi_lab.gradients import StickingTheLanding
from vi_lab.optimizers import AdviSequence, Optimizer
from vi_lab.progress import progress_bar
from vi_lab.results.checkpoint import Checkpoint, Snapshot
from vi_lab.results.fit import Fit

ETAS = (100.0, 10.0, 1.0, 0.1, 0.01)
TRIAL_STEPS = 50
JUDGED_STEPS = 25  # the loss of a trial is the mean over its last steps
STATE = ("params", "optimizer", "average")  # the parts of a state, in order


def run_chosen(
    settings: Settings,
    optimizer: Optimizer,
    params: Params,
    rng: onp.random.Generator,
    checkpoint: Checkpoint,
) -> Run:
    """Take the steps from ``params`` or ``checkpoint``; Ctrl-C returns what there is.

    Raises
    ------
    NonFiniteError
        naming the step, and the latent whose gradient went bad.
    """
    model, family, average = settings.model, settings.family, settings.average
    draws, steps = settings.draws or 1, settings.steps or 0
    estimator = settings.estimator or StickingTheLanding()
    problem = Problem(model.structure, family, estimator, optimizer, average)
    state = problem.init(params)
    source = Source(model, rng)
    noise = Noise(source, settings.base_draws, draws, family.base_dim(model.dim))
    losses: list[onp.ndarray] = [onp.empty(0)]
    saved = checkpoint.load()
    if saved is not None:
        source.restore(saved)
        state, losses = _state(saved), [saved["losses"]]
    done = losses[0].size

    def snapshot() -> Snapshot:
        parts = dict(zip(STATE, state, strict=True))
        return {**source.snapshot(), "losses": onp.concatenate(losses), **parts}

    with looping(settings, checkpoint) as loop:
        blocks = loop.blocks(problem, state, noise, steps - done, done=done)
        for state, block in blocks:
            losses.append(block)
            done += block.size
            checkpoint.keep(snapshot)
            loop.report(done, average.value(state[2]), losses)
            if loop.stopped:
                break
    return Run(average.value(state[2]), onp.concatenate(losses), loop.interrupted)


def starting_params(settings: Settings, rng: onp.random.Generator) -> Params:
    """The parameters to start from: those of a fit, or a narrow q about the best start.

    Raises
    ------
    ValueError
        if the log density is not finite there.
    """
    family, init = settings.family, settings.init
    if settings.starts is not None and settings.starts > 1:
        return family.init_from(best_start(settings, rng))
    if isinstance(init, Fit):
        return params_of(init, settings)
    z = first_point(settings.model, init)
    if z is None:
        (z,) = prior_points(settings.model, 1, int(rng.integers(2**63)))
    check_start(settings.model, z)
    return family.init(z, INITIAL_SCALE)


def best_start(settings: Settings, rng: onp.random.Generator) -> Params:
    """Mean-field parameters: where the best of ``settings.starts`` starts leads to."""
    mean_field = replace(
        settings, family=MeanFieldGaussian(), optimizer=None, draws=None, steps=None
    )
    search = Search(mean_field, rng, Checkpoint(None, {}))
    search.climbs = search.first_climbs()
    with progress_bar(None, "starts", settings.progress) as search.bar:
        search.climb_stage()
    return dict(search.best.at.params())


def search_eta(
    settings: Settings, optimizer: Optimizer, params: Params, rng: onp.random.Generator
) -> Optimizer | Run:
    """``optimizer``, or, if it is an `AdviSequence` without an eta, the best one of `ETAS`.

    A trial that overflows loses. Ctrl-C ends the search and the fit: what is returned is then
    the best trial so far.

    Raises
    ------
    ValueError
        if every trial overflows.
    """
    if not isinstance(optimizer, AdviSequence) or optimizer.eta is not None:
        return optimizer
    trial = replace(settings, steps=TRIAL_STEPS, progress=False, callback=None)
    seed = int(rng.integers(2**63))
    found: dict[float, Run] = {}
    last = Run(params, onp.empty(0), interrupted=False)
    try:
        for eta in ETAS:
            same_draws, nowhere = onp.random.default_rng(seed), Checkpoint(None, {})
            try:
                last = run_chosen(trial, replace(optimizer, eta=eta), params, same_draws, nowhere)
            except NonFiniteError:
                continue
            if last.interrupted:
                break
            if onp.isfinite(_judged(last)):
                found[eta] = last
    except KeyboardInterrupt:  # between two trials
        last = replace(last, interrupted=True)
    best = min(found, key=lambda eta: _judged(found[eta]), default=None)
    if last.interrupted:
        return replace(last if best is None else found[best], interrupted=True)
    if best is None:
        raise ArgumentError(
            f"optimizer: the loss overflowed within {TRIAL_STEPS} steps for every eta of {ETAS}; "
            "give a starting point with init=, or rescale the model"
        )
    return replace(optimizer, eta=best)


def _judged(run: Run) -> float:
    """The loss of a trial."""
    with onp.errstate(over="ignore"):
        return float(run.losses[-JUDGED_STEPS:].mean())


def _state(saved: Snapshot) -> tuple:
    """The state of a snapshot, in which empty parts have left no trace."""
    params, optimizer, average = (saved.get(part, {}) for part in STATE)
    return params, optimizer, average
