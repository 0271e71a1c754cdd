"""Mixtures on awkward data, bad input, draws, labels and seeds."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from vi_lab.conjugate import cavi
from vi_lab.conjugate.labels import match_labels, order_labels, relabel
from vi_lab.conjugate.mixture import GaussianMixture
from vi_lab.conjugate.mixture_known import KnownVarianceMixture
from vi_lab.conjugate.seeding import seed_labels
from vi_lab.errors import NonFiniteError, ViLabError

QUIET = {"progress": False}


def blobs(rng, count, centres):
    centres = np.asarray(centres, dtype=float)
    return centres[rng.integers(len(centres), size=count)] + rng.standard_normal(
        (count, centres.shape[1])
    )


# ----------------------------------------------------------------------------- survival
def test_data_far_from_zero_are_fitted_as_near_it():
    """At 1e8 a double holds 8 digits after the point: the data themselves move by 1e-8."""
    near = blobs(np.random.default_rng(1), 200, [[0, 0], [6, 0], [0, 6]])
    far = near + 1e8
    a = cavi(GaussianMixture(3), near, seed=2, **QUIET)
    b = cavi(GaussianMixture(3), far, seed=2, **QUIET)
    assert b.elbo == pytest.approx(a.elbo, abs=1e-4)
    first, second = a.model.estimates(a.params), b.model.estimates(b.params)
    np.testing.assert_allclose(second["mean"] - 1e8, first["mean"], atol=1e-6)
    np.testing.assert_allclose(second["covariance"], first["covariance"], atol=1e-6)
    assert (np.diff(b.elbos) > -1e-10 * abs(b.elbo)).all()


def test_units_do_not_matter():
    """Default priors are in the data's units: the ELBO moves by the log Jacobian only."""
    rows = blobs(np.random.default_rng(2), 100, [[0, 0], [5, 5]])
    units = np.array([1e-6, 1e9])
    a = cavi(GaussianMixture(2), rows, seed=1, **QUIET)
    b = cavi(GaussianMixture(2), rows * units, seed=1, **QUIET)
    assert b.elbo == pytest.approx(a.elbo - 100 * np.log(units).sum(), rel=1e-10)


LINE = np.outer(np.arange(12.0), [1.0, 2.0, -1.0])
AWKWARD = {
    "all the same": (GaussianMixture(3), np.full((10, 2), 7.0)),
    "pairs of duplicates": (GaussianMixture(4), np.repeat(np.eye(4), 2, axis=0)),
    "on a line": (GaussianMixture(3), LINE),
    "a constant column": (GaussianMixture(2), np.column_stack([np.arange(9.0), np.ones(9)])),
    "more columns than rows": (GaussianMixture(2), np.random.default_rng(1).normal(size=(4, 9))),
    "one row, one component": (GaussianMixture(1), np.array([[3.0, 4.0]])),
    "one number": (GaussianMixture(1), np.array([3.0])),
    "as many components as rows": (GaussianMixture(5), np.arange(5.0)),
    "dying components": (GaussianMixture(20, 1e-3), np.random.default_rng(2).normal(size=40)),
    "an outlier": (GaussianMixture(2), np.append(np.arange(20.0), 1e6)),
    "known variance, the same": (KnownVarianceMixture(3), np.full(10, 1e8)),
    "known variance, one": (KnownVarianceMixture(1), np.array([2.0])),
    "known variance, far": (KnownVarianceMixture(3, prior_mean=1e8), 1e8 + np.arange(12.0)),
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_data_survive(name):
    model, rows = AWKWARD[name]
    fit = cavi(model, rows, starts=4, seed=3, **QUIET)
    last = fit.start_elbos[~np.isnan(fit.start_elbos)]
    assert np.isfinite(last).all()
    steps = np.diff(fit.start_elbos, axis=1)
    assert np.nanmin(np.append(steps, 0.0)) >= -1e-10 * np.abs(last).max()
    draws = fit.sample(50, seed=1)
    assert all(np.isfinite(value).all() for value in draws.values())
    assert np.isfinite(fit.posterior_predictive(50, seed=1)).all()
    r = fit.model.responsibilities(fit.params, rows)
    np.testing.assert_allclose(r.sum(axis=1), 1.0, rtol=1e-12)


def test_a_component_that_dies_returns_to_its_prior():
    rows = np.random.default_rng(3).standard_normal((200, 2))
    fit = cavi(GaussianMixture(8, concentration=1e-6), rows, seed=1, **QUIET)
    q = fit.params["components"]
    dead = fit.params["weights"]["concentration"] < 1e-3
    assert dead.any()
    prior = fit.model.prior
    for name, value in prior.items():
        np.testing.assert_allclose(q[name][dead], np.stack([value] * dead.sum()), atol=1e-2)


def test_a_row_far_from_all_components_has_responsibilities():
    """Without log-sum-exp its densities are all 0, and 0/0 is no probability."""
    fit = cavi(KnownVarianceMixture(2, prior_sd=100.0), np.array([-5.0, -4.0, 4.0, 5.0]), **QUIET)
    r = fit.model.responsibilities(fit.params, np.array([1e6, -1e6]))
    right = int(np.argmax(fit.model.means(fit.params)))
    np.testing.assert_allclose(r[:, right], [1.0, 0.0], atol=1e-12)


# ---------------------------------------------------------------------------- bad input
X = np.random.default_rng(4).standard_normal((10, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianMixture(0), "components: must be a whole number, 1 or more"),
        (lambda: GaussianMixture(2.5), "components: must be a whole"),
        (lambda: GaussianMixture(2, 0.0), "concentration: must be a positive"),
        (lambda: GaussianMixture(2, mean_precision=-1.0), "mean_precision: must be a positive"),
        (lambda: GaussianMixture(2, degrees_of_freedom=0.0), "degrees_of_freedom: must be a pos"),
        (lambda: GaussianMixture(2, mean=[np.nan, 0.0]), "mean: must be finite"),
        (lambda: GaussianMixture(2, scatter=-1.0), "scatter: must be a positive variance"),
        (lambda: GaussianMixture(2, scatter=[[1.0, 2.0], [2.0, 1.0]]), "scatter: must be a pos"),
        (lambda: GaussianMixture(2, scatter=[[1.0, 0.5], [0.0, 1.0]]), "scatter: must be a pos"),
        (lambda: KnownVarianceMixture(2, sd=0.0), "sd: must be a positive"),
        (lambda: KnownVarianceMixture(2, prior_sd=-1.0), "prior_sd: must be a positive"),
        (lambda: KnownVarianceMixture(2, prior_mean=np.inf), "prior_mean: must be finite"),
        (lambda: cavi(GaussianMixture(2), [], **QUIET), "rows: are empty"),
        (lambda: cavi(GaussianMixture(2), [1.0, np.nan], **QUIET), "rows: row 1 is not finite"),
        (lambda: cavi(GaussianMixture(2), [[1.0], [2.0, 3.0]], **QUIET), "rows: must be numbers"),
        (lambda: cavi(GaussianMixture(2), np.ones((2, 2, 2)), **QUIET), "rows: must have the sh"),
        (lambda: cavi(KnownVarianceMixture(2), X, **QUIET), r"rows: must have the shape \(N,\)"),
        (lambda: cavi(GaussianMixture(11), X, **QUIET), "components: 11 are more than the 10"),
        (lambda: cavi(KnownVarianceMixture(3), [1.0, 2.0], **QUIET), "components: 3 are more"),
        (
            lambda: cavi(GaussianMixture(2, degrees_of_freedom=1.0), X, **QUIET),
            "degrees_of_freedom: must be more than D - 1 = 1",
        ),
        (lambda: cavi(GaussianMixture(2, mean=0.0), X, **QUIET), "mean: must have the shape"),
        (lambda: cavi(GaussianMixture(2, scatter=1.0), X, **QUIET), "scatter: must have the sh"),
        (lambda: cavi(GaussianMixture(2), X, init="nearest", **QUIET), "init: 'nearest' is none"),
        (
            lambda: GaussianMixture(2).responsibilities(
                cavi(GaussianMixture(2), X, **QUIET).params, X
            ),
            "model: has not seen its data",
        ),
        (
            lambda: GaussianMixture(2).prepare(X, 10).from_responsibilities(X, np.ones((10, 3))),
            r"responsibilities: must have the shape \(..., 10, 2\)",
        ),
        (
            lambda: cavi(GaussianMixture(2).prepare(X, 10), X[:, 0], **QUIET),
            "rows: have the shape",
        ),
        (lambda: match_labels(np.ones((4, 3)), np.ones(2)), "reference: must have the shape"),
        (lambda: relabel({"a": np.ones(3)}, np.arange(2)), "order: has the shape"),
    ],
)
def test_bad_input_is_refused(make, message):
    with pytest.raises(ViLabError, match=message):
        make()


def test_a_mixture_has_no_covariates():
    fit = cavi(GaussianMixture(2), X, **QUIET)
    with pytest.raises(ValueError, match="covariates"):
        fit.posterior_predictive(5, seed=1, covariates=X)


def test_digits_lost_are_told():
    """Components 1e9 of their sds apart: squares about any one origin cannot hold both."""
    rows = np.array([0.0, 1e-9, 1.0, 1.0 + 1e-9])
    model = GaussianMixture(2, mean=0.0, scatter=1e-30, degrees_of_freedom=1.0)
    with pytest.raises(NonFiniteError, match="lost all its digits"):
        cavi(model, rows, **QUIET)


# -------------------------------------------------------------------------------- draws
@pytest.mark.parametrize("D", [1, 2])
def test_draws_have_the_moments_of_q(D):
    """Each number within 5 standard errors of its expectation: 13 of them, so a false alarm
    for one seed in 100,000."""
    rng = np.random.default_rng(5)
    rows = blobs(rng, 60, 4.0 * np.eye(2)[:, :D])
    rows = rows if D > 1 else rows[:, 0]
    fit = cavi(GaussianMixture(2), rows, seed=1, **QUIET)
    draws = fit.sample(40_000, seed=2)
    shape = (40_000, 2) if D == 1 else (40_000, 2, 2)
    assert draws["mean"].shape == shape
    estimates, q = fit.model.estimates(fit.params), fit.params["components"]
    nu = q["degrees_of_freedom"]
    expected = {
        "weights": estimates["weights"],
        "mean": estimates["mean"],
        # E[covariance] = W^-1 / (nu - D - 1), of which the estimate is nu / (nu - D - 1) less
        "covariance": (estimates["covariance"].T * nu / (nu - D - 1)).T,
    }
    for name, value in expected.items():
        error = draws[name].std(axis=0) / 200.0
        assert (np.abs(draws[name].mean(axis=0) - value) < 5 * error).all(), name
    # given the covariance, the mean has that covariance over kappa
    mean, covariance = draws["mean"].reshape(-1, 2, D), draws["covariance"].reshape(-1, 2, D, D)
    away = mean - estimates["mean"].reshape(2, D)
    squared = np.einsum("ski,skij,skj->sk", away, np.linalg.inv(covariance), away)
    scaled = squared * q["pseudo_count"]  # chi-squared with D degrees of freedom
    assert (np.abs(scaled.mean(axis=0) - D) < 5 * np.sqrt(2 * D / 40_000)).all()


def test_the_posterior_predictive_of_one_component_is_student_t():
    rows = np.random.default_rng(6).normal(3.0, 2.0, 8)
    fit = cavi(GaussianMixture(1, degrees_of_freedom=2.0, mean_precision=0.5), rows, **QUIET)
    q, estimate = fit.params["components"], fit.model.estimates(fit.params)
    nu, kappa = q["degrees_of_freedom"][0], q["pseudo_count"][0]
    scale = np.sqrt(estimate["covariance"][0] * (kappa + 1) / kappa)
    new = fit.posterior_predictive(20_000, seed=3)
    assert new.shape == (20_000,)
    exact = stats.t(nu, estimate["mean"][0], scale)
    assert stats.kstest(new, exact.cdf).pvalue > 1e-4


def test_predictive_weights_components_by_their_weights():
    rows = np.concatenate([np.linspace(-1, 1, 30), np.linspace(999, 1001, 10)])
    for model in (GaussianMixture(2), KnownVarianceMixture(2, prior_sd=1e3)):
        fit = cavi(model, rows, seed=1, **QUIET)
        right = fit.posterior_predictive(20_000, seed=4) > 500.0
        share = 11 / 42 if isinstance(model, GaussianMixture) else 0.5
        assert right.mean() == pytest.approx(share, abs=5 * np.sqrt(0.25 / 20_000))


def test_known_variance_draws_have_the_moments_of_q():
    fit = cavi(KnownVarianceMixture(2, 0.5, 1.0, 3.0), np.array([0.0, 0.3, 5.0, 5.2]), **QUIET)
    draws = fit.sample(40_000, seed=1)["mean"]
    sd = fit.params["means"]["precision"] ** -0.5
    error = np.abs(draws.mean(axis=0) - fit.model.means(fit.params))
    assert (error < 5 * sd / 200).all()
    assert (np.abs(draws.std(axis=0) / sd - 1) < 5 / np.sqrt(80_000)).all()


# ------------------------------------------------------------------------------- labels
def test_match_labels_undoes_a_permutation():
    rng = np.random.default_rng(7)
    reference = 10.0 * rng.standard_normal((5, 2))
    orders = np.stack([rng.permutation(5) for _ in range(20)])
    shuffled = reference[orders] + 0.01 * rng.standard_normal((20, 5, 2))
    found = match_labels(shuffled, reference)
    back = relabel({"mean": shuffled}, found)["mean"]
    np.testing.assert_allclose(back, np.stack([reference] * 20), atol=0.1)
    np.testing.assert_array_equal(match_labels(shuffled[..., 0], reference[:, 0]), found)


def test_matching_is_joint_where_the_nearest_would_collide():
    # both means are nearest to the reference's 1.0
    np.testing.assert_array_equal(match_labels([1.0, 1.4], [0.0, 1.0]), [0, 1])
    np.testing.assert_array_equal(match_labels([1.4, 1.0], [0.0, 1.0]), [1, 0])


def test_relabelled_parameters_are_the_same_q():
    rows = blobs(np.random.default_rng(8), 80, [[0, 0], [6, 0], [0, 6]])
    fit = cavi(GaussianMixture(3), rows, starts=5, seed=1, **QUIET)
    means = fit.model.means(fit.start_params)
    order = order_labels(means[..., 0])
    params = relabel(fit.start_params, order)
    assert (np.diff(fit.model.means(params)[..., 0], axis=-1) > 0).all()
    np.testing.assert_allclose(
        fit.model.elbo(params, fit.model.statistics(params, rows)),
        fit.model.elbo(fit.start_params, fit.model.statistics(fit.start_params, rows)),
    )
    again = dataclasses.replace(fit, start_params=params)
    assert (np.diff(again.model.means(again.params)[:, 0]) > 0).all()


# -------------------------------------------------------------------------------- seeds
@pytest.mark.parametrize(("method", "low", "high"), [("kmeans++", 0.97, 1.0), ("random", 0.1, 0.3)])
def test_kmeans_plus_plus_finds_far_clusters_and_random_rows_do_not(method, low, high):
    """Of 3 equal, far clusters, 3 random rows hit all with probability 2/9 (sd 0.013 here);
    K-means++ misses one with a probability of about (within / between)^2, below 1%."""
    rng = np.random.default_rng(9)
    centres = 100.0 * np.array([[0, 0], [1, 0], [0, 1]])
    rows = np.repeat(centres, 30, axis=0) + rng.standard_normal((90, 2))
    labels = seed_labels(rows, 3, 1_000, rng, method)
    assert labels.shape == (1_000, 90)
    by_cluster = labels.reshape(1_000, 3, 30)
    whole = (by_cluster == by_cluster[..., :1]).all(axis=(1, 2))
    different = np.array([len(set(firsts)) == 3 for firsts in by_cluster[..., 0]])
    found = whole & different
    assert low <= np.mean(found) <= high


def test_init_methods_reach_cavi():
    rows = np.random.default_rng(10).standard_normal((50, 2))
    plus, rand = (
        cavi(GaussianMixture(3), rows, init=m, seed=1, max_sweeps=1, **QUIET)
        for m in ("kmeans++", "random")
    )
    assert plus.elbo != rand.elbo
    default = cavi(GaussianMixture(3), rows, seed=1, max_sweeps=1, **QUIET)
    assert default.elbo == plus.elbo


def test_seeds_do_not_depend_on_units():
    rows = np.random.default_rng(11).standard_normal((50, 2))
    a, b = (seed_labels(rows * [1.0, u], 4, 3, np.random.default_rng(1), "kmeans++")
            for u in (1.0, 2.0**20))  # fmt: skip
    np.testing.assert_array_equal(a, b)
