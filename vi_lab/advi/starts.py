"""Where a fit starts; and several starting points at once: each walks a little, the best goes on.

A descent finds the optimum whose basin it starts in. Where a posterior has several
modes, or a start lies far out, trying more than one is the remedy there is. All
starts take the same few hundred mean-field steps on the same draws, mapped over by
the engine as one computation; the ELBOs of where they are then are compared on
common draws, and the best is where the fit begins.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as onp

from vi_lab.advi.blocks import Noise, Problem, Source, State, run_block
from vi_lab.advi.non_finite import check_start
from vi_lab.advi.settings import Settings
from vi_lab.advi.stopping import judge
from vi_lab.engine import Array, Engine, Tree, current
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError
from vi_lab.families import MeanFieldGaussian, Params
from vi_lab.gradients import Independent, StickingTheLanding
from vi_lab.model import Model, Posterior, prior_predictive
from vi_lab.optimizers import Mean, NaturalGradient
from vi_lab.results.fit import Fit

INITIAL_SCALE = 0.1  # sd of the first q: small, so that its draws stay where z starts
TRIAL_STEPS = 400
WIDE = 2.0  # sd of starting points in R^D where no prior can be drawn from


def starting_params(settings: Settings, rng: onp.random.Generator) -> Params:
    """The parameters to start from: those of a fit, or a narrow q around the best point.

    Raises
    ------
    ValueError
        if the log density is not finite there.
    """
    model, family, init = settings.model, settings.family, settings.init
    if isinstance(init, Fit):
        check_start(model, init.params["loc"])
        try:
            return family.init_from(init.params)
        except ValueError as error:
            raise ArgumentError(f"init: this family cannot start from that fit; {error}") from None
    number = settings.starts - (init != "prior")
    points = prior_points(model, number, rng)
    if init is None:
        points.insert(0, onp.zeros(model.dim))
    elif not isinstance(init, str):
        try:
            points.insert(0, model.unconstrain(init))
        except ValueError as error:
            raise ArgumentError(f"init: {error}") from None
    if settings.starts > 1:
        best = best_start(model, points, INITIAL_SCALE, rng=rng, engine=settings.engine)
        return family.init_from(best)
    check_start(model, points[0])
    return family.init(points[0], INITIAL_SCALE)


def prior_points(model: Posterior, number: int, rng: onp.random.Generator) -> list[onp.ndarray]:
    """``number`` points z (D,): draws from the prior.

    A bare target, an improper prior or a factor leaves nothing to draw from: points are then
    drawn from N(0, 2^2 I).
    """
    if not number:
        return []
    seed = int(rng.integers(2**63))
    if isinstance(model, Model):
        try:
            draws = prior_predictive(model, number, seed=seed)
        except ValueError:
            pass
        else:
            latents = [{name: draws[name][i] for name in model.latents} for i in range(number)]
            return [model.unconstrain(values) for values in latents]
    return list(WIDE * onp.random.default_rng(seed).standard_normal((number, model.dim)))


def best_start(
    model: Posterior,
    points: Sequence[onp.ndarray],
    scale: float,
    *,
    rng: onp.random.Generator,
    engine: Engine,
) -> Params:
    """Mean-field parameters: where the best of N(point, scale^2 I) got to in 400 steps.

    Raises
    ------
    ValueError
        if the ELBO is finite after none of them.
    """
    family = MeanFieldGaussian()
    steps = NaturalGradient(family, beta2=0.99)
    problem = Problem(model.structure, family, StickingTheLanding(), steps, Mean())
    noise = Noise(Source(model, rng), Independent(), 1, model.dim)
    referee = judge(model, family, engine, int(rng.integers(2**63)))
    states = [problem.init(family.init(z, scale)) for z in points]
    at = tree_map(lambda *leaves: onp.stack(leaves), *states)
    walk = engine.compile(walk_from_all, static=(0,))
    left = TRIAL_STEPS
    while left:
        n = min(left, len(noise))
        at = walk(problem, at, noise.take(n), n, model.shared_data)
        left -= n
    with onp.errstate(all="ignore"):
        ended = [{name: value[i] for name, value in at[0].items()} for i in range(len(points))]
        found = referee.elbos(ended).mean(axis=0)
    if not onp.isfinite(found).any():
        raise ArgumentError(
            f"starts: the ELBO is not finite after {TRIAL_STEPS} steps from any of the "
            f"{len(points)} starting points; give one with init="
        )
    best = int(onp.nanargmax(onp.where(onp.isfinite(found), found, onp.nan)))
    return ended[best]


def walk_from_all(
    problem: Problem, states: Tree, inputs: Tree, length: int, data: dict[str, Array]
) -> Tree:
    """``length`` steps from each of the stacked ``states``, all with the same inputs."""

    def walk(state: State) -> State:
        return run_block(problem, state, inputs, length, data, {})[0]

    walked: Tree = current().vmap(walk)(states)
    return walked
