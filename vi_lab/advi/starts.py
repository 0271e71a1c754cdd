"""Several starting points at once: each walks a little, and the best goes on.

A descent finds the optimum whose basin it starts in. Where a posterior has several
modes, or a start lies far out, trying more than one is the remedy there is. All
starts take the same few hundred mean-field steps on the same draws, mapped over by
the engine as one computation; the ELBOs of where they are then are compared on
common draws, and the best is where the fit begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as onp

from vi_lab.advi.blocks import Noise
from vi_lab.advi.natural_gradient import Diagonal
from vi_lab.advi.stages import Descent
from vi_lab.advi.step_rule import UnitSteps
from vi_lab.advi.stopping import judge
from vi_lab.engine import Array, Engine, Tree, current
from vi_lab.engine.trees import tree_map
from vi_lab.families import MeanFieldGaussian, Params
from vi_lab.gradients.base_draws import Independent
from vi_lab.gradients.estimators import StickingTheLanding
from vi_lab.model import Model, prior_predictive

TRIAL_STEPS = 400
TRIAL_STEP_SIZE = 0.1
WIDE = 2.0  # sd of starting points in R^D where no prior can be drawn from


def prior_points(model: Any, number: int, rng: onp.random.Generator) -> list[onp.ndarray]:
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
    model: Any,
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
    steps = UnitSteps(beta2=0.99, shared=False)
    descent = Descent(model.structure, family, StickingTheLanding(), Diagonal(), steps)
    source = None if model.minibatch is None else model.minibatches(rng)
    noise = Noise(rng, Independent(), source, 1, model.dim)
    referee = judge(model, family, engine, int(rng.integers(2**63)))
    at = tree_map(lambda *leaves: onp.stack(leaves), *[family.init(z, scale) for z in points])
    left = TRIAL_STEPS
    walk = engine.compile(walk_from, static=(0,))
    while left:
        n = min(left, len(noise))
        at = walk(descent, at, noise.take(n), n, TRIAL_STEP_SIZE, referee.data)
        left -= n
    with onp.errstate(all="ignore"):
        ended = [{name: value[i] for name, value in at.items()} for i in range(len(points))]
        found = referee.elbos(ended).mean(axis=0)
    if not onp.isfinite(found).any():
        raise ValueError(
            f"starts: the ELBO is not finite after {TRIAL_STEPS} steps from any of the "
            f"{len(points)} starting points; give one with init="
        )
    best = int(onp.nanargmax(onp.where(onp.isfinite(found), found, onp.nan)))
    return ended[best]


def walk_from(
    descent: Descent,
    params: Params,
    inputs: Tree,
    length: int,
    step_size: float,
    data: dict[str, Array],
) -> Params:
    """``length`` steps from each of the stacked ``params``, all with the same inputs."""

    def step(state: Tree, inputs: Tree) -> tuple[Tree, Array]:
        eps, rows = inputs
        return descent.step(state, eps, step_size, {**data, **rows}, {})

    def walk(params: Params) -> Params:
        memory = descent.steps.init(descent.coordinates.zero(params))
        state = (params, memory, tree_map(lambda x: 0.0 * x, params))
        ended: Params = current().scan(step, state, inputs, length)[0][0]
        return ended

    walked: Params = current().vmap(walk)(params)
    return walked
