r"""`svi`: stochastic CAVI on minibatches of rows, the front door.

Step t = 0, 1, ... computes the statistics of B rows, multiplies them by N/B, and moves

.. math:: \lambda \leftarrow (1 - \rho_t)\lambda + \rho_t \hat\lambda,
   \qquad \rho_t = (t + \text{delay})^{-\text{forgetting}}

(Hoffman, Blei, Wang and Paisley 2013, equation 26 and figure 4): the same `natural_step` as
`cavi`, on fewer rows. Steps with :math:`\sum\rho_t = \infty` and
:math:`\sum\rho_t^2 < \infty`, which means 1/2 < forgetting <= 1, come to rest at an optimum
(Robbins and Monro 1951); others either never rest or stop short.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as onp

from vi_lab.checks import check_not_negative, check_whole
from vi_lab.conjugate.cavi import starting_params, total_statistics
from vi_lab.conjugate.model import ConjugateModel, Params, natural_step, scale_statistics
from vi_lab.conjugate.result import ConjugateFit
from vi_lab.conjugate.streams import ArraySource, Source, source_of
from vi_lab.engine import Array
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError, NonFiniteError
from vi_lab.progress import progress_bar

DEFAULT_EPOCHS = 10
EVALUATIONS = 50  # in a whole run

StepCallback = Callable[[int, Params, float], Any]
"""``callback(steps_done, params, elbo)`` after each evaluation; a true result stops the fit."""


def svi(
    model: ConjugateModel,
    rows: Any,
    *,
    batch: int,
    delay: float = 1.0,
    forgetting: float = 0.7,
    steps: int | None = None,
    epochs: int | None = None,
    num_rows: int | None = None,
    init: str | Mapping[str, Mapping[str, Array]] | None = None,
    evaluate_on: Any = None,
    evaluate_every: int | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-3,
    patience: int = 5,
    seed: int = 0,
    progress: bool = True,
    callback: StepCallback | None = None,
) -> ConjugateFit:
    """Fit q by natural-gradient steps on minibatches of rows.

    Parameters
    ----------
    model : a conjugate model with data
    rows : an array; a memory map, or a stream of blocks of rows, neither of which is ever
        held whole (see `vi_lab.conjugate.streams` for what is random then). A stream is a
        function that returns an iterator over blocks, called for each epoch, or such an
        iterator itself, which makes one epoch
    batch : B, rows in a minibatch
    delay, forgetting : the step sizes are (t + delay)^(-forgetting), t = 0, 1, ...; a delay of
        1 or more; forgetting in (0.5, 1] keeps the Robbins-Monro conditions
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

    Returns
    -------
    ConjugateFit

    Raises
    ------
    ValueError
        for bad rows or settings, a batch larger than the data among them.
    NonFiniteError
        if an ELBO stops being finite; it names the step.
    """
    check_whole("batch", batch, least=1)
    check_not_negative("forgetting", forgetting)
    check_not_negative("delay", delay)
    check_whole("patience", patience, least=2)
    check_not_negative("rtol", rtol)
    check_not_negative("atol", atol)
    if delay < 1.0:
        raise ArgumentError(
            f"delay: must be 1 or more, not {delay!r}: steps would be larger than 1"
        )
    if not model.has_rows:
        raise ArgumentError(f"model: {type(model).__name__} has no data to subsample; use cavi")
    began = time.perf_counter()
    rng = onp.random.default_rng(seed)
    source = source_of(model, rows, num_rows)
    if batch > source.num_rows:
        raise ArgumentError(f"batch: {batch} is more than there are rows ({source.num_rows})")
    steps = _number_of_steps(steps, epochs, source.num_rows // batch)
    evaluate_every = max(1, steps // EVALUATIONS) if evaluate_every is None else evaluate_every
    check_whole("evaluate_every", evaluate_every, least=1)
    first = source.look(rng)
    model = model.prepare(first, source.num_rows)
    test = ArraySource(first) if evaluate_on is None else source_of(model, evaluate_on)
    watch = _Watch(model, test, source.num_rows)
    params = starting_params(model, init, first, rng, 1)

    elbos: list[float] = []
    seen: list[int] = []
    done = 0
    converged = interrupted = stopped = False
    minibatches = _epochs(source, batch, rng)
    with progress_bar(None, "SVI", progress, total=steps) as bar:
        try:
            for rows_now in minibatches:
                statistics = model.statistics(params, rows_now)
                scaled = scale_statistics(statistics, source.num_rows / batch)
                params = natural_step(model, params, scaled, (done + delay) ** -forgetting)
                done += 1
                bar.update(1)
                if done % evaluate_every == 0 or done == steps:
                    elbos.append(watch.elbo(params, done))
                    seen.append(done * batch)
                    bar.set_postfix(elbo=f"{elbos[-1]:.8g}")
                    converged = _settled(elbos, patience, rtol, atol)
                    one_start: Params = tree_map(lambda value: value[0], params)
                    stopped = callback is not None and bool(callback(done, one_start, elbos[-1]))
                if converged or stopped or done == steps:
                    break
        except KeyboardInterrupt:
            interrupted = True
    if done and (not seen or seen[-1] != done * batch):
        elbos.append(watch.elbo(params, done))
        seen.append(done * batch)
    return ConjugateFit(
        algorithm="SVI",
        model=model,
        start_params=params,
        start_elbos=onp.array([elbos]),
        seen=onp.array(seen, dtype=int),
        converged=converged,
        verdict=_verdict(elbos, done, converged, interrupted, stopped, done == steps),
        seed=seed,
        interrupted=interrupted,
        seconds=time.perf_counter() - began,
    )


@dataclass(frozen=True)
class _Watch:
    """The ELBO of all N rows, estimated from those of ``source``."""

    model: ConjugateModel
    source: Source
    num_rows: int

    def elbo(self, params: Params, step: int) -> float:
        statistics = total_statistics(self.model, params, self.source)
        scaled = scale_statistics(statistics, self.num_rows / self.source.num_rows)
        value = float(onp.reshape(self.model.elbo(params, scaled), ()))
        if not onp.isfinite(value):
            raise NonFiniteError(
                f"step {step}: the ELBO is {value}; bring the data to a scale near 1, take larger "
                "minibatches, or look at the hyper-parameters"
            )
        return value


def _epochs(source: Source, batch: int, rng: onp.random.Generator) -> Iterator[onp.ndarray]:
    """Minibatches of epoch after epoch, until a stream that cannot begin again has ended."""
    empty = False
    while not empty:
        empty = True
        for rows in source.epoch(batch, rng):
            empty = False
            yield rows


def _number_of_steps(steps: int | None, epochs: int | None, steps_per_epoch: int) -> int:
    if steps is not None and epochs is not None:
        raise ArgumentError("steps, epochs: give one of the two, not both")
    if steps is not None:
        check_whole("steps", steps, least=1)
        return steps
    epochs = DEFAULT_EPOCHS if epochs is None else epochs
    check_whole("epochs", epochs, least=1)
    return epochs * steps_per_epoch


def _settled(elbos: list[float], patience: int, rtol: float, atol: float) -> bool:
    """Whether the last ``patience`` evaluations agree: noise as much as ascent keeps them apart."""
    last = elbos[-patience:]
    return len(last) == patience and max(last) - min(last) <= atol + rtol * abs(last[-1])


def _verdict(
    elbos: list[float],
    done: int,
    converged: bool,
    interrupted: bool,
    stopped: bool,
    all_steps: bool,
) -> str:
    if not done:
        return "interrupted before the end of the first step: q is where it started"
    change = f"{elbos[-1] - elbos[-2]:.2g}" if len(elbos) > 1 else "an unknown number of"
    if converged:
        return f"converged: the ELBO has settled after {done} steps"
    if interrupted:
        return f"interrupted after step {done}"
    if stopped:
        return f"stopped by the callback after step {done}"
    if all_steps:
        return (
            f"took all of its {done} steps; between the last two evaluations the ELBO changed by "
            f"{change} nats"
        )
    return f"the stream ended after {done} steps"
