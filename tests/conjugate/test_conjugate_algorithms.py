"""`cavi`, `svi`, and where their rows come from."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as onp
import pytest
from peak import only_on_linux, printed_by

import vi_lab as vl
import vi_lab.progress
from vi_lab.conjugate import (
    GaussianMixture,
    GaussianTarget,
    LinearRegression,
    NormalModel,
    cavi,
    svi,
)
from vi_lab.conjugate.model import natural_step, scale_statistics
from vi_lab.engine.trees import tree_map
from vi_lab.errors import NonFiniteError
from vi_lab.model.maps import is_mapped
from vi_lab.optimizers import RobbinsMonro

X = onp.random.default_rng(0).normal(3.0, 2.0, 1_000)
MODEL = NormalModel(mean=0.5, strength=0.3, shape=2.0, rate=1.5)
SLOW = GaussianTarget([1.0, 2.0], onp.linalg.inv([[1.0, 0.99], [0.99, 1.0]]))
QUIET: dict[str, Any] = {"progress": False}


def rows_3d() -> onp.ndarray:
    rng = onp.random.default_rng(1)
    X = rng.standard_normal((1_000, 2))
    return onp.column_stack([X, X @ [1.0, -2.0] + 0.5 * rng.standard_normal(1_000)])


# ------------------------------------------------------------- one step, two algorithms
@pytest.mark.parametrize(
    ("model", "rows"),
    [
        (MODEL, X),
        (LinearRegression(), rows_3d()),
        (LinearRegression(precision=vl.Gamma(0.5, 0.3)), rows_3d()),
    ],
    ids=["normal", "regression", "ard"],
)
def test_svi_with_all_rows_and_steps_of_one_is_cavi(model: Any, rows: onp.ndarray) -> None:
    """To rounding: the rows are added up in another order."""
    sweeps = cavi(model, rows, max_sweeps=6, rtol=0.0, atol=0.0, **QUIET)
    steps = svi(model, rows, batch=1_000, step_size=1.0, steps=6, rtol=0.0, atol=0.0, **QUIET)
    same = min(len(steps.elbos), len(sweeps.elbos))  # one of them may end, on equal digits
    assert same >= 4
    onp.testing.assert_allclose(steps.elbos[:same], sweeps.elbos[:same], rtol=1e-12)
    tree_map(
        lambda a, b: onp.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9),
        steps.params,
        sweeps.params,
    )


def test_cavi_reads_rows_again_only_for_local_latents() -> None:
    fit = cavi(MODEL, X, max_sweeps=3, rtol=0.0, atol=0.0, **QUIET)
    assert fit.rows_seen.tolist() == [1_000] * 3
    mixture = GaussianMixture(components=2)
    fit = cavi(mixture, X, max_sweeps=3, rtol=0.0, atol=0.0, **QUIET)
    assert fit.rows_seen.tolist() == [1_000, 2_000, 3_000]


def test_svi_comes_close_to_cavi_in_less_than_three_sweeps() -> None:
    """The scaling N/B as well: without it the precision of mu would be a hundredth."""
    best = cavi(MODEL, X, **QUIET)
    fit = svi(MODEL, X, batch=10, epochs=2, rtol=0.0, atol=0.0, **QUIET)
    assert fit.rows_seen[-1] == 2_000
    assert best.elbo - 1.0 < fit.elbo <= best.elbo
    precision = [f.params["mu"]["precision"] for f in (fit, best)]
    assert precision[0] == pytest.approx(precision[1], rel=0.1)


def test_steps_are_as_long_as_the_schedule_says() -> None:
    """tau's shape has the same optimum in every step, so its path tells the step sizes."""
    default = {"rho": onp.arange(1.0, 5.0) ** -0.7, "options": {}}
    schedules = [RobbinsMonro(1.0, 2.0, 0.7), RobbinsMonro(0.5, 0.0, 1.0), lambda t: 0.9**t]
    given = [{"rho": s(onp.arange(1.0, 5.0)), "options": {"step_size": s}} for s in schedules]
    number = {"rho": onp.full(4, 0.3), "options": {"step_size": 0.3}}
    for case in (default, number, *given):
        shapes: list[float] = []

        def record(step: int, params: Any, elbo: float, shapes: list[float] = shapes) -> None:
            shapes.append(float(params["tau"]["shape"]))

        svi(
            MODEL,
            X,
            batch=100,
            steps=4,
            evaluate_every=1,
            callback=record,
            **case["options"],
            **QUIET,
        )
        best = MODEL.shape + 500.5
        left = (best - onp.array([MODEL.shape, *shapes])) / (best - MODEL.shape)
        expected = (1 - case["rho"]) * left[:-1]
        onp.testing.assert_allclose(left[1:], expected, rtol=1e-9, atol=1e-12)


def test_same_seed_same_bits_and_another_seed_other_rows() -> None:
    fits = [svi(MODEL, X, batch=50, epochs=1, seed=seed, **QUIET) for seed in (1, 1, 2)]
    onp.testing.assert_array_equal(fits[0].elbos, fits[1].elbos)
    assert fits[0].elbo != fits[2].elbo
    assert fits[0].sample(5, seed=3)["mu"].tolist() == fits[1].sample(5, seed=3)["mu"].tolist()


# ----------------------------------------------------------------------- stopping
def test_cavi_stops_by_relative_or_absolute_change() -> None:
    loose = cavi(SLOW, rtol=0.0, atol=1e-2, **QUIET)
    tight = cavi(SLOW, rtol=0.0, atol=1e-8, **QUIET)
    relative = cavi(SLOW, rtol=1e-2, atol=0.0, **QUIET)
    assert len(relative.elbos) < len(tight.elbos)
    assert len(loose.elbos) < len(tight.elbos)
    assert loose.converged
    assert tight.converged
    assert 0.0 <= onp.diff(tight.elbos)[-1] <= 1e-8 < onp.diff(tight.elbos)[-2]
    assert tight.verdict.startswith(f"converged: sweep {len(tight.elbos)} changed the ELBO by")


def test_cavi_says_when_it_has_not_converged() -> None:
    fit = cavi(SLOW, max_sweeps=3, **QUIET)
    assert not fit.converged
    assert "not converged: the last of 3 sweeps" in fit.verdict
    assert fit.verdict in str(fit.summary())
    assert fit.verdict in repr(fit)


def test_converged_starts_leave() -> None:
    fit = cavi(SLOW, starts=8, seed=1, **QUIET)
    last = (~onp.isnan(fit.start_elbos)).sum(axis=1)
    assert len(set(last)) > 1
    assert fit.start_elbos.shape == (8, last.max())
    finals = fit.start_elbos[onp.arange(8), last - 1]
    assert fit.elbo == finals.max()
    assert "8 of 8 starts end within 0.01 nats of the best" in fit.verdict
    best = tree_map(lambda value: value[fit.best], fit.start_params)
    assert fit.params["z[0]"]["precision_mean"] == best["z[0]"]["precision_mean"]
    assert len(fit.rows_seen) == len(fit.elbos)


def test_svi_stops_when_the_elbo_has_settled() -> None:
    options: dict[str, Any] = {"batch": 10, "epochs": 20, "evaluate_every": 10, **QUIET}
    fit = svi(MODEL, X, atol=0.05, rtol=0.0, patience=3, **options)
    assert fit.converged
    assert "converged: the ELBO has settled" in fit.verdict
    spreads = [onp.ptp(fit.elbos[i - 3 : i]) for i in range(3, len(fit.elbos) + 1)]
    assert spreads[-1] <= 0.05 < min(spreads[:-1])
    patient = svi(MODEL, X, atol=0.05, rtol=0.0, patience=8, **options)
    strict = svi(MODEL, X, atol=0.005, rtol=0.0, patience=3, **options)
    relative = svi(MODEL, X, atol=0.0, rtol=0.05 / 2_097, patience=3, **options)
    assert len(patient.elbos) > len(fit.elbos)
    assert len(strict.elbos) > len(fit.elbos)
    assert len(relative.elbos) == len(fit.elbos)
    unfinished = svi(MODEL, X, batch=100, steps=7, **QUIET)
    assert "took all of its 7 steps" in unfinished.verdict
    assert not unfinished.converged


def test_callbacks_can_stop() -> None:
    fit = cavi(SLOW, starts=2, callback=lambda sweeps, params, elbos: sweeps == 4, **QUIET)
    assert fit.start_elbos.shape == (2, 4)
    assert "stopped by the callback after sweep 4" in fit.verdict
    fit = svi(MODEL, X, batch=10, evaluate_every=5, callback=lambda t, p, e: t == 15, **QUIET)
    assert fit.rows_seen.tolist() == [50, 100, 150]
    assert "stopped by the callback after step 15" in fit.verdict


def test_an_interrupted_fit_is_returned() -> None:
    def press_control_c(done: int, params: Any, elbo: Any) -> None:
        if done == 6:
            raise KeyboardInterrupt

    fit = cavi(SLOW, callback=press_control_c, **QUIET)
    assert fit.interrupted
    assert len(fit.elbos) == 6
    assert "interrupted after sweep 6" in fit.verdict
    fit = svi(MODEL, X, batch=10, evaluate_every=3, callback=press_control_c, **QUIET)
    assert fit.interrupted
    assert fit.rows_seen.tolist() == [30, 60]
    assert "interrupted after step 6" in fit.verdict
    assert fit.sample(3, seed=1)["mu"].shape == (3,)


class Interrupted(NormalModel):
    """A model in whose first sum the user loses patience."""

    def statistics(self, params: Any, rows: Any) -> Any:
        raise KeyboardInterrupt


def test_interrupted_before_anything_was_done() -> None:
    for fit in (cavi(Interrupted(), X, **QUIET), svi(Interrupted(), X, batch=10, **QUIET)):
        assert fit.interrupted
        assert onp.isnan(fit.elbo)
        assert fit.verdict.startswith("interrupted before the end of the first")
        assert fit.params["tau"]["shape"] == 1.0


class Asked(NormalModel):
    """A model during whose preparation, and again before its last ELBO, somebody presses Ctrl-C."""

    def prepare(self, rows: Any, num_rows: int) -> Any:
        signal.raise_signal(signal.SIGINT)
        return super().prepare(rows, num_rows)


@pytest.mark.parametrize("fit", [cavi, partial(svi, batch=10)])
def test_interrupted_while_it_is_prepared(fit: Any) -> None:
    """What has begun is ended, so there is a q to return; and Ctrl-C works as before after it."""
    before = signal.getsignal(signal.SIGINT)
    found = fit(Asked(), X, **QUIET)
    assert found.interrupted
    assert found.verdict.startswith("interrupted before the end of the first")
    assert found.params["tau"]["shape"] == 1.0
    assert found.model.origin == X.mean()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_is_raised_if_it_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Asked):
        def prepare(self, rows: Any, num_rows: int) -> Any:
            signal.raise_signal(signal.SIGINT)
            return super().prepare(rows, num_rows)

    assert cavi(Impatient(), X, **QUIET).interrupted
    monkeypatch.setattr(vi_lab.progress, "IMPATIENCE", -1.0)
    with pytest.raises(KeyboardInterrupt):
        cavi(Impatient(), X, **QUIET)


def test_svi_interrupted_between_evaluations_evaluates_once_more() -> None:
    class Counting(NormalModel):
        presses = (5, 6)  # in the fifth step; for some, again in the evaluation after it

        def statistics(self, params: Any, rows: Any) -> Any:
            calls.append(len(rows))
            if len(calls) in self.presses:
                raise KeyboardInterrupt
            return super().statistics(params, rows)

    class Once(Counting):
        presses = (5,)

    calls: list[int] = []
    fit = svi(Once(origin=0.0), X, batch=10, **QUIET)
    assert fit.interrupted
    assert fit.rows_seen.tolist() == [40]
    assert "interrupted after step 4" in fit.verdict
    calls.clear()
    fit = svi(Counting(origin=0.0), X, batch=10, **QUIET)
    assert fit.interrupted
    assert onp.isnan(fit.elbo)
    assert fit.params["tau"]["shape"] > 1.0


def test_an_elbo_that_is_not_finite_is_named() -> None:
    with onp.errstate(all="ignore"):
        with pytest.raises(NonFiniteError, match="sweep 1, start 0: the ELBO is"):
            cavi(MODEL, [1e200, -1e200], **QUIET)
        with pytest.raises(NonFiniteError, match="step 1: the ELBO is"):
            svi(MODEL, [1e200, -1e200], batch=1, **QUIET)


def test_starting_from_another_fit() -> None:
    fit = cavi(MODEL, X, **QUIET)
    again = cavi(fit.model, X, init=fit.params, **QUIET)
    assert len(again.elbos) == 2
    assert again.elbo == pytest.approx(fit.elbo, rel=1e-12)


def test_progress_is_shown_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    cavi(MODEL, X)
    svi(MODEL, X, batch=100, steps=3)
    shown = capsys.readouterr().err
    assert "CAVI" in shown
    assert "SVI" in shown
    cavi(MODEL, X, progress=False)
    assert not capsys.readouterr().err


# --------------------------------------------------------------------- evaluation
def test_what_is_evaluated_and_when() -> None:
    fit = svi(MODEL, X, batch=100, epochs=3, evaluate_every=7, atol=0.0, rtol=0.0, **QUIET)
    assert fit.rows_seen.tolist() == [700, 1_400, 2_100, 2_800, 3_000]
    half = svi(
        MODEL, X, batch=100, epochs=3, evaluate_every=7, evaluate_on=X[:500], atol=0.0, **QUIET
    )
    assert half.params["tau"]["rate"] == fit.params["tau"]["rate"]
    model, params = half.model, half.params
    statistics = model.statistics(params, X[:500])
    doubled = {name: 2.0 * value for name, value in statistics.items()}
    assert half.elbo == pytest.approx(float(model.elbo(params, doubled)), rel=1e-12)
    assert half.elbo != fit.elbo


# ------------------------------------------------------------------- where rows are
def minibatches_of(rows: Any, batch: int, **options: Any) -> list[onp.ndarray]:
    """The minibatches on which `svi` works, in turn."""
    seen: list[onp.ndarray] = []

    class Recording(NormalModel):
        def statistics(self, params: Any, rows: Any) -> Any:
            seen.append(onp.array(rows))
            return super().statistics(params, rows)

    svi(Recording(), rows, batch=batch, evaluate_every=10**6, **options, **QUIET)
    return seen[:-1]  # without the evaluation at the end


def test_epochs_are_permutations_drawn_in_turn_and_nothing_is_dropped() -> None:
    """As by hand, bit for bit; 64 does not divide 1,000, so epochs end within minibatches."""
    numbers = onp.arange(1_000.0)
    seen = minibatches_of(numbers, 64, steps=40, seed=7)
    assert {len(rows) for rows in seen} == {64}
    rng = onp.random.default_rng(7)
    NormalModel().init(numbers, rng)  # the start is drawn first
    by_hand = onp.concatenate([rng.permutation(1_000) for _ in range(3)])
    onp.testing.assert_array_equal(onp.concatenate(seen), by_hand[: 40 * 64])


def test_epochs_are_counted_in_rows() -> None:
    options: dict[str, Any] = {"rtol": 0.0, "atol": 0.0, **QUIET}
    for batch, epochs in ((64, 3), (600, 2), (1_000, 2)):
        fit = svi(MODEL, X, batch=batch, epochs=epochs, **options)
        assert fit.rows_seen[-1] == epochs * 1_000 // batch * batch


def test_the_last_rows_of_a_stream_that_ends_are_a_smaller_minibatch() -> None:
    """100, 100 and 50 rows: the third step is half as long, its statistics count N/50 times."""
    rows = X[:250]
    options: dict[str, Any] = {"num_rows": 250, "seed": 3, "rtol": 0.0, "atol": 0.0}
    seen = minibatches_of(iter([rows[:30], rows[30:]]), 100, **options)
    assert [len(batch) for batch in seen] == [100, 100, 50]
    onp.testing.assert_array_equal(onp.sort(onp.concatenate(seen)), onp.sort(rows))
    stream = iter([rows[:30], rows[30:]])
    fit = svi(
        MODEL,
        stream,
        batch=100,
        step_size=RobbinsMonro(1.0, 0.0, 0.9),
        evaluate_every=1,
        **options,
        **QUIET,
    )
    assert fit.rows_seen.tolist() == [100, 200, 250]
    params = fit.model.init(rows, onp.random.default_rng(0))
    for t, (batch, part) in enumerate(zip(seen, (1.0, 1.0, 0.5), strict=True)):
        scaled = scale_statistics(fit.model.statistics(params, batch), 250 / len(batch))
        params = natural_step(fit.model, params, scaled, part * (t + 1.0) ** -0.9)
    tree_map(lambda a, b: onp.testing.assert_allclose(a, b[0], rtol=1e-12), fit.params, params)


def memory_map(path: Path, rows: onp.ndarray) -> onp.memmap:
    onp.save(path, rows)
    mapped: onp.memmap = onp.load(path, mmap_mode="r")
    return mapped


def test_a_memory_map_gives_what_an_array_gives(tmp_path: Path) -> None:
    """For CAVI to rounding; for SVI each row is read once an epoch, in an order that varies."""
    rows = onp.random.default_rng(1).normal(3.0, 2.0, 150_000).astype("float32")
    mapped = memory_map(tmp_path / "rows.npy", rows)
    assert is_mapped(mapped)
    fits = [cavi(MODEL, data, **QUIET) for data in (rows, mapped)]
    assert fits[0].elbo == pytest.approx(fits[1].elbo, rel=1e-12)
    epochs = [
        onp.concatenate(minibatches_of(mapped, 1_000, steps=150, seed=seed))[:150_000]
        for seed in (0, 1)
    ]
    for seen in epochs:
        onp.testing.assert_array_equal(onp.sort(seen), onp.sort(rows))
    assert (epochs[0] != epochs[1]).mean() > 0.99
    fit = svi(MODEL, mapped, batch=1_000, epochs=2, rtol=0.0, atol=0.0, **QUIET)
    assert abs(fit.model.moments(fit.params)[0] - rows.mean()) < 0.02


def test_a_bad_row_far_inside_a_map_is_found(tmp_path: Path) -> None:
    rows = onp.ones(100_000)
    rows[70_000] = onp.nan
    mapped = memory_map(tmp_path / "rows.npy", rows)
    with pytest.raises(ValueError, match="is not finite"):
        cavi(MODEL, mapped, **QUIET)


def test_streams_of_blocks() -> None:
    blocks = onp.split(X, [100, 350, 700])

    def begin() -> Iterator[onp.ndarray]:
        return iter(blocks)

    options: dict[str, Any] = {"batch": 50, "num_rows": 1_000, "rtol": 0.0, "atol": 0.0, **QUIET}
    twice = svi(MODEL, begin, epochs=2, **options)
    assert twice.rows_seen[-1] == 2_000
    once = svi(MODEL, iter(blocks), epochs=2, **options)
    assert once.rows_seen[-1] == 1_000
    assert "the stream ended after 20 steps" in once.verdict
    best = cavi(MODEL, X, **QUIET).params["tau"]
    found = twice.params["tau"]
    assert found["shape"] / found["rate"] == pytest.approx(best["shape"] / best["rate"], rel=0.1)
    with pytest.raises(ValueError, match="num_rows: 1200 were announced, but the blocks held 1000"):
        svi(MODEL, begin, **{**options, "num_rows": 1_200})


def test_cavi_reads_a_function_s_blocks_in_every_sweep() -> None:
    blocks = onp.split(X, [100, 350, 700])
    begun = cavi(GaussianMixture(2), X, max_sweeps=1, **QUIET)
    start: dict[str, Any] = {"init": begun.params, "max_sweeps": 4, **QUIET}
    fits = [cavi(begun.model, rows, **start) for rows in (X, lambda: iter(blocks))]
    onp.testing.assert_allclose(fits[1].elbos, fits[0].elbos, rtol=1e-12)
    assert fits[1].rows_seen.tolist() == [1_000, 2_000, 3_000, 4_000]
    used_up = iter(blocks)
    with pytest.raises(ValueError, match=r"^rows: there are no blocks; .* let a function"):
        cavi(MODEL, lambda: used_up, **QUIET)


MEMORY = """
import sys
import numpy as np
from vi_lab.conjugate import LinearRegression, cavi, svi

rows = np.load(sys.argv[1], mmap_mode="r")
before = peak()
fit = svi(LinearRegression(), rows, batch=10_000, epochs=1, rtol=0.0, atol=0.0, progress=False)
cavi(LinearRegression(), rows, max_sweeps=2, progress=False)
print(peak() - before, fit.rows_seen[-1])
"""


@only_on_linux
def test_memory_stays_flat(tmp_path: Path) -> None:
    """2 million rows of 8 numbers, 128 MB; the peak rises by buffers of 32 MB, not by the data."""
    path = tmp_path / "rows.npy"
    rows = onp.lib.format.open_memmap(path, mode="w+", dtype=float, shape=(2_000_000, 8))
    rows[:] = onp.random.default_rng(0).standard_normal((1_000, 8))[onp.arange(2_000_000) % 1_000]
    rows.flush()
    grown, seen = printed_by(MEMORY, str(path))
    assert seen > 1_990_000
    assert grown < 100


# ----------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 1_001}, r"batch: 1001 is more than there are rows \(1000\)"),
        ({"batch": 0}, "batch: must be"),
        ({"batch": 10, "step_size": -0.5}, "step_size: must be a positive number"),
        ({"batch": 10, "step_size": 2.0}, r"step_size: is 2.0 at step 1, .* give one in \(0, 1\]"),
        ({"batch": 10, "step_size": lambda t: 0.4 * t}, r"step_size: is 1.2.* at step 3"),
        ({"batch": 10, "seed": -1}, "seed: must be a whole number from 0"),
        ({"batch": 10, "seed": 1.5}, "seed: must be a whole number from 0"),
        ({"batch": 10, "patience": 1}, "patience: must be"),
        ({"batch": 10, "evaluate_every": 0}, "evaluate_every: must be"),
        ({"batch": 10, "steps": 5, "epochs": 1}, "give one of the two"),
        ({"batch": 10, "steps": 0}, "steps: must be"),
        ({"batch": 10, "epochs": 0}, "epochs: must be"),
        ({"batch": 10, "num_rows": 1_000}, "num_rows: is for streams"),
        ({"batch": 10, "evaluate_on": [onp.nan]}, "rows: row 0 is not finite"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        svi(MODEL, X, **options, **QUIET)
    with pytest.raises(TypeError, match="batch: must be a whole number, 1 or more, not True"):
        svi(MODEL, X, batch=True, **QUIET)


def test_bad_streams_are_refused() -> None:
    with pytest.raises(ValueError, match="num_rows: must be given"):
        svi(MODEL, iter([X]), batch=10, **QUIET)
    with pytest.raises(ValueError, match="rows: there are no blocks"):
        svi(MODEL, iter([]), batch=10, num_rows=100, **QUIET)
    with pytest.raises(ValueError, match="no data to subsample; use cavi"):
        svi(SLOW, X, batch=10, **QUIET)


@pytest.mark.parametrize("fit", [cavi, partial(svi, batch=10)])
@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (NormalModel, {}, "model: is the class NormalModel itself; give a conjugate model"),
        (
            vl.Target(lambda z: -(z[..., 0] ** 2), 1),
            {},
            "model: is a Target; give a conjugate model",
        ),
        ("normal", {}, "model: is the str 'normal'; give"),
        (MODEL, {"init": 3}, "init: is the int 3; give a ConjugateFit, the name"),
        (MODEL, {"init": X}, "init: is a ndarray; give"),
        (MODEL, {"callback": 3}, "callback: is the int 3; give a function of the steps done"),
    ],
)
def test_wrong_objects_are_refused(fit: Any, model: Any, options: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        fit(model, X, **options, **QUIET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mu": None}, "has the blocks"),
        ({"mu": {"precision": 1.0}}, r"init\['mu'\]: needs the parameters \['precision', 'prec"),
        ({"mu": 1.0}, r"init\['mu'\]: needs the parameters"),
        ({"tau": {"shape": [1.0, 2.0], "rate": 1.0}}, r"shape must have the shape \(\), not \(2,"),
        ({"tau": {"shape": onp.nan, "rate": 1.0}}, r"init\['tau'\]\['shape'\]: must be finite"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    good = cavi(MODEL, X, **QUIET)
    changed = {**good.params, **change}
    init = {block: value for block, value in changed.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        cavi(good.model, X, init=init, **QUIET)
