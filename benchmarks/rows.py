"""The rows of the table: what is compared, in what unit, and how good is good enough.

All on the book's first model: x ~ N(mu, sd), mu ~ N(0, 1), sd ~ HalfNormal(1), 100 rows.
A row is prepared (imports, compilation, one warm-up call) before it is timed, except
where a fresh process is the point.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vi_lab as vl
from benchmarks.timing import Measure, Target

STEPS = 50_000
AUTOGRAD_STEPS = 2_000
CHAINS, TUNE, DRAWS = 2, 1_000, 10_000
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One comparison.

    ``prepare`` returns our measurement and theirs (None if ours stands alone); the
    target is for the ratio of the two, or for ours alone.
    """

    key: str
    what: str
    theirs: str
    unit: str
    target: Target
    needs: tuple[str, ...]
    prepare: Callable[[Any], tuple[Measure, Measure | None]]


def rate(call: Callable[[], Any], amount: int) -> Measure:
    """A measurement of ``amount`` a second of wall time; ``call`` is made once to warm up."""
    call()

    def measure() -> float:
        return amount / seconds(call)

    return measure


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def advi_against_bare_scan(model: Any) -> tuple[Measure, Measure]:
    from benchmarks import bare  # needs JAX

    noise = np.random.default_rng(1).standard_normal((STEPS, 2))
    return _advi_on_jax(model), rate(bare.prepare(noise, model.data["x"]), STEPS)


def advi_against_blackjax(model: Any) -> tuple[Measure, Measure]:
    from benchmarks import peers  # needs the extra `bench`

    return _advi_on_jax(model), rate(peers.meanfield(model.data["x"], STEPS), STEPS)


def _advi_on_jax(model: Any) -> Measure:
    return rate(lambda: vl.advi(model, steps=STEPS, engine="jax", progress=False), STEPS)


def cold_processes(model: Any) -> tuple[Measure, Measure]:
    folder = tempfile.TemporaryDirectory()  # lives as long as the measurements that use it
    data = Path(folder.name) / "x.npy"
    np.save(data, model.data["x"])

    def cpu_seconds(module: str) -> Measure:
        def measure() -> float:
            before = os.times()
            fresh(folder.name, "-m", module, str(data))
            after = os.times()
            return sum(after[2:4]) - sum(before[2:4])  # user and system, of children

        return measure

    return cpu_seconds("benchmarks.cold_vi_lab"), cpu_seconds("benchmarks.cold_blackjax")
