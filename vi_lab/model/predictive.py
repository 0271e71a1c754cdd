"""Prior and posterior predictive draws: the program run forwards."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as onp

from vi_lab.arrays import as_real
from vi_lab.checks import check_bool, check_held, check_instance, check_seed, check_whole
from vi_lab.errors import ArgumentError
from vi_lab.model.handlers import Simulate
from vi_lab.model.model import Model
from vi_lab.progress import progress_bar

MODEL = "a vi_lab.Model(program, **data)"
DRAWS = "a dictionary of draws by latent, such as fit.sample(1_000, seed=1) gives"


def prior_predictive(
    model: Model, num_draws: int = 1_000, *, seed: int, progress: bool = False
) -> dict[str, onp.ndarray]:
    """Draws of everything in the model before it sees data.

    Returns latents, deterministic quantities and observations by name, each of
    shape ``(num_draws, *shape)``.

    Raises
    ------
    TypeError
        if ``model`` is no `Model`.
    ValueError
        if ``num_draws`` is not positive, a prior is improper, or the program has a
        factor.
    """
    check_instance("model", model, Model, MODEL)
    check_whole("num_draws", num_draws, least=1)
    data = sum(onp.size(value) for value in model.observed.values())
    check_held("num_draws", num_draws, model.dim + data)
    check_seed("seed", seed)
    check_bool("progress", progress)
    rng = onp.random.default_rng(seed)
    draws = []
    for _ in progress_bar(range(num_draws), "prior predictive", progress):
        handler = model.run(Simulate(rng))
        draws.append({**handler.latents, **handler.observed})
    return _stack(draws)


def posterior_predictive(
    model: Model, draws: Mapping[str, Any], *, seed: int, progress: bool = False
) -> dict[str, onp.ndarray]:
    """Replicated data: for each draw of the latents, one data set like the observed one.

    ``draws`` maps each latent to an array ``(S, *shape)``, as ``fit.sample(S)`` gives
    them; axes before the latent's own shape, such as (chains, draws), are kept.
    Returns each observation by name, ``(S, *shape of the data)``.

    Raises
    ------
    TypeError
        if ``model`` is no `Model`, or ``draws`` no dictionary.
    ValueError
        if a latent is missing from ``draws``, has the wrong shape, or the model
        observes nothing.
    """
    check_instance("model", model, Model, MODEL)
    check_seed("seed", seed)
    check_bool("progress", progress)
    if not model.observed:
        raise ArgumentError("model: observes no data, so there is nothing to replicate")
    check_instance("draws", draws, Mapping, DRAWS)
    missing = [name for name in model.latents if name not in draws]
    if missing:
        raise ArgumentError(
            f"draws: lacks the latents {missing}; give all of {list(model.latents)}"
        )
    flat = {}
    first, shape = next(iter(model.shapes.items()))
    leading = onp.shape(draws[first])[: onp.ndim(draws[first]) - len(shape)]
    for name, shape in model.shapes.items():
        array = onp.asarray(as_real(f"draws[{name!r}]:", draws[name]))
        if not leading or array.shape != (*leading, *shape):
            raise ArgumentError(
                f"draws[{name!r}]: shape {array.shape} is not (number of draws, *{shape})"
            )
        flat[name] = array.reshape(-1, *shape)
    count, data = math.prod(leading), sum(onp.size(value) for value in model.observed.values())
    check_held("draws", count, data)
    rng = onp.random.default_rng(seed)
    replicated = []
    rows = range(count)
    for i in progress_bar(rows, "posterior predictive", progress):
        given = {name: array[i] for name, array in flat.items()}
        replicated.append(model.run(Simulate(rng, given)).observed)
    return {name: v.reshape(*leading, *v.shape[1:]) for name, v in _stack(replicated).items()}


def _stack(draws: list[dict[str, onp.ndarray]]) -> dict[str, onp.ndarray]:
    return {name: onp.stack([draw[name] for draw in draws]) for name in draws[0]}
