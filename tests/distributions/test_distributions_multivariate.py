"""The normalisers of LKJ; a normal vector with constant and with traced matrices."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest
from scipy import stats
from scipy.special import betaln

import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.distributions import LKJCholesky, MultivariateNormal


def cholesky_2(r: Any) -> Any:
    """The factor of the 2 x 2 correlation matrix with correlation r (...)."""
    zero = onp.zeros_like(r)
    rows = [[zero + 1.0, zero], [r, onp.sqrt(1.0 - r**2)]]
    return onp.moveaxis(onp.array(rows), (0, 1), (-2, -1))


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.5])
def test_lkj_2_is_a_beta(eta: float, engine: engines.Engine) -> None:
    # The one free entry of L is the correlation itself.
    r = onp.array([-0.9, 0.0, 0.3, 0.99])
    found = engine.compile(lambda eta, L: LKJCholesky(2, eta).log_prob(L))(eta, cholesky_2(r))
    onp.testing.assert_allclose(found, stats.beta(eta, eta, -1.0, 2.0).logpdf(r), rtol=1e-12)


@pytest.mark.parametrize("eta", [0.6, 1.0, 3.5])
def test_lkj_3_integrates_to_one(eta: float) -> None:
    # Angles: L_21 = sin a, (L_31, L_32) = sin b (cos c, sin c), so that the integrand,
    # with the Jacobian cos a * cos b sin b, is smooth, and Gauss-Legendre exact.
    nodes, weights = onp.polynomial.legendre.leggauss(40)
    a = 0.5 * onp.pi * nodes  # (-pi/2, pi/2)
    b = 0.25 * onp.pi * (nodes + 1.0)  # (0, pi/2)
    c = 0.7  # the density does not depend on it: 2 pi times any value
    L = onp.zeros((40, 40, 3, 3))
    L[..., 0, 0] = 1.0
    L[..., 1, 0], L[..., 1, 1] = onp.sin(a)[:, None], onp.cos(a)[:, None]
    L[..., 2, 0], L[..., 2, 1] = onp.sin(b) * onp.cos(c), onp.sin(b) * onp.sin(c)
    L[..., 2, 2] = onp.cos(b)
    jacobian = onp.cos(a)[:, None] * onp.cos(b) * onp.sin(b)
    density = onp.exp(LKJCholesky(3, eta).log_prob(L)) * jacobian
    total = 2.0 * onp.pi * (0.5 * onp.pi * weights) @ density @ (0.25 * onp.pi * weights)
    # At eta = 0.6 the integrand ends in cos(b)^0.2, which no polynomial follows to the end.
    onp.testing.assert_allclose(total, 1.0, rtol=1e-12 if eta >= 1.0 else 2e-4)


@pytest.mark.parametrize("dim", [2, 3, 4, 7])
@pytest.mark.parametrize("eta", [0.5, 1.0, 4.0])
def test_lkj_constant_is_the_published_one(dim: int, eta: float) -> None:
    # Lewandowski, Kurowicka and Joe (2009): the integral of det(R)^(eta - 1) is the product
    # over k < d of [2^(2 eta - 2 + d - k) B(eta + (d-k-1)/2, same)]^(d - k). At L = I the
    # Jacobian of L -> R is 1 and det R = 1.
    k = onp.arange(1, dim)
    half = eta + 0.5 * (dim - k - 1)
    terms = (2.0 * eta - 2.0 + dim - k) * onp.log(2.0) + betaln(half, half)
    log_constant = onp.sum((dim - k) * terms)
    onp.testing.assert_allclose(
        LKJCholesky(dim, eta).log_prob(onp.eye(dim)), -log_constant, rtol=1e-12
    )


def test_lkj_gradient(engine: engines.Engine) -> None:
    # Of log p in L_kk: (K - k + 2 eta - 2) / L_kk. In eta: sum 2 log L_kk - d log Z / d eta.
    L = onp.linalg.cholesky([[1.0, 0.3, -0.2], [0.3, 1.0, 0.5], [-0.2, 0.5, 1.0]])

    def log_prob(leaves: dict[str, Any]) -> Any:
        return LKJCholesky(3, leaves["eta"]).log_prob(leaves["L"])

    def gradient(leaves: dict[str, Any]) -> Any:
        return engine.value_and_grad(log_prob)(leaves)[1]

    found = engine.compile(gradient)({"eta": onp.array(1.7), "L": L})
    by_hand = onp.diag([0.0, (1.0 + 1.4) / L[1, 1], 1.4 / L[2, 2]])
    onp.testing.assert_allclose(found["L"], by_hand, rtol=1e-12)
    h = 1e-5
    up, down = (LKJCholesky(3, 1.7 + s * h).log_prob(L) for s in (1, -1))
    onp.testing.assert_allclose(found["eta"], (up - down) / (2 * h), rtol=1e-8)


def test_lkj_outside(engine: engines.Engine) -> None:
    L = cholesky_2(onp.array([0.3, 0.3, 0.3]))
    L[1, 1, 1] *= -1.0  # a negative diagonal
    L[2] *= 1.1  # rows that are no unit vectors
    found = engine.compile(lambda L: LKJCholesky(2, 1.0).log_prob(L))(L)
    onp.testing.assert_array_equal(found[1:], [-onp.inf, -onp.inf])
    onp.testing.assert_allclose(found[0], onp.log(0.5), rtol=1e-14)


def test_lkj_batch_of_concentrations() -> None:
    eta = onp.array([0.7, 2.0])
    L = cholesky_2(onp.array([[-0.2], [0.5], [0.1]]))
    found = LKJCholesky(2, eta).log_prob(L)
    assert found.shape == (3, 2)
    for i, e in enumerate(eta):
        one = LKJCholesky(2, e).log_prob(L[:, 0])
        onp.testing.assert_allclose(found[:, i], one, rtol=1e-14)


LOC = onp.array([0.5, -1.0, 2.0])
LOWER = onp.array([[1.2, 0.0, 0.0], [0.4, 0.8, 0.0], [-0.8, 0.5, 1.1]])


def test_covariance_and_its_factor_are_one_distribution() -> None:
    x = onp.array([[0.0, 0.0, 0.0], [1.0, -2.0, 3.0]])
    by_covariance = MultivariateNormal(LOC, covariance=LOWER @ LOWER.T)
    by_factor = MultivariateNormal(LOC, scale_tril=LOWER)
    onp.testing.assert_allclose(by_covariance.log_prob(x), by_factor.log_prob(x), rtol=1e-13)
    first, second = (d.sample(onp.random.default_rng(0), 3) for d in (by_covariance, by_factor))
    onp.testing.assert_allclose(first, second, rtol=1e-13)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 4, 3)])
def test_constant_and_traced_matrices_agree(shape: tuple[int, ...], engine: engines.Engine) -> None:
    x = onp.random.default_rng(0).normal(size=shape)

    def traced(leaves: dict[str, Any], x: Any) -> Any:
        d = MultivariateNormal(leaves["loc"], scale_tril=leaves["scale_tril"])
        return np.sum(d.log_prob(x))

    def constant(leaves: dict[str, Any], x: Any) -> Any:
        return np.sum(MultivariateNormal(leaves["loc"], scale_tril=LOWER).log_prob(x))

    leaves = {"loc": LOC, "scale_tril": LOWER}
    value, gradient = engine.compile(engine.value_and_grad(traced))(leaves, x)
    expected, by_loc = engine.compile(engine.value_and_grad(constant))({"loc": LOC}, x)
    onp.testing.assert_allclose(value, expected, rtol=1e-13)
    onp.testing.assert_allclose(gradient["loc"], by_loc["loc"], rtol=1e-12)
    # By hand, with y = inv(L)(x - loc): the slope in L is tril(sum inv(L)' y y') - diag(1 / L).
    y = onp.linalg.solve(LOWER, (x - LOC).reshape(-1, 3).T)
    by_hand = onp.tril(onp.linalg.solve(LOWER.T, y @ y.T))
    by_hand -= y.shape[1] * onp.diag(1.0 / onp.diag(LOWER))
    onp.testing.assert_allclose(gradient["scale_tril"], by_hand, rtol=1e-11, atol=1e-12)
