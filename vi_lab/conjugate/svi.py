r"""`svi`: stochastic CAVI on minibatches of rows, the front door.

Step t = 1, 2, ... computes the statistics of B rows, multiplies them by N/B, and moves

.. math:: \lambda \leftarrow (1 - \rho_t)\lambda + \rho_t \hat\lambda,
   \qquad \rho_t = (t + \tau)^{-\kappa}

(Hoffman, Blei, Wang and Paisley 2013, equation 26 and figure 4): the same `natural_step` as
`cavi`, on fewer rows. Steps with :math:`\sum\rho_t = \infty` and
:math:`\sum\rho_t^2 < \infty`, which means :math:`1/2 < \kappa \le 1`, come to rest at an optimum
(Robbins and Monro 1951); others either never rest or stop short. They are the schedule
`vi_lab.optimizers.RobbinsMonro`; any other will do that stays in (0, 1].
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as onp

from vi_lab.checks import check_whole
from vi_lab.conjugate.cavi import file_of, take, total_statistics
from vi_lab.conjugate.model import ConjugateModel, Params, natural_step, scale_statistics
from vi_lab.conjugate.result import ConjugateFit
from vi_lab.conjugate.starts import Start, check_fit, prepared
from vi_lab.errors import ArgumentError, ArgumentTypeError, NonFiniteError
from vi_lab.model.rows import Arrays, Batches, Blocks, InTurn, Keyed
from vi_lab.model.streams import source_of
from vi_lab.optimizers.schedules import (
    RobbinsMonro,
    StepSize,
    check_step_size,
    step_size_at,
)
from vi_lab.progress import one_interrupt, progress_bar
from vi_lab.results.checkpoint import Snapshot

HOFFMAN = RobbinsMonro(initial=1.0, delay=0.0, forgetting=0.7)  # Hoffman et al.'s form
DEFAULT_EPOCHS = 10
EVALUATIONS = 50  # in a whole run

StepCallback = Callable[[int, Params, float], Any]
"""``callback(steps_done, params, elbo)`` after each evaluation; a true result stops the fit."""


def svi(
    model: ConjugateModel,
    rows: Any,
    *,
    batch: int,
    step_size: StepSize = HOFFMAN,
    steps: int | None = None,
    epochs: int | None = None,
    num_rows: int | None = None,
    init: Start = None,
    evaluate_on: Any = None,
    evaluate_every: int | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-3,
    patience: int = 5,
    seed: int = 0,
    progress: bool = True,
    callback: StepCallback | None = None,
    checkpoint: str | Path | None = None,
) -> ConjugateFit:
    """Fit q by natural-gradient steps on minibatches of rows.

    Parameters
    ----------
    model : a conjugate model with data
    rows : an array; a memory map, or a stream of blocks of rows, neither of which is ever
        held whole (see `vi_lab.model.rows` for what is random then). A stream is a
        function that returns an iterator over blocks, called for each epoch, or such an
        iterator itself, which makes one epoch
    batch : B, rows in a minibatch. Where B does not divide N, a minibatch holds the end of one
        epoch and the beginning of the next; only the last of a stream that ends is smaller, and
        its step is as much shorter
    step_size : rho_t in (0, 1], a number or a schedule of `vi_lab.optimizers.schedules`, called
        with t = 1, 2, ...; by default t^-0.7. A `RobbinsMonro` with ``initial=1`` is that of
        Hoffman et al.; a larger ``delay`` takes shorter steps at first
    steps : how many steps are taken at most, or
    epochs : how often the data are read at most; by default 10 times
    num_rows : N, for a stream
    init : as for `cavi`
    evaluate_on : rows whose ELBO, scaled to all N, is watched: an array or a memory map. By
        default all rows of an array, about 65,000 of a memory map, the first block of a stream.
        Of a part of the rows it is an estimate, with the same error at each evaluation
    evaluate_every : steps between evaluations; by default a fiftieth of all
    rtol, atol, patience : the fit has converged when the last ``patience`` evaluations lie
        within ``atol + rtol |ELBO|`` of each other, in nats
    seed : the start and the order of the rows follow from it
    progress : show a progress bar
    callback : see `StepCallback`
    checkpoint : as for `cavi`; not for a stream that cannot begin again

    Returns
    -------
    ConjugateFit

    Raises
    ------
    TypeError, ValueError
        for bad rows or settings, a batch larger than the data among them.
    NonFiniteError
        if an ELBO stops being finite; it names the step.
    """
    common = {"rtol": rtol, "atol": atol, "seed": seed, "progress": progress, "callback": callback}
    check_fit(model, init, **common)
    if not model.has_rows:
        raise ArgumentError(f"model: {type(model).__name__} has no data to subsample; use cavi")
    check_whole("batch", batch, least=1)
    check_step_size("step_size", step_size)
    check_whole("patience", patience, least=2)
    began = time.perf_counter()
    rng = onp.random.default_rng(seed)
    options = {"batch": batch, "step_size": step_size, "init": init, "seed": seed}
    options |= {"rtol": rtol, "atol": atol, "patience": patience}
    stopped = False
    with one_interrupt() as ctrl_c:
        with ctrl_c.held():
            source = source_of(rows, model.check, num_rows)
            steps = _number_of_steps(steps, epochs, source.num_rows, batch)
            every = _steps_between_evaluations(evaluate_every, steps)
            options |= {"steps": steps, "evaluate_every": every, "evaluate_on": evaluate_on}
            kept = file_of(checkpoint, "SVI", model, rows, source, options)
            model, params, first = prepared(model, source, init, rng, 1)
            test = _test_rows(model, first if evaluate_on is None else evaluate_on)
            batches = _minibatches(source, batch, rng)
            watch = _Watch(model, test, source.num_rows)
            at, evaluations = _restored(kept.load(), params, batches)
        converged = _settled(evaluations[-patience:], patience, rtol, atol)
        interrupted = ctrl_c.pressed
        left = 0 if interrupted or converged else steps - at.steps
        with progress_bar(None, "SVI", progress, total=steps, initial=at.steps) as bar:
            try:
                positions = _steps(model, at, source, batches, step_size)
                for at in islice(positions, left):
                    bar.update(1)
                    if not (at.steps % every and at.steps < steps):
                        evaluations.append((at.rows, watch.elbo(at)))
                        elbo = evaluations[-1][1]
                        bar.set_postfix(elbo=f"{elbo:.8g}")
                        converged = _settled(evaluations[-patience:], patience, rtol, atol)
                        if callback is not None:
                            stopped = bool(callback(at.steps, take(at.params, 0), elbo))
                    kept.keep(partial(_snapshot, at, evaluations, batches))
                    if converged or stopped:
                        break
            except KeyboardInterrupt:
                interrupted = True
            finally:
                kept.write()
        evaluations, done = _with_last(evaluations, watch, at), at.steps
        return ConjugateFit(
            algorithm="SVI",
            model=model,
            start_params=at.params,
            start_elbos=onp.array([[elbo for _, elbo in evaluations]]),
            seen=onp.array([read for read, _ in evaluations], dtype=int),
            converged=converged,
            verdict=_verdict(evaluations, done, converged, interrupted, stopped, done == steps),
            seed=seed,
            interrupted=interrupted,
            seconds=time.perf_counter() - began,
        )


def _test_rows(model: ConjugateModel, rows: Any) -> Arrays | Blocks:
    """Where the rows of ``evaluate_on`` come from."""
    try:
        return source_of(rows, model.check)
    except (ArgumentError, ArgumentTypeError) as error:
        raise type(error)(f"evaluate_on: {error}") from error


class _Position(NamedTuple):
    """After some steps: one record, so that an interrupt finds the old one or the new."""

    params: Params  # (1, ...)
    steps: int
    rows: int  # read


def _snapshot(at: _Position, evaluations: list[tuple[int, float]], batches: Batches) -> Snapshot:
    """All that the rest of the fit depends on."""
    seen, elbos = onp.array(evaluations).reshape(-1, 2).T
    return {**at._asdict(), "seen": seen, "elbos": elbos, "batches": batches.state()}


def _restored(
    saved: Snapshot | None, params: Params, batches: Batches
) -> tuple[_Position, list[tuple[int, float]]]:
    """What a snapshot was taken of, with ``batches`` where they were; or the beginning."""
    if saved is None:
        return _Position(params, 0, 0), []
    batches.restore({name: value.item() for name, value in saved["batches"].items()})
    at = _Position(saved["params"], int(saved["steps"]), int(saved["rows"]))
    return at, list(zip(saved["seen"].astype(int).tolist(), saved["elbos"].tolist(), strict=True))


def _steps(
    model: ConjugateModel,
    at: _Position,
    source: Arrays | Blocks,
    batches: Batches,
    step_size: StepSize,
) -> Iterator[_Position]:
    """The position after each step, until a stream that cannot begin again has ended."""
    batch = batches.size
    for minibatch in batches:
        rows = minibatch["rows"]
        rho = step_size_at(step_size, at.steps + 1)
        if not 0.0 < rho <= 1.0:
            raise ArgumentError(
                f"step_size: is {rho!r} at step {at.steps + 1}, but a natural-gradient step goes "
                "from where q is, 0, to the optimum for the minibatch, 1: give one in (0, 1]"
            )
        rho *= len(rows) / batch  # less than B rows are there only at the end of a stream
        statistics = model.statistics(at.params, rows)
        scaled = scale_statistics(statistics, source.num_rows / len(rows))
        params = natural_step(model, at.params, scaled, rho)
        at = _Position(params, at.steps + 1, at.rows + len(rows))
        yield at


@dataclass(frozen=True)
class _Watch:
    """The ELBO of all N rows, estimated from those of ``source``."""

    model: ConjugateModel
    source: Arrays | Blocks
    num_rows: int

    def elbo(self, at: _Position) -> float:
        statistics = total_statistics(self.model, at.params, self.source)
        scaled = scale_statistics(statistics, self.num_rows / self.source.num_rows)
        value = float(onp.reshape(self.model.elbo(at.params, scaled), ()))
        if not onp.isfinite(value):
            raise NonFiniteError(
                f"step {at.steps}: the ELBO is {value}; bring the data to a scale near 1, take "
                "larger minibatches, or look at the hyper-parameters"
            )
        return value


def _minibatches(source: Arrays | Blocks, batch: int, rng: onp.random.Generator) -> Batches:
    """Minibatches without end, or until a stream that cannot begin again has ended."""
    if isinstance(source, Arrays) and source.in_one_part:
        return Batches(source, batch, InTurn.of(rng, source.num_rows))
    return Batches(source, batch, Keyed(int(rng.integers(2**63))))


def _number_of_steps(steps: int | None, epochs: int | None, num_rows: int, batch: int) -> int:
    if batch > num_rows:
        raise ArgumentError(f"batch: {batch} is more than there are rows ({num_rows})")
    if steps is not None and epochs is not None:
        raise ArgumentError("steps, epochs: give one of the two, not both")
    if steps is not None:
        check_whole("steps", steps, least=1)
        return steps
    epochs = DEFAULT_EPOCHS if epochs is None else epochs
    check_whole("epochs", epochs, least=1)
    return epochs * num_rows // batch


def _steps_between_evaluations(asked: int | None, steps: int) -> int:
    every = max(1, steps // EVALUATIONS) if asked is None else asked
    check_whole("evaluate_every", every, least=1)
    return every


def _with_last(
    evaluations: list[tuple[int, float]], watch: _Watch, at: _Position
) -> list[tuple[int, float]]:
    """``evaluations``, and one more of a q that none is of; Ctrl-C leaves it out."""
    if at.rows > (evaluations[-1][0] if evaluations else 0):
        with suppress(KeyboardInterrupt):
            return [*evaluations, (at.rows, watch.elbo(at))]
    return evaluations


def _settled(last: list[tuple[int, float]], patience: int, rtol: float, atol: float) -> bool:
    """Whether the ``last`` evaluations agree: noise as much as ascent keeps them apart."""
    elbos = [elbo for _, elbo in last]
    return len(elbos) == patience and max(elbos) - min(elbos) <= atol + rtol * abs(elbos[-1])


def _verdict(
    evaluations: list[tuple[int, float]],
    done: int,
    converged: bool,
    interrupted: bool,
    stopped: bool,
    all_steps: bool,
) -> str:
    """Why the fit stopped, in words."""
    if not done:
        return "interrupted before the end of the first step: q is where it started"
    if converged:
        return f"converged: the ELBO has settled after {done} steps"
    if interrupted:
        return f"interrupted after step {done}"
    if stopped:
        return f"stopped by the callback after step {done}"
    if all_steps:
        elbos = [elbo for _, elbo in evaluations]
        change = f"{elbos[-1] - elbos[-2]:.2g}" if len(elbos) > 1 else "an unknown number of"
        return (
            f"took all of its {done} steps; between the last two evaluations the ELBO changed by "
            f"{change} nats"
        )
    return f"the stream ended after {done} steps"
