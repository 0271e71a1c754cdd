"""Diagnostics: against ArviZ, and against what is known of the draws."""

import subprocess
import sys

import numpy as onp
import pytest
from arviz_stats.base.array import array_stats

from vi_lab.results import diagnostics

DRAWS = onp.random.default_rng(3).standard_normal((4, 1_000, 2, 3))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (diagnostics.rhat, lambda x: array_stats.rhat(x, method="rank")),
        (diagnostics.ess_bulk, lambda x: array_stats.ess(x, method="bulk")),
        (diagnostics.ess_tail, lambda x: array_stats.ess(x, method="tail", prob=(0.05, 0.95))),
        (diagnostics.mcse, lambda x: array_stats.mcse(x, method="mean")),
    ],
)
def test_axes_are_chains_then_draws(ours, theirs):
    found = ours(DRAWS)
    assert found.shape == (2, 3)
    for i, j in onp.ndindex(2, 3):
        assert found[i, j] == pytest.approx(float(theirs(DRAWS[:, :, i, j])))


def test_effective_sample_sizes_of_an_autoregression():
    """With correlation r of successive draws, S draws are worth S (1 - r) / (1 + r)."""
    rng, r, size = onp.random.default_rng(0), 0.6, 20_000
    x = onp.zeros((4, size))
    x[:, 0] = rng.standard_normal(4)
    for t in range(1, size):
        x[:, t] = r * x[:, t - 1] + onp.sqrt(1 - r**2) * rng.standard_normal(4)
    worth = 4 * size * (1 - r) / (1 + r)
    assert diagnostics.ess_bulk(x) == pytest.approx(worth, rel=0.05)
    assert diagnostics.mcse(x) == pytest.approx(worth**-0.5, rel=0.05)


def test_rhat_sees_chains_apart_in_location_or_scale():
    assert diagnostics.rhat(DRAWS).max() < 1.01
    shifted = DRAWS[..., 0, 0] + onp.arange(4)[:, None]
    stretched = DRAWS[..., 0, 0] * onp.array([1, 1, 1, 4])[:, None]
    assert diagnostics.rhat(shifted) > 1.2
    assert diagnostics.rhat(stretched) > 1.1


def test_no_rhat_of_one_chain_or_of_constants():
    assert onp.isnan(diagnostics.rhat(DRAWS[:1, :, 0, 0]))
    assert onp.isnan(diagnostics.rhat(onp.ones((4, 100))))


def test_bfmi_is_steps_over_spread():
    energy = onp.random.default_rng(1).standard_normal((3, 500)).cumsum(axis=1)
    expected = [onp.square(onp.diff(e)).mean() / e.var() for e in energy]
    onp.testing.assert_allclose(diagnostics.bfmi(energy), expected, rtol=0.01)


@pytest.mark.parametrize("prob", [0.5, 0.9, 0.95])
def test_hdi_is_arviz_hdi(prob):
    draws = onp.random.default_rng(2).gamma(2.0, size=(501, 2, 3))
    expected = array_stats.hdi(draws, prob, axis=0)
    onp.testing.assert_array_equal(diagnostics.hdi(draws, prob), expected)


def test_hdi_is_the_shortest_interval():
    assert tuple(diagnostics.hdi(onp.array([0.0, 5.0, 5.1, 5.2, 9.0]), 0.5)) == (5.0, 5.2)


@pytest.mark.parametrize("prob", [0.0, 1.0, 95])
def test_hdi_refuses_a_bad_probability(prob):
    with pytest.raises(ValueError, match="prob: must be between 0 and 1"):
        diagnostics.hdi(onp.arange(10.0), prob)


def test_hdi_does_not_wait_for_arviz():
    code = (
        "import sys, numpy; from vi_lab.results import diagnostics; "
        "diagnostics.hdi(numpy.arange(9.0));"
        "sys.exit('arviz_stats' in sys.modules or 'scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "estimate", [diagnostics.rhat, diagnostics.ess_bulk, diagnostics.mcse, diagnostics.bfmi]
)
@pytest.mark.parametrize(
    ("draws", "message"),
    [
        (onp.ones(5), r"must have the axes \(chains, draws, ...\)"),
        (onp.ones((4, 0)), r"at least one value, but their shape is \(4, 0\)"),
        ([[1.0, onp.nan], [2.0, onp.inf]], "2 of 4 values are infinite or NaN"),
        ({"a": 1}, "must be a number, not {'a': 1}"),
    ],
)
def test_draws_that_are_none_or_not_finite_are_refused(estimate, draws, message):
    argument = "energy" if estimate is diagnostics.bfmi else "draws"
    with pytest.raises((ValueError, TypeError), match=f"^{argument}: .*{message}"):
        estimate(draws)


def test_no_interval_of_nothing_or_of_nan():
    with pytest.raises(ValueError, match=r"must have the axes \(draws, ...\)"):
        diagnostics.hdi([])
    with pytest.raises(ValueError, match="draws: 1 of 3 values are infinite or NaN"):
        diagnostics.hdi([1.0, onp.nan, 2.0])


def test_of_too_few_draws_an_estimate_is_nan():
    assert onp.isnan(diagnostics.rhat(onp.ones((2, 1))))
    assert onp.isnan(diagnostics.bfmi(onp.ones((2, 1)))).all()
