"""`vl.linear_response`: names, units, draws; and against the references of the zoo."""

import numpy as np
import pytest

import vi_lab as vl
from vi_lab.results.summary import flatten_draws


def line(m, x, y):
    a = m.sample("a", vl.Normal(0.0, 10.0))
    b = m.sample("b", vl.Normal(0.0, 10.0))
    m.deterministic("far", a + 100.0 * b)
    m.observe("y", vl.Normal(a + b * x, 1.0), y)


X = np.array([4.0, 5.0, 6.0, 7.0])
MODEL = vl.Model(line, x=X, y=X)
DESIGN = np.column_stack([np.ones(4), X])
COVARIANCE = np.linalg.inv(DESIGN.T @ DESIGN + np.eye(2) / 100.0)


@pytest.fixture(scope="module")
def response():
    return vl.linear_response(vl.advi(MODEL, seed=1, engine="autograd", progress=False))


def test_the_covariance_of_a_regression_is_exact(response):
    np.testing.assert_allclose(response.covariance, COVARIANCE, rtol=1e-4)


def test_sds_of_what_follows_from_the_latents_are_exact_too(response):
    far = np.array([1.0, 100.0])
    assert response.std["far"] == pytest.approx((far @ COVARIANCE @ far) ** 0.5, rel=1e-4)
    assert response.std["a"] == pytest.approx(COVARIANCE[0, 0] ** 0.5, rel=1e-4)


def test_draws_have_that_covariance(response):
    draws = response.sample(40_000, seed=3)
    found = np.cov(np.stack([draws["a"], draws["b"]]))
    np.testing.assert_allclose(found, COVARIANCE, rtol=5 * (2 / 40_000) ** 0.5)
    assert draws["far"].shape == (40_000,)


def test_the_summary_has_its_sds_and_says_what_it_is(response):
    table = response.summary(1_000)
    assert table["far", "sd"] == pytest.approx(response.std["far"])
    assert table.notes[0].startswith("Linear response: sds on the unconstrained scale to 0.0%")


def test_it_goes_to_arviz(response):
    pytest.importorskip("arviz_base")
    assert response.to_arviz(50).posterior["a"].shape == (1, 50)


@pytest.mark.parametrize(
    "name", ["kidiq_interaction", "sblrc", "ark", "wells", "radon_noncentered"]
)
def test_sds_are_within_a_tenth_of_the_reference(name):
    """Where means are right and q's own sds are 0.06 to 0.5 of the reference's."""
    pytest.importorskip("jax")
    entry = getattr(vl.zoo, name)()
    fit = vl.advi(entry.model(), seed=1, engine="jax", progress=False)
    assert entry.accuracy(fit.sample(10_000, seed=2)).sd_ratio_min < 0.6
    response = vl.linear_response(fit)
    names, sds = flatten_draws({k: v[None] for k, v in response.std.items()}, leading=1)
    ratios = [sds[0, names.index(scalar)] / known.sd for scalar, known in entry.reference.items()]
    assert min(ratios) > 0.9
    assert max(ratios) < 1.1
