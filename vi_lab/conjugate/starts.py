"""Where `cavi` and `svi` start: what both are asked, checked; and the parameters that follow."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

import numpy as onp

from vi_lab.arrays import as_finite
from vi_lab.checks import (
    check_bool,
    check_callable,
    check_held,
    check_instance,
    check_not_negative,
    check_seed,
)
from vi_lab.conjugate.model import ConjugateModel, Params
from vi_lab.conjugate.result import ConjugateFit, completed, record_of
from vi_lab.engine import Array
from vi_lab.engine.trees import tree_leaves
from vi_lab.errors import ArgumentError
from vi_lab.model.rows import Arrays, Blocks
from vi_lab.results.storage import flat

Start = str | Mapping[str, Mapping[str, Array]] | ConjugateFit | None
"""The name of a way of starting, parameters, or a fit to go on from."""


def check_fit(
    model: Any, init: Any, *, rtol: Any, atol: Any, seed: Any, progress: Any, callback: Any
) -> None:
    """The arguments that `cavi` and `svi` share.

    Raises
    ------
    TypeError, ValueError
    """
    wanted = "a conjugate model with its priors, such as vi_lab.conjugate.NormalModel()"
    check_instance("model", model, ConjugateModel, f"{wanted} (for other models there is advi)")
    wanted = "a ConjugateFit, the name of a way of starting, or parameters by block (fit.params)"
    check_instance("init", init, (NoneType, str, Mapping, ConjugateFit), wanted)
    check_not_negative("rtol", rtol)
    check_not_negative("atol", atol)
    check_seed("seed", seed)
    check_bool("progress", progress)
    check_callable("callback", callback, "of the steps done, the parameters and the ELBO", 3)


def prepared(
    model: ConjugateModel,
    source: Arrays | Blocks | None,
    init: Start,
    rng: onp.random.Generator,
    starts: int,
) -> tuple[ConjugateModel, Params, onp.ndarray]:
    """The model after a first look at its rows, parameters to start from, and those rows."""
    if isinstance(init, ConjugateFit):
        model, init = completed(model, flat(record_of(init.model)), "init"), init.params
    if source is None:
        first = onp.empty(0)
    else:
        first = source.look(rng)["rows"]
        model = model.prepare(first, source.num_rows)
    return model, starting_params(model, init, first, rng, starts), first


def starting_params(
    model: ConjugateModel,
    init: str | Mapping[str, Mapping[str, Array]] | None,
    rows: onp.ndarray,
    rng: onp.random.Generator,
    starts: int,
) -> Params:
    """What ``init`` asks for, with a leading axis of ``starts``.

    Raises
    ------
    TypeError, ValueError
        for parameters of other blocks than the model's, or with several starts.
    """
    if init is None or isinstance(init, str):
        if starts > 1:
            one = model.init(rows, onp.random.default_rng(0), method=init)
            check_held("starts", starts, sum(onp.size(leaf) for leaf in tree_leaves(one)))
        return model.init(rows, rng, starts=starts, method=init)
    if starts != 1:
        raise ArgumentError(f"init: parameters are one start, but starts is {starts}; set it to 1")
    if set(init) != set(model.blocks):
        raise ArgumentError(
            f"init: has the blocks {sorted(init, key=str)}, the model {sorted(model.blocks)}"
        )
    # What the model itself would start from shows what it needs; its generator is not ours.
    needed = model.init(rows, onp.random.default_rng(0))
    return {block: _like(f"init[{block!r}]", init[block], needed[block]) for block in model.blocks}


def _like(
    what: str, given: Mapping[str, Array], needed: Mapping[str, Array]
) -> dict[str, onp.ndarray]:
    """``given`` parameters of a block as one start, (1, ...), in the shapes of those ``needed``."""
    if not isinstance(given, Mapping) or set(given) != set(needed):
        found = sorted(given) if isinstance(given, Mapping) else repr(given)
        raise ArgumentError(f"{what}: needs the parameters {sorted(needed)}, not {found}")
    arrays = {name: onp.array(as_finite(f"{what}[{name!r}]", given[name]))[None] for name in needed}
    for name, array in arrays.items():
        if array.shape != needed[name].shape:
            raise ArgumentError(
                f"{what}: {name} must have the shape {needed[name].shape[1:]}, not "
                f"{array.shape[1:]}"
            )
    return arrays
