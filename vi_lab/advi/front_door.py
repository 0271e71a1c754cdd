"""`advi`: automatic differentiation variational inference, the front door."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.advi.blocks import Run
from vi_lab.advi.chosen import run_chosen, search_eta, starting_params
from vi_lab.advi.search import Search
from vi_lab.advi.settings import Callback, Settings, Start, checked
from vi_lab.advi.starts import starting_values
from vi_lab.errors import ConvergenceWarning
from vi_lab.families import Family
from vi_lab.gradients import BaseDraws, Estimator
from vi_lab.model import Posterior
from vi_lab.optimizers import Average, Optimizer
from vi_lab.progress import one_interrupt
from vi_lab.results.checkpoint import Checkpoint
from vi_lab.results.fit import Fit
from vi_lab.results.identity import of_library, of_model, of_options


def advi(
    model: Posterior,
    family: str | Family = "mean_field",
    *,
    method: str = "stochastic",
    steps: int | None = None,
    draws: int | None = None,
    base_draws: str | BaseDraws | None = None,
    estimator: str | Estimator | None = None,
    optimizer: str | Optimizer | None = None,
    average: Average | None = None,
    init: Start = None,
    starts: int | None = None,
    seed: int = 0,
    engine: str | None = None,
    progress: bool = True,
    callback: Callback | None = None,
    checkpoint: str | Path | None = None,
) -> Fit:
    r"""Fit a Gaussian q to the posterior by maximising the ELBO.

    Latents are moved to the real line by the transforms of their supports, and
    :math:`E_q[\log \tilde p(z) - \log q(z)]` is climbed (Kucukelbir et al. 2017). By itself the
    fit climbs it on fixed draws, by the curvature that q sees, takes more draws until their noise
    is below its tolerance, and asks others before it says "converged" (`vi_lab.advi.search`);
    ``fit.convergence`` says how far that was reached, ``fit.stages`` how, and a fit that did not
    converge warns. With an ``optimizer`` of your choice it takes stochastic steps instead.

    Parameters
    ----------
    model : `Model` or `Target`
    family : "mean_field", "full_rank", "low_rank", or a family (of your own:
        `vi_lab.families.LocationScaleGaussian`)
    method : "stochastic" takes new draws, as many as it needs (with an ``optimizer``: at every
        step); "deterministic" stays with the draws it began with, and asks for 5% of a standard
        deviation in place of 0.5% (mean field only)
    steps : the most steps to take, by default as many as 2 million gradients allow. With an
        ``optimizer``: how many to take, by default 20,000; nothing stops them or judges the result
    draws : how many the search begins with, an even number; by default it chooses, or 30 if
        "deterministic". With an ``optimizer``: base draws a step, by default 1 (full rank: 1 for
        every 8 dimensions)
    base_draws : how the draws of one step of an ``optimizer`` hang together: "independent" (the
        default), "antithetic", "sobol", or a value of `vi_lab.gradients.base_draws`
    estimator : of the gradient that an ``optimizer`` gets: "sticking_the_landing" (the default),
        "reparameterised", "score_function", or a value of `vi_lab.gradients.estimators`
    optimizer : "adam" or another name of `vi_lab.optimizers.OPTIMIZERS`, or an optimiser of
        `vi_lab.optimizers`. An `AdviSequence` without an eta has it searched for
    average : how the iterates of ``optimizer`` are averaged; by default over the last
        three quarters
    init : where to start: constrained value by latent, to centre the first q on, or an
        earlier `Fit` to go on from, or "prior", a draw from the prior; by default z = 0
    starts : how many starting points to try on few draws: ``init`` and, for the others, draws
        from the prior. By default 8, and up to 48 more if they end in different places (with an
        ``optimizer``: 1)
    seed : a whole number from 0 on, from which every draw follows: the same seed gives the
        same bits. (So None is refused, and so is a Generator, which has no such number.)
    engine : "autograd" or "jax"; by default the one in force (`vi_lab.use`)
    progress : show a progress bar with the running loss
    callback : called between steps (with an ``optimizer``: between blocks of them) with the steps
        done, the parameters of the best q and the losses so far; a true result stops the fit. That
        and Ctrl-C keep what was found
    checkpoint : a file (.npz) to write the state of the fit to, about once a second and when
        it ends, and to go on from if it is there: an interrupted and resumed fit is, to the
        bit, the one that was not interrupted

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        for a bad argument, before anything is computed; or for a log density that is not
        finite at the start.
    NonFiniteError
        if with an ``optimizer`` the loss or a gradient stops being finite; it names the step
        and latent.
    """
    settings = checked(**locals())  # the arguments: there is nothing else yet
    began = time.perf_counter()
    with one_interrupt():
        run = _run(settings)
        fit = Fit(
            model=model,
            family=settings.family,
            params=run.params,
            losses=run.losses,
            engine=settings.engine.name,
            seed=settings.seed,
            interrupted=run.interrupted,
            seconds=time.perf_counter() - began,
            convergence=run.convergence,
            stages=run.stages,
        )
        if run.convergence is not None and not run.convergence.converged:
            warnings.warn(str(run.convergence), ConvergenceWarning, stacklevel=2)
    return fit


def _run(settings: Settings) -> Run:
    """Find a start, and go on from there as was asked."""
    rng = onp.random.default_rng(settings.seed)
    if settings.optimizer is None:
        return Search(settings, rng, _checkpoint(settings, starts=settings.starts)).run()
    params = starting_params(settings, rng)
    optimizer = search_eta(settings, settings.optimizer, params, rng)
    if isinstance(optimizer, Run):  # interrupted
        return optimizer
    checkpoint = _checkpoint(settings, optimizer=optimizer, average=settings.average)
    return run_chosen(settings, optimizer, params, rng, checkpoint)


def _checkpoint(settings: Settings, **chosen: Any) -> Checkpoint:
    """The file to go on from, which belongs to fits that were asked to do the same."""
    if settings.checkpoint is None:
        return Checkpoint(None, {})
    options = of_options(
        family=settings.family,
        method=settings.method,
        draws=settings.draws,
        base_draws=settings.base_draws,
        estimator=settings.estimator,
        seed=settings.seed,
        start=starting_values(settings.init),
        **chosen,
    )
    return Checkpoint(
        settings.checkpoint,
        {**of_library(settings.engine), **of_model(settings.model), **options},
    )
