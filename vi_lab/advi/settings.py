"""What may be asked of `vi_lab.advi`: every argument is checked here, before any work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab import engine as engines
from vi_lab.checks import (
    check_bool,
    check_callable,
    check_held,
    check_methods,
    check_name,
    check_seed,
    check_whole,
    check_writable,
    described,
)
from vi_lab.engine import Array, Engine
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.families import Family, MeanFieldGaussian, Params, get_family
from vi_lab.gradients import (
    BaseDraws,
    Estimator,
    Independent,
    check_base_draws,
    get_base_draws,
    get_estimator,
)
from vi_lab.model import Posterior
from vi_lab.optimizers import Average, Optimizer, TailAverage, get_optimizer
from vi_lab.results.fit import Fit

METHODS = ("deterministic", "stochastic")
MOST_STEPS = 400_000  # of a fit that stops by itself
STEPS = 20_000  # of an optimiser that was chosen: nothing stops it
DETERMINISTIC_DRAWS = 30

Callback = Callable[[int, Params, onp.ndarray], Any]
"""``callback(steps_done, params, losses)`` after each block; a true result stops the fit."""

Start = Mapping[str, Array] | Fit | str | None


@dataclass(frozen=True)
class Settings:
    """The arguments of `vi_lab.advi`, looked up and filled in; see there.

    ``estimator`` and ``optimizer`` are None where the fit is to choose for itself.
    """

    model: Posterior
    family: Family
    method: str
    steps: int
    draws: int
    base_draws: BaseDraws
    estimator: Estimator | None
    optimizer: Optimizer | None
    average: Average
    init: Start
    starts: int
    seed: int
    engine: Engine
    progress: bool
    callback: Callback | None
    checkpoint: Path | None


def checked(
    model: Posterior,
    family: str | Family,
    *,
    method: str,
    steps: int | None,
    draws: int | None,
    base_draws: str | BaseDraws | None,
    estimator: str | Estimator | None,
    optimizer: str | Optimizer | None,
    average: Average | None,
    init: Start,
    starts: int,
    seed: int,
    engine: str | None,
    progress: bool,
    callback: Callback | None,
    checkpoint: str | Path | None,
) -> Settings:
    """The settings that these arguments ask for.

    Raises
    ------
    ValueError
        naming the argument that is wrong.
    """
    density = ("log_density", "terms", "constrain", "unconstrain")
    check_methods("model", model, density, "a vl.Model(program, **data), or a vl.Target")
    q = get_family(family)
    check_name("method", method, METHODS)
    if method == "deterministic":
        _refuse_stochastic_options(
            q,
            steps=steps,
            base_draws=base_draws,
            estimator=estimator,
            optimizer=optimizer,
            average=average,
            callback=callback,
            checkpoint=checkpoint,
        )
    _check_run(progress, callback, checkpoint)
    _check_start(model, init, starts)
    rule, steps, average = _rule(optimizer, steps, average)
    settings = Settings(
        model=model,
        family=q,
        method=method,
        steps=steps,
        draws=_draws(method, q, model.dim) if draws is None else draws,
        base_draws=Independent() if base_draws is None else get_base_draws(base_draws),
        estimator=None if estimator is None else get_estimator(estimator),
        optimizer=rule,
        average=average,
        init=init,
        starts=starts,
        seed=check_seed("seed", seed),
        engine=engines.get(engine),
        progress=progress,
        callback=callback,
        checkpoint=None if checkpoint is None else Path(checkpoint),
    )
    _check_draws(settings)
    return settings


def _rule(
    optimizer: str | Optimizer | None, steps: int | None, average: Average | None
) -> tuple[Optimizer | None, int, Average]:
    """The optimiser, if one is chosen, its steps, and what becomes of the iterates."""
    rule = None if optimizer is None else get_optimizer(optimizer)
    if steps is None:
        steps = MOST_STEPS if rule is None else STEPS
    check_whole("steps", steps, least=1)
    if average is None:
        return rule, steps, TailAverage(start=steps // 4)
    needs = ("init", "update", "value")
    check_methods("average", average, needs, "TailAverage(start=1_000), say")
    if rule is None:
        raise ArgumentError(
            "average: is for an optimizer of your choice; give optimizer= as well, or leave it out"
        )
    return rule, steps, average


def _draws(method: str, family: Family, dim: int) -> int:
    return DETERMINISTIC_DRAWS if method == "deterministic" else family.default_draws(dim)


def _check_draws(settings: Settings) -> None:
    """Their number suits the way they hang together, the method and the estimator."""
    draws = settings.draws
    check_whole("draws", draws, least=1)
    check_held("draws", draws, settings.family.base_dim(settings.model.dim))
    if settings.method == "deterministic" and draws % 2:
        raise ArgumentError(f"draws: must be even, for they come in pairs, not {draws}")
    settings.base_draws.check(draws, settings.family.base_dim(settings.model.dim))
    if settings.estimator is not None:
        check_base_draws(settings.estimator, settings.base_draws, draws)


def _check_run(progress: bool, callback: Callback | None, checkpoint: str | Path | None) -> None:
    check_bool("progress", progress)
    check_callable("callback", callback, "of (steps, params, losses)", 3)
    if checkpoint is not None:
        check_writable("checkpoint", checkpoint)


def _check_start(model: Posterior, init: Start, starts: int) -> None:
    check_whole("starts", starts, least=1)
    match init:
        case None:
            pass
        case Fit():
            if starts > 1:
                raise ArgumentError(
                    "starts: an earlier fit is one start; leave starts out, or init"
                )
            if init.params["loc"].shape != (model.dim,):
                raise ArgumentError(
                    f"init: is a fit on R^{init.params['loc'].size}, but the model lives on "
                    f"R^{model.dim}"
                )
        case Mapping():
            unlike = sorted(set(model.latents) ^ set(init), key=str)
            if unlike:
                raise ArgumentError(
                    f"init: needs exactly the latents {list(model.latents)}; "
                    f"missing or unknown: {unlike}"
                )
        case str():
            check_name("init", init, ["prior"])
        case _:
            raise ArgumentTypeError(
                f"init: is {described(init)}; give 'prior', values by latent, or a Fit"
            )


def _refuse_stochastic_options(family: Family, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ArgumentError(
            f"{', '.join(given)}: mean(s) nothing to method='deterministic', which takes Newton "
            "steps until they are small; leave out, or use method='stochastic'"
        )
    if family != MeanFieldGaussian():
        raise ArgumentError(
            "family: method='deterministic' is for mean_field only, because with fixed draws the "
            "full-rank objective has no minimum once D exceeds the draws; use method='stochastic'"
        )
