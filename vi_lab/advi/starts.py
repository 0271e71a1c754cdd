"""Where a search may start: zero, what the user names, draws from the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as onp

from vi_lab.advi.climb import Climb
from vi_lab.advi.local import ROUGH, enough
from vi_lab.advi.non_finite import check_start
from vi_lab.advi.objective import expands
from vi_lab.advi.settings import Settings, Start
from vi_lab.errors import ArgumentError
from vi_lab.families import Params
from vi_lab.families.charts import MeanFieldChart
from vi_lab.model import Model, Posterior, prior_predictive
from vi_lab.results.fit import Fit

BATCHES_OF_STARTS = (8, 16, 32)
NUMBERS_OF_STARTS = 512  # coordinates of all starts of a batch
FEWEST_DRAWS = 64
INITIAL_SCALE = 0.1  # sd of the first q: small, so that its draws stay where z starts
APART = 1.0  # standard deviations between optima in different places
WIDE = 2.0  # sd of starting points in R^D where no prior can be drawn from


def first_point(model: Posterior, init: Start) -> onp.ndarray | None:
    """z (D,): zero, or the values by latent that ``init`` names; None for a draw from the prior.

    Raises
    ------
    ValueError
        if the values do not suit their latents.
    """
    if init is None:
        return onp.zeros(model.dim)
    if not isinstance(init, Mapping):
        return None
    try:
        return model.unconstrain(init)
    except ValueError as error:
        raise ArgumentError(f"init: {error}") from None


def params_of(init: Fit, settings: Settings) -> Params:
    """The parameters that an earlier fit leaves to go on from.

    Raises
    ------
    ValueError
        if the log density is not finite there, or the family cannot take them.
    """
    check_start(settings.model, init.params["loc"])
    try:
        return settings.family.init_from(init.params)
    except ValueError as error:
        raise ArgumentError(f"init: this family cannot start from that fit; {error}") from None


def starting_values(init: Start) -> dict[str, Any]:
    """What a start is made of, for files that belong to one."""
    if isinstance(init, Fit):
        return {"params": init.params}
    return dict(init) if isinstance(init, Mapping) else {"start": init}


def prior_points(model: Posterior, number: int, seed: int) -> list[onp.ndarray]:
    """``number`` points z (D,): draws from the prior.

    A bare target, an improper prior or a factor leaves nothing to draw from: points are then
    drawn from N(0, 2^2 I).
    """
    if not number:
        return []
    if isinstance(model, Model):
        try:
            with onp.errstate(all="ignore"):  # wild draws, whose data may overflow
                draws = prior_predictive(model, number, seed=seed)
        except ValueError:
            pass
        else:
            latents = [{name: draws[name][i] for name in model.latents} for i in range(number)]
            return [model.unconstrain(values) for values in latents]
    return list(WIDE * onp.random.default_rng(seed).standard_normal((number, model.dim)))


def batch_of_starts(settings: Settings, batch: int, seed: int) -> list[Climb]:
    """The climbs of a batch; the first of the first is where the user, or nobody, says."""
    model, number = settings.model, settings.starts
    if number is None:
        number = min(BATCHES_OF_STARTS[batch], 1 + NUMBERS_OF_STARTS // model.dim)
        number = 1 if settings.method == "deterministic" else number
    first = first_point(model, settings.init) if batch == 0 else None
    points = [] if first is None else [first]
    points += prior_points(model, number - len(points), seed)
    return [Climb(narrow(z)) for z in points]


def draws_for_starts(settings: Settings) -> int:
    """S while starts are tried: few."""
    if settings.draws is not None:
        return settings.draws
    few = FEWEST_DRAWS // 2
    if expands(settings.family, settings.model.dim):
        return few
    return min(FEWEST_DRAWS, enough(settings.model.dim, few))


def draws_for_family(settings: Settings) -> int:
    """S for the first stage in the family itself: where it takes matrices, enough for them."""
    if settings.draws is not None:
        return settings.draws
    if expands(settings.family, settings.model.dim):
        return FEWEST_DRAWS // 2
    return enough(settings.family.base_dim(settings.model.dim), FEWEST_DRAWS)


def refuse_start(model: Posterior, init: Start) -> None:
    """Say why the log density is not finite where the first start is, or about it.

    Raises
    ------
    ValueError
    """
    z = first_point(model, init)
    check_start(model, onp.zeros(model.dim) if z is None else z)
    raise ArgumentError(
        "init: the log density is finite at the start, but not about it; give another start "
        "with init={latent: value, ...}"
    )


def narrow(z: onp.ndarray) -> MeanFieldChart:
    """A q about ``z`` (D,) from which a climb may begin."""
    return MeanFieldChart(onp.array(z, dtype=float), onp.full(z.size, INITIAL_SCALE))


def distinct(best: Climb, climbs: Sequence[Climb]) -> list[Climb]:
    """Climbs that have ended elsewhere, one for each place, the best first.

    Those that still travel count where they are known to have less than a nat to gain.
    """
    found = [best]
    for c in sorted(climbs, key=lambda c: -c.elbo):
        if _ended(c) and all(_apart(c, other) for other in found):
            found.append(c)
    return found[1:]


def _ended(c: Climb) -> bool:
    near = c.why == "steps" and c.local is not None and c.local.line.full and c.local.gain < ROUGH
    return c.why == "settled" or near


def _apart(c: Climb, other: Climb) -> bool:
    return bool(onp.abs((c.at.loc - other.at.loc) / other.at.sd).max() > APART)
