"""Linear response: exact for Gaussian posteriors, with the error of its draws elsewhere."""

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.errors import ArgumentError
from vi_lab.trust import Density, respond
from vi_lab.trust.response import conjugate_gradients

MEAN_FIELD, FULL_RANK = vl.MeanFieldGaussian(), vl.FullRankGaussian()


def correlated(dim, seed):
    """A covariance whose scales go from 0.01 to 100."""
    factor = onp.random.default_rng(seed).standard_normal((dim, dim + 1))
    scales = onp.geomspace(0.01, 100.0, dim)
    return scales[:, None] * (factor @ factor.T) * scales


@pytest.mark.parametrize("family", [MEAN_FIELD, FULL_RANK])
def test_of_a_gaussian_it_is_the_covariance_to_the_digits_of_the_solver(engine, family):
    covariance = correlated(4, 1)
    precision = onp.linalg.inv(covariance)
    target = vl.Target(lambda z: -0.5 * np.sum(z * np.dot(z, precision), axis=-1), dim=4)
    start = {"loc": onp.zeros(4), "log_scale": -0.5 * onp.log(onp.diag(precision))}
    found = respond(Density.of(target, engine), family, family.init_from(start), 16, 0)
    scales = onp.sqrt(onp.diag(covariance))
    onp.testing.assert_allclose(
        found.covariance / onp.outer(scales, scales),
        covariance / onp.outer(scales, scales),
        atol=1e-5,
    )
    assert found.error.max() < 1e-5
    assert found.gradients > 0


def logistic(z):
    return np.sum(-np.log1p(np.exp(-z)) - 2.0 * np.log1p(np.exp(z)), axis=-1)


def test_the_error_is_that_of_draws():
    """Over seeds the sds vary as it says."""
    target = vl.Target(logistic, dim=1)
    fit = vl.advi(target, seed=1, progress=False)
    found = [vl.linear_response(fit, draws=16, seed=seed) for seed in range(20)]
    sds = onp.array([float(each.covariance[0, 0]) ** 0.5 for each in found])
    said = onp.sqrt(onp.mean([each.error[0] ** 2 for each in found]))
    # Of 20 the sd is known to 1 / sqrt(38) = 16%; what is said, from 8 replicates, to 6%.
    assert onp.std(sds, ddof=1) / onp.mean(sds) == pytest.approx(said, rel=0.7)


def test_conjugate_gradients_solve():
    H = correlated(6, 2) / 100.0
    b = onp.arange(6.0)
    inverse = onp.linalg.inv(H)
    rough = inverse + 0.1 * onp.diag(onp.diag(inverse))
    x = conjugate_gradients(lambda v: H @ v, b, lambda r: rough @ r)
    onp.testing.assert_allclose(x, inverse @ b, rtol=1e-3)


def test_a_saddle_is_refused():
    with pytest.raises(ArgumentError, match=r"^fit: the ELBO has no maximum"):
        conjugate_gradients(lambda v: onp.array([1.0, -2.0]) * v, onp.ones(2), lambda r: r)


def test_second_derivatives_that_are_no_numbers_are_refused():
    with pytest.raises(ArgumentError, match=r"^fit: second derivatives"):
        conjugate_gradients(lambda v: v * onp.nan, onp.ones(2), lambda r: r)
