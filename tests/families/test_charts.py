"""Charts: slopes, entropy and moves, each against the ELBO of fixed draws itself."""

import numpy as onp
import pytest

from vi_lab import engine as engines
from vi_lab.advi.local import stratified_pairs
from vi_lab.errors import UnsupportedError
from vi_lab.families import (
    FullRankGaussian,
    LowRankGaussian,
    MeanFieldGaussian,
    NaturalChart,
    chart_of,
)
from vi_lab.families.charts import DRAWS_AT_ONCE, FullRankChart, MeanFieldChart

D = 3
LOC, LOG_SCALE = onp.array([0.2, 0.1, -0.3]), onp.array([-0.5, 0.2, 0.1])
LOWER = onp.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [-0.8, 0.4, 0.0]])
FACTORS = onp.array([[0.5, 0.9], [-0.7, 0.3], [0.2, -0.6]])
PARAMS = {
    MeanFieldGaussian(): {"loc": LOC, "log_scale": LOG_SCALE},
    FullRankGaussian(): {"loc": LOC, "log_scale": LOG_SCALE, "lower": LOWER},
    LowRankGaussian(1): {"loc": LOC, "log_scale": LOG_SCALE, "factors": FACTORS[:, :1]},
}
FAMILIES = list(PARAMS)


def chart(family, engine=None):
    params = PARAMS[family]
    return family.chart(params) or NaturalChart(family, engine or engines.get("autograd"), params)


def skewed(z):
    return z.sum(axis=-1) - onp.exp(z).sum(axis=-1) - 0.3 * z[..., 0] * z[..., 1]


def gradient(z):
    coupled = onp.stack([z[..., 1], z[..., 0], onp.zeros(z.shape[:-1])], axis=-1)
    return 1.0 - onp.exp(z) - 0.3 * coupled


def draws(family, num=32):
    return stratified_pairs(onp.random.default_rng(1), num, family.base_dim(D))


def directions(at):
    """Of tangents: unit vectors, symmetric where scales are a matrix."""
    size = at.entropy_slope.size
    for direction in onp.eye(size):
        if at.scales == "full":
            T = direction[D:].reshape(D, D)
            yield onp.append(direction[:D], 0.5 * (T + T.T))
        else:
            yield direction


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_slopes_are_those_of_the_elbo_of_fixed_draws(family, engine):
    """Central differences: relative errors of h^2 = 1e-10, and rounding of 1e-16 / h."""
    at, eps, h = chart(family, engine), draws(family), 1e-5
    slope = at.slopes(eps[None], gradient(at.draw(eps))[None])[0]
    if at.scales == "full":  # in the tangent itself: a symmetric matrix
        T = slope[D:].reshape(D, D)
        onp.testing.assert_allclose(T, T.T, rtol=1e-14)
    for direction in directions(at):
        ahead, behind = at.moved(h * direction), at.moved(-h * direction)
        expected = (skewed(ahead.draw(eps)).mean() - skewed(behind.draw(eps)).mean()) / (2 * h)
        assert slope @ direction == pytest.approx(expected, rel=1e-7, abs=1e-8)
        of_entropy = (ahead.entropy - behind.entropy) / (2 * h)
        assert at.entropy_slope @ direction == pytest.approx(of_entropy, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_slopes_of_replicates_are_each_its_own(family):
    at, eps = chart(family), draws(family, 48).reshape(3, 16, -1)
    g = gradient(at.draw(eps))
    together = at.slopes(eps, g)
    assert together.shape == (3, at.entropy_slope.size)
    for k in range(3):
        onp.testing.assert_allclose(together[k], at.slopes(eps[k : k + 1], g[k : k + 1])[0])
    onp.testing.assert_allclose(
        together.mean(axis=0), at.slopes(eps.reshape(1, 48, -1), g.reshape(1, 48, D))[0]
    )


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_chart_is_the_q_of_its_parameters(family):
    at, params, eps = chart(family), PARAMS[family], draws(family)
    onp.testing.assert_array_equal(at.loc, LOC)
    onp.testing.assert_allclose(at.sd, family.std(params), rtol=1e-14)
    assert at.entropy == pytest.approx(float(family.entropy(params)), rel=1e-14)
    onp.testing.assert_allclose(at.draw(eps), family.transform(params, eps), rtol=1e-12, atol=1e-13)
    for name, value in at.params().items():
        onp.testing.assert_allclose(value, params[name], rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_tangent_and_back_leads_to_where_it_began(family):
    """The zero tangent nowhere; scales alone and back, exactly."""
    at = chart(family)
    size = at.entropy_slope.size
    stayed = at.moved(onp.zeros(size)).params()
    for name, value in at.params().items():
        onp.testing.assert_allclose(stayed[name], value, rtol=1e-14, atol=1e-15)
    tangent = onp.append(onp.zeros(D), onp.random.default_rng(2).normal(size=size - D))
    if at.scales == "full":
        T = tangent[D:].reshape(D, D)
        tangent[D:] = (T + T.T).ravel()
    back = at.moved(tangent).moved(-tangent).params()
    for name, value in at.params().items():
        onp.testing.assert_allclose(back[name], value, rtol=1e-12, atol=1e-12)


def test_moves_by_hand():
    mean_field = chart(MeanFieldGaussian())
    moved = mean_field.moved(onp.array([1.0, 0.0, 0.0, 0.0, 2.0, 0.0]))
    onp.testing.assert_allclose(moved.loc, LOC + onp.array([onp.exp(-0.5), 0.0, 0.0]))
    onp.testing.assert_allclose(moved.sd, onp.exp(LOG_SCALE + onp.array([0.0, 2.0, 0.0])))
    full = chart(FullRankGaussian())
    T = onp.array([[0.3, 0.1, 0.0], [0.1, -0.2, 0.4], [0.0, 0.4, 0.5]])
    moved = full.moved(onp.append(onp.ones(D), T.ravel()))
    series = onp.eye(D) + T @ (
        onp.eye(D) + T / 2 @ (onp.eye(D) + T / 3 @ (onp.eye(D) + T / 4 @ (onp.eye(D) + T / 5)))
    )
    onp.testing.assert_allclose(moved.loc, LOC + full.scale @ onp.ones(D))
    onp.testing.assert_allclose(moved.scale, full.scale @ series, atol=1e-3)  # |T|^6 / 6!


def test_parameters_of_full_rank_keep_the_covariance():
    """Any square root of it: to all digits, where its own would be half of them."""
    rng = onp.random.default_rng(3)
    rotation = onp.linalg.qr(rng.normal(size=(D, D)))[0]
    scale = onp.diag([1e-8, 1.0, 1e8]) @ (LOWER + onp.eye(D)) @ rotation
    scale *= onp.sign(onp.linalg.det(scale))
    at = FullRankChart(LOC, scale)
    family, params = FullRankGaussian(), at.params()
    onp.testing.assert_array_equal(params["lower"], onp.tril(params["lower"], -1))
    units = onp.outer(at.sd, at.sd)
    onp.testing.assert_allclose(
        family.covariance(params) / units, scale @ scale.T / units, atol=1e-14
    )
    onp.testing.assert_allclose(onp.exp(params["log_scale"])[0], 1e-8, rtol=1e-13)
    assert float(family.entropy(params)) == pytest.approx(at.entropy, rel=1e-13)
    onp.testing.assert_allclose(family.std(params), at.sd, rtol=1e-13)


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_stretched_is_so_many_times_as_far_and_as_wide(family):
    at = chart(family)
    loc, sd = onp.array([2.0, 1.0, -3.0]), onp.array([1.0, 5.0, 0.5])
    far = at.stretched(loc, sd)
    onp.testing.assert_allclose(far.loc, loc * at.loc)
    onp.testing.assert_allclose(far.sd, sd * at.sd)
    if family == FullRankGaussian():
        onp.testing.assert_allclose(
            far.scale @ far.scale.T, onp.outer(sd, sd) * (at.scale @ at.scale.T), atol=1e-14
        )


@pytest.mark.parametrize("num", [1, DRAWS_AT_ONCE, DRAWS_AT_ONCE + 1, 200])
def test_a_natural_chart_of_mean_field_agrees_with_the_known_one(num, engine):
    """Its coordinates are those of the retraction: tangents mean the same, to rounding."""
    family = MeanFieldGaussian()
    known, natural = chart(family), NaturalChart(family, engine, PARAMS[family])
    eps = onp.random.default_rng(4).normal(size=(2, num, D))
    g = gradient(known.draw(eps))
    onp.testing.assert_allclose(natural.slopes(eps, g), known.slopes(eps, g), atol=1e-12)
    onp.testing.assert_allclose(natural.entropy_slope, known.entropy_slope, atol=1e-13)
    tangent = onp.random.default_rng(5).normal(size=2 * D)
    moved, expected = natural.moved(tangent), known.moved(tangent)
    onp.testing.assert_allclose(moved.loc, expected.loc, rtol=1e-13)
    onp.testing.assert_allclose(moved.sd, expected.sd, rtol=1e-13)
    with pytest.raises(UnsupportedError, match=r"^gradients: of a natural chart"):
        natural.white(g)


@pytest.mark.parametrize("family", [MeanFieldGaussian(), FullRankGaussian()], ids=str)
def test_white_gradients_are_in_units_of_q(family):
    """u = L' grad: the slope in a location that is moved by L delta."""
    at = chart(family)
    g = onp.random.default_rng(6).normal(size=(5, D))
    L = onp.diag(at.sd) if at.scales == "diagonal" else at.scale
    onp.testing.assert_allclose(at.white(g), onp.stack([L.T @ x for x in g]))


@pytest.mark.parametrize("family", FAMILIES, ids=str)
def test_a_chart_is_made_again_of_its_arrays(family):
    engine = engines.get("autograd")
    at = chart(family, engine)
    again = chart_of(at.scales, at.arrays(), family, engine)
    assert type(again) is type(at)
    for name, value in at.params().items():
        onp.testing.assert_array_equal(again.params()[name], value)
    assert at.scales == {MeanFieldChart: "diagonal", FullRankChart: "full"}.get(type(at), "unknown")
