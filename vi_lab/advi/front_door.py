"""`advi`: automatic differentiation variational inference, the front door."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab import engine as engines
from vi_lab.advi.automatic import MOST_STEPS, default_draws, run_automatic
from vi_lab.advi.blocks import Callback, Problem, check_start, run_fit
from vi_lab.advi.deterministic import run_deterministic
from vi_lab.advi.eta_search import search_eta
from vi_lab.advi.starts import best_start, prior_points
from vi_lab.checks import check_whole
from vi_lab.engine import Array, Engine
from vi_lab.errors import ConvergenceWarning
from vi_lab.families import LocationScaleGaussian, MeanFieldGaussian, Params, get_family
from vi_lab.gradients.base_draws import BaseDraws, Independent
from vi_lab.gradients.estimators import (
    Estimator,
    StickingTheLanding,
    check_base_draws,
    get_estimator,
)
from vi_lab.optimizers import AdviSequence
from vi_lab.optimizers.averaging import TailAverage
from vi_lab.results.checkpoint import Checkpoint
from vi_lab.results.fit import Fit

STEPS = 20_000  # of an optimiser that was chosen: it does not stop by itself
DETERMINISTIC_DRAWS = 30
INITIAL_SCALE = 0.1  # sd of the first q: small, so that its draws stay where z starts


def advi(
    model: Any,
    family: str | LocationScaleGaussian = "mean_field",
    *,
    method: str = "stochastic",
    steps: int | None = None,
    draws: int | None = None,
    base_draws: BaseDraws | None = None,
    estimator: str | Estimator | None = None,
    optimizer: Any = None,
    average: Any = None,
    init: Mapping[str, Array] | Fit | str | None = None,
    starts: int = 1,
    seed: int = 0,
    engine: str | None = None,
    progress: bool = True,
    callback: Callback | None = None,
    checkpoint: str | Path | None = None,
) -> Fit:
    r"""Fit a Gaussian q to the posterior by maximising the ELBO.

    Latents are moved to the real line by the transforms of their supports, and
    :math:`E_q[\log \tilde p(z) - \log q(z)]` is climbed with stochastic gradients
    (Kucukelbir et al. 2017, Algorithm 1). By itself it chooses how, and stops when q is
    about as good as its family allows (`vi_lab.advi.automatic`); ``fit.convergence`` says how
    far that was reached, and a fit that did not converge warns.

    Parameters
    ----------
    model : `Model` or `Target`
    family : "mean_field", "full_rank", "low_rank", or a family
    method : "stochastic" takes new draws at every step; "deterministic" fixes them
        and minimises with second derivatives (mean field only; see
        `vi_lab.advi.deterministic`)
    steps : the most steps to take, by default 400,000. With an ``optimizer`` of your
        choice: how many to take, by default 20,000; nothing stops them or judges the result
    draws : base draws a step, by default 1 (full rank: 1 for every 8 dimensions), or 30
        in all for "deterministic"
    base_draws : how the draws of one step hang together: `Independent` (the default),
        `Antithetic` or `Sobol` of `vi_lab.gradients.base_draws`
    estimator : of the gradient: "sticking_the_landing", "reparameterised",
        "score_function", or a value of `vi_lab.gradients.estimators`; by default the one with the
        least noise that is known here
    optimizer : an optimiser of `vi_lab.optimizers`. An `AdviSequence` without an eta has it
        searched for
    average : how the iterates of ``optimizer`` are averaged; by default over the last
        three quarters
    init : where to start: constrained value by latent, to centre the first q on, or an
        earlier `Fit` to go on from, or "prior", a draw from the prior; by default z = 0
    starts : how many starting points to try: ``init`` and, for the others, draws from the
        prior. The best after 400 steps is where the fit starts (`vi_lab.advi.starts`)
    seed : every draw follows from it: the same seed gives the same bits
    engine : "autograd" or "jax"; by default the one in force (`vi_lab.use`)
    progress : show a progress bar with the running loss
    callback : called between blocks of steps with the steps done, the parameters and the
        losses so far (of the warm-up, while it lasts, whose q is of full rank); a true
        result stops the fit. That and Ctrl-C keep what was found up to the last complete
        eighth of a window
    checkpoint : a file (.npz) to write the state of the fit to, about once a second and when
        it ends, and to go on from if it is there: an interrupted and resumed fit is, to the
        bit, the one that was not interrupted

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        for a bad argument, or a log density that is not finite at the start.
    NonFiniteError
        if the loss or a gradient stops being finite; it names the step and latent.
    """
    chosen = get_family(family)
    rng = onp.random.default_rng(seed)
    runner = engines.get(engine)
    if method == "deterministic":
        _refuse_stochastic_options(
            chosen,
            steps=steps,
            base_draws=base_draws,
            estimator=estimator,
            optimizer=optimizer,
            average=average,
            callback=callback,
            checkpoint=checkpoint,
        )
        draws = DETERMINISTIC_DRAWS if draws is None else draws
        check_whole("draws", draws, least=1)
        run = run_deterministic(
            model,
            _start(model, chosen, init, starts, rng, runner),
            draws=draws,
            rng=rng,
            engine=runner,
            progress=progress,
        )
    elif method == "stochastic":
        draws = default_draws(chosen, model.dim) if draws is None else draws
        check_whole("draws", draws, least=1)
        spread = Independent() if base_draws is None else base_draws
        spread.check(draws, chosen.base_dim(model.dim))
        gradients = None if estimator is None else get_estimator(estimator)
        if gradients is not None:
            check_base_draws(gradients, spread, draws)
        if steps is not None:
            check_whole("steps", steps, least=1)
        params = _start(model, chosen, init, starts, rng, runner)
        common: dict[str, Any] = {
            "draws": draws,
            "base_draws": spread,
            "rng": rng,
            "engine": runner,
            "progress": progress,
            "callback": callback,
        }
        if optimizer is None:
            if average is not None:
                raise ValueError(
                    "average: is for an optimizer of your choice; give optimizer= as well, or "
                    "leave it out"
                )
            steps = MOST_STEPS if steps is None else steps
            run = run_automatic(
                model,
                chosen,
                params,
                estimator=gradients,
                steps=steps,
                checkpoint=_checkpoint(checkpoint, model, chosen, params, gradients, seed, common),
                **common,
            )
        else:
            steps = STEPS if steps is None else steps
            problem = Problem(
                structure=model.structure,
                family=chosen,
                estimator=gradients or StickingTheLanding(),
                optimizer=optimizer,
                average=TailAverage(start=steps // 4) if average is None else average,
            )
            if isinstance(optimizer, AdviSequence) and optimizer.eta is None:
                problem = search_eta(
                    problem,
                    model,
                    params,
                    draws=draws,
                    base_draws=spread,
                    rng=rng,
                    engine=runner,
                )
            how = (problem.estimator, problem.optimizer, problem.average)
            run = run_fit(
                problem,
                model,
                params,
                steps=steps,
                checkpoint=_checkpoint(checkpoint, model, chosen, params, how, seed, common),
                **common,
            )
    else:
        raise ValueError(f"method: {method!r} is none of ['deterministic', 'stochastic']")
    if run.convergence is not None and not run.convergence.converged:
        warnings.warn(str(run.convergence), ConvergenceWarning, stacklevel=2)
    return Fit(
        model=model,
        family=chosen,
        params=run.params,
        losses=run.losses,
        engine=runner.name,
        seed=seed,
        interrupted=run.interrupted,
        seconds=run.seconds,
        convergence=run.convergence,
    )


def _start(
    model: Any,
    family: LocationScaleGaussian,
    init: Mapping[str, Array] | Fit | str | None,
    starts: int,
    rng: onp.random.Generator,
    engine: Engine,
) -> Params:
    """The parameters to start from: those of a fit, or a narrow q around the best point."""
    check_whole("starts", starts, least=1)
    if isinstance(init, Fit):
        if starts > 1:
            raise ValueError("starts: an earlier fit is one start; leave starts out, or init")
        params = family.init_from(init.params)
        if params["loc"].shape != (model.dim,):
            raise ValueError(
                f"init: is a fit on R^{params['loc'].size}, but the model lives on R^{model.dim}"
            )
        check_start(model, params["loc"])
        return params
    if isinstance(init, str) and init != "prior":
        raise ValueError(f"init: {init!r} is no start; give 'prior', values by latent, or a Fit")
    points = prior_points(model, starts if init == "prior" else starts - 1, rng)
    if init is None:
        points.insert(0, onp.zeros(model.dim))
    elif not isinstance(init, str):
        points.insert(0, model.unconstrain(init))
    if starts > 1:
        best = best_start(model, points, INITIAL_SCALE, rng=rng, engine=engine)
        return family.init_from(best)
    check_start(model, points[0])
    return family.init(points[0], INITIAL_SCALE)


def _checkpoint(
    path: str | Path | None,
    model: Any,
    family: LocationScaleGaussian,
    start: Params,
    how: Any,
    seed: int,
    common: dict[str, Any],
) -> Checkpoint:
    """The checkpoint at ``path``, which belongs to fits that were asked to do the same.

    Start and data go in by the log density of the start: other data give another one.
    """
    if path is None:
        return Checkpoint(None, "")
    density = sum(model.terms(start["loc"]).values())
    return Checkpoint(
        path,
        f"{family!r} for {list(model.latents)} on R^{model.dim}, log density {density!r} at the "
        f"start, {common['draws']} draws, {common['base_draws']!r}, {how!r}, seed {seed}, "
        f"{common['engine'].name}",
    )


def _refuse_stochastic_options(family: LocationScaleGaussian, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"{', '.join(given)}: mean(s) nothing to method='deterministic', which takes Newton "
            "steps until they are small; leave out, or use method='stochastic'"
        )
    if not isinstance(family, MeanFieldGaussian):
        raise ValueError(  # noqa: TRY004 - a combination, not a type, is at fault
            "family: method='deterministic' is for mean_field only, because with fixed draws the "
            "full-rank objective has no minimum once D exceeds the draws; use method='stochastic'"
        )
