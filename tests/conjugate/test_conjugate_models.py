"""The conjugate models against exact posteriors, evidences, quadrature and derivatives."""

from typing import Any

import numpy as onp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

import vi_lab as vl
from vi_lab import engine as engines
from vi_lab.conjugate import (
    GaussianTarget,
    LinearRegression,
    NormalModel,
    add_statistics,
    cavi,
    half_steps,
    natural_step,
)
from vi_lab.engine.trees import tree_leaves, tree_map

ARD = LinearRegression(precision=vl.Gamma(0.5, 0.3))
MODELS = {
    "normal": NormalModel(mean=0.5, strength=0.3, shape=2.0, rate=1.5),
    "regression": LinearRegression(mean=0.2, precision=0.7, shape=2.0, rate=1.5),
    "ard": ARD,
}


def rows_for(name: str, rng: onp.random.Generator, count: int = 20, dim: int = 3) -> onp.ndarray:
    if name == "normal":
        return rng.normal(1.0, 2.0, count)
    covariates = rng.standard_normal((count, dim))
    response = covariates @ onp.linspace(-1.0, 2.0, dim) + 0.5 * rng.standard_normal(count)
    return onp.column_stack([covariates, response])


def fixed_point(model: Any, rows: Any, sweeps: int = 300) -> tuple[Any, Any, Any]:
    """Model, parameters after many sweeps, and statistics, without a leading axis."""
    if model.has_rows:
        rows = model.check(rows)
        model = model.prepare(rows, len(rows))
    params = model.init(rows, onp.random.default_rng(0))
    params = tree_map(lambda value: value[0], params)
    statistics = model.statistics(params, rows)
    for _ in range(sweeps):
        params = natural_step(model, params, statistics)
    return model, params, statistics


def assert_never_falls(model: Any, rows: Any, sweeps: int = 2) -> None:
    """Each half-step raises the ELBO, to 1e-10 of its size: the rounding of its sums."""
    if model.has_rows:
        rows = model.check(rows)
        model = model.prepare(rows, len(rows))
    params = model.init(rows, onp.random.default_rng(0), starts=3)
    statistics = model.statistics(params, rows)
    before = model.elbo(params, statistics)
    for _ in range(sweeps):
        for block, after in half_steps(model, params, statistics):
            params = after
            elbo = model.elbo(params, statistics)
            fall = onp.max((before - elbo) / onp.maximum(1.0, onp.abs(elbo)))
            assert fall <= 1e-10, block
            before = elbo


# ------------------------------------------------------------ the ELBO never falls
@settings(max_examples=1_000, derandomize=True, database=None, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 30),
    dim=st.integers(1, 4),
    scale=st.floats(-4.0, 8.0),
    offset=st.sampled_from([0.0, 1.0, -1e4, 1e8]),
    repeated=st.booleans(),
)
def test_elbo_never_falls(
    seed: int, count: int, dim: int, scale: float, offset: float, repeated: bool
) -> None:
    """On 1,000 data sets of any scale, far from 0 or not, with duplicates or not."""
    rng = onp.random.default_rng(seed)
    pick = rng.integers(0, count, count) if repeated else onp.arange(count)
    for name, model in MODELS.items():
        rows = 10.0**scale * rows_for(name, rng, count, dim)[pick]
        assert_never_falls(model, rows + offset)
    factor = rng.standard_normal((dim, dim + 1))
    target = GaussianTarget(rng.standard_normal(dim), factor @ factor.T + 1e-3 * onp.eye(dim))
    assert_never_falls(target, None)


@pytest.mark.parametrize(
    "rows",
    [
        onp.array([[1.0, 1.0, 3.0]]),  # one row, two equal columns
        onp.ones((10, 3)),  # nothing but duplicates
        1e8 * onp.column_stack([onp.arange(9.0), onp.arange(9.0), onp.arange(9.0) ** 2]),
        onp.column_stack([1e8 + onp.arange(9.0) ** 2, onp.ones(9), onp.zeros(9), onp.arange(9.0)]),
    ],
    ids=["one row", "duplicates", "collinear and large", "far away, and a column of zeros"],
)
def test_hard_data_survive(rows: onp.ndarray) -> None:
    model = LinearRegression(precision=0.1)
    assert_never_falls(model, rows, sweeps=10)
    fit = cavi(model, rows, progress=False)
    assert fit.converged
    assert fit.elbo <= model.log_evidence(rows)
    assert onp.isfinite(
        onp.concatenate(list(map(onp.ravel, fit.sample(10, seed=1).values())))
    ).all()


def test_data_far_from_zero_lose_no_digits() -> None:
    x = onp.array([0.0, 1.0, 2.0, 4.0, 3.0])
    near = NormalModel(mean=0.0)
    far = NormalModel(mean=1e8)
    assert far.log_evidence(x + 1e8) == pytest.approx(near.log_evidence(x), rel=1e-12)
    fits = [cavi(near, x, progress=False), cavi(far, x + 1e8, progress=False)]
    assert fits[1].elbo == pytest.approx(fits[0].elbo, rel=1e-12)
    assert fits[1].params["tau"]["rate"] == pytest.approx(fits[0].params["tau"]["rate"], rel=1e-12)


# ---------------------------------------------------------------- exact answers
def test_evidence_of_the_normal_model_is_a_student_density() -> None:
    model, x = MODELS["normal"], onp.random.default_rng(1).normal(1.0, 2.0, 15)
    shape = model.rate / model.shape * (onp.eye(15) + 1.0 / model.strength)
    marginal = stats.multivariate_t(onp.full(15, model.mean), shape, df=2 * model.shape)
    assert model.log_evidence(x) == pytest.approx(marginal.logpdf(x), rel=1e-12)


def test_evidence_of_the_regression_is_a_student_density() -> None:
    model = MODELS["regression"]
    rows = rows_for("regression", onp.random.default_rng(1))
    X, y = rows[:, :-1], rows[:, -1]
    shape = model.rate / model.shape * (onp.eye(len(y)) + X @ X.T / model.precision)
    marginal = stats.multivariate_t(X @ onp.full(3, model.mean), shape, df=2 * model.shape)
    assert model.log_evidence(rows) == pytest.approx(marginal.logpdf(y), rel=1e-12)


def test_regression_posterior_solves_the_normal_equations() -> None:
    model = MODELS["regression"]
    rows = rows_for("regression", onp.random.default_rng(1))
    X, y = rows[:, :-1], rows[:, -1]
    exact = model.posterior(rows)
    precision = X.T @ X + model.precision * onp.eye(3)
    onp.testing.assert_allclose(exact.covariance, onp.linalg.inv(precision), rtol=1e-12, atol=1e-15)
    onp.testing.assert_allclose(precision @ exact.mean, X.T @ y + model.precision * model.mean)


def test_normal_fixed_point_is_known_in_closed_form() -> None:
    """q(tau) has the exact mean a_N/b_N, q(mu) the exact mean; both are a little too narrow."""
    x = onp.random.default_rng(2).normal(1.0, 2.0, 15)
    model, params, _ = fixed_point(MODELS["normal"], x)
    exact = model.posterior(x)
    mean, variance = model.moments(params)
    tau = params["tau"]
    assert mean == pytest.approx(exact.mean, rel=1e-13)
    assert variance == pytest.approx(exact.rate / (exact.shape * exact.strength), rel=1e-13)
    assert tau["shape"] == exact.shape + 0.5
    assert tau["shape"] / tau["rate"] == pytest.approx(exact.shape / exact.rate, rel=1e-13)


def test_regression_fixed_point_is_known_in_closed_form() -> None:
    rows = rows_for("regression", onp.random.default_rng(2))
    model, params, _ = fixed_point(MODELS["regression"], rows)
    exact = model.posterior(rows)
    mean, covariance = model.moments(params)
    onp.testing.assert_allclose(mean, exact.mean, rtol=1e-12)
    onp.testing.assert_allclose(
        covariance, exact.covariance * exact.rate / exact.shape, rtol=1e-11, atol=1e-15
    )
    assert params["tau"]["shape"] == exact.shape + 1.5


def test_elbo_plus_kl_is_the_log_evidence() -> None:
    """KL(q || posterior) by Gauss quadrature, 80 x 80 nodes: exact to rounding here."""
    x = onp.random.default_rng(3).normal(1.0, 2.0, 40)
    model, params, statistics = fixed_point(MODELS["normal"], x, sweeps=2)
    exact = model.posterior(x)
    m, v = model.moments(params)
    a, b = params["tau"]["shape"], params["tau"]["rate"]
    nodes, weights = special.roots_hermitenorm(80)
    mu = m + onp.sqrt(v) * nodes[:, None]
    laguerre, laguerre_weights = special.roots_genlaguerre(80, a - 1.0)
    tau = laguerre / b
    log_q = stats.norm.logpdf(mu, m, onp.sqrt(v)) + stats.gamma.logpdf(tau, a, scale=1 / b)
    log_p = stats.norm.logpdf(mu, exact.mean, (exact.strength * tau) ** -0.5)
    log_p = log_p + stats.gamma.logpdf(tau, exact.shape, scale=1 / exact.rate)
    kl = (weights / weights.sum()) @ (log_q - log_p) @ (laguerre_weights / laguerre_weights.sum())
    assert kl > 1e-4
    assert model.elbo(params, statistics) + kl == pytest.approx(model.log_evidence(x), abs=1e-9)


def test_one_regression_column_of_ones_is_the_normal_model() -> None:
    x = onp.random.default_rng(4).normal(1.0, 2.0, 12)
    normal = cavi(NormalModel(mean=0.5, strength=0.3), x, progress=False)
    ones = onp.column_stack([onp.ones(12), x])
    regression = cavi(LinearRegression(mean=0.5, precision=0.3), ones, progress=False)
    onp.testing.assert_allclose(regression.elbos, normal.elbos, rtol=1e-12)


def test_gaussian_target_is_projected_on_its_conditional_variances() -> None:
    rng = onp.random.default_rng(5)
    factor = rng.standard_normal((4, 6))
    precision = factor @ factor.T
    model, params, statistics = fixed_point(GaussianTarget(onp.arange(4.0), precision), None)
    mean, variance = model.moments(params)
    onp.testing.assert_allclose(mean, onp.arange(4.0), atol=1e-12)
    onp.testing.assert_allclose(variance, 1.0 / onp.diag(precision), rtol=1e-14)
    kl = 0.5 * (onp.log(onp.diag(precision)).sum() - onp.linalg.slogdet(precision)[1])
    assert model.elbo(params, statistics) == pytest.approx(-kl, rel=1e-12)


def test_gaussian_staircase_shrinks_by_rho_squared() -> None:
    model = GaussianTarget([1.0, -1.0], onp.linalg.inv([[1.0, 0.9], [0.9, 1.0]]))
    params = model.natural([4.0, 0.0], [1.0, 1.0])
    first = natural_step(model, params, {})
    second = natural_step(model, first, {})
    errors = [model.moments(p)[0] - model.mean for p in (first, second)]
    onp.testing.assert_allclose(errors[1] / errors[0], 0.81, rtol=1e-12)


# -------------------------------------------------------- ARD, where nothing is exact
def test_ard_elbo_is_below_the_evidence_by_quadrature() -> None:
    rng = onp.random.default_rng(6)
    rows = rows_for("regression", rng, count=8, dim=1)
    prior = ARD.precision

    def joint(log_alpha: float) -> float:
        alpha = onp.exp(log_alpha)
        given = LinearRegression(precision=float(alpha)).log_evidence(rows)
        log_prior = stats.gamma.logpdf(alpha, prior.concentration, scale=1.0 / prior.rate)
        return float(onp.exp(given + log_prior + log_alpha))

    evidence, _ = integrate.quad(joint, -25.0, 8.0, limit=200)
    gap = onp.log(evidence) - cavi(ARD, rows, progress=False).elbo
    assert 0.0 < gap < 1.0


def log_joint_and_q(model: Any, params: Any, rows: Any, draws: Any) -> tuple[Any, Any]:
    """log p(y, w, tau, alpha) and log q of each draw, from SciPy's densities."""
    X, y = rows[:, :-1], rows[:, -1]
    w, tau, alpha = draws["w"], draws["tau"], draws["alpha"]
    prior = model.precision
    log_p = stats.norm.logpdf(y, w @ X.T, tau[:, None] ** -0.5).sum(axis=1)
    log_p += stats.norm.logpdf(w, model.mean, (tau[:, None] * alpha) ** -0.5).sum(axis=1)
    log_p += stats.gamma.logpdf(tau, model.shape, scale=1.0 / model.rate)
    log_p += stats.gamma.logpdf(alpha, prior.concentration, scale=1.0 / prior.rate).sum(axis=1)
    log_q = stats.multivariate_normal(*model.moments(params)).logpdf(w)
    for name in ("tau", "alpha"):
        factor = params[name]
        density = stats.gamma.logpdf(draws[name], factor["shape"], scale=1.0 / factor["rate"])
        log_q = log_q + density.reshape(len(w), -1).sum(axis=1)
    return log_p, log_q


def test_ard_elbo_has_all_its_constants() -> None:
    """The Monte Carlo mean of log p - log q; five standard errors, a false alarm in 1.7 million."""
    rows = rows_for("ard", onp.random.default_rng(7))
    model, params, statistics = fixed_point(ARD, rows, sweeps=2)
    draws = model.sample(params, 20_000, onp.random.default_rng(8))
    log_p, log_q = log_joint_and_q(model, params, rows, draws)
    error = (log_p - log_q).std() / 20_000**0.5
    assert abs((log_p - log_q).mean() - model.elbo(params, statistics)) < 5 * error
    assert error < 0.02


def test_ard_tells_relevant_columns_from_others() -> None:
    rng = onp.random.default_rng(9)
    X = rng.standard_normal((200, 4))
    rows = onp.column_stack([X, X @ [2.0, 0.0, -1.0, 0.0] + 0.3 * rng.standard_normal(200)])
    fit = cavi(LinearRegression(precision=vl.Gamma(1e-2, 1e-3)), rows, progress=False)
    alpha = fit.params["alpha"]["shape"] / fit.params["alpha"]["rate"]
    assert alpha[[1, 3]].min() > 20 * alpha[[0, 2]].max()


# ------------------------------------------------------------------- derivatives
@pytest.mark.parametrize("name", [*MODELS, "gaussian"])
def test_gradient_of_the_elbo_vanishes_at_the_fixed_point(
    engine: engines.Engine, name: str
) -> None:
    """In nats for a relative change of a parameter: 0 at the fixed point, not at the start."""
    rows = None if name == "gaussian" else rows_for(name, onp.random.default_rng(10))
    correlated = onp.array([[2.0, 0.7], [0.7, 1.0]])
    start = GaussianTarget([1.0, 2.0], correlated) if name == "gaussian" else MODELS[name]

    def gradient(params: Any, statistics: Any) -> Any:
        return engines.current().value_and_grad(lambda p: model.elbo(p, statistics))(params)

    sizes = []
    for sweeps in (0, 300):
        model, params, statistics = fixed_point(start, rows, sweeps)
        _, slopes = engine.compile(gradient)(params, statistics)
        effect = tree_map(lambda g, p: onp.abs(g) * onp.max(onp.abs(p)), slopes, params)
        sizes.append(max(float(onp.max(leaf)) for leaf in tree_leaves(effect)))
    assert sizes[0] > 0.1
    assert sizes[1] < 1e-9


# ----------------------------------------------------------- rows, starts, draws
@pytest.mark.parametrize("name", MODELS)
def test_statistics_are_additive(name: str) -> None:
    rows = rows_for(name, onp.random.default_rng(11))
    model = MODELS[name].prepare(rows, len(rows))
    params = model.init(rows, onp.random.default_rng(0))
    parts = add_statistics(model.statistics(params, rows[:7]), model.statistics(params, rows[7:]))
    whole = model.statistics(params, rows)
    for key, value in whole.items():
        onp.testing.assert_allclose(parts[key], value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", MODELS)
def test_starts_are_each_its_own_run(name: str) -> None:
    """A start among four, and the same start alone."""
    rows = rows_for(name, onp.random.default_rng(12))
    together = cavi(MODELS[name], rows, starts=4, progress=False)
    model = together.model
    params = model.init(rows, onp.random.default_rng(0), starts=4)
    assert len({round(float(v), 9) for v in together.start_elbos[:, 0]}) == 4
    for r in range(4):
        alone = cavi(model, rows, init=tree_map(lambda v, r=r: v[r], params), progress=False)
        trace = together.start_elbos[r]
        onp.testing.assert_allclose(trace[~onp.isnan(trace)], alone.elbos, rtol=1e-12)


@pytest.mark.parametrize("name", MODELS)
def test_draws_have_the_moments_of_q(name: str) -> None:
    """Five standard errors of 40,000 draws each; about 20 comparisons."""
    fit = cavi(MODELS[name], rows_for(name, onp.random.default_rng(13)), progress=False)
    draws = fit.sample(40_000, seed=1)
    block = "mu" if name == "normal" else "w"
    mean, covariance = fit.model.moments(fit.params)
    sd = onp.sqrt(covariance if name == "normal" else onp.diag(covariance))
    assert (onp.abs(draws[block].mean(axis=0) - mean) < 5 * sd / 200).all()
    assert (onp.abs(draws[block].std(axis=0) / sd - 1) < 5 / (2 * 40_000) ** 0.5).all()
    for other in fit.model.blocks[1:]:
        shape, rate = fit.params[other]["shape"], fit.params[other]["rate"]
        error = onp.sqrt(shape) / rate / 200
        assert (onp.abs(draws[other].mean(axis=0) - shape / rate) < 5 * error).all()
    if name != "normal":
        found = onp.cov(draws["w"].T)
        assert (onp.abs(found - covariance) < 5 * onp.outer(sd, sd) * (2 / 40_000) ** 0.5).all()


def test_predictions_spread_by_noise_and_by_ignorance() -> None:
    x = onp.random.default_rng(14).normal(1.0, 2.0, 50)
    fit = cavi(NormalModel(), x, progress=False)
    new = fit.posterior_predictive(40_000, seed=1)
    tau = fit.params["tau"]
    variance = tau["rate"] / (tau["shape"] - 1.0) + fit.model.moments(fit.params)[1]
    assert new.shape == (40_000,)
    assert new.var() == pytest.approx(variance, rel=5 * (2.5 / 40_000) ** 0.5)
    rows = rows_for("regression", onp.random.default_rng(14))
    fit = cavi(LinearRegression(), rows, progress=False)
    where = onp.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    new = fit.posterior_predictive(40_000, seed=1, covariates=where)
    mean, _ = fit.model.moments(fit.params)
    assert new.shape == (40_000, 2)
    assert (onp.abs(new.mean(axis=0) - where @ mean) < 5 * new.std(axis=0) / 200).all()


# -------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: NormalModel(strength=0.0), "strength: must be a positive"),
        (lambda: NormalModel(rate=onp.nan), "rate: must be a positive"),
        (lambda: LinearRegression(precision=-1.0), "precision: must be positive"),
        (lambda: LinearRegression(mean=onp.inf), "mean: must be finite"),
        (lambda: LinearRegression(shape=0.0), "shape: must be a positive"),
        (lambda: GaussianTarget([[0.0]], [[1.0]]), r"mean: must have the shape \(D,\)"),
        (lambda: GaussianTarget([0.0], [1.0]), r"precision: must have the shape \(1, 1\)"),
        (lambda: GaussianTarget([0.0], [[onp.nan]]), "must be finite"),
        (lambda: GaussianTarget([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]]), "positive definite"),
        (lambda: cavi(NormalModel(), []), "rows: are empty"),
        (lambda: cavi(NormalModel(), [1.0, onp.nan]), "rows: row 1 is not finite"),
        (lambda: cavi(NormalModel(), [[1.0]]), r"rows: must have the shape \(N,\)"),
        (lambda: cavi(NormalModel(), ["a"]), "rows: must be numbers"),
        (lambda: cavi(NormalModel()), "rows: NormalModel needs data"),
        (lambda: cavi(NormalModel(), iter([1.0])), "for a stream of blocks use svi"),
        (lambda: cavi(GaussianTarget([0.0], [[1.0]]), [1.0]), "has no data"),
        (lambda: cavi(LinearRegression(), onp.ones((3, 1))), "a covariate at least"),
        (lambda: cavi(LinearRegression(mean=[1.0, 2.0]), onp.ones((3, 2))), "mean: has the shape"),
        (lambda: ARD.log_evidence(onp.ones((3, 2))), "only for fixed precisions"),
        (lambda: cavi(NormalModel(), [1.0], init="kmeans++"), "init: 'kmeans"),
        (lambda: cavi(NormalModel(), [1.0], init={"mu": {}}), "init: has the blocks"),
        (lambda: cavi(NormalModel(), [1.0], starts=2, init={}), "set it to 1"),
        (lambda: cavi(NormalModel(), [1.0], starts=0), "starts: must be"),
        (lambda: cavi(NormalModel(), [1.0], max_sweeps=0), "max_sweeps: must be"),
    ],
)
def test_bad_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(vl.ViLabError, match=message):
        call()


def test_predictions_need_what_the_model_needs() -> None:
    normal = cavi(NormalModel(), [1.0, 2.0], progress=False)
    with pytest.raises(ValueError, match="covariates: this model has none"):
        normal.posterior_predictive(10, seed=1, covariates=[[1.0]])
    regression = cavi(LinearRegression(), onp.ones((3, 2)), progress=False)
    with pytest.raises(ValueError, match="covariates: say with an array"):
        regression.posterior_predictive(10, seed=1)
    with pytest.raises(ValueError, match="covariates: must have the shape"):
        regression.posterior_predictive(10, seed=1, covariates=[1.0])
    target = cavi(GaussianTarget([0.0], [[1.0]]), progress=False)
    with pytest.raises(ValueError, match="nothing can be predicted"):
        target.posterior_predictive(10, seed=1)
