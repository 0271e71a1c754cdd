"""The rows of the table: what is compared, in what unit, and how good is good enough.

All on the book's first model: x ~ N(mu, sd), mu ~ N(0, 1), sd ~ HalfNormal(1), 100 rows.
A row is prepared (imports, compilation, one warm-up call) before it is timed, except
where a fresh process is the point.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import vi_lab as vl
from benchmarks.timing import Measure, Target
from vi_lab.optimizers import Adam, ConstantThenDecay

STEPS = 50_000
AUTOGRAD_STEPS = 2_000
CHAINS, TUNE, DRAWS = 2, 1_000, 10_000
ROOT = Path(__file__).parents[1]
ENVIRONMENT = dict(os.environ)  # as it was, before the JAX engine adds to XLA_FLAGS


@dataclass(frozen=True)
class Row:
    """One comparison.

    ``prepare(model)`` returns our measurement and theirs; theirs is None where ours
    stands alone. The target is for the ratio of the two, or for ours alone. ``needs``
    names the packages beyond the library's own.
    """

    key: str
    ours: str
    theirs: str
    unit: str
    target: Target
    needs: tuple[str, ...]
    prepare: Callable[[Any], tuple[Measure, Measure | None]]


def seconds(call: Callable[[], Any]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def rate(call: Callable[[], Any], amount: int) -> Measure:
    """A measurement of ``amount`` a second of wall time; ``call`` is made once to warm up."""
    call()
    return lambda: amount / seconds(call)


def advi_against_bare_scan(model: Any) -> tuple[Measure, Measure]:
    """The same steps. Ours draws its noise and checks what comes; the scan is given its noise."""
    from benchmarks import bare  # imports JAX

    noise = np.random.default_rng(1).standard_normal((STEPS, model.dim))
    return advi_on_jax(model), rate(bare.prepare(noise, model.data["x"]), STEPS)


def advi_against_blackjax(model: Any) -> tuple[Measure, Measure]:
    """Both draw their noise, and take one draw a step in float64."""
    return advi_on_jax(model), blackjax("meanfield", model, STEPS, amount=STEPS)


def advi_on_jax(model: Any) -> Measure:
    """A fixed number of steps of Adam, with the default estimator and averaging."""
    return rate(lambda: by_adam(model, STEPS, "jax"), STEPS)


def by_adam(model: Any, steps: int, engine: str) -> Any:
    """A fit that nothing stops: ``steps`` of Adam with a step size that falls a hundredfold."""
    adam = Adam(ConstantThenDecay(initial=0.05, final=0.0005, hold=0, steps=steps))
    return vl.advi(model, steps=steps, optimizer=adam, engine=engine, progress=False)


def default_fit(family: str) -> Callable[[Any], tuple[Measure, None]]:
    """Seconds to "converged" of the call that sets nothing, compiled; each with another seed."""

    def prepare(model: Any) -> tuple[Measure, None]:
        seeds = itertools.count()

        def fit() -> None:  # a fit that does not converge warns, and that is an error here
            with warnings.catch_warnings():
                warnings.simplefilter("error", vl.ConvergenceWarning)
                vl.advi(model, family, seed=next(seeds), engine="jax", progress=False)

        fit()
        return lambda: seconds(fit), None

    return prepare


def first_default_fit(family: str) -> Callable[[Any], tuple[Measure, None]]:
    """The first such call of a process, seconds by its own clock: imports are not in it."""
    program = (
        "import vi_lab as vl; model = vl.zoo.notebook_gaussian().model(); "
        f"fit = vl.advi(model, {family!r}, engine='jax', progress=False); "
        "assert fit.convergence.converged; print(fit.seconds)"
    )
    return lambda model: (lambda: float(fresh_process("-c", program)), None)


def cold_against_blackjax(*arguments: str) -> Callable[[Any], tuple[Measure, Measure]]:
    """`cold_vi_lab` with ``arguments``; theirs takes as many steps as row c, whatever ours does."""
    return lambda model: cold(model, *arguments)


def cold(model: Any, *arguments: str) -> tuple[Measure, Measure]:
    """CPU seconds, user and system: on a busy machine wall time says little."""
    folder = tempfile.TemporaryDirectory()  # deleted with `cpu_seconds`, which refers to it
    np.save(Path(folder.name) / "x.npy", model.data["x"])

    def cpu_seconds(module: str, *arguments: str) -> float:
        before = os.times()
        fresh_process("-m", module, f"{folder.name}/x.npy", *arguments)
        after = os.times()
        user = after.children_user - before.children_user
        return user + after.children_system - before.children_system

    return (
        lambda: cpu_seconds("benchmarks.cold_vi_lab", *arguments),
        lambda: cpu_seconds("benchmarks.cold_blackjax"),
    )


def nuts_against_blackjax(model: Any) -> tuple[Measure, Measure]:
    """Kept draws a second of the whole call, warm-up included, on both sides."""
    settings = {"chains": CHAINS, "tune": TUNE, "draws": DRAWS}
    ours = lambda: vl.nuts(model, seed=3, engine="jax", progress=False, **settings)  # noqa: E731
    amount = CHAINS * DRAWS
    return rate(ours, amount), blackjax("nuts", model, CHAINS, TUNE, DRAWS, amount=amount)


def blackjax(name: str, model: Any, *numbers: int, amount: int) -> Measure:
    """``amount`` a second of a call of `benchmarks.peers`, which lives in its own process."""
    arguments = [sys.executable, "-m", "benchmarks.peers", name]
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", model.data["x"])
        process = subprocess.Popen(
            [*arguments, f"{folder}/x.npy", *map(str, numbers)],
            cwd=ROOT,
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout
        if stdout.readline() != "ready\n":
            raise RuntimeError(f"benchmarks.peers {name} did not start; its message is above")

    def measure() -> float:
        print(file=stdin, flush=True)
        return amount / float(stdout.readline())

    # It ends with its row: later, its CPU seconds would be counted in those of row c.
    weakref.finalize(measure, process.communicate)
    return measure


def advi_on_autograd(model: Any) -> tuple[Measure, None]:
    """The same call as on JAX, with fewer steps."""
    return rate(lambda: by_adam(model, AUTOGRAD_STEPS, "autograd"), AUTOGRAD_STEPS), None


def deterministic_on_autograd(model: Any) -> tuple[Measure, None]:
    """Not warmed up: the first measurement includes the import of SciPy's quantiles."""

    def fit() -> Any:
        return vl.advi(model, method="deterministic", engine="autograd", progress=False)

    return lambda: seconds(fit), None


def import_time(model: Any) -> tuple[Measure, None]:  # noqa: ARG001 - as the other rows
    """Wall seconds of the import alone, without the start of the interpreter."""
    program = "from time import perf_counter as t; a = t(); import vi_lab; print(t() - a)"
    return lambda: float(fresh_process("-c", program)), None


def fresh_process(*arguments: str) -> str:
    """What a new Python prints; CalledProcessError, with its own message shown, if it fails."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def cavi_against_scikit_learn(model: Any) -> tuple[Measure, Measure]:  # noqa: ARG001 - as others
    """Its own data and start: 100,000 rows, 2 columns, 8 components."""
    from benchmarks import mixture  # imports scikit-learn when it is prepared

    return mixture.cavi_against_scikit_learn()


ROWS = (
    Row(
        "a",
        "ADVI on JAX, compiled, 50,000 Adam steps",
        "bare lax.scan",
        "steps/s",
        Target(0.6),
        ("jax",),
        advi_against_bare_scan,
    ),
    Row(
        "b",
        "ADVI on JAX, compiled, 50,000 Adam steps",
        "BlackJAX meanfield_vi",
        "steps/s",
        Target(3.0),
        ("jax", "blackjax"),
        advi_against_blackjax,
    ),
    Row(
        "c",
        "cold process, import to summary, 50,000 Adam steps",
        "BlackJAX, the same",
        "CPU s",
        Target(0.5, at_most=True),
        ("jax", "blackjax"),
        cold_against_blackjax(str(STEPS)),
    ),
    Row(
        "d",
        "NUTS on JAX, compiled, 2 x 10,000",
        "BlackJAX nuts",
        "draws/s",
        Target(1.0),
        ("jax", "blackjax"),
        nuts_against_blackjax,
    ),
    Row(
        "e",
        "ADVI on autograd, Adam",
        "",
        "steps/s",
        Target(1_000.0),
        (),
        advi_on_autograd,
    ),
    Row(
        "f",
        "deterministic ADVI on autograd",
        "",
        "s",
        Target(2.0, at_most=True),
        (),
        deterministic_on_autograd,
    ),
    Row(
        "g",
        "import vi_lab, fresh process",
        "",
        "s",
        Target(0.5, at_most=True),
        (),
        import_time,
    ),
    Row(
        "h",
        "mixture CAVI, 100,000 x 2, 8 components",
        "sklearn BayesianGaussianMixture",
        "sweeps/s",
        Target(1.0),
        ("sklearn",),
        cavi_against_scikit_learn,
    ),
    Row(
        "i",
        "default mean-field fit to its verdict, JAX",
        "",
        "s",
        Target(0.1, at_most=True),
        ("jax",),
        default_fit("mean_field"),
    ),
    Row(
        "j",
        "default full-rank fit to its verdict, JAX",
        "",
        "s",
        Target(0.1, at_most=True),
        ("jax",),
        default_fit("full_rank"),
    ),
    Row(
        "k",
        "the same, mean field, with compilation",
        "",
        "s",
        Target(5.0, at_most=True),
        ("jax",),
        first_default_fit("mean_field"),
    ),
    Row(
        "l",
        "the same, full rank, with compilation",
        "",
        "s",
        Target(5.0, at_most=True),
        ("jax",),
        first_default_fit("full_rank"),
    ),
    Row(
        "m",
        "cold process, import to summary, default fit",
        "BlackJAX, 50,000 steps",
        "CPU s",
        Target(0.5, at_most=True),
        ("jax", "blackjax"),
        cold_against_blackjax(),
    ),
)
