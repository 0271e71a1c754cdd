"""Gradients of the negative ELBO: hand-derived, exact, and zero where they must be."""

import numpy as onp
import pytest

import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.advi.local import stratified_pairs
from vi_lab.engine import current
from vi_lab.families import FAMILIES
from vi_lab.gradients.base_draws import Antithetic, Independent, Sobol
from vi_lab.gradients.estimators import (
    Reparameterised,
    ScoreFunction,
    StickingTheLanding,
    check_base_draws,
    get_estimator,
)
from vi_lab.model import Target

PRECISION = onp.array([[2.0, 0.6, 0.0], [0.6, 1.5, -0.4], [0.0, -0.4, 1.0]])
CENTRE = onp.array([0.5, -1.0, 2.0])
GAUSSIAN = Target(
    lambda z: -0.5 * np.sum((z - CENTRE) * np.dot(z - CENTRE, PRECISION), axis=-1), dim=3
)
SKEWED = Target(lambda z: np.sum(z - np.exp(z), axis=-1), dim=3)
LOC, LOG_SCALE = onp.array([0.2, 0.1, -0.3]), onp.array([-0.5, 0.2, 0.1])
LOWER = onp.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [-0.8, 0.4, 0.0]])
FACTORS = onp.array([[0.5, 0.9, 0.1], [-0.7, 0.3, -0.2], [0.2, -0.6, 0.4]])


def gradient(engine, estimator, family, params, eps, target):
    def run(params, eps):
        def loss(params):
            return estimator.negative_elbo(target.structure, FAMILIES[family], params, eps, {})

        return current().value_and_grad(loss)(params)

    return engine.compile(run)(params, eps)


def parameters(family):
    params = {"loc": LOC, "log_scale": LOG_SCALE}
    if family == "low_rank":
        return {**params, "factors": FACTORS}
    return params if family == "mean_field" else {**params, "lower": LOWER}


@pytest.mark.parametrize("eps", onp.random.default_rng(1).normal(size=(3, 3)))
def test_mean_field_gradients_by_hand(engine, eps):
    """grad_mu = g, grad_omega = g eps sigma + 1; sticking the landing: g + eps / sigma."""
    params = parameters("mean_field")
    sigma = onp.exp(LOG_SCALE)
    g = 1.0 - onp.exp(LOC + sigma * eps)
    _, plain = gradient(engine, Reparameterised(), "mean_field", params, eps[None], SKEWED)
    onp.testing.assert_allclose(plain["loc"], -g, rtol=1e-12)
    onp.testing.assert_allclose(plain["log_scale"], -(g * eps * sigma + 1.0), rtol=1e-12)
    _, stuck = gradient(engine, StickingTheLanding(), "mean_field", params, eps[None], SKEWED)
    path = g + eps / sigma
    onp.testing.assert_allclose(stuck["loc"], -path, rtol=1e-12)
    onp.testing.assert_allclose(stuck["log_scale"], -path * eps * sigma, rtol=1e-12)


@pytest.mark.parametrize("eps", onp.random.default_rng(2).normal(size=(3, 3)))
def test_full_rank_gradients_by_hand(engine, eps):
    """grad_L = tril(g eps') + diag(1 / L_ii); sticking: tril(g~ eps'), g~ = g + L^-T eps."""
    params = parameters("full_rank")
    unit = onp.eye(3) + LOWER
    sigma = onp.exp(LOG_SCALE)
    scale = sigma[:, None] * unit
    g = 1.0 - onp.exp(LOC + scale @ eps)
    in_scale = onp.tril(onp.outer(g, eps)) + onp.diag(1.0 / onp.diag(scale))
    path = g + onp.linalg.solve(scale.T, eps)
    for estimator, in_l, in_loc in [
        (Reparameterised(), in_scale, g),
        (StickingTheLanding(), onp.tril(onp.outer(path, eps)), path),
    ]:
        _, found = gradient(engine, estimator, "full_rank", params, eps[None], SKEWED)
        onp.testing.assert_allclose(found["loc"], -in_loc, rtol=1e-11)
        # L = diag(sigma) T: the chain rule to log sigma and to T below its diagonal.
        onp.testing.assert_allclose(
            found["log_scale"], -onp.sum(in_l * scale, axis=1), rtol=1e-11, atol=1e-13
        )
        below = onp.tril(sigma[:, None] * in_l, -1)
        onp.testing.assert_allclose(found["lower"], -below, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("estimator", [Reparameterised(), StickingTheLanding()])
@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
def test_value_and_gradient_are_exact_for_a_quadratic(engine, estimator, family):
    """Draws with exact second moments integrate a quadratic without error.

    So this is an exact test of unbiasedness: the closed form of the ELBO is
    -tr(P S)/2 - (m - c)' P (m - c) / 2 + H[q].
    """
    params = parameters(family)
    eps = stratified_pairs(onp.random.default_rng(3), 20, 3)
    value, found = gradient(engine, estimator, family, params, eps, GAUSSIAN)
    chosen = FAMILIES[family]
    covariance = chosen.covariance(params)
    away = LOC - CENTRE
    elbo = (
        -0.5 * onp.trace(PRECISION @ covariance)
        - 0.5 * away @ PRECISION @ away
        + float(chosen.entropy(params))
    )
    assert value == pytest.approx(-elbo, rel=1e-12)
    onp.testing.assert_allclose(found["loc"], PRECISION @ away, rtol=1e-11, atol=1e-12)
    in_log_scale = onp.sum((PRECISION @ chosen.scale_tril(params)) * chosen.scale_tril(params), 1)
    onp.testing.assert_allclose(found["log_scale"], in_log_scale - 1.0, rtol=1e-11, atol=1e-12)


def skewed_elbo(family, params):
    """The ELBO of SKEWED in closed form: E[z - e^z] = mu - e^(mu + v/2), and the entropy."""
    sigma2 = np.exp(2.0 * params["log_scale"])
    if "lower" in params:
        rows = 1.0 + np.sum(np.tril(params["lower"], -1) ** 2, axis=1)
    elif "factors" in params:
        rows = 1.0 + np.sum(params["factors"] ** 2, axis=1)
    else:
        rows = 1.0
    expected = params["loc"] - np.exp(params["loc"] + 0.5 * sigma2 * rows)
    return np.sum(expected) + family.entropy(params)


def flat(gradient):
    """(..., number of parameters): leaves side by side, by name, after their leading axes."""
    lead = gradient["loc"].ndim - 1
    gradient = dict(sorted(gradient.items()))  # engines differ in the order of their keys
    return onp.concatenate([v.reshape(*v.shape[:lead], -1) for v in gradient.values()], axis=-1)


def central_differences(function, params):
    """The gradient, flat, to about 1e-9."""
    found = []
    for key, value in sorted(params.items()):
        for index in onp.ndindex(value.shape):
            up, down = value.copy(), value.copy()
            up[index] += 1e-5
            down[index] -= 1e-5
            rise = function({**params, key: up}) - function({**params, key: down})
            found.append(rise / 2e-5)
    return onp.array(found)


def many_gradients(estimator, family, params, target, steps, draws, engine=None):
    """Gradients (steps, parameters) of ``steps`` independent steps: compiled once, mapped.

    On JAX, unless an engine is given: the other would need minutes for 100,000 gradients.
    """
    if engine is None:
        pytest.importorskip("jax")
        engine = engines.get("jax")

    def run(params, eps):
        def one(eps):
            def loss(params):
                return estimator.negative_elbo(target.structure, family, params, eps, {})

            return current().value_and_grad(loss)(params)[1]

        return current().vmap(one)(eps)

    eps = onp.random.default_rng(5).normal(size=(steps, draws, family.base_dim(target.dim)))
    return flat(engine.compile(run)(params, eps))


ALL = [
    Reparameterised(),
    Reparameterised(entropy="monte_carlo"),
    StickingTheLanding(),
    ScoreFunction(),
]
FAMILY = ["mean_field", "full_rank", "low_rank"]


@pytest.mark.parametrize("estimator", ALL, ids=str)
@pytest.mark.parametrize("name", FAMILY)
def test_unbiased_over_a_hundred_thousand_draws(estimator, name):
    """Every component within 4 standard errors of the exact gradient.

    50,000 steps of 2 draws: what the draws of a step have to do with each other, a baseline
    say, would show. About 100 comparisons: a false alarm in 160 runs; the seed is fixed.
    """
    params, family = parameters(name), FAMILIES[name]
    found = many_gradients(estimator, family, params, SKEWED, 50_000, 2)
    expected = -central_differences(lambda p: skewed_elbo(family, p), params)
    error = found.std(axis=0, ddof=1) / found.shape[0] ** 0.5
    assert (onp.abs(found.mean(axis=0) - expected) <= 4.0 * error + 1e-15).all()
    below_diagonal = name == "full_rank"  # six entries of `lower` do not count
    assert (error > 0.0).sum() == error.size - 6 * below_diagonal


@pytest.mark.parametrize("estimator", ALL, ids=str)
@pytest.mark.parametrize("name", FAMILY)
def test_both_engines_and_both_shapes_of_draws(engine, estimator, name):
    """... against central differences, for fixed draws, of what each estimator differentiates."""
    params, family = parameters(name), FAMILIES[name]
    eps = onp.random.default_rng(8).normal(size=(4, family.base_dim(3)))
    _, found = gradient(engine, estimator, name, params, eps, SKEWED)
    z = family.transform(params, eps)

    def surrogate(params):  # a function whose gradient is the estimate
        if isinstance(estimator, ScoreFunction):
            f = SKEWED.density(z) - family.log_density(parameters(name), z)
            others = (f.sum() - f) / 3.0
            return -onp.mean(family.log_density(params, z) * (f - others))
        moved = family.transform(params, eps)
        if isinstance(estimator, StickingTheLanding):
            entropy = -onp.mean(family.log_density(parameters(name), moved))
        elif estimator.entropy == "monte_carlo":
            entropy = -onp.mean(family.log_density(params, moved))
        else:
            entropy = family.entropy(params)
        return -(onp.mean(SKEWED.density(moved)) + entropy)

    numeric = central_differences(surrogate, params)
    onp.testing.assert_allclose(flat(found), numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FAMILY)
def test_a_sampled_entropy_changes_the_value_and_for_low_rank_the_gradient(engine, name):
    params, family = parameters(name), FAMILIES[name]
    eps = onp.random.default_rng(8).normal(size=(2, family.base_dim(3)))
    value, closed = gradient(engine, Reparameterised(), name, params, eps, SKEWED)
    sampled_value, sampled = gradient(
        engine, Reparameterised("monte_carlo"), name, params, eps, SKEWED
    )
    assert abs(value - sampled_value) > 0.01
    gap = onp.abs(flat(closed) - flat(sampled)).max()
    assert gap > 0.01 if name == "low_rank" else gap < 1e-13


def gaussian_target(loc, covariance):
    precision = onp.linalg.inv(covariance)
    return Target(lambda z: -0.5 * np.sum((z - loc) * np.dot(z - loc, precision), axis=-1), dim=3)


@pytest.mark.parametrize("draws", [1, 3])
@pytest.mark.parametrize("name", FAMILY)
def test_sticking_the_landing_is_silent_where_q_is_the_posterior(engine, name, draws):
    """Every single gradient is zero, squared below 1e-20; the plain estimator's is of order one."""
    params, family = parameters(name), FAMILIES[name]
    target = gaussian_target(params["loc"], family.covariance(params))
    stuck = many_gradients(StickingTheLanding(), family, params, target, 5, draws, engine)
    plain = many_gradients(Reparameterised(), family, params, target, 5, draws, engine)
    assert (stuck**2).max() < 1e-20
    assert onp.abs(plain).max(axis=1).min() > 0.1


def test_the_value_survives_a_huge_score(engine):
    """sigma = e^-60, so the score is 1e26: the value is still log q - log p to rounding."""
    params = {"loc": LOC, "log_scale": onp.full(3, -60.0)}
    eps = onp.ones((2, 3))
    value, _ = gradient(engine, StickingTheLanding(), "mean_field", params, eps, SKEWED)
    log_q = 3.0 * (60.0 - 0.5 - 0.5 * onp.log(2.0 * onp.pi))
    assert value == pytest.approx(log_q - SKEWED.density(LOC), rel=1e-12)


def test_variances_are_ordered_as_the_theory_says():
    """Near the posterior: sticking the landing < reparameterised < score function.

    For q = N(0, 1) on the target N(0, 1) + small, D = 1: the reparameterised gradient in
    log sigma is eps^2 - 1, of variance 2; the variance of a sample variance over 50,000
    steps is known to about 5%, and the others differ by factors.
    """
    target = Target(lambda z: -0.5 * np.sum(z**2, axis=-1), dim=1)
    params = {"loc": onp.zeros(1), "log_scale": onp.zeros(1)}
    family = FAMILIES["mean_field"]
    plain = many_gradients(Reparameterised(), family, params, target, 50_000, 1).var(axis=0)
    onp.testing.assert_allclose(plain, [1.0, 2.0], rtol=0.06)
    away = {"loc": onp.full(1, 0.1), "log_scale": onp.full(1, 0.1)}
    found = [
        many_gradients(estimator, family, away, target, 20_000, 2).var(axis=0)
        for estimator in (StickingTheLanding(), Reparameterised())
    ]
    assert (found[0] < 0.2 * found[1]).all()


# ------------------------------------------------------------------- score function


def test_a_constant_in_the_log_density_does_not_disturb_the_score_function(engine):
    """That is what the baseline is for: without one the gradient would be 1,000 times as noisy."""
    shifted = Target(lambda z: SKEWED.density(z) + 1_000.0, dim=3)
    params = parameters("mean_field")
    eps = onp.random.default_rng(6).normal(size=(2, 3))
    value, without = gradient(engine, ScoreFunction(), "mean_field", params, eps, SKEWED)
    shifted_value, with_shift = gradient(
        engine, ScoreFunction(), "mean_field", params, eps, shifted
    )
    assert value - shifted_value == pytest.approx(1_000.0, rel=1e-13)
    onp.testing.assert_allclose(flat(without), flat(with_shift), rtol=1e-9, atol=1e-11)


def test_score_function_needs_no_gradient_of_the_log_density():
    """A log density of steps: its own gradient is zero wherever it has one.

    The exact gradient by quadrature: d/dmu E[f] = E[f eps] / sigma, d/domega E[f] =
    E[f (eps^2 - 1)]. Reparameterisation sees the entropy alone, and is wrong.
    """
    target = Target(lambda z: -np.sum(np.floor(np.abs(z)), axis=-1), dim=1)
    params = {"loc": onp.full(1, 0.3), "log_scale": onp.zeros(1)}
    family = FAMILIES["mean_field"]
    found = many_gradients(ScoreFunction(), family, params, target, 50_000, 2)
    eps = onp.linspace(-9.0, 9.0, 2_000_001)
    f = -onp.floor(onp.abs(0.3 + eps)) * onp.exp(-0.5 * eps**2) / (2.0 * onp.pi) ** 0.5
    width = eps[1] - eps[0]
    exact = [-(f * eps).sum() * width, -((f * (eps**2 - 1.0)).sum() * width + 1.0)]
    error = found.std(axis=0) / 50_000**0.5
    assert (onp.abs(found.mean(axis=0) - exact) < 4.0 * error).all()
    blind = many_gradients(Reparameterised(), family, params, target, 2, 2)
    onp.testing.assert_allclose(blind, [[0.0, -1.0]] * 2, atol=1e-15)
    assert abs(exact[0]) > 50.0 * error[0]  # so blindness shows


def test_one_draw_is_too_few_for_a_baseline(engine):
    with pytest.raises(ValueError, match=r"^draws: ScoreFunction compares"):
        gradient(
            engine,
            ScoreFunction(),
            "mean_field",
            parameters("mean_field"),
            onp.ones((1, 3)),
            SKEWED,
        )


def test_draws_that_hang_together_would_bias_the_baseline():
    check_base_draws(ScoreFunction(), Independent(), 2)
    check_base_draws(StickingTheLanding(), Sobol(), 2)
    for base_draws in (Antithetic(), Sobol()):
        with pytest.raises(ValueError, match=r"^base_draws: .* not independent within a step"):
            check_base_draws(ScoreFunction(), base_draws, 2)
    with pytest.raises(ValueError, match=r"^draws: ScoreFunction compares"):
        check_base_draws(ScoreFunction(), Independent(), 1)


def test_estimators_by_name():
    assert get_estimator("reparameterised") == Reparameterised()
    assert get_estimator("score_function") == ScoreFunction()
    assert get_estimator(StickingTheLanding()) == StickingTheLanding()
    with pytest.raises(ValueError, match=r"estimator: 'score' is none of"):
        get_estimator("score")


def test_a_bad_entropy_is_named():
    with pytest.raises(ValueError, match=r"^entropy: 'exact' is none of"):
        Reparameterised(entropy="exact")
