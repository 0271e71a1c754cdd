"""The step-size search of the ADVI paper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as onp

from vi_lab.advi.blocks import Problem, run_fit
from vi_lab.engine import Engine
from vi_lab.errors import NonFiniteError
from vi_lab.families import Params
from vi_lab.gradients.base_draws import BaseDraws
from vi_lab.results.checkpoint import Checkpoint

ETAS = (100.0, 10.0, 1.0, 0.1, 0.01)
TRIAL_STEPS = 50
JUDGED_STEPS = 25  # the loss of a trial is the mean over its last steps


def search_eta(
    problem: Problem,
    model: Any,
    params: Params,
    *,
    draws: int,
    base_draws: BaseDraws,
    rng: onp.random.Generator,
    engine: Engine,
) -> Problem:
    """``problem`` with the eta, of 100, 10, 1, 0.1, 0.01, that lowers the loss most.

    Each eta gets 50 steps from the same start on the same draws; a trial that
    overflows loses. The values are those of Kucukelbir et al. (2017).

    Raises
    ------
    ValueError
        if every trial overflows.
    """
    seed = int(rng.integers(2**63))
    trials: dict[float, float] = {}
    for eta in ETAS:
        trial = replace(problem, optimizer=replace(problem.optimizer, eta=eta))
        try:
            run = run_fit(
                trial,
                model,
                params,
                steps=TRIAL_STEPS,
                draws=draws,
                base_draws=base_draws,
                rng=onp.random.default_rng(seed),
                engine=engine,
                progress=False,
                callback=None,
                checkpoint=Checkpoint(None, "a trial"),
            )
        except NonFiniteError:
            continue
        trials[eta] = float(run.losses[-JUDGED_STEPS:].mean())
    if not trials:
        raise ValueError(
            f"optimizer: the loss overflowed within {TRIAL_STEPS} steps for every eta of {ETAS}; "
            "give a starting point with init=, or rescale the model"
        )
    best = min(trials, key=trials.__getitem__)
    return replace(problem, optimizer=replace(problem.optimizer, eta=best))
