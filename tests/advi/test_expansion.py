"""Mean field in many dimensions: curvature by products, against matrices where these are small."""

import time
import tracemalloc

import numpy as onp
import pytest
from asked import asked

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.advi import objective as objectives
from vi_lab.advi.climb import Climb, climb
from vi_lab.advi.density import Density
from vi_lab.advi.expansion import ExpandedDensity, conjugate_gradients
from vi_lab.advi.local import by_replicate, fresh_pairs, stratified_pairs
from vi_lab.advi.objective import DENSE_DIM, Expanded, expands
from vi_lab.advi.search import Search
from vi_lab.families import FullRankGaussian, MeanFieldGaussian
from vi_lab.families.charts import MeanFieldChart
from vi_lab.results.checkpoint import Checkpoint

JAX = {"engine": "jax", "progress": False}
D = 5
CHAIN = onp.eye(D) * 2.0 - 0.8 * (onp.eye(D, k=1) + onp.eye(D, k=-1))


def chain(z):
    """A Gaussian whose neighbours hang together, mean 1: `CHAIN` is its precision on R^5."""
    y = z - 1.0
    return -np.sum(y**2, axis=-1) + 0.8 * np.sum(y[..., 1:] * y[..., :-1], axis=-1)


def bent(z):
    return chain(z) - 0.1 * np.sum(np.exp(0.5 * z), axis=-1)


def densities(function, anchor, engine=None):
    """Expanded about an ``anchor``, and as it is."""
    engine, structure = engine or engines.get("jax"), vl.Target(function, dim=D).structure
    expanded = ExpandedDensity(structure, {}, engine, D)
    expanded.expand(anchor)
    return expanded, Density(structure, {}, engine, D)


CHART = MeanFieldChart(onp.linspace(0.5, 1.2, D), onp.linspace(0.3, 1.0, D))
EPS = stratified_pairs(onp.random.default_rng(0), 32, D)


def test_it_is_for_mean_field_in_many_dimensions():
    assert expands(MeanFieldGaussian(), DENSE_DIM + 1)
    assert not expands(MeanFieldGaussian(), DENSE_DIM)
    assert not expands(FullRankGaussian(), DENSE_DIM + 1)


@pytest.mark.parametrize("function", [chain, bent])
def test_a_look_is_the_one_without_an_expansion(engine, function):
    """The quadratic's own averages are exact on draws with exact moments: all else agrees."""
    expanded, plain = densities(function, CHART.loc + 0.2 * CHART.sd, engine)
    (one,), (other,) = (density.looks([CHART], EPS) for density in (expanded, plain))
    assert one.elbo == pytest.approx(other.elbo, rel=1e-12)
    onp.testing.assert_allclose(one.slope, other.slope, atol=1e-12)
    onp.testing.assert_allclose(one.curvature.scales, other.curvature.scales, atol=1e-12)
    if function is chain:
        onp.testing.assert_allclose(one.errors, 0.0, atol=1e-12)
        onp.testing.assert_allclose(
            one.curvature.solve(one.slope), other.curvature.solve(other.slope), rtol=3e-3, atol=1e-3
        )


def test_of_a_gaussian_few_draws_are_enough():
    """8 draws on R^5 give no line; what is known without draws does."""
    expanded, _ = densities(chain, onp.zeros(D))
    c = Climb(CHART)
    climb(expanded, [c], stratified_pairs(onp.random.default_rng(0), 8, D), 1e-12)
    assert c.why == "settled"
    onp.testing.assert_allclose(c.at.loc, 1.0, atol=1e-6)
    onp.testing.assert_allclose(c.at.sd, onp.diag(CHAIN) ** -0.5, rtol=1e-9)


def test_the_product_is_minus_the_precision():
    expanded, _ = densities(chain, onp.zeros(D))
    before = expanded.gradients
    onp.testing.assert_allclose(
        onp.stack([expanded.product(e) for e in onp.eye(D)]), -CHAIN, atol=1e-13
    )
    assert expanded.gradients - before == 2 * D  # each counts as two
    onp.testing.assert_allclose(expanded._diagonal, -onp.diag(CHAIN), rtol=1e-13)
    assert before == 1 + 2 * D


def test_fresh_slopes_are_those_of_the_elbo():
    """200 sets: their mean is the slope of 100,000 draws; four standard errors, 10 numbers."""
    expanded, plain = densities(bent, CHART.loc)
    (known,) = expanded.looks([CHART], EPS)
    rng = onp.random.default_rng(1)
    slopes = onp.concatenate(
        [expanded.fresh_slopes(CHART, known, fresh_pairs(rng, 32, D)) for _ in range(50)]
    )
    eps = stratified_pairs(onp.random.default_rng(2), 99_968, D)
    (exact,) = plain.looks([CHART], eps)
    error = slopes.std(axis=0) / len(slopes) ** 0.5
    assert (onp.abs(slopes.mean(axis=0) - exact.slope) < 4.0 * error + 1e-3).all()
    assert error.max() < 2e-3


def test_conjugate_gradients_solve_and_stop_where_there_is_no_curvature():
    A, b = CHAIN * onp.outer(onp.arange(1.0, 6.0), onp.arange(1.0, 6.0)), onp.ones(D)
    x = conjugate_gradients(lambda v: A @ v, b, onp.diag(A))
    exact = onp.linalg.solve(A, b)
    onp.testing.assert_allclose(x, exact, atol=2e-3 * onp.abs(exact).max())
    saddle = onp.diag([1.0, -1.0])
    found = conjugate_gradients(lambda v: saddle @ v, onp.array([1.0, 3.0]), onp.ones(2))
    assert found @ [1.0, 3.0] > 0.0  # uphill
    onp.testing.assert_array_equal(
        conjugate_gradients(lambda v: 0.0 * v, onp.array([1.0, 2.0]), onp.ones(2)), [1.0, 2.0]
    )


def test_a_step_is_cut_to_its_divergence():
    expanded, _ = densities(bent, CHART.loc)
    (look,) = expanded.looks([CHART], EPS)
    newton = look.curvature.trusted(look.slope, 1e9)
    short = look.curvature.trusted(look.slope, 0.25 * newton.divergence)
    onp.testing.assert_allclose(short.tangent, 0.5 * newton.tangent)
    assert short.divergence == pytest.approx(0.25 * newton.divergence)
    assert 0.0 < short.gain < newton.gain
    assert look.curvature.floored() is look.curvature
    assert look.curvature.lowest == look.curvature.scales.min()


# ------------------------------------------------------------------------------ fits
def test_a_gaussian_on_r600_is_exact_and_its_products_are_counted():
    fit = vl.advi(vl.Target(chain, dim=600), seed=1, **JAX)
    assert fit.convergence.converged
    onp.testing.assert_allclose(fit.unconstrained_std["z"], 0.5**0.5, rtol=1e-9)
    onp.testing.assert_allclose(fit.params["loc"], 1.0, atol=1e-5)
    assert fit.convergence.gradients > 2 * 600  # the diagonal of the Hessian, once
    assert fit.convergence.gradients < 6_000


def test_what_is_not_gaussian_agrees_with_the_dense_path(monkeypatch):
    """On R^60 both: each within its tolerance of the best q, so within twice both."""
    target = vl.Target(bent, dim=60)
    dense = vl.advi(target, seed=1, **JAX)
    monkeypatch.setattr(objectives, "DENSE_DIM", 50)
    kind = type(Search(asked(target), onp.random.default_rng(0), Checkpoint(None, {})).objective)
    assert kind is Expanded
    fit = vl.advi(target, seed=1, **JAX)
    assert fit.convergence.converged
    away = (fit.params["loc"] - dense.params["loc"]) / dense.unconstrained_std["z"]
    wider = fit.params["log_scale"] - dense.params["log_scale"]
    apart = 0.5 * (away @ away) + wider @ wider
    assert apart < 4.0 * fit.convergence.tolerance


def test_the_anchor_moves_where_q_has_left_it():
    settings = asked(vl.Target(bent, dim=D), engine="jax")
    expanded = Expanded(settings.model, settings.engine)
    expanded.prepare(Climb(CHART))
    first = expanded.density
    expanded.prepare(Climb(CHART.moved(onp.append(onp.full(D, 0.4), onp.zeros(D)))))
    assert expanded.density is first
    cost = first.gradients
    expanded.prepare(Climb(CHART.moved(onp.append(onp.full(D, 0.6), onp.zeros(D)))))
    assert expanded.density is not first
    assert expanded.density.gradients == cost + 1 + 2 * D
    again = Expanded(settings.model, settings.engine)
    again.restore(expanded.snapshot())
    onp.testing.assert_array_equal(again.density.anchor, expanded.density.anchor)
    assert Expanded(settings.model, settings.engine).snapshot() == {}


def test_memory_is_linear_in_the_dimension():
    """4,000 dimensions: a matrix of theirs alone would be 128 MB."""
    target = vl.Target(lambda z: -0.5 * np.sum((z - 1.0) ** 2, axis=-1), dim=4_000)
    vl.advi(vl.Target(chain, dim=600), seed=1, **JAX)  # modules and compilers
    tracemalloc.start()
    began = time.perf_counter()
    fit = vl.advi(target, starts=1, seed=1, **JAX)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fit.convergence.converged
    assert peak < 60e6, (peak, time.perf_counter() - began)


def test_errors_are_what_each_coordinate_alone_leaves_of_the_rest(engine):
    """With more draws than twice the dimensions too, where a D x D line would leave too little.

    Of -z^4/4 - z^2/2 about 0 the rest of the gradient is -z^3.
    """
    expanded, _ = densities(
        lambda z: -0.25 * np.sum(z**4, axis=-1) - 0.5 * np.sum(z**2, axis=-1), onp.zeros(D), engine
    )
    chart = MeanFieldChart(onp.full(D, 0.3), onp.ones(D))
    (found,) = expanded.looks([chart], EPS)
    rest = -(chart.draw(EPS) ** 3)
    beyond_line = rest - rest.mean(axis=0) - EPS * (EPS * rest).mean(axis=0)
    parts = chart.slopes(by_replicate(EPS), by_replicate(beyond_line))
    onp.testing.assert_allclose(found.errors, parts - parts.mean(axis=0), atol=1e-10)
