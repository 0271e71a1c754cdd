"""Deterministic ADVI: fixed draws, Newton steps, and the best q of models for which it is known."""

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import zoo
from vi_lab.advi.deterministic import balanced_draws


def test_fit_of_the_first_model(engine):
    """30 fixed draws: sds within 1% of the best q, for this seed."""
    entry = zoo.notebook_gaussian()
    fit = vl.advi(entry.model(), method="deterministic", seed=1, progress=False)
    for name, best in zip(("mu", "sd"), entry.exact.mean_field_sd.values(), strict=True):
        assert fit.unconstrained_std[name] == pytest.approx(best, rel=0.01)
    assert fit.losses[-1] == pytest.approx(entry.exact.mean_field_loss, abs=0.01)
    assert len(fit.losses) < 60


def test_fit_of_a_gaussian_is_exact(engine):
    fit = vl.advi(zoo.correlated_gaussian().model(), method="deterministic", seed=1, progress=False)
    onp.testing.assert_allclose(fit.unconstrained_std["density"] ** 2, 0.36, rtol=1e-3)
    onp.testing.assert_allclose(fit.unconstrained_mean["density"], 0.0, atol=1e-3)


def test_fit_of_a_badly_scaled_gaussian():
    scale = onp.array([1e-3, 1.0, 1e3])
    far = vl.Target(lambda z: -0.5 * np.sum(((z - scale) / scale) ** 2, axis=-1), dim=3)
    fit = vl.advi(far, method="deterministic", seed=1, progress=False)
    onp.testing.assert_allclose(fit.unconstrained_mean["z"], scale, rtol=1e-3)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], scale, rtol=1e-3)
    assert len(fit.losses) < 40  # 31; without measuring in sds of q it takes 49


def test_fit_that_starts_at_its_minimum():
    narrow = vl.Target(lambda z: -0.5 * np.sum((z / 0.1) ** 2, axis=-1), dim=1)
    fit = vl.advi(narrow, method="deterministic", seed=1, progress=False)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], 0.1, rtol=1e-6)
    assert fit.losses.size >= 1
    assert "last loss" in repr(fit)


def test_fit_says_so_when_there_is_no_minimum():
    flat = vl.Target(lambda z: 0.0 * np.sum(z, axis=-1), dim=2)
    with pytest.warns(vl.ConvergenceWarning, match="no minimum"):
        vl.advi(flat, method="deterministic", seed=1, progress=False)


@pytest.mark.parametrize(("num_draws", "dim"), [(30, 2), (30, 40)])
def test_balanced_draws_have_exact_second_moments(num_draws, dim):
    eps = balanced_draws(onp.random.default_rng(0), num_draws, dim)
    assert eps.shape == (num_draws, dim)
    onp.testing.assert_allclose(eps.mean(axis=0), 0.0, atol=1e-14)
    second = eps.T @ eps / num_draws
    onp.testing.assert_allclose(onp.diag(second), 1.0, rtol=1e-12)
    if dim < num_draws // 2:
        onp.testing.assert_allclose(second, onp.eye(dim), atol=1e-12)
    with pytest.raises(ValueError, match="even"):
        balanced_draws(onp.random.default_rng(0), 7, 2)
