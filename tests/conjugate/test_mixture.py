"""Mixtures against exact evidences, textbook formulas, derivatives and scikit-learn."""

import dataclasses
import itertools
import math
import warnings
from functools import cache, reduce

import numpy as np
import pytest
from scipy import special, stats

from vi_lab import engine as engines
from vi_lab.conjugate import add_statistics, cavi, half_steps, natural_step, svi
from vi_lab.conjugate import mixture_base as base
from vi_lab.conjugate.mixture import GaussianMixture
from vi_lab.conjugate.mixture_known import KnownVarianceMixture
from vi_lab.conjugate.mixture_wishart import expectations, log_normalizer, to_naturals
from vi_lab.engine.trees import tree_leaves, tree_map

QUIET = {"progress": False}
TIGHT = {"progress": False, "rtol": 0.0, "atol": 1e-13, "max_sweeps": 5_000}


def blobs(rng, count, D, K, spread=3.0):
    """Rows (count, D) around K random centres."""
    centres = spread * rng.standard_normal((K, D))
    return centres[rng.integers(K, size=count)] + rng.standard_normal((count, D))


def informative(D, K):
    """A model all of whose hyper-parameters are set, to unlike values."""
    scatter = 0.7 * np.eye(D) + 0.2
    return GaussianMixture(
        K, 0.8, mean=np.linspace(0.3, 0.6, D), mean_precision=0.4, degrees_of_freedom=D + 1.3,
        scatter=scatter,
    )  # fmt: skip


def without_starts(params):
    return tree_map(lambda value: value[0], params)


# ------------------------------------------------------------------------ one component
def student_evidence(x, kappa, m, nu, inverse_scale):
    """log p(x) row by row: each is multivariate t given those before it (Murphy 2007, 232)."""
    D, total = x.shape[1], 0.0
    for row in x:
        shape = inverse_scale * (kappa + 1.0) / (kappa * (nu - D + 1.0))
        total += stats.multivariate_t(m, shape, df=nu - D + 1.0).logpdf(row)
        difference = row - m
        inverse_scale = inverse_scale + kappa / (kappa + 1.0) * np.outer(difference, difference)
        m = (kappa * m + row) / (kappa + 1.0)
        kappa, nu = kappa + 1.0, nu + 1.0
    return total, (kappa, m, nu, inverse_scale)


@pytest.mark.parametrize("D", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 15])
def test_one_component_is_exact(D, count):
    rng = np.random.default_rng(10 * D + count)
    x = 5.0 + rng.standard_normal((count, D))
    model = informative(D, 1)
    fit = cavi(model, x, **QUIET)
    evidence, (kappa, m, nu, inverse_scale) = student_evidence(
        x, 0.4, np.asarray(model.mean), D + 1.3, np.asarray(model.scatter)
    )
    assert fit.elbo == pytest.approx(evidence, abs=1e-10 * (1 + abs(evidence)))
    expected = to_naturals(np.array(nu), np.array(kappa), m - fit.model.origin, inverse_scale)
    for name, value in expected.items():
        np.testing.assert_allclose(fit.params["components"][name][0], value, atol=1e-12, rtol=1e-12)
    estimates = fit.model.estimates(fit.params)
    np.testing.assert_allclose(estimates["mean"][0], m, rtol=1e-12)
    np.testing.assert_allclose(estimates["covariance"][0], inverse_scale / nu, rtol=1e-11)


def test_one_component_of_known_variance_is_exact():
    x = np.random.default_rng(1).normal(2.0, 1.0, 9)
    fit = cavi(KnownVarianceMixture(1, sd=0.9, prior_mean=0.5, prior_sd=3.0), x, **QUIET)
    assert fit.elbo == pytest.approx(known_evidence(x, 0.9, 0.5, 3.0), abs=1e-10)
    precision = 1 / 3.0**2 + 9 / 0.9**2
    mean = (0.5 / 3.0**2 + x.sum() / 0.9**2) / precision
    assert fit.params["means"]["precision"][0] == pytest.approx(precision, rel=1e-13)
    assert fit.model.means(fit.params)[0] == pytest.approx(mean, rel=1e-13)


# --------------------------------------------------- the evidence by summing all labels
def known_evidence(x, sd, prior_mean, prior_sd):
    """log density of rows with one common mean: they are jointly normal."""
    if not len(x):
        return 0.0
    covariance = sd**2 * np.eye(len(x)) + prior_sd**2
    return stats.multivariate_normal(np.full(len(x), prior_mean), covariance).logpdf(x)


def mixture_evidence(x, K, of_rows, log_prior):
    """log sum over all K^N labellings of p(labels) prod_k p(rows labelled k)."""
    subset = cache(lambda member: of_rows(x[np.array(member)]))  # few, and many labellings
    terms = []
    for labels in itertools.product(range(K), repeat=len(x)):
        members = [np.array(labels) == k for k in range(K)]
        counts = np.array([member.sum() for member in members])
        terms.append(log_prior(counts) + sum(subset(tuple(member)) for member in members))
    return special.logsumexp(terms)


def dirichlet_multinomial(alpha):
    def log_prior(counts):
        K = len(counts)
        ratio = special.gammaln(alpha + counts) - special.gammaln(alpha)
        total = special.gammaln(K * alpha) - special.gammaln(K * alpha + counts.sum())
        return total + ratio.sum()

    return log_prior


@pytest.mark.parametrize(("D", "spread", "kappa"), [(1, 0.0, 0.4), (2, 1.0, 0.4), (1, 1e4, 1e-9)])
def test_the_evidence_is_never_below_the_elbo(D, spread, kappa):
    rng = np.random.default_rng(int(spread) + D)
    x = rng.standard_normal((7, D)) + spread * (np.arange(7) % 2)[:, None]
    model = dataclasses.replace(informative(D, 2), mean_precision=kappa)
    prior = (kappa, np.asarray(model.mean), D + 1.3, np.asarray(model.scatter))
    evidence = mixture_evidence(
        x, 2, lambda rows: student_evidence(rows, *prior)[0], dirichlet_multinomial(0.8)
    )
    fit = cavi(model, x, starts=20, seed=1, **QUIET)
    finals = fit.start_elbos[~np.isnan(fit.start_elbos)]
    assert evidence > finals.max()
    if spread == 1e4:  # labels are certain: only the other order of the components is missed
        assert evidence - fit.elbo == pytest.approx(math.log(2.0), abs=1e-6)


@pytest.mark.parametrize("spread", [1.0, 50.0])
def test_the_evidence_of_known_variance_is_never_below_the_elbo(spread):
    rng = np.random.default_rng(3)
    x = rng.standard_normal(7) + spread * (np.arange(7) % 3)
    evidence = mixture_evidence(
        x, 3, lambda rows: known_evidence(rows, 0.9, 0.5, 60.0), lambda _: -7 * math.log(3.0)
    )
    fit = cavi(KnownVarianceMixture(3, 0.9, 0.5, 60.0), x, starts=20, seed=1, **QUIET)
    assert evidence > np.nanmax(fit.start_elbos)
    if spread == 50.0:
        assert evidence - fit.elbo == pytest.approx(math.log(6.0), abs=1e-6)


# ------------------------------------------------------------------- monotone half-steps
def test_no_half_step_lowers_the_elbo_on_1000_random_data_sets():
    rng = np.random.default_rng(2)
    for _ in range(1_000):
        K, D = int(rng.integers(1, 5)), int(rng.integers(1, 4))
        count = int(rng.integers(K, 13))
        scale = 10.0 ** rng.uniform(-3, 3)
        rows = scale * (blobs(rng, count, D, K) + 100.0 * rng.standard_normal(D))
        if rng.random() < 0.3:
            model, rows = KnownVarianceMixture(K, scale, 0.0, 10.0 * scale), rows[:, 0]
        else:
            alpha, kappa = 10.0 ** rng.uniform(-2, 1, size=2)
            nu = D - 1 + 10.0 ** rng.uniform(-1, 1)
            model = GaussianMixture(K, alpha, mean_precision=kappa, degrees_of_freedom=nu)
        model = model.prepare(rows, count)
        params = model.init(rows, rng, starts=2, method="random")
        statistics = model.statistics(params, rows)
        before = model.elbo(params, statistics)
        for _ in range(4):
            for _, moved in half_steps(model, params, statistics):
                after = model.elbo(moved, statistics)
                assert (after - before >= -1e-10 * np.abs(before)).all()
                before, params = after, moved
            statistics = model.statistics(params, rows)
            after = model.elbo(params, statistics)
            assert (after - before >= -1e-10 * np.abs(before)).all()
            before = after


# ------------------------------------------------------------------ derivatives, E-step
FITTED = {
    "univariate": (GaussianMixture(3), lambda rng: blobs(rng, 40, 1, 3)[:, 0]),
    "bivariate": (informative(2, 3), lambda rng: blobs(rng, 40, 2, 3)),
    "known": (KnownVarianceMixture(3, prior_sd=4.0), lambda rng: blobs(rng, 40, 1, 3)[:, 0]),
}


@pytest.mark.parametrize("name", FITTED)
def test_the_gradient_of_the_elbo_is_zero_at_the_fixed_point(engine: engines.Engine, name):
    model, make = FITTED[name]
    rows = make(np.random.default_rng(4))
    fit = cavi(model, rows, **TIGHT)
    statistics = fit.model.statistics(fit.params, rows)
    slopes = engine.compile(engine.value_and_grad(fit.model.elbo))
    value, gradient = slopes(fit.params, statistics)
    assert float(value) == pytest.approx(fit.elbo, rel=1e-12)
    grow = np.array([1.05, 1.1, 1.2])  # by component, and all but the sums: q stays valid
    moved = {
        block: {
            name: value if name in {"pseudo_sum", "precision_mean"} else (grow * value.T).T
            for name, value in factor.items()
        }
        for block, factor in fit.params.items()
    }
    _, elsewhere = slopes(moved, statistics)
    for zero, large in zip(tree_leaves(gradient), tree_leaves(elsewhere), strict=True):
        assert np.abs(zero).max() < 1e-5 * max(1.0, np.abs(large).max())
        assert np.abs(large).max() > 1e-4  # the check can fail


def test_the_profiled_elbo_is_flat_at_the_fixed_point():
    """Central differences, with the responsibilities following the parameters."""
    model, make = FITTED["bivariate"]
    rows = make(np.random.default_rng(4))
    fit = cavi(model, rows, **TIGHT)
    rng = np.random.default_rng(5)

    def profiled(step, direction):
        params = tree_map(lambda value, d: value + step * d, fit.params, direction)
        return float(fit.model.elbo(params, fit.model.statistics(params, rows)))

    for _ in range(10):
        direction = tree_map(lambda value: rng.standard_normal(value.shape), fit.params)
        S = direction["components"]["pseudo_scatter"]
        direction["components"]["pseudo_scatter"] = S + np.swapaxes(S, -1, -2)
        slope = (profiled(1e-4, direction) - profiled(-1e-4, direction)) / 2e-4
        assert abs(slope) < 1e-5


def test_moments_are_the_gradient_of_the_log_normalizer(engine: engines.Engine):
    rng = np.random.default_rng(6)
    root = rng.standard_normal((2, 3, 3))
    naturals = to_naturals(
        np.array([4.5, 9.0]), np.array([0.3, 2.0]), rng.standard_normal((2, 3)),
        root @ np.swapaxes(root, -1, -2) + np.eye(3),
    )  # fmt: skip
    slopes = engine.compile(engine.value_and_grad(lambda q: log_normalizer(q).sum()))
    _, gradient = slopes(naturals)
    # Of a symmetric matrix a Cholesky factor sees one triangle: compare symmetric parts.
    S = gradient["pseudo_scatter"]
    gradient["pseudo_scatter"] = 0.5 * (S + np.swapaxes(S, -1, -2))
    for name, moment in expectations(naturals).items():
        np.testing.assert_allclose(gradient[name], moment, rtol=1e-9, atol=1e-9)


def test_responsibilities_are_those_of_the_textbook():
    """Bishop (2006), equations 10.46, 10.64, 10.65 and 10.66, in loops."""
    rng = np.random.default_rng(7)
    rows, D, K = blobs(rng, 12, 3, 2), 3, 2
    model = informative(D, K).prepare(rows, len(rows))
    params = without_starts(model.init(rows, rng))
    q, alpha = params["components"], params["weights"]["concentration"]
    log_rho = np.empty((12, K))
    for k in range(K):
        nu, kappa = q["degrees_of_freedom"][k], q["pseudo_count"][k]
        m = q["pseudo_sum"][k] / kappa
        W = np.linalg.inv(q["pseudo_scatter"][k] - kappa * np.outer(m, m))
        log_det = sum(special.digamma((nu + 1 - i) / 2) for i in range(1, D + 1))
        log_det += D * math.log(2.0) + math.log(np.linalg.det(W))
        log_pi = special.digamma(alpha[k]) - special.digamma(alpha.sum())
        for n, row in enumerate(rows - model.origin):
            distance = D / kappa + nu * (row - m) @ W @ (row - m)
            log_rho[n, k] = log_pi + 0.5 * (log_det - D * math.log(2 * math.pi) - distance)
    r = special.softmax(log_rho, axis=1)
    np.testing.assert_allclose(model.responsibilities(params, rows), r, rtol=1e-9, atol=1e-14)
    statistics = model.statistics(params, rows)
    np.testing.assert_allclose(statistics["counts"], r.sum(axis=0), rtol=1e-10)
    centred = rows - model.origin
    np.testing.assert_allclose(
        statistics["squares"], np.einsum("nk,ni,nj->kij", r, centred, centred), rtol=1e-9, atol=1e-9
    )
    entropy = -special.xlogy(r, r).sum()
    assert float(statistics["entropy"]) == pytest.approx(entropy, rel=1e-9)
    back = model.from_responsibilities(rows, r)
    swept = natural_step(model, params, statistics)
    for a, b in zip(tree_leaves(back), tree_leaves(swept), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


# ------------------------------------------------- one call or many, one block or many
def test_starts_in_one_call_are_the_same_starts_run_singly():
    rows = blobs(np.random.default_rng(8), 60, 2, 3)
    model = GaussianMixture(4).prepare(rows, len(rows))
    params = model.init(rows, np.random.default_rng(9), starts=7)
    first = [tree_map(lambda value, r=r: value[r], params) for r in range(7)]
    together = cavi(GaussianMixture(4), rows, starts=7, seed=9, **QUIET)
    for r in range(7):
        alone = cavi(model, rows, init=first[r], **QUIET)
        trace = together.start_elbos[r]
        trace = trace[~np.isnan(trace)]
        np.testing.assert_allclose(trace, alone.elbos, rtol=1e-12)
    assert len(np.unique(together.start_elbos[:, 0].round(6))) > 1  # the starts differ


@pytest.mark.parametrize("name", FITTED)
def test_statistics_do_not_depend_on_blocks(name, monkeypatch):
    model, make = FITTED[name]
    rows = make(np.random.default_rng(10))
    model = model.prepare(rows, len(rows))
    params = model.init(rows, np.random.default_rng(1), starts=3)
    whole = model.statistics(params, rows)
    parts = [model.statistics(params, rows[i : i + 9]) for i in range(0, 40, 9)]
    monkeypatch.setattr(base, "BLOCK_ELEMENTS", 1)
    blocked = model.statistics(params, rows)
    for other in (reduce(add_statistics, parts), blocked):
        for key, value in whole.items():
            np.testing.assert_allclose(other[key], value, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("name", FITTED)
def test_svi_with_all_rows_and_step_one_is_cavi(name):
    model, make = FITTED[name]
    rows = make(np.random.default_rng(11))
    ours = cavi(model, rows, max_sweeps=6, rtol=0.0, atol=0.0, seed=2, **QUIET)
    stochastic = svi(model, rows, batch=40, step_size=1.0, steps=6, seed=2, **QUIET)
    for a, b in zip(tree_leaves(ours.params), tree_leaves(stochastic.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_svi_on_minibatches_comes_to_the_same_clusters():
    rng = np.random.default_rng(12)
    rows = blobs(rng, 4_000, 2, 3, spread=8.0)
    ours = cavi(GaussianMixture(3), rows, starts=5, seed=0, **QUIET)
    found = svi(GaussianMixture(3), rows, batch=100, epochs=5, seed=0, **QUIET)
    assert ours.elbo - 5.0 < found.elbo <= ours.elbo + 1e-6 * abs(ours.elbo)


# ------------------------------------------------------------------------ scikit-learn
def test_the_optimum_is_that_of_scikit_learn_and_so_is_the_elbo():
    """Same priors, same first responsibilities: same parameters after every number of sweeps.

    scikit-learn's ``lower_bound_`` leaves out the prior's normalising constants and
    -D/2 log(2 pi) a row (Bishop 2006, equation 10.71, has them): that is the difference.
    """
    pytest.importorskip("sklearn")
    from benchmarks.mixture import scikit_learn

    rng = np.random.default_rng(13)
    D, K, count = 2, 3, 200
    rows = blobs(rng, count, D, K)
    r = rng.dirichlet(np.ones(K), size=count)
    model = informative(D, K).prepare(rows, count)
    start = model.from_responsibilities(rows, r)
    prior = model.prior
    constant = (
        K * (float(log_normalizer(prior)) - 0.5 * D * math.log(2 * math.pi))
        - K * 0.25 * D * (D - 1) * math.log(math.pi)
        + (K * special.gammaln(0.8) - special.gammaln(K * 0.8))
        + 0.5 * count * D * math.log(2 * math.pi)
    )
    for sweeps in (1, 200):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that one sweep has not converged
            theirs = scikit_learn(model, r, sweeps).fit(rows)
        ours = cavi(model, rows, init=start, max_sweeps=sweeps, rtol=0.0, atol=0.0, **QUIET)
        estimates = ours.model.estimates(ours.params)
        np.testing.assert_allclose(estimates["mean"], theirs.means_, rtol=1e-6)
        np.testing.assert_allclose(estimates["covariance"], theirs.covariances_, rtol=1e-6)
        np.testing.assert_allclose(
            estimates["weights"], theirs.weight_concentration_ / theirs.weight_concentration_.sum(),
            rtol=1e-6,
        )  # fmt: skip
        assert ours.elbo == pytest.approx(theirs.lower_bound_ - constant, abs=1e-8)
