"""`method="deterministic"`: the search on fixed draws, where the best q is known."""

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import zoo

FIXED = {"method": "deterministic", "seed": 1, "progress": False}


def test_fit_of_the_first_model(engine):
    """30 fixed draws: sds within 1% of the best q, for this seed."""
    entry = zoo.notebook_gaussian()
    fit = vl.advi(entry.model(), **FIXED)
    for name, best in zip(("mu", "sd"), entry.exact.mean_field_sd.values(), strict=True):
        assert fit.unconstrained_std[name] == pytest.approx(best, rel=0.01)
    assert fit.losses[-1] == pytest.approx(entry.exact.mean_field_loss, abs=0.01)
    assert fit.convergence.steps < 20
    assert {stage.draws for stage in fit.stages} == {30}


def test_fit_of_a_gaussian_is_exact(engine):
    fit = vl.advi(zoo.correlated_gaussian().model(), **FIXED)
    onp.testing.assert_allclose(fit.unconstrained_std["density"] ** 2, 0.36, rtol=1e-12)
    onp.testing.assert_allclose(fit.unconstrained_mean["density"], 0.0, atol=1e-12)


def test_fit_of_a_badly_scaled_gaussian():
    scale = onp.array([1e-3, 1.0, 1e3])
    far = vl.Target(lambda z: -0.5 * np.sum(((z - scale) / scale) ** 2, axis=-1), dim=3)
    fit = vl.advi(far, **FIXED)
    onp.testing.assert_allclose(fit.unconstrained_mean["z"], scale, rtol=1e-10)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], scale, rtol=1e-10)
    assert fit.convergence.steps < 12  # trust grows fourfold a step, from 2 nats to a million


def test_fit_that_starts_at_its_optimum():
    narrow = vl.Target(lambda z: -0.5 * np.sum((z / 0.1) ** 2, axis=-1), dim=1)
    fit = vl.advi(narrow, **FIXED)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], 0.1, rtol=1e-12)
    assert fit.losses.size >= 1
    assert "last loss" in repr(fit)


def test_fit_says_so_when_there_is_no_optimum():
    flat = vl.Target(lambda z: 0.0 * np.sum(z, axis=-1), dim=2)
    with pytest.warns(vl.ConvergenceWarning, match="no optimum to find, .* while z runs away"):
        vl.advi(flat, **FIXED)


def test_it_starts_once_and_takes_no_draws_but_its_own():
    """Its tolerance is 5% of a standard deviation, and too few draws are no reason for more."""
    heavy = vl.Target(lambda z: -2.5 * np.sum(np.log1p(z**2 / 4.0), axis=-1), dim=2)
    few = {**FIXED, "draws": 8}
    with pytest.warns(vl.ConvergenceWarning, match="more would be needed than the fixed draws"):
        fit = vl.advi(heavy, **few)
    assert fit.convergence.why == "draws"
    assert fit.convergence.gap > fit.convergence.tolerance == pytest.approx(0.5 * 0.05**2 * 4)
    assert {stage.draws for stage in fit.stages} == {8}
    assert [len(stage.why.split(", ")) for stage in fit.stages] == [1, 1]
    many = vl.advi(heavy, **{**FIXED, "draws": 2_000})
    assert many.convergence.converged
    two = vl.advi(heavy, **{**FIXED, "draws": 2_000}, starts=2)
    assert two.stages[0].why.count(",") == 1
