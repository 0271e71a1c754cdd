"""`nuts`, `cavi` and `svi`, stopped and gone on with from a file; and Ctrl-C, at all four doors."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab import zoo
from vi_lab.conjugate import GaussianMixture, NormalModel
from vi_lab.nuts import sampler
from vi_lab.optimizers import Adam, AdviSequence
from vi_lab.results import checkpoint as checkpoints
from vi_lab.results.checkpoint import Checkpoint

pytestmark = [
    pytest.mark.bits,
    pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning"),
]

X = onp.random.default_rng(0).normal(3.0, 2.0, 1_000)
TWO = onp.concatenate([X, X + 5.0])
SCHOOLS = zoo.eight_schools_noncentered().model()
QUIET: dict[str, Any] = {"progress": False, "seed": 3}


@pytest.fixture(autouse=True)
def _written_at_once(monkeypatch):
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_WRITES", -1.0)
    monkeypatch.setattr(checkpoints, "SHARE_OF_WRITES", 1.0)


def chains(**options: Any) -> Any:
    return vl.nuts(SCHOOLS, chains=2, tune=120, draws=60, **{**QUIET, **options})


def mixture(**options: Any) -> Any:
    return vl.cavi(GaussianMixture(2), TWO, starts=3, max_sweeps=60, **{**QUIET, **options})


def stream(**options: Any) -> Any:
    rows = lambda: iter(onp.split(X, 8))  # noqa: E731
    return vl.svi(NormalModel(), rows, num_rows=1_000, batch=30, steps=90, **{**QUIET, **options})


def batches(**options: Any) -> Any:
    return vl.svi(NormalModel(), X, batch=30, steps=90, **{**QUIET, **options})


DOORS: dict[str, Callable[..., Any]] = {
    "nuts": chains,
    "cavi": mixture,
    "svi": batches,
    "svi of a stream": stream,
}
NUMBERS = ("z", "energy", "step_size", "inverse_mass_matrix", "start_elbos", "seen", "verdict")


def leaves(result: Any) -> dict[str, Any]:
    found = {name: getattr(result, name) for name in NUMBERS if hasattr(result, name)}
    for block, values in getattr(result, "start_params", {}).items():
        found |= {f"{block}.{name}": value for name, value in values.items()}
    return found


def assert_same(one: Any, other: Any) -> None:
    one, other = leaves(one), leaves(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        onp.testing.assert_array_equal(other[name], value, err_msg=name)


@pytest.mark.parametrize("after", [1, 3, 10])
@pytest.mark.parametrize("door", DOORS)
def test_stopped_again_and_again_is_not_stopped_at_all(door, after, tmp_path, monkeypatch):
    fit, path, keep = DOORS[door], tmp_path / "fit.npz", Checkpoint.keep
    whole = fit()
    kept = 0

    def keep_and_stop(self: Checkpoint, take: Any) -> None:
        nonlocal kept
        keep(self, take)
        kept += 1
        if kept % (after + 1) == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "keep", keep_and_stop)
    for _ in range(100):
        try:
            resumed = fit(checkpoint=path)
        except KeyboardInterrupt:  # of chains that have no draws
            continue
        if not resumed.interrupted:
            break
    assert kept > after
    assert_same(whole, resumed)
    monkeypatch.setattr(sampler, "side_by_side", lambda engine, walks: iter_none(walks))
    assert_same(whole, fit(checkpoint=path))  # a file of what is over gives it again
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


def iter_none(walks):
    """No chain has anything left to do."""
    for walk in walks:
        assert list(walk) == []
    yield from ()


def test_chains_go_on_to_more_draws(tmp_path, engine):
    path = tmp_path / "chains.npz"
    few = vl.nuts(SCHOOLS, chains=2, tune=30, draws=20, checkpoint=path, **QUIET)
    more = vl.nuts(SCHOOLS, chains=2, tune=30, draws=35, checkpoint=path, **QUIET)
    onp.testing.assert_array_equal(more.z[:, :20], few.z)
    whole = vl.nuts(SCHOOLS, chains=2, tune=30, draws=35, **QUIET)
    onp.testing.assert_array_equal(more.z, whole.z)
    again = vl.nuts(SCHOOLS, chains=2, tune=30, draws=20, checkpoint=path, **QUIET)
    onp.testing.assert_array_equal(again.z, few.z)


def test_the_file_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "fit.npz"
    asked = {
        "seed 3 there, 4 here": {"seed": 4},
        "target_accept": {"target_accept": 0.9},
        "init": {"init": onp.zeros(10)},
    }
    chains(checkpoint=path)
    for what, options in asked.items():
        with pytest.raises(ValueError, match=rf"checkpoint: .* another fit \({what}"):
            chains(checkpoint=path, **options)
    with pytest.raises(ValueError, match=r"another fit \(.*algorithm"):
        mixture(checkpoint=path)
    other = tmp_path / "rows.npz"
    svi, cavi = (
        lambda *a, f=f, **k: f(*a, checkpoint=other, **QUIET, **k) for f in (vl.svi, vl.cavi)
    )
    svi(NormalModel(), X, batch=30, steps=20, step_size=lambda t: t**-0.7)
    svi(NormalModel(), X, batch=30, steps=20, step_size=lambda t: t**-0.7)
    for what, rows, options in (
        ("data rows", X + 1e-9, {}),
        ("step_size", X, {"step_size": lambda t: t**-0.8}),
        ("batch 30 there, 31 here", X, {"batch": 31}),
        ("model", X, {"model": NormalModel(strength=0.3)}),
    ):
        settings = {"batch": 30, "step_size": lambda t: t**-0.7, **options}
        model = settings.pop("model", NormalModel())
        with pytest.raises(ValueError, match=rf"another fit \({what}"):
            svi(model, rows, steps=20, **settings)
    with pytest.raises(ValueError, match=r"another fit \(.*algorithm 'SVI' there, 'CAVI' here"):
        cavi(NormalModel(), X)


@pytest.mark.parametrize("door", DOORS)
def test_a_path_is_looked_at_before_anything_is_done(door, tmp_path, monkeypatch):
    monkeypatch.setattr(NormalModel, "prepare", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(GaussianMixture, "prepare", lambda *_: pytest.fail("work was done"))
    monkeypatch.setattr(sampler, "walk", lambda *_: pytest.fail("work was done"))
    with pytest.raises(ValueError, match="checkpoint: there is no folder"):
        DOORS[door](checkpoint=tmp_path / "nowhere" / "fit.npz")
    with pytest.raises(ValueError, match=r"checkpoint: .* is a folder"):
        DOORS[door](checkpoint=tmp_path)


def test_a_stream_that_cannot_begin_again_has_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint: .* these are an iterator"):
        vl.svi(
            NormalModel(), iter([X]), num_rows=1_000, batch=10, checkpoint=tmp_path / "f", **QUIET
        )


# ------------------------------------------------------------------------- Ctrl-C, twice
class Slow(NormalModel):
    """Whose statistics take a moment, and have to be computed in each sweep."""

    has_local_latents = True

    def statistics(self, params: Any, rows: Any) -> Any:
        time.sleep(0.01)
        return super().statistics(params, rows)


class Endless(Slow):
    """Whose ELBO never settles."""

    def elbo(self, params: Any, statistics: Any) -> Any:
        return 0.0 * super().elbo(params, statistics) + time.monotonic()


LONG: dict[str, Callable[..., Any]] = {
    "advi": lambda **o: vl.advi(SCHOOLS, optimizer=Adam(1e-4), steps=10**8, **QUIET, **o),
    "nuts": lambda **o: vl.nuts(SCHOOLS, chains=2, tune=20, draws=10**7, **QUIET, **o),
    "cavi": lambda **o: vl.cavi(Endless(), X, max_sweeps=10**8, **QUIET, **o),
    "svi": lambda **o: vl.svi(Endless(), X, batch=10, steps=10**8, **QUIET, **o),
}


def press_twice(gap: float, path: Path) -> None:
    """Once there is a file, so something to be lost."""
    while not path.exists():
        time.sleep(0.01)
    time.sleep(0.3)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(gap)


@pytest.mark.parametrize("gap", [0.0, 0.003, 0.05])
@pytest.mark.parametrize("door", LONG)
def test_two_in_a_row_keep_the_result(door, gap, tmp_path):
    if door == "nuts":
        chains()  # compiled, so that draws come soon
    before, path = signal.getsignal(signal.SIGINT), tmp_path / "fit.npz"
    presses = threading.Thread(target=press_twice, args=(gap, path))
    presses.start()
    result = LONG[door](checkpoint=path)  # even if the second comes when all else is done
    presses.join()
    assert result.interrupted
    assert signal.getsignal(signal.SIGINT) is before
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


@pytest.mark.parametrize("door", LONG)
def test_also_while_the_checkpoint_is_written(door, tmp_path, monkeypatch):
    """The first press comes in the middle of a write, the second in the one that follows it."""
    savez, presses = onp.savez, 0

    def pressed(file: Any, **arrays: Any) -> None:
        nonlocal presses
        if len(arrays) > 5 and presses < 3:
            presses += 1
            signal.raise_signal(signal.SIGINT)
        savez(file, **arrays)

    monkeypatch.setattr(onp, "savez", pressed)
    path = tmp_path / "fit.npz"
    try:
        result = LONG[door](checkpoint=path)
    except KeyboardInterrupt as error:
        assert door == "nuts" and "before each had a draw" in str(error)  # noqa: PT018, PT017
    else:
        assert result.interrupted
    assert presses > 1
    assert len(onp.load(path).files) > 5
    assert [file.name for file in tmp_path.iterdir()] == ["fit.npz"]


def test_ctrl_c_is_not_lost_where_the_write_fails(tmp_path, monkeypatch):
    def failing(file: Any, **arrays: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        raise OSError("the disk is full")

    monkeypatch.setattr(onp, "savez", failing)
    keeper = Checkpoint(tmp_path / "fit.npz", {})
    with pytest.raises(KeyboardInterrupt):
        keeper.keep(lambda: {"x": onp.zeros(3)})


def test_in_the_search_for_eta_the_best_trial_is_kept():
    calls = 0

    def z_squared(z):
        return -0.5 * (z**2).sum(axis=-1)

    from vi_lab.advi import chosen

    real = chosen.run_chosen

    def run(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        found = real(*args)
        if calls == 3:
            raise KeyboardInterrupt
        return found

    target = vl.Target(z_squared, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chosen, "run_chosen", run)
        fit = vl.advi(target, optimizer=AdviSequence(), init={"z": [5.0, 5.0]}, **QUIET)
    assert fit.interrupted
    assert calls == 3
    assert fit.losses.size == chosen.TRIAL_STEPS
    assert onp.isfinite(fit.params["loc"]).all()


@pytest.mark.parametrize("nan", [onp.nan, onp.inf])
def test_nan_does_not_win_the_search_for_eta(monkeypatch, nan):
    from vi_lab.advi import chosen
    from vi_lab.advi.blocks import Run

    tried = []

    def run(settings: Any, optimizer: Any, params: Any, *_: Any) -> Run:
        tried.append(optimizer.eta)
        loss = nan if optimizer.eta == 100.0 else abs(optimizer.eta - 0.9)
        return Run(params, onp.full(settings.steps, loss), interrupted=False)

    monkeypatch.setattr(chosen, "run_chosen", run)
    vl.advi(SCHOOLS, optimizer=AdviSequence(), steps=10, **QUIET)
    optimizer = chosen.search_eta(
        _settings(), AdviSequence(), {"loc": onp.zeros(10)}, onp.random.default_rng(0)
    )
    assert optimizer.eta == 1.0


def _settings() -> Any:
    from dataclasses import make_dataclass

    names = ("steps", "progress", "callback")
    return make_dataclass("Asked", names)(10, False, None)


# ------------------------------------------------------------------------------- kill -9
@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_and_resumed(tmp_path):
    """Three of each door; `killed.py` says what is looked at, and takes more by hand."""
    script = Path(__file__).with_name("killed.py")
    said = subprocess.run(
        [sys.executable, str(script), "3"], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("all the same bits") == 4
