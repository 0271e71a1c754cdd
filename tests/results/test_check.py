"""`Fit.check`: q that is right, too narrow, off, in one of two modes; every family and door."""

from dataclasses import replace

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.results.check import MOST_GROWTH, compare


def standard(z):
    return -0.5 * np.sum(z**2, axis=-1)


def fit_of(loc, sd, density=standard, engine="autograd"):
    """N(loc, diag(sd^2)) as a fit, whoever found it."""
    return vl.Fit(
        model=vl.Target(density, dim=len(loc)),
        family=vl.MeanFieldGaussian(),
        params={"loc": onp.array(loc), "log_scale": onp.log(sd)},
        losses=onp.zeros(0),
        engine=engine,
        seed=0,
    )


def test_the_posterior_itself_is_good(engine):
    check = fit_of([0.0, 0.0], [1.0, 1.0], engine=engine.name).check()
    assert check.good
    assert abs(check.scalars["shift"] / check.scalars["shift_error"]).max() < 5
    assert abs((check.scalars["growth"] - 1.0) / check.scalars["growth_error"]).max() < 5
    assert check.sentence.startswith("Means can be believed to 0.")
    assert check.weights.sd < 1e-9


@pytest.mark.parametrize("factor", [0.02, 0.3, 3.0])
def test_an_sd_that_is_wrong_is_seen_by_as_much(factor):
    check = fit_of([0.0, 0.0], [factor, 1.0]).check()
    growth, error = check.scalars["z[0]", "growth"], check.scalars["z[0]", "growth_error"]
    assert growth == pytest.approx(1.0 / factor, abs=5 * error)
    assert error < 0.15 / factor
    assert not check.good
    onp.testing.assert_array_equal(check.scalars["good"], [0.0, 1.0])
    assert f"the sd of z[0] is {max(growth, 1 / growth):.2g} times too" in check.sentence
    assert "Next: vl.linear_response(fit)" in check.sentence


def test_a_mean_that_is_off_is_seen_by_as_much():
    check = fit_of([0.0, 0.8], [1.0, 1.0]).check()
    shift, error = (check.scalars["z[1]", column] for column in ("shift", "shift_error"))
    assert shift == pytest.approx(-0.8, abs=5 * error)
    onp.testing.assert_array_equal(check.scalars["good"], [1.0, 0.0])
    assert "The mean of z[1] may be" in check.sentence
    assert "Next: family='full_rank'" in check.sentence


def test_correlations_that_mean_field_leaves_out_are_found_scalar_by_scalar():
    precision = onp.linalg.inv(onp.array([[1.0, 0.97, 0.0], [0.97, 1.0, 0.0], [0.0, 0.0, 4.0]]))
    fit = vl.advi(
        vl.Target(lambda z: -0.5 * np.sum(z * np.dot(z, precision), axis=-1), dim=3),
        seed=1,
        progress=False,
    )
    check = fit.check()
    assert check.scalars["good"].tolist() == [0.0, 0.0, 1.0]
    expected = (1 - 0.97**2) ** -0.5
    assert check.scalars["growth"][:2] == pytest.approx([expected, expected], rel=0.3)
    full_rank = vl.advi(fit.model, "full_rank", seed=1, progress=False).check()
    assert full_rank.good


def test_another_mode_that_the_search_found_is_an_objection():
    def two(z):
        return np.logaddexp(-0.5 * np.sum((z - 4) ** 2), -0.5 * np.sum((z + 4) ** 2))

    check = vl.advi(vl.Target(two, dim=1), seed=1, progress=False).check()
    assert check.scalars["good"].tolist() == [1.0]  # nothing that starts in one mode sees it
    assert not check.good
    assert check.sentence.startswith("NOT to be believed: starts found other modes that count")


def test_a_posterior_that_is_improper_is_an_objection():
    with pytest.warns(vl.ConvergenceWarning):
        fit = vl.advi(vl.Target(lambda z: 0.0 * np.sum(z, axis=-1), dim=1), seed=1, progress=False)
    assert fit.convergence.why == "no optimum"
    assert "found no optimum" in fit.check().sentence


# ------------------------------------------------------------------ what it is shown in


def test_a_summary_says_that_nobody_checked_until_somebody_has():
    fit = fit_of([0.0], [0.2])
    assert fit.summary(100).notes[-1].startswith("Unchecked: ")
    check = fit.check()
    assert fit.summary(100).notes[-1] == check.sentence
    assert "NO" in str(check)
    assert replace(fit, seed=1).summary(100).notes[-1].startswith("Unchecked: ")


def test_the_same_seed_gives_the_same_check_and_another_one_another():
    fit = fit_of([0.0], [1.0])
    first, again, other = fit.check(seed=3), fit.check(seed=3), fit.check(seed=4)
    assert str(first.scalars) == str(again.scalars)
    assert str(first.scalars) != str(other.scalars)


def test_more_chains_make_errors_smaller_and_transitions_cost_gradients():
    fit = fit_of([0.0], [1.0])
    few, many = fit.check(chains=32, transitions=8), fit.check(chains=512, transitions=8)
    ratio = few.scalars["shift_error"] / many.scalars["shift_error"]
    assert ratio == pytest.approx(4.0, rel=0.5)  # an sd of 32 is known to 13%
    assert fit.check(chains=32, transitions=16).gradients > few.gradients


# ---------------------------------------------------------------- every family and door


def counts(m, x):
    rate = m.sample("rate", vl.Gamma(2.0, 1.0))
    p = m.sample("p", vl.Dirichlet(onp.ones(3)))
    m.deterministic("twice", 2.0 * rate)
    m.deterministic("none", 0.0 * rate)
    m.observe("x", vl.Poisson(rate + p[0]), x)


COUNTS = vl.Model(counts, x=onp.array([3, 1, 4, 1, 5, 9, 2, 6]))


@pytest.mark.parametrize("family", ["mean_field", "full_rank", "low_rank"])
def test_every_family(family):
    check = vl.advi(COUNTS, family, seed=1, progress=False).check()
    assert check.scalars.names == ("rate", "p[0]", "p[1]", "p[2]", "twice", "none")
    assert check.scalars["none", "good"] == 1.0  # a constant is what it is
    assert check.scalars["rate", "growth"] == pytest.approx(check.scalars["twice", "growth"])
    assert check.good, check


def test_fixed_draws():
    with pytest.warns(vl.ConvergenceWarning):
        fit = vl.advi(COUNTS, method="deterministic", seed=1, progress=False)
    assert fit.check().scalars["growth"].min() > 0.5


def normal(m, x):
    mu = m.sample("mu", vl.Normal(0.0, 10.0))
    m.observe("x", vl.Normal(mu, 1.0), x)


def test_a_model_with_minibatches_is_checked_on_all_rows():
    x = onp.random.default_rng(1).standard_normal(300)
    whole = vl.Model(normal, x=x)
    some = vl.Model(normal, x=x, minibatch=vl.Minibatch(("x",), size=50))
    fit = vl.advi(whole, seed=1, progress=False)
    first, second = fit.check(), replace(fit, model=some).check()
    onp.testing.assert_allclose(first.scalars["growth"], second.scalars["growth"], rtol=1e-6)
    assert second.good


def test_an_overflow_is_not_good():
    def overflows(z):
        return np.sum(np.where(z > -9.0, -(z**2) / 2, np.nan))

    assert fit_of([0.0], [1.0], overflows).check().good  # no draw is there
    assert not fit_of([0.0], [30.0], overflows).check().good


# ------------------------------------------------------------------------- the table


def test_errors_are_those_of_independent_chains():
    """Over repetitions shift and growth vary as they say."""
    rng = onp.random.default_rng(1)
    found = [
        compare(
            ("z",),
            rng.standard_normal((10_000, 1)),
            onp.repeat(rng.standard_normal((1, 64, 1)), 5, axis=0),  # states that do not move
            onp.zeros(1),
        )
        for _ in range(200)
    ]
    for column, error in (("shift", "shift_error"), ("growth", "growth_error")):
        spread = onp.std([float(table[column][0]) for table in found])
        said = onp.sqrt(onp.mean([float(table[error][0]) ** 2 for table in found]))
        assert spread == pytest.approx(said, rel=0.25)  # of 200: 5%, five times


def test_what_is_not_sure_is_not_good():
    rng = onp.random.default_rng(2)
    of_q = rng.standard_normal((10_000, 1))
    chains = 0.97 * MOST_GROWTH * rng.standard_normal((1, 64, 1))
    table = compare(("z",), of_q, chains, onp.zeros(1))
    assert table["good"][0] == 0.0
    assert compare(("z",), of_q, of_q[None, :64], onp.zeros(1))["good"][0] == 1.0
    assert compare(("z",), of_q, of_q[None, :64], onp.ones(1))["good"][0] == 0.0  # had not moved


@pytest.mark.parametrize("bad", [onp.inf, onp.nan])
def test_what_is_not_finite_is_not_good(bad):
    chains = onp.full((2, 8, 1), bad)
    table = compare(
        ("z",), onp.random.default_rng(1).standard_normal((100, 1)), chains, onp.zeros(1)
    )
    assert table["good"][0] == 0.0
