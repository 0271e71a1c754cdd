"""A `ConjugateFit` to disk and back, and gone on from."""

from typing import Any

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab.conjugate import (
    ConjugateFit,
    GaussianMixture,
    GaussianTarget,
    KnownVarianceMixture,
    LinearRegression,
    NormalModel,
    cavi,
    svi,
)
from vi_lab.results.storage import load_arrays, save_arrays

QUIET: dict[str, Any] = {"progress": False}
RNG = onp.random.default_rng(1)
X = RNG.normal(3.0, 2.0, size=200)
ROWS = onp.column_stack([onp.ones(200), X, 1.0 + 0.5 * X + RNG.normal(size=200)])
CASES = [
    (NormalModel(strength=0.5), X),
    (GaussianMixture(2), X),
    (GaussianMixture(2, mean=[3.0, 9.0]), onp.column_stack([X, X**2])),
    (KnownVarianceMixture(3, sd=2.0), X),
    (LinearRegression(), ROWS),
    (LinearRegression(precision=vl.Gamma(1.0, [1.0, 2.0])), ROWS),
    (GaussianTarget([0.0, 1.0], [[2.0, 1.0], [1.0, 2.0]]), None),
]


@pytest.mark.parametrize(("model", "rows"), CASES, ids=repr)
def test_saved_and_loaded(model, rows, tmp_path):
    """By the model as it was given, and as it was fitted: the same bits."""
    fit = cavi(model, rows, starts=3, max_sweeps=3, seed=2, **QUIET)
    fit.save(tmp_path / "fit.npz")
    for given in (model, fit.model):
        loaded = ConjugateFit.load(tmp_path / "fit.npz", given)
        assert repr(loaded) == repr(fit)
        assert (loaded.seed, loaded.seconds, loaded.converged) == (2, fit.seconds, fit.converged)
        onp.testing.assert_array_equal(loaded.start_elbos, fit.start_elbos)
        onp.testing.assert_array_equal(loaded.seen, fit.seen)
        drawn, again = fit.sample(7, seed=1), loaded.sample(7, seed=1)
        assert drawn.keys() == again.keys()
        for name, draws in drawn.items():
            onp.testing.assert_array_equal(again[name], draws)


@pytest.mark.parametrize(("model", "rows"), CASES, ids=repr)
def test_gone_on_from(model, rows):
    """Sweeps after a break are those without one, up to rounding: their start may be blended."""
    whole = cavi(model, rows, max_sweeps=12, rtol=0.0, atol=-0.0, seed=2, **QUIET)
    part = cavi(model, rows, max_sweeps=4, rtol=0.0, atol=0.0, seed=2, **QUIET)
    more = cavi(model, rows, init=part, max_sweeps=8, rtol=0.0, atol=0.0, **QUIET)
    assert more.elbo == pytest.approx(whole.elbo, rel=1e-10)
    if model.has_local_latents:  # others are soon where nothing moves any more
        onp.testing.assert_allclose(more.elbos, whole.elbos[4:], rtol=1e-10)


def test_steps_go_on_from_a_fit_of_the_same_model():
    fit = cavi(NormalModel(), X, **QUIET)
    more = svi(NormalModel(), X + 1.0, batch=10, steps=1, step_size=1e-9, init=fit, **QUIET)
    assert more.model.origin == fit.model.origin  # about which the parameters are taken
    onp.testing.assert_allclose(more.params["tau"]["rate"], fit.params["tau"]["rate"], rtol=1e-6)


OTHERS = [
    (GaussianMixture(2), "model: is a GaussianMixture, but that of .* a NormalModel"),
    (NormalModel(mean=1.0), "model: is not that of .*, which differs in mean"),
    (NormalModel(origin=1.0), "model: is not that of .*, which differs in origin"),
    (NormalModel(shape=2.0, rate=2.0), "differs in rate, shape"),
]


@pytest.mark.parametrize(("other", "message"), OTHERS, ids=lambda case: str(case)[:30])
def test_another_model_is_refused(other, message, tmp_path):
    fit = cavi(NormalModel(), X, **QUIET)
    fit.save(tmp_path / "fit.npz")
    with pytest.raises(ValueError, match=message):
        ConjugateFit.load(tmp_path / "fit.npz", other)
    with pytest.raises(ValueError, match=message):
        cavi(other, X, init=fit, **QUIET)


def test_files_of_other_results_are_refused(tmp_path):
    path = tmp_path / "fit.npz"
    target = vl.Target(lambda z: -0.5 * z @ z, 2)
    vl.advi(target, optimizer="adam", steps=1, **QUIET).save(path)
    with pytest.raises(ValueError, match=r"^path: .* another kind of result: .*'algorit"):
        ConjugateFit.load(path, NormalModel())
    cavi(NormalModel(), X, **QUIET).save(path)
    with pytest.raises(ValueError, match=r"^path: .* another kind of result: .*'latents'"):
        vl.Fit.load(path, target)
    saved = load_arrays(path)
    save_arrays(path, **{k: v for k, v in saved.items() if not k.startswith("start_params.mu")})
    with pytest.raises(ValueError, match=r"^path: .* holds the blocks \['tau'\], but the model"):
        ConjugateFit.load(path, NormalModel())


def test_a_frame_is_a_pair():
    fit = cavi(LinearRegression(), ROWS, **QUIET)
    origin, basis = fit.model.frame
    assert LinearRegression(frame=(origin, basis)).frame.origin is origin
    assert cavi(LinearRegression(frame=(origin, basis)), ROWS, **QUIET).elbo == fit.elbo
