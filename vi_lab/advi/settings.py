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
from vi_lab.families import Family, FullRankGaussian, MeanFieldGaussian, Params, get_family
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
STEPS = 20_000  # of an optimiser that was chosen: nothing stops it
DETERMINISTIC_DRAWS = 30

Callback = Callable[[int, Params, onp.ndarray], Any]
"""``callback(steps_done, params, losses)`` after each block; a true result stops the fit."""

Start = Mapping[str, Array] | Fit | str | None


@dataclass(frozen=True)
class Settings:
    """The arguments of `vi_lab.advi`, looked up and filled in; see there.

    Those that are None are for the fit to choose.
    """

    model: Posterior
    family: Family
    method: str
    steps: int | None
    draws: int | None
    base_draws: BaseDraws
    estimator: Estimator | None
    optimizer: Optimizer | None
    average: Average
    init: Start
    starts: int | None
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
    starts: int | None,
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
    _check_optimizer_options(optimizer, base_draws=base_draws, estimator=estimator, average=average)
    _check_run(progress, callback, checkpoint)
    _check_start(model, init, starts)
    rule, steps, average = _rule(optimizer, steps, average)
    settings = Settings(
        model=model,
        family=q,
        method=method,
        steps=steps,
        draws=_draws(optimizer, method, q, model.dim) if draws is None else draws,
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
) -> tuple[Optimizer | None, int | None, Average]:
    """The optimiser, if one is chosen, its steps, and what becomes of the iterates."""
    rule = None if optimizer is None else get_optimizer(optimizer)
    if steps is None and rule is not None:
        steps = STEPS
    if steps is not None:
        check_whole("steps", steps, least=1)
    if average is None:
        return rule, steps, TailAverage(start=(steps or STEPS) // 4)
    needs = ("init", "update", "value")
    check_methods("average", average, needs, "TailAverage(start=1_000), say")
    return rule, steps, average


def _draws(optimizer: str | Optimizer | None, method: str, family: Family, dim: int) -> int | None:
    """Their number where none is given; None where a search finds out."""
    if method == "deterministic":
        return DETERMINISTIC_DRAWS
    return None if optimizer is None else family.default_draws(dim)


def _check_draws(settings: Settings) -> None:
    """Their number suits the way they hang together, the method and the estimator."""
    draws, base_dim = settings.draws, settings.family.base_dim(settings.model.dim)
    if draws is None:
        return
    check_whole("draws", draws, least=1)
    check_held("draws", draws, base_dim)
    if settings.optimizer is None:
        if draws % 2 or draws < 4:
            raise ArgumentError(
                f"draws: must be even and at least 4, for they come in pairs, not {draws}"
            )
        if settings.family == FullRankGaussian() and draws <= 2 * base_dim:
            raise ArgumentError(
                f"draws: full rank on R^{base_dim} needs more than {2 * base_dim}, or nothing "
                f"bounds its scales, not {draws}; leave draws out, or use mean_field"
            )
        return
    settings.base_draws.check(draws, base_dim)
    if settings.estimator is not None:
        check_base_draws(settings.estimator, settings.base_draws, draws)


def _check_optimizer_options(optimizer: str | Optimizer | None, **options: Any) -> None:
    """What belongs to the steps of an optimiser is refused without one."""
    given = [name for name, value in options.items() if value is not None]
    if optimizer is None and given:
        raise ArgumentError(
            f"{', '.join(given)}: for an optimizer of your choice; give optimizer= as well, "
            "or leave out (a fit that chooses for itself takes no stochastic steps)"
        )


def _check_run(progress: bool, callback: Callback | None, checkpoint: str | Path | None) -> None:
    check_bool("progress", progress)
    check_callable("callback", callback, "of (steps, params, losses)", 3)
    if checkpoint is not None:
        check_writable("checkpoint", checkpoint)


def _check_start(model: Posterior, init: Start, starts: int | None) -> None:
    if starts is not None:
        check_whole("starts", starts, least=1)
    match init:
        case None:
            pass
        case Fit():
            if starts is not None and starts > 1:
                raise ArgumentError(
                    "starts: an earlier fit is one start; leave starts out, or init"
                )
            if init.params["loc"].shape != (model.dim,):
                raise ArgumentError(
                    f"init: is a fit on R^{init.params['loc'].size}, but the model lives on "
                    f"R^{model.dim}"
                )
            _check_latents(model, init.model)
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


def _check_latents(model: Posterior, earlier: Posterior) -> None:
    """Refuse a start from a fit of other latents: of as many numbers, but with other meanings."""
    theirs, ours = (
        {name: tuple(posterior.unconstrained_shapes[name]) for name in posterior.latents}
        for posterior in (earlier, model)
    )
    if list(theirs.items()) != list(ours.items()):
        raise ArgumentError(
            f"init: is a fit of the latents {theirs}, but the model has {ours}; give a start by "
            "name, init={name: value}, such as the means of those that they share"
        )


def _refuse_stochastic_options(family: Family, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise ArgumentError(
            f"{', '.join(given)}: mean(s) nothing to method='deterministic', which climbs the "
            "ELBO of fixed draws; leave out, or use method='stochastic'"
        )
    if family != MeanFieldGaussian():
        raise ArgumentError(
            "family: method='deterministic' is for mean_field only, because the full-rank ELBO of "
            "fewer draws than dimensions has no maximum; use method='stochastic'"
        )
