r"""`cavi`: coordinate-ascent variational inference, the front door.

A sweep sets each factor of q in turn to its optimum given the others,

.. math:: \log q_j(\beta_j) = \E_{q_{-j}}[\log p(x, \beta)] + \text{const}

(Bishop 2006, equation 10.9; Blei, Kucukelbir and McAuliffe 2017, Algorithm 1): the step
`natural_step` with rho = 1 on the statistics of all rows. Many starts run at once, as a
leading axis of the parameters; a start that has converged leaves the arrays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial, reduce
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as onp

from vi_lab.checks import (
    check_whole,
    check_writable,
)
from vi_lab.conjugate.model import (
    ConjugateModel,
    Params,
    Statistics,
    add_statistics,
    natural_step,
)
from vi_lab.conjugate.result import ConjugateFit, final_elbos
from vi_lab.conjugate.starts import Start, check_fit, prepared
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from vi_lab.model.rows import Arrays, Blocks
from vi_lab.model.streams import begun, source_of
from vi_lab.progress import one_interrupt, progress_bar
from vi_lab.results.checkpoint import Checkpoint, Snapshot
from vi_lab.results.identity import of_library, of_options, of_rows

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
    init: Start = None,
    max_sweeps: int = 1_000,
    rtol: float = 1e-9,
    atol: float = 1e-6,
    seed: int = 0,
    progress: bool = True,
    callback: SweepCallback | None = None,
    checkpoint: str | Path | None = None,
) -> ConjugateFit:
    """Fit q by coordinate ascent, all rows in every sweep.

    Parameters
    ----------
    model : a conjugate model, such as `NormalModel`
    rows : an array; a memory map, read block by block; a function that returns a fresh iterator
        over blocks of rows, called for each sweep (and once to count them). None for a model
        without data
    starts : how many starts are run, all at once; the fit is the best of them
    init : a way of starting that the model knows; or another fit of the model to go on from; or
        parameters (``params`` of another fit, if its ``model`` is given too, as they are taken
        about its origin)
    max_sweeps : sweeps at most
    rtol, atol : a start has converged when a sweep changes its ELBO by no more than
        ``atol + rtol |ELBO|``, in nats. Where sweeps gain little because they are slow, the
        distance to the optimum is larger than the last change
    seed : random starts follow from it
    progress : show a progress bar
    callback : see `SweepCallback`
    checkpoint : a file (.npz) to write the state of the fit to, about once a second and at the
        end, and to go on from if it is there: an interrupted and resumed fit is, to the bit, the
        one that was not interrupted

    Returns
    -------
    ConjugateFit

    Raises
    ------
    TypeError, ValueError
        for bad rows or settings.
    NonFiniteError
        if an ELBO stops being finite; it names the sweep.
    """
    common = {"rtol": rtol, "atol": atol, "seed": seed, "progress": progress, "callback": callback}
    check_fit(model, init, **common)
    check_whole("starts", starts, least=1)
    check_whole("max_sweeps", max_sweeps, least=1)
    began = time.perf_counter()
    rng = onp.random.default_rng(seed)
    options = {"starts": starts, "init": init, "rtol": rtol, "atol": atol, "seed": seed}
    stopped = False
    with one_interrupt() as ctrl_c, progress_bar(None, "CAVI", progress, total=max_sweeps) as bar:
        with ctrl_c.held():
            source = _source(model, rows)
            kept = file_of(checkpoint, "CAVI", model, rows, source, options)
            model, params, _ = prepared(model, source, init, rng, starts)
            ascent, trace = _Ascent.restored(kept.load(), params, starts)
            bar.update(ascent.sweeps)
        interrupted = ctrl_c.pressed
        try:
            sweeps = _sweeps(model, ascent, source, rtol, atol)
            left = 0 if interrupted else max(0, max_sweeps - ascent.sweeps)
            for ascent in islice(sweeps, left):
                trace.append(ascent.reached)
                kept.keep(partial(ascent.snapshot, trace))
                bar.update(1)
                bar.set_postfix(elbo=f"{ascent.elbos.max():.8g}", moving=len(ascent.moving))
                if callback is not None:
                    stopped = bool(callback(ascent.sweeps, ascent.params, ascent.elbos.copy()))
                if stopped:
                    break
        except KeyboardInterrupt:
            interrupted = True
        finally:
            kept.write()
        if len(trace) < ascent.sweeps:  # interrupted between the two
            trace.append(ascent.reached)
        start_elbos = onp.array(trace).reshape(-1, starts).T
        converged = int(onp.argmax(final_elbos(start_elbos))) not in ascent.moving
        return ConjugateFit(
            algorithm="CAVI",
            model=model,
            start_params=ascent.params,
            start_elbos=start_elbos,
            seen=_rows_seen(model, source, len(trace)),
            converged=converged,
            verdict=_verdict(start_elbos, converged, interrupted, stopped),
            seed=seed,
            interrupted=interrupted,
            seconds=time.perf_counter() - began,
        )


def _rows_seen(model: ConjugateModel, source: Arrays | Blocks | None, sweeps: int) -> onp.ndarray:
    """Rows read up to each sweep: without local latents, the first one's statistics serve all."""
    num_rows = source.num_rows if source is not None else 0
    return num_rows * (
        onp.arange(1, sweeps + 1) if model.has_local_latents else onp.ones(sweeps, int)
    )


def file_of(
    path: str | Path | None,
    algorithm: str,
    model: ConjugateModel,
    rows: Any,
    source: Arrays | Blocks | None,
    options: Mapping[str, Any],
) -> Checkpoint:
    """The file of a fit: of this model, with its priors as they were given, on these rows.

    Raises
    ------
    ValueError
        if it cannot be written, or ``rows`` cannot be read again.
    """
    if path is None:
        return Checkpoint(None, {})
    check_writable("checkpoint", path)
    if isinstance(rows, Iterator):
        raise ArgumentError(
            "checkpoint: a fit that goes on reads its rows again, and these are an iterator, which "
            "cannot begin again; give rows as a function that returns one, or leave checkpoint out"
        )
    of_data = {} if source is None else of_rows(source)
    asked = of_options(algorithm=algorithm, model=model, **options)
    return Checkpoint(path, {**of_library(None), **of_data, **asked})


class _Ascent(NamedTuple):
    """Where R starts stand: one record, so that an interrupt finds the old one or the new."""

    params: Params  # (R, ...)
    elbos: onp.ndarray  # (R,), -inf before the first sweep
    reached: onp.ndarray  # (R,), the same, but NaN for those that had converged before
    moving: onp.ndarray  # the numbers of those that have not converged
    sweeps: int

    @classmethod
    def before(cls, params: Params, starts: int) -> Self:
        """Where all starts stand before the first sweep."""
        elbos = onp.full(starts, -onp.inf)
        return cls(params, elbos, elbos, onp.arange(starts), 0)

    def snapshot(self, trace: list[onp.ndarray]) -> Snapshot:
        """All that the rest of the fit depends on, and the ELBOs (T, R) so far."""
        return {**self._asdict(), "trace": onp.array(trace)}

    @classmethod
    def restored(
        cls, saved: Snapshot | None, params: Params, starts: int
    ) -> tuple[Self, list[onp.ndarray]]:
        """What a snapshot was taken of, and its trace; or the beginning, at ``params``."""
        if saved is None:
            return cls.before(params, starts), []
        trace = list(saved.pop("trace"))
        return cls(**{**saved, "sweeps": int(saved["sweeps"])}), trace


def _sweeps(
    model: ConjugateModel, ascent: _Ascent, source: Arrays | Blocks | None, rtol: float, atol: float
) -> Iterator[_Ascent]:
    """Where the starts stand after each sweep, until all have converged."""
    statistics: Statistics | None = None
    while len(which := ascent.moving):
        params = take(ascent.params, which)
        if statistics is None or model.has_local_latents:
            statistics = total_statistics(model, params, source)
        params = natural_step(model, params, statistics)
        elbos = onp.broadcast_to(model.elbo(params, statistics), len(which))
        _check_finite(elbos, which, ascent.sweeps + 1)
        change = elbos - ascent.elbos[which]
        ascent = _Ascent(
            params=put(ascent.params, which, params),
            elbos=put(ascent.elbos, which, elbos),
            reached=put(onp.full(len(ascent.elbos), onp.nan), which, elbos),
            moving=which[change > atol + rtol * onp.abs(elbos)],
            sweeps=ascent.sweeps + 1,
        )
        yield ascent


def total_statistics(
    model: ConjugateModel, params: Params, source: Arrays | Blocks | None
) -> Statistics:
    """Statistics of all rows of ``source``, added up block by block."""
    if source is None:
        return model.statistics(params, onp.empty(0))
    leaf = next(iter(next(iter(params.values())).values()))
    size = max(1, ROWS_PER_BLOCK // (len(leaf) if onp.ndim(leaf) else 1))
    return reduce(
        add_statistics, (model.statistics(params, block["rows"]) for block in source.blocks(size))
    )


def take(params: Params, starts: onp.ndarray | int) -> Params:
    """Parameters of some of the starts, by their numbers; of one, without the axis."""
    taken: Params = tree_map(lambda value: value[starts], params)
    return taken


def put(old: Any, starts: onp.ndarray, new: Any) -> Any:
    """A copy of ``old`` (R, ...) in which some of the starts have the values ``new``."""

    def replaced(old: onp.ndarray, new: onp.ndarray) -> onp.ndarray:
        copy = onp.array(old)
        copy[starts] = new
        return copy

    return tree_map(replaced, old, new)


def _source(model: ConjugateModel, rows: Any) -> Arrays | Blocks | None:
    """Where the rows come from, again and again; None for a model that has none."""
    if not model.has_rows:
        if rows is not None:
            raise ArgumentError(f"rows: {type(model).__name__} has no data; leave them out")
        return None
    if rows is None:
        raise ArgumentError(f"rows: {type(model).__name__} needs data")
    if callable(rows):
        count = sum(len(model.check(block)) for block in begun("rows", rows))
        return source_of(rows, model.check, count)
    if not hasattr(rows, "__len__"):
        raise ArgumentTypeError(
            "rows: cavi reads all of them in every sweep, from an array, a memory map or a "
            "function that returns an iterator over blocks; for a stream of blocks use svi"
        )
    return source_of(rows, model.check)


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
