"""`advi`: automatic differentiation variational inference, the front door."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as onp

from vi_lab import engine as engines
from vi_lab.averaging import TailAverage
from vi_lab.checks import check_whole
from vi_lab.deterministic import run_deterministic
from vi_lab.engine import Array
from vi_lab.eta_search import search_eta
from vi_lab.families import LocationScaleGaussian, MeanFieldGaussian, get_family
from vi_lab.fit import Fit
from vi_lab.loop import Callback, Problem, check_start, run_fit
from vi_lab.objectives import Estimator, get_estimator
from vi_lab.optimizers import Adam, AdviSequence
from vi_lab.schedules import ConstantThenDecay

DEFAULT_STEPS = 20_000
DEFAULT_ESTIMATOR = "sticking_the_landing"
DEFAULT_DRAWS = {"stochastic": 1, "deterministic": 30}
INITIAL_SCALE = 0.1  # sd of the first q: small, so that its draws stay where z starts


def advi(
    model: Any,
    family: str | LocationScaleGaussian = "mean_field",
    *,
    method: str = "stochastic",
    steps: int | None = None,
    draws: int | None = None,
    estimator: str | Estimator | None = None,
    optimizer: Any = None,
    average: Any = None,
    init: Mapping[str, Array] | None = None,
    seed: int = 0,
    engine: str | None = None,
    progress: bool = True,
    callback: Callback | None = None,
) -> Fit:
    r"""Fit a Gaussian q to the posterior by maximising the ELBO.

    Latents are moved to the real line by the transforms of their supports, and
    :math:`E_q[\log \tilde p(z) - \log q(z)]` is climbed with the reparameterisation
    gradient (Kucukelbir et al. 2017, Algorithm 1).

    Parameters
    ----------
    model : `Model` or `Target`
    family : "mean_field", "full_rank", or a family
    method : "stochastic" takes new draws at every step; "deterministic" fixes them
        and minimises with second derivatives (mean field only; see
        `vi_lab.deterministic`): few, dear steps, which suits the autograd engine
    steps : steps of the optimiser, by default 20,000 (stochastic only)
    draws : base draws a step, by default 1 (stochastic) or 30 (deterministic)
    estimator : "sticking_the_landing" (the default), "reparameterised", or an estimator
        (stochastic only)
    optimizer : an optimiser of `vi_lab.optimizers`; by default Adam with a step
        size that decays (`default_optimizer`). An `AdviSequence`
        without an eta has it searched for
    average : how iterates are averaged; by default over the last three quarters
    init : constrained value by latent to centre the first q on; by default z = 0
    seed : every draw follows from it: the same seed gives the same bits
    engine : "autograd" or "jax"; by default the one in force (`vi_lab.use`)
    progress : show a progress bar with the running loss
    callback : called between blocks of steps with the steps done, the parameters and the
        losses so far; a true result stops the fit

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
    if method not in DEFAULT_DRAWS:
        raise ValueError(f"method: {method!r} is none of {sorted(DEFAULT_DRAWS)}")
    draws = DEFAULT_DRAWS[method] if draws is None else draws
    check_whole("draws", draws, least=1)
    rng = onp.random.default_rng(seed)
    loc = onp.zeros(model.dim) if init is None else model.unconstrain(init)
    check_start(model, loc)
    params = chosen.init(loc, INITIAL_SCALE)
    runner = engines.get(engine)
    if method == "deterministic":
        _refuse_stochastic_options(
            chosen,
            steps=steps,
            estimator=estimator,
            optimizer=optimizer,
            average=average,
            callback=callback,
        )
        run = run_deterministic(
            model, params, draws=draws, rng=rng, engine=runner, progress=progress
        )
    else:
        steps = DEFAULT_STEPS if steps is None else steps
        check_whole("steps", steps, least=1)
        problem = Problem(
            structure=model.structure,
            family=chosen,
            estimator=get_estimator(DEFAULT_ESTIMATOR if estimator is None else estimator),
            optimizer=default_optimizer(steps) if optimizer is None else optimizer,
            average=TailAverage(start=steps // 4) if average is None else average,
        )
        if isinstance(problem.optimizer, AdviSequence) and problem.optimizer.eta is None:
            problem = search_eta(problem, model, params, draws=draws, rng=rng, engine=runner)
        run = run_fit(
            problem,
            model,
            params,
            steps=steps,
            draws=draws,
            rng=rng,
            engine=runner,
            progress=progress,
            callback=callback,
        )
    return Fit(
        model=model,
        family=chosen,
        params=run.params,
        losses=run.losses,
        engine=runner.name,
        seed=seed,
        interrupted=run.interrupted,
        seconds=run.seconds,
    )


def default_optimizer(steps: int) -> Adam:
    """Adam with a step size that falls from 0.05 to 0.0005, by the same factor at each step.

    Where q comes close to the posterior, gradients that stick the landing vanish, and
    Adam, which divides by their size, takes steps of the full step size nevertheless:
    a constant one would never come to rest.
    """
    return Adam(ConstantThenDecay(initial=0.05, final=0.0005, hold=0, steps=steps))


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
