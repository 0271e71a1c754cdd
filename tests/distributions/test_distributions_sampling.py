"""Draws follow the distribution: Kolmogorov-Smirnov and chi-squared tests.

Each of the comparisons below is made at the level FALSE_ALARMS / COMPARISONS, so that,
if all samplers are right, the whole file fails for one seed in a million; the seeds are
fixed. The negative controls show that the same test, at this level, notices a parameter
that is off by a fifth.
"""

from __future__ import annotations

from typing import Any

import distribution_cases as cases
import numpy as onp
import pytest
from distribution_case import Case
from scipy import stats
from scipy.special import digamma, polygamma

from vi_lab.distributions import Dirichlet, LKJCholesky, MultivariateNormal

NUM_DRAWS = 20_000
ROWS = onp.array([1.0, 0.8, 0.6])  # factors of the parameters: a batch of three
LKJ = ((2, 0.7), (2, 3.0), (3, 1.0), (4, 2.5))
ALPHA = onp.array([0.01, 0.8, 2.0, 3.5])

# Not all that are truncated: far out, a t between two bounds hardly depends on its scale.
CONTROLS = [c for c in cases.CONTINUOUS + cases.TRUNCATED[:3] + cases.DISCRETE if c.scalable]

FALSE_ALARMS = 1e-6
COMPARISONS = (
    len(ROWS) * len(cases.SCALAR)
    + sum(dim * (dim - 1) // 2 + 1 for dim, _ in LKJ)
    + len(ALPHA)
    + 1  # of Dirichlet parts
    + 3
    + 1  # of a normal vector
)
LEVEL = FALSE_ALARMS / COMPARISONS


def p_value(draws: Any, twin: Any) -> float:
    """How likely draws are to be this far from SciPy's distribution by chance."""
    if not hasattr(twin, "pmf"):
        return stats.ks_1samp(draws, twin.cdf).pvalue
    values, counts = onp.unique(draws, return_counts=True)
    expected = NUM_DRAWS * twin.pmf(values)
    common = expected >= 5.0  # the others are pooled, with values never drawn
    observed = onp.append(counts[common], NUM_DRAWS - counts[common].sum())
    expected = onp.append(expected[common], NUM_DRAWS - expected[common].sum())
    if expected[-1] < 1e-6:
        observed, expected = observed[:-1], expected[:-1]
    return stats.chisquare(observed, expected, sum_check=False).pvalue


@pytest.mark.parametrize("case", cases.SCALAR, ids=repr)
def test_draws_follow_scipys_distribution(case: Case) -> None:
    rows = ROWS if case.scalable else ROWS[:1]
    d = case.build(rows) if case.scalable else case.build()
    draws = d.sample(onp.random.default_rng(7), NUM_DRAWS).reshape(NUM_DRAWS, len(rows))
    for column, row in zip(draws.T, rows, strict=True):
        assert p_value(column, case.reference(**case.scaled(row))) > LEVEL


@pytest.mark.parametrize("case", CONTROLS, ids=repr)
def test_wrong_distributions_are_noticed(case: Case) -> None:
    draws = case.build(0.8).sample(onp.random.default_rng(7), NUM_DRAWS)
    assert p_value(draws, case.reference(**case.parameters)) < LEVEL


@pytest.mark.parametrize(("dim", "eta"), LKJ)
def test_lkj_draws(dim: int, eta: float) -> None:
    d = LKJCholesky(dim, eta)
    L = d.sample(onp.random.default_rng(8), NUM_DRAWS)
    assert d.support.contains(L).all()
    R = L @ onp.swapaxes(L, -1, -2)
    half = eta + 0.5 * dim - 1.0
    marginal = stats.beta(half, half, -1.0, 2.0)
    for i, j in zip(*onp.tril_indices(dim, -1), strict=True):
        assert p_value(R[:, i, j], marginal) > LEVEL
        assert p_value(R[:, i, j], stats.beta(1.2 * half, 1.2 * half, -1.0, 2.0)) < LEVEL
    # Beyond the marginals: det R = prod_k L_kk^2, a product of independent betas, of which
    # the mean log is known.
    k = onp.arange(2, dim + 1)
    a, b = eta + 0.5 * (dim - k), 0.5 * (k - 1)
    mean = (digamma(a) - digamma(a + b)).sum()
    variance = (polygamma(1, a) - polygamma(1, a + b)).sum()
    z = (onp.linalg.slogdet(R)[1].mean() - mean) / onp.sqrt(variance / NUM_DRAWS)
    assert 2.0 * stats.norm.sf(abs(z)) > LEVEL


def test_lkj_batch() -> None:
    eta = onp.array([0.7, 40.0])
    d = LKJCholesky(3, eta)
    assert (d.batch_shape, d.event_shape) == ((2,), (3, 3))
    L = d.sample(onp.random.default_rng(9), NUM_DRAWS)
    # The sd of a correlation, Beta(half, half) on [-1, 1], is 1 / sqrt(2 half + 1).
    sd = (L @ onp.swapaxes(L, -1, -2))[..., 1, 0].std(axis=0)
    onp.testing.assert_allclose(sd, 1.0 / onp.sqrt(2.0 * (eta + 0.5) + 1.0), rtol=0.03)


def test_dirichlet_draws() -> None:
    draws = Dirichlet(ALPHA).sample(onp.random.default_rng(10), NUM_DRAWS)
    onp.testing.assert_allclose(draws.sum(axis=-1), 1.0, rtol=1e-12)
    for k, part in enumerate(draws.T):
        rest = ALPHA.sum() - ALPHA[k]
        assert p_value(part, stats.beta(ALPHA[k], rest)) > LEVEL
    # Parts add up: the last two together are beta too.
    both = stats.beta(ALPHA[2:].sum(), ALPHA[:2].sum())
    assert p_value(draws[:, 2:].sum(axis=-1), both) > LEVEL
    assert p_value(draws[:, 2] + draws[:, 1], both) < LEVEL


def test_normal_vector_draws() -> None:
    loc = onp.array([1.0, -1.0, 0.0])
    covariance = onp.array([[2.0, 0.9, 0.0], [0.9, 1.0, -0.3], [0.0, -0.3, 0.5]])
    d = MultivariateNormal(loc, covariance)
    draws = d.sample(onp.random.default_rng(11), NUM_DRAWS)
    for i in range(3):
        assert p_value(draws[:, i], stats.norm(loc[i], covariance[i, i] ** 0.5)) > LEVEL
    w = onp.array([1.0, -2.0, 0.5])  # a direction in which the correlations matter
    total = stats.norm(w @ loc, (w @ covariance @ w) ** 0.5)
    assert p_value(draws @ w, total) > LEVEL
    assert p_value(draws @ (w * [1.0, -1.0, 1.0]), total) < LEVEL


def test_same_seed_same_draws() -> None:
    for case in cases.ALL:
        first, second = (case.build().sample(onp.random.default_rng(3), 5) for _ in range(2))
        onp.testing.assert_array_equal(first, second)
