r"""`cavi`: coordinate-ascent variational inference, the front door.

A sweep sets each factor of q in turn to its optimum given the others,

.. math:: \log q_j(\beta_j) = \E_{q_{-j}}[\log p(x, \beta)] + \text{const}

(Bishop 2006, equation 10.9; Blei, Kucukelbir and McAuliffe 2017, Algorithm 1): the step
`natural_step` with rho = 1 on the statistics of all rows. Many starts run at once, as a
leading axis of the parameters; a start that has converged leaves the arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import numpy as onp

from vi_lab.checks import check_not_negative, check_whole
from vi_lab.conjugate.model import (
    ConjugateModel,
    Params,
    Statistics,
    add_statistics,
    natural_step,
)
from vi_lab.conjugate.result import ConjugateFit, final_elbos
from vi_lab.conjugate.streams import Source, source_of
from vi_lab.engine import Array
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError, NonFiniteError
from vi_lab.progress import progress_bar

ROWS_PER_BLOCK = 2**16  # shared by the starts: local factors of so many rows are held at a time
SAME_OPTIMUM = 0.01  # nats: starts that end so close are counted together

SweepCallback = Callable[[int, Params, onp.ndarray], Any]
"""``callback(sweeps_done, params, elbos)`` after each sweep, with the parameters (R, ...) and the
ELBO (R,) of every start; a true result stops the fit."""


def cavi(
    model: ConjugateModel,
    rows: Any = None,
    *,
    starts: int = 1,
    init: str | Mapping[str, Mapping[str, Array]] | None = None,
    max_sweeps: int = 1_000,
    rtol: float = 1e-9,
    atol: float = 1e-6,
    seed: int = 0,
    progress: bool = True,
    callback: SweepCallback | None = None,
) -> ConjugateFit:
    """Fit q by coordinate ascent, all rows in every sweep.

    Parameters
    ----------
    model : a conjugate model, such as `NormalModel`
    rows : an array or a memory map (read block by block); None for a model without data
    starts : how many starts are run, all at once; the fit is the best of them
    init : a way of starting that the model knows, or parameters to start from (``params`` of
        another fit; give that fit's ``model`` too, as they are taken about its origin)
    max_sweeps : sweeps at most
    rtol, atol : a start has converged when a sweep changes its ELBO by no more than
        ``atol + rtol |ELBO|``, in nats. Where sweeps gain little because they are slow, the
        distance to the optimum is larger than the last change
    seed : random starts follow from it
    progress : show a progress bar
    callback : see `SweepCallback`

    Returns
    -------
    ConjugateFit

    Raises
    ------
    ValueError
        for bad rows or settings.
    NonFiniteError
        if an ELBO stops being finite; it names the sweep.
    """
    check_whole("starts", starts, least=1)
    check_whole("max_sweeps", max_sweeps, least=1)
    check_not_negative("rtol", rtol)
    check_not_negative("atol", atol)
    began = time.perf_counter()
    rng = onp.random.default_rng(seed)
    source = None
    if model.has_rows:
        if rows is None:
            raise ArgumentError(f"rows: {type(model).__name__} needs data")
        source = _repeatable(model, rows)
        first = source.look(rng)
        model = model.prepare(first, source.num_rows)
        params = starting_params(model, init, first, rng, starts)
    else:
        if rows is not None:
            raise ArgumentError(f"rows: {type(model).__name__} has no data; leave them out")
        params = starting_params(model, init, onp.empty(0), rng, starts)

    active = onp.arange(starts)
    elbos = onp.full(starts, -onp.inf)
    trace: list[onp.ndarray] = []
    statistics: Statistics | None = None
    interrupted = stopped = False
    with progress_bar(None, "CAVI", progress, total=max_sweeps) as bar:
        try:
            while len(active) and len(trace) < max_sweeps and not stopped:
                moving = params if len(active) == starts else take(params, active)
                if statistics is None or model.has_local_latents:
                    statistics = total_statistics(model, moving, source)
                moving = natural_step(model, moving, statistics)
                reached = onp.broadcast_to(model.elbo(moving, statistics), len(active))
                _check_finite(reached, active, len(trace) + 1)
                change = reached - elbos[active]
                params = put(params, active, moving)
                elbos = put(elbos, active, reached)
                trace.append(put(onp.full(starts, onp.nan), active, reached))
                bar.update(1)
                bar.set_postfix(elbo=f"{elbos.max():.8g}", moving=len(active))
                if callback is not None:
                    stopped = bool(callback(len(trace), params, elbos.copy()))
                active = active[change > atol + rtol * onp.abs(reached)]
        except KeyboardInterrupt:
            interrupted = True

    start_elbos = onp.array(trace).reshape(-1, starts).T
    num_rows = source.num_rows if source is not None else 0
    # Without local latents the statistics of the first sweep serve all others
    passes = onp.arange(1, len(trace) + 1) if model.has_local_latents else onp.ones(len(trace), int)
    best = int(onp.argmax(final_elbos(start_elbos)))
    return ConjugateFit(
        algorithm="CAVI",
        model=model,
        start_params=params,
        start_elbos=start_elbos,
        seen=num_rows * passes,
        converged=best not in active,
        verdict=_verdict(start_elbos, best not in active, interrupted, stopped),
        seed=seed,
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
    )


def total_statistics(model: ConjugateModel, params: Params, source: Source | None) -> Statistics:
    """Statistics of all rows of ``source``, added up block by block."""
    if source is None:
        return model.statistics(params, onp.empty(0))
    starts = len(next(iter(next(iter(params.values())).values())))
    size = max(1, ROWS_PER_BLOCK // starts)
    return reduce(
        add_statistics, (model.statistics(params, block) for block in source.blocks(size))
    )


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
    ValueError
        for parameters of other blocks than the model's, or with several starts.
    """
    if init is None or isinstance(init, str):
        return model.init(rows, rng, starts=starts, method=init)
    if starts != 1:
        raise ArgumentError(f"init: parameters are one start, but starts is {starts}; set it to 1")
    if set(init) != set(model.blocks):
        raise ArgumentError(
            f"init: has the blocks {sorted(init)}, the model {sorted(model.blocks)}"
        )
    return {
        block: {name: onp.array(init[block][name], dtype=float)[None] for name in init[block]}
        for block in model.blocks
    }


def take(params: Params, starts: onp.ndarray) -> Params:
    """Parameters of some of the starts."""
    taken: Params = tree_map(lambda value: value[starts], params)
    return taken


def put(old: Any, starts: onp.ndarray, new: Any) -> Any:
    """A copy of ``old`` (R, ...) in which some of the starts have the values ``new``."""

    def replaced(old: onp.ndarray, new: onp.ndarray) -> onp.ndarray:
        copy = onp.array(old)
        copy[starts] = new
        return copy

    return tree_map(replaced, old, new)


def _repeatable(model: ConjugateModel, rows: Any) -> Source:
    if callable(rows) or not hasattr(rows, "__len__"):
        raise ArgumentError(
            "rows: cavi reads all of them in every sweep, from an array or a memory map; "
            "for a stream of blocks use svi"
        )
    return source_of(model, rows)


def _check_finite(elbos: onp.ndarray, starts: onp.ndarray, sweep: int) -> None:
    if not onp.isfinite(elbos).all():
        bad = int(onp.argmax(~onp.isfinite(elbos)))
        raise NonFiniteError(
            f"sweep {sweep}, start {starts[bad]}: the ELBO is {elbos[bad]}; bring the data to a "
            "scale near 1, or look at the hyper-parameters"
        )


def _verdict(start_elbos: onp.ndarray, converged: bool, interrupted: bool, stopped: bool) -> str:
    """Why the best start stopped, and what became of the others."""
    starts, sweeps = start_elbos.shape
    if sweeps == 0:
        return "interrupted before the end of the first sweep: q is where it started"
    last = final_elbos(start_elbos)
    trace = start_elbos[int(onp.argmax(last))]
    trace = trace[~onp.isnan(trace)]
    change = f"{trace[-1] - trace[-2]:.2g}" if len(trace) > 1 else "an unknown number of"
    if converged:
        verdict = f"converged: sweep {len(trace)} changed the ELBO by {change} nats"
    elif interrupted:
        verdict = f"interrupted after sweep {sweeps}, which changed the ELBO by {change} nats"
    elif stopped:
        verdict = f"stopped by the callback after sweep {sweeps}"
    else:
        verdict = (
            f"not converged: the last of {sweeps} sweeps changed the ELBO by {change} nats; "
            "give more with max_sweeps="
        )
    if starts == 1:
        return verdict
    near = int((last > last.max() - SAME_OPTIMUM).sum())
    return f"{verdict}; {near} of {starts} starts end within {SAME_OPTIMUM} nats of the best"
