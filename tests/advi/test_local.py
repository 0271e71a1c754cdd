"""The posterior as q sees it: draws, a and A, steps, noise; each against what is known."""

import numpy as onp
import pytest
import scipy.optimize
import scipy.special
from handmade import (
    BEST_HEAVY,
    Handmade,
    covariance,
    divergence,
    gaussian,
    gaussian_elbo,
    heavy,
    heavy_elbo,
    skewed,
    skewed_elbo,
)

from vi_lab.advi.climb import Climb, climb
from vi_lab.advi.local import (
    FLAT,
    MULTIPLE,
    ROUGH,
    Curvature,
    Line,
    Local,
    Unknown,
    by_replicate,
    enough,
    look,
    products,
    replicates,
    stratified_pairs,
    two_loops,
)
from vi_lab.families.charts import FullRankChart, MeanFieldChart

DIM = 3
RNG = onp.random.default_rng(0)
PRECISION = onp.array([[2.0, 0.6, -0.3], [0.6, 1.5, -0.4], [-0.3, -0.4, 1.0]])
MEAN = onp.array([0.5, -1.0, 2.0])
MEAN_FIELD = MeanFieldChart(onp.array([0.2, 0.1, -0.3]), onp.array([0.6, 1.2, 0.3]))
FULL_RANK = FullRankChart(
    onp.array([0.2, 0.1, -0.3]),
    onp.array([[0.6, 0.1, 0.0], [-0.4, 1.2, 0.5], [0.2, 0.3, 0.9]]),
)
CHARTS = [MEAN_FIELD, FULL_RANK]
IDS = ["mean field", "full rank"]


def looked(chart, function=None, num=64, seed=1):
    eps = stratified_pairs(onp.random.default_rng(seed), num, chart.loc.size)
    return look(chart, eps, *(function or gaussian(PRECISION, MEAN))(chart.draw(eps)))


# ------------------------------------------------------------------------------ draws
@pytest.mark.parametrize(("num", "dim"), [(30, 2), (64, 20), (30, 40), (48, 24), (4, 1)])
def test_draws_are_in_pairs_with_exact_second_moments(num, dim):
    eps = stratified_pairs(onp.random.default_rng(0), num, dim)
    assert eps.shape == (num, dim)
    onp.testing.assert_array_equal(eps[num // 2 :], -eps[: num // 2])
    second = eps.T @ eps / num
    onp.testing.assert_allclose(onp.diag(second), 1.0, rtol=1e-12)
    if dim < num // 2:
        onp.testing.assert_allclose(second, onp.eye(dim), atol=1e-12)


def test_a_replicate_has_one_draw_in_each_stratum():
    """In one dimension exact moments are one factor: by some factor all are in their strata."""
    half = stratified_pairs(onp.random.default_rng(0), 256, 1)[:128, 0].reshape(8, 16)
    factors = onp.linspace(0.9, 1.1, 4_001)
    strata = onp.floor(16 * scipy.special.ndtr(factors[:, None, None] * half)).astype(int)
    right = (onp.sort(strata, axis=2) == onp.arange(16)).all(axis=(1, 2))
    assert right.any()
    plain = onp.random.default_rng(0).normal(size=(8, 16))
    assert not (onp.sort(onp.floor(16 * scipy.special.ndtr(plain))) == onp.arange(16)).all()


def test_coordinates_have_nothing_to_do_with_each_other():
    """Correlations of squares, which exact second moments leave free: 28 within 4.5 errors."""
    squares = stratified_pairs(onp.random.default_rng(0), 8_192, 8)[:4_096] ** 2
    found = onp.corrcoef(squares.T)[onp.triu_indices(8, 1)]
    assert onp.abs(found).max() < 4.5 / 4_096**0.5


def test_replicates_share_the_draws_and_keep_pairs_together():
    eps = stratified_pairs(onp.random.default_rng(0), 48, 2)
    parts = by_replicate(eps)
    assert parts.shape == (8, 6, 2)
    onp.testing.assert_allclose(parts.sum(axis=1), 0.0, atol=1e-15)
    onp.testing.assert_array_equal(onp.sort(parts.reshape(-1, 2), axis=0), onp.sort(eps, axis=0))
    onp.testing.assert_array_equal(parts[0, :3], eps[:3])
    onp.testing.assert_array_equal(parts[1, 3:], eps[27:30])


def test_how_many_draws_and_replicates():
    assert [replicates(num) for num in (4, 8, 22, 28, 30, 32, 64)] == [2, 4, 1, 7, 5, 8, 8]
    assert [enough(dim, 64) for dim in (1, 14, 15, 50)] == [64, 64, 80, 208]
    assert all(enough(dim, 1) % MULTIPLE == 0 for dim in range(1, 40))


# ------------------------------------------------------------------------------ a Gaussian
@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
@pytest.mark.parametrize("num", [32, 64])
def test_of_a_gaussian_everything_is_exact(chart, num):
    local = looked(chart, num=num)
    C = covariance(chart)
    L = onp.linalg.cholesky(C) if chart.scales == "diagonal" else chart.scale
    A = L.T @ PRECISION @ L
    w, V = local.curvature.w, local.curvature.vectors
    onp.testing.assert_allclose((V * w) @ V.T, A, atol=1e-13)
    assert local.elbo == pytest.approx(gaussian_elbo(PRECISION, MEAN, chart.loc, C), rel=1e-13)
    onp.testing.assert_allclose(local.slope[:DIM], L.T @ PRECISION @ (MEAN - chart.loc), rtol=1e-12)
    if chart.scales == "full":
        onp.testing.assert_allclose(local.slope[DIM:], (onp.eye(DIM) - A).ravel(), atol=1e-13)
    else:
        onp.testing.assert_allclose(local.slope[DIM:], 1.0 - onp.diag(A), atol=1e-13)
        onp.testing.assert_allclose(local.curvature.scales, onp.diag(A), atol=1e-13)
    onp.testing.assert_allclose(local.errors, 0.0, atol=1e-13)
    onp.testing.assert_allclose(local.line.at(onp.eye(DIM)) - local.line.mean, local.line.slope)
    onp.testing.assert_allclose(local.line.slope, -(L.T @ PRECISION), atol=1e-13)


@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
def test_newtons_step_is_the_best_q_of_a_gaussian(chart):
    local = looked(chart)
    best = chart.moved(local.curvature.trusted(local.slope, 1e9).tangent)
    onp.testing.assert_allclose(best.loc, MEAN, rtol=1e-12)
    if chart.scales == "full":
        onp.testing.assert_allclose(covariance(best), onp.linalg.inv(PRECISION), atol=1e-13)
    else:
        onp.testing.assert_allclose(best.sd, onp.diag(PRECISION) ** -0.5, rtol=1e-12)


def test_fewer_draws_than_a_line_takes_see_a_diagonal():
    """32 draws on R^20: coordinate by coordinate, which is exact for independent ones."""
    precision = onp.linspace(0.5, 4.0, 20)
    chart = MeanFieldChart(onp.zeros(20), onp.linspace(0.2, 2.0, 20))
    local = looked(chart, gaussian(onp.diag(precision), onp.ones(20)), num=32)
    assert not local.line.full
    assert local.curvature.vectors is None
    onp.testing.assert_allclose(local.curvature.w, chart.sd**2 * precision, rtol=1e-12)
    best = chart.moved(local.curvature.trusted(local.slope, 1e9).tangent)
    onp.testing.assert_allclose(best.sd, precision**-0.5, rtol=1e-12)
    onp.testing.assert_allclose(best.loc, 1.0, rtol=1e-12)
    few = Line.of(onp.ones((4, 7)), onp.ones((4, 3)))  # as many columns as a scale has
    assert few.slope is None
    onp.testing.assert_array_equal(few.at(onp.ones((2, 7))), onp.ones((2, 3)))


def test_what_is_not_finite_is_not_known():
    def overflows(z):
        return onp.full(len(z), onp.inf), z

    assert looked(MEAN_FIELD, overflows) is None
    assert looked(MEAN_FIELD, lambda z: (z[:, 0], onp.where(z > 0.0, onp.nan, z))) is None
    eps = stratified_pairs(onp.random.default_rng(0), 64, DIM)
    cliff = Handmade(lambda z: (onp.where(z[:, 0] > 1.0, -onp.inf, 0.0), z))
    wide, narrow = cliff.looks([MEAN_FIELD, MEAN_FIELD.moved(onp.full(6, -1.0))], eps)
    assert wide is None
    assert narrow is not None
    assert cliff.gradients == 128


# ------------------------------------------------------------------------------ steps
@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
@pytest.mark.parametrize("trust", [1e-3, 0.1, 1.0, 1e9])
def test_a_step_diverges_and_gains_as_much_as_it_says(chart, trust):
    """Exact for a Gaussian, whose ELBO and divergence are known in closed form."""
    local = looked(chart)
    step = local.curvature.trusted(local.slope, trust)
    new = chart.moved(step.tangent)
    assert step.divergence <= trust
    assert divergence(new, chart) == pytest.approx(step.divergence, rel=1e-9)
    before, after = (gaussian_elbo(PRECISION, MEAN, q.loc, covariance(q)) for q in (chart, new))
    assert after - before == pytest.approx(step.gain, rel=1e-9)


A_CASES = {
    "convex": onp.array([[2.0, 0.7], [0.7, 0.5]]),
    "flat": onp.array([[1.0, 0.0], [0.0, 0.0]]),
    "saddle": onp.array([[1.5, 0.9], [0.9, -0.4]]),
    "hill": onp.array([[-0.5, 0.1], [0.1, -0.3]]),
}


def curvature(A, *, full):
    w, V = onp.linalg.eigh(A)
    return Curvature(w, V, w if full else onp.diag(A).copy(), full)


@pytest.mark.parametrize("full", [False, True], ids=IDS)
@pytest.mark.parametrize("trust", [0.05, 0.7, 5.0])
@pytest.mark.parametrize("A", A_CASES.values(), ids=A_CASES)
def test_the_trusted_step_is_the_best_within_its_divergence(A, trust, full):
    """SciPy, from many starts, finds no better q of the family for the local Gaussian.

    log tau is halved 16 times: the divergence is within 1% of what it may be.
    """
    a = onp.array([0.8, -0.3])

    def parts(x):
        """delta, and V by its Cholesky factor."""
        root = onp.diag(onp.exp(x[2:4]))
        root[1, 0] = x[4] if full else 0.0
        return x[:2], root @ root.T, x[2:4].sum()

    def gain(x):
        d, V, log_det_root = parts(x)
        return a @ d - 0.5 * d @ A @ d - 0.5 * onp.trace(A @ (V - onp.eye(2))) + log_det_root

    def left(x):
        d, V, log_det_root = parts(x)
        return trust - 0.5 * (d @ d + onp.trace(V) - 2.0) + log_det_root

    slope = onp.append(a, (onp.eye(2) - A).ravel() if full else 1.0 - onp.diag(A))
    step = curvature(A, full=full).trusted(slope, trust)
    assert step.divergence <= trust
    starts = onp.random.default_rng(1).normal(size=(8, 5)) * 0.1
    found = [
        scipy.optimize.minimize(
            lambda x: -gain(x),
            x,
            method="SLSQP",
            constraints={"type": "ineq", "fun": left},
            options={"maxiter": 500, "ftol": 1e-12},
        )
        for x in starts
    ]
    best = max(-result.fun for result in found if result.success and left(result.x) > -1e-7)
    assert step.gain == pytest.approx(best, rel=0.01)
    assert step.gain < best + 1e-6
    newton = full and A is A_CASES["convex"] and trust == 5.0
    assert step.divergence > 0.98 * trust or newton or curvature(A, full=full).lowest > 0.0


@pytest.mark.parametrize("chart", CHARTS, ids=IDS)
def test_solve_is_newtons_step(chart):
    """Along it the ELBO's first and second derivatives at 0 are the same but for the sign.

    Central differences of the exact ELBO: relative errors of h^2, and rounding 1e-16 / h^2.
    """
    local, h = looked(chart), 1e-4
    for slope in (local.slope, *onp.random.default_rng(2).normal(size=(3, local.slope.size))):
        if chart.scales == "full":
            T = slope[DIM:].reshape(DIM, DIM)
            slope = onp.append(slope[:DIM], 0.5 * (T + T.T))  # noqa: PLW2901
        x = local.curvature.solve(slope)
        x = x / (x @ slope) ** 0.5  # of length 1 in the curvature
        ends = [chart.moved(t * x) for t in (-h, 0.0, h)]
        below, here, above = (gaussian_elbo(PRECISION, MEAN, q.loc, covariance(q)) for q in ends)
        assert (above - 2.0 * here + below) / h**2 == pytest.approx(-1.0, abs=1e-6)
        assert (above - below) / (2.0 * h) == pytest.approx(local.slope @ x, abs=1e-6)


@pytest.mark.parametrize("full", [False, True], ids=IDS)
def test_floored_is_nowhere_flatter_than_flat(full):
    saddle = curvature(A_CASES["saddle"], full=full)
    floor = saddle.floored()
    assert saddle.lowest < 0.0
    assert floor.lowest == FLAT
    onp.testing.assert_array_equal(floor.w, [FLAT, saddle.w[1]])
    convex = curvature(A_CASES["convex"], full=full)
    onp.testing.assert_array_equal(convex.floored().w, convex.w)
    slope = onp.ones(6 if full else 4)
    local = Local(0.0, slope, onp.zeros((0, slope.size)), saddle, None)
    assert local.solver([])(slope) @ slope > 0.1 / FLAT  # of a large gain, not of a negative one


def test_where_nothing_is_known_a_step_is_along_the_slope():
    slope = onp.array([3.0, -4.0])
    step = Unknown().trusted(slope, 1e9)
    onp.testing.assert_array_equal(step.tangent, slope)
    assert step.gain == pytest.approx(25.0 / 2.0)
    short = Unknown().trusted(slope, 0.5)
    assert onp.linalg.norm(short.tangent) == pytest.approx(1.0)
    assert short.divergence == pytest.approx(0.5)
    assert short.gain == pytest.approx(5.0 - 0.5)


# ------------------------------------------------------------------------------ two loops
def memory_of(B, number, seed=3):
    pairs = onp.random.default_rng(seed).normal(size=(number, len(B)))
    return [(s, B @ s) for s in pairs]


def test_two_loops_satisfy_the_secant_equation():
    """The newest tangent is what leads to its change of slope, whatever else is believed."""
    root = onp.random.default_rng(0).normal(size=(6, 6))
    B = root @ root.T + onp.eye(6)
    memory = memory_of(B, 4)
    found = onp.stack([two_loops(memory, e, lambda v: v / 3.0) for e in onp.eye(6)])
    onp.testing.assert_allclose(found, found.T, atol=1e-12)
    assert onp.linalg.eigvalsh(found).min() > 0.0
    s, y = memory[-1]
    onp.testing.assert_allclose(found @ y, s, rtol=1e-12)
    onp.testing.assert_allclose(two_loops([], s, lambda v: v / 3.0), s / 3.0)


def test_two_loops_along_conjugate_tangents_are_the_inverse():
    root = onp.random.default_rng(0).normal(size=(4, 4))
    B = root @ root.T + onp.eye(4)
    memory = [(v, B @ v) for v in onp.linalg.eigh(B)[1].T]
    g = onp.arange(1.0, 5.0)
    onp.testing.assert_allclose(two_loops(memory, g, lambda v: v), onp.linalg.solve(B, g))


# ------------------------------------------------------------------------------ noise
def halves():
    """A mean-field q in one dimension, whose curvature is 2 in mean and scale."""
    return Curvature(onp.array([2.0]), None, onp.array([1.0]), full=False)


def test_gain_noise_and_spread_by_hand():
    """Three replicates in two numbers, with a curvature of 2 in both."""
    slope = onp.array([0.4, 0.2])
    errors = onp.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    local = Local(0.0, slope, errors, halves(), None).weighed([])
    K = errors @ errors.T / 2.0
    onp.testing.assert_allclose(products(errors, halves().solve), K)
    assert local.gain == pytest.approx(0.5 * 0.2 / 2.0)
    assert local.noise == pytest.approx(2.0 / (2 * 3 * 2))
    off = 2 * (0.5**2 + 0.0**2 + 0.5**2)
    assert local.spread == pytest.approx((0.5 * off / 6) ** 0.5 / 3)
    assert local.gap == pytest.approx(local.noise + 2.0 * local.spread + local.gain)


def test_noise_is_of_no_interest_far_away():
    far = onp.full(2, (2.0 * ROUGH) ** 0.5)
    local = Local(0.0, far, onp.ones((3, 2)), Unknown(), None).weighed([])
    assert local.gain == pytest.approx(2.0 * ROUGH)
    assert local.gap == onp.inf
    alone = Local(0.0, 0.1 * far, onp.ones((1, 2)), Unknown(), None).weighed([])
    assert alone.gap == onp.inf  # one replicate says nothing of noise


SKEWED_DIAGONAL = MeanFieldChart(onp.full(6, -0.5), onp.ones(6))
SKEWED_FULL = FullRankChart(onp.full(4, -0.5), onp.eye(4))
HEAVY = MeanFieldChart(onp.zeros(6), onp.full(6, BEST_HEAVY))
NOISE_CASES = [
    (skewed, skewed_elbo, SKEWED_DIAGONAL, 128),
    (skewed, skewed_elbo, SKEWED_FULL, 256),
    (heavy, heavy_elbo, HEAVY, 128),
]


@pytest.mark.parametrize(
    ("function", "elbo", "best", "num"), NOISE_CASES, ids=[*IDS, "heavy tails"]
)
def test_noise_is_what_the_best_q_of_some_draws_lacks(function, elbo, best, num):
    """The best q is known, and so is what each of 300 others lacks, by sets of draws.

    Losses are about chi-square with P degrees of freedom at most, so their mean has a relative
    standard error of some (2 / P / 300)^(1/2), 2.4% for P = 12. The noise is more than that mean:
    replicates do not know that second moments of all draws together are exact, and count what
    is not linear but goes with the squares of the draws (1.8, 2.2 and 3.5 times the mean, here).
    Below 1 or above 5 are ten standard errors away: no false alarm in 10^10 runs.
    """
    start = best.stretched(1.2 * onp.ones(best.loc.size), 0.8 * onp.ones(best.loc.size))
    climbs = [Climb(start) for _ in range(300)]
    for seed, c in enumerate(climbs):
        eps = stratified_pairs(onp.random.default_rng(seed), num, best.loc.size)
        climb(Handmade(function), [c], eps, 1e-9)
        assert c.why == "settled"
    of_best = elbo(best.loc, covariance(best))
    lost = onp.array([of_best - elbo(c.at.loc, covariance(c.at)) for c in climbs])
    assert (lost > -1e-9).all()
    noise = onp.array([c.known.noise for c in climbs])
    assert 1.0 < noise.mean() / lost.mean() < 5.0
    assert 1.0 < onp.mean([c.known.spread for c in climbs]) / lost.std() < 3.0
    # The gap, which a verdict leans on, is below the loss in few fits: noise and two spreads.
    assert onp.mean([c.gap < x for c, x in zip(climbs, lost, strict=True)]) < 0.03
