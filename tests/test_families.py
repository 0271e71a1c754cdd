"""Families against SciPy, and the two scales against each other."""

import numpy as onp
import pytest
import scipy.stats

from vi_lab.families import FullRankGaussian, MeanFieldGaussian, get_family

LOC, LOG_SCALE = onp.array([1.0, -2.0, 0.5]), onp.array([0.3, -1.0, 0.7])
LOWER = onp.array([[9.0, 9.0, 9.0], [0.5, 9.0, 9.0], [-0.8, 0.4, 9.0]])  # 9: must not matter
CASES = [
    (MeanFieldGaussian(), {"loc": LOC, "log_scale": LOG_SCALE}),
    (FullRankGaussian(), {"loc": LOC, "log_scale": LOG_SCALE, "lower": LOWER}),
]
cases = pytest.mark.parametrize(("family", "params"), CASES, ids=["mean_field", "full_rank"])


def reference(family, params):
    scale = onp.diag(onp.exp(LOG_SCALE))
    if "lower" in params:
        scale = scale @ (onp.eye(3) + onp.tril(LOWER, -1))
    return scipy.stats.multivariate_normal(LOC, scale @ scale.T), scale


@cases
def test_density_and_entropy_are_those_of_scipy(engine, family, params):
    exact, _ = reference(family, params)
    z = onp.random.default_rng(0).normal(size=(5, 3))
    log_density = engine.compile(family.log_density)
    onp.testing.assert_allclose(log_density(params, z), exact.logpdf(z), rtol=1e-12)
    onp.testing.assert_allclose(log_density(params, z[0]), exact.logpdf(z[0]), rtol=1e-12)
    assert engine.compile(family.entropy)(params) == pytest.approx(exact.entropy(), rel=1e-12)


@cases
def test_transform_moments_and_inverse(family, params):
    exact, scale = reference(family, params)
    eps = onp.random.default_rng(0).normal(size=(4, 2, 3))
    z = family.transform(params, eps)
    onp.testing.assert_allclose(z, LOC + eps @ scale.T, rtol=1e-13)
    onp.testing.assert_allclose(
        family.scale_solve(params, (z - LOC).reshape(-1, 3)), eps.reshape(-1, 3), rtol=1e-12
    )
    onp.testing.assert_allclose(family.scale_tril(params), scale, rtol=1e-14)
    onp.testing.assert_allclose(family.covariance(params), exact.cov, rtol=1e-13)
    onp.testing.assert_allclose(family.std(params), onp.sqrt(onp.diag(exact.cov)), rtol=1e-13)


@cases
def test_init_is_a_round_normal(family, params):
    first = family.init(LOC, 0.25)
    onp.testing.assert_allclose(family.covariance(first), 0.0625 * onp.eye(3), atol=1e-15)
    assert first["loc"] is not LOC
    assert first.keys() == params.keys()


def test_families_by_name():
    assert get_family("full_rank") == FullRankGaussian()
    assert get_family(MeanFieldGaussian()) == MeanFieldGaussian()
    with pytest.raises(ValueError, match=r"family: 'low_rank' is none of"):
        get_family("low_rank")
