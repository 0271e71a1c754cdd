"""Windows judged: noise, bias and travel against closed forms, on made-up batch means.

The posterior is Gaussian with precision P, so the ELBO of a mean-field q is known,

    F(loc, omega) = -[(loc - m)' P (loc - m) + sum_d P_dd exp(2 omega_d)] / 2 + sum_d omega_d + c,

and balanced draws give it exactly.
"""

from dataclasses import replace

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.advi.deterministic import balanced_draws
from vi_lab.advi.stopping import BATCHES, FEWEST_DRAWS, MOST_DRAWS, Judge, judge
from vi_lab.families import MeanFieldGaussian

DIM = 4
RNG = onp.random.default_rng(0)
MEAN = RNG.normal(size=DIM)
WHITENER = onp.linalg.qr(RNG.normal(size=(DIM, DIM)))[0] / onp.array([0.1, 0.5, 1.0, 3.0])[:, None]
PRECISION = WHITENER.T @ WHITENER
FAMILY = MeanFieldGaussian()
BEST_LOG_SCALE = -0.5 * onp.log(onp.diag(PRECISION))
TINY = 1e-12  # a tolerance that no noise is below


def density(z):
    return -0.5 * np.sum(np.dot(z - MEAN, WHITENER.T) ** 2, axis=-1)


TARGET = vl.Target(density, dim=DIM)


def a_judge(target=TARGET):
    eps = balanced_draws(onp.random.default_rng(1), 16, DIM)
    return Judge(target.structure, FAMILY, engines.get(), eps, {}, {})


def elbo(params):
    off, omega = params["loc"] - MEAN, params["log_scale"]
    quadratic = off @ PRECISION @ off + onp.diag(PRECISION) @ onp.exp(2.0 * omega)
    return -0.5 * quadratic + omega.sum() + 0.5 * DIM * (1.0 + onp.log(2.0 * onp.pi))


def mean_of(batches):
    return {name: onp.mean([b[name] for b in batches], axis=0) for name in batches[0]}


def jensen(batches, groups):
    """The estimate of the noise from 2, 4 or 8 batches, by the closed form of the ELBO."""
    size = BATCHES // groups
    means = [mean_of(batches[i : i + size]) for i in range(0, BATCHES, size)]
    return (elbo(mean_of(batches)) - onp.mean([elbo(b) for b in means])) / (groups - 1)


def batches_at(locs, log_scales=None):
    if log_scales is None:
        log_scales = onp.broadcast_to(BEST_LOG_SCALE, onp.shape(locs))
    return [{"loc": loc, "log_scale": omega} for loc, omega in zip(locs, log_scales, strict=True)]


def independent(rng, size=0.05):
    """Independent batch means about the optimum: ``size`` of a standard deviation of q each."""
    locs = MEAN + size * onp.exp(BEST_LOG_SCALE) * rng.normal(size=(BATCHES, DIM))
    return batches_at(locs, BEST_LOG_SCALE + size * rng.normal(size=(BATCHES, DIM)))


# -------------------------------------------------------------------------------- noise
def test_noise_and_elbo_are_those_of_the_closed_form(engine):
    rng = onp.random.default_rng(2)
    for size in (0.01, 0.2):
        batches = independent(rng, size)
        window = a_judge().look(batches, TINY, None)
        by = [jensen(batches, groups) for groups in (2, 4, 8)]
        onp.testing.assert_allclose(window.noise, max(by), rtol=1e-7)
        onp.testing.assert_allclose(window.elbo, elbo(mean_of(batches)), rtol=1e-12)
        for name in ("loc", "log_scale"):
            onp.testing.assert_allclose(window.mean[name], mean_of(batches)[name], rtol=1e-14)
        assert window.bias == window.gap == onp.inf


@pytest.mark.parametrize("groups", [2, 4, 8])
def test_each_estimate_expects_half_the_trace_of_hessian_times_covariance(groups):
    """1,000 windows; a false alarm, 4 standard errors, is one in 16,000.

    The Hessian of -F is P in loc and 2 in omega; the mean of 8 batches has 1/8 of their
    covariance. Batches are close, for the ELBO is no quadratic in omega.
    """
    rng, size = onp.random.default_rng(3), 0.02
    found = onp.array([jensen(independent(rng, size), groups) for _ in range(1_000)])
    in_loc = onp.diag(PRECISION) @ onp.exp(2.0 * BEST_LOG_SCALE)  # = D
    truth = 0.5 * (in_loc + 2.0 * DIM) * size**2 / BATCHES
    assert abs(found.mean() - truth) < 4.0 * found.std() / len(found) ** 0.5


def test_the_noise_of_a_window_is_what_its_mean_loses(engine):
    """Over 150 windows: E[F* - F(mean)] at most the mean noise, and at least a third of it.

    The largest of three unbiased estimates cannot be too small; with 8 degrees of freedom
    or more in each it is not too large either. 4 standard errors: one in 16,000.
    """
    rng, look = onp.random.default_rng(4), a_judge().look
    windows = [look(independent(rng), TINY, None) for _ in range(150)]
    best = elbo({"loc": MEAN, "log_scale": BEST_LOG_SCALE})
    lost = onp.array([best - window.elbo for window in windows])
    noise = onp.array([window.noise for window in windows])
    slack = 4.0 * (lost - noise).std() / len(lost) ** 0.5
    assert lost.mean() < noise.mean() + slack
    assert lost.mean() > noise.mean() / 3.0


def test_identical_batches_have_no_noise(engine):
    window = a_judge().look(independent(onp.random.default_rng(5))[:1] * BATCHES, TINY, None)
    assert abs(window.noise) < 1e-13
    assert window.settled


# ------------------------------------------------------------------------------- travel
def test_independent_batches_are_settled_and_drifting_ones_are_not(engine):
    """Of 100 independent windows some 5 do not look settled; more than 20 is one in 10^7."""
    rng, look = onp.random.default_rng(6), a_judge().look
    assert sum(not look(independent(rng), TINY, None).settled for _ in range(100)) <= 20
    slope = onp.linspace(-0.5, 0.5, BATCHES)[:, None] * onp.exp(BEST_LOG_SCALE)
    for direction in (1.0, -1.0):
        for _ in range(10):
            batches = independent(rng)
            for batch, drift in zip(batches, direction * slope, strict=True):
                batch["loc"] = batch["loc"] + drift
            assert not look(batches, TINY, None).settled


def test_a_window_whose_second_half_is_better_has_not_settled():
    """Off by 3.0 and 2.7 sds in one direction, and noise in all: halves hardly differ.

    From 2 and from 8 batches the noise is about the same; the ELBO tells.
    """
    rng = onp.random.default_rng(7)
    batches = independent(rng, 0.12)
    away = onp.linalg.solve(WHITENER, onp.array([0.0, 0.0, 0.0, 1.0]))
    for i, batch in enumerate(batches):
        batch["loc"] = batch["loc"] + (3.0 if i < BATCHES // 2 else 2.7) * away
    assert jensen(batches, 2) < 3.0 * jensen(batches, 8)
    assert not a_judge().look(batches, TINY, None).settled
    # The other way round it gets worse, which is no progress.
    assert a_judge().look([*batches[4:], *batches[:4]], TINY, None).settled


def test_draws_in_pairs_tell_a_small_gain_from_noise():
    """From 0.4 to 0.3 sds off: 0.035 nats, which vary from draw to draw with the draw itself.

    Draws come as z and -z, so that this cancels: pairs tell what single draws could not.
    """
    batches = independent(onp.random.default_rng(14), 0.08)
    away = onp.linalg.solve(WHITENER, onp.array([0.0, 0.0, 0.0, 1.0]))
    for i, batch in enumerate(batches):
        batch["loc"] = batch["loc"] + (0.4 if i < BATCHES // 2 else 0.3) * away
        batch["log_scale"] = BEST_LOG_SCALE
    assert jensen(batches, 2) < 3.0 * jensen(batches, 8)
    one = a_judge()
    assert not one.look(batches, TINY, None).settled
    first, second = (mean_of(half) for half in (batches[:4], batches[4:]))
    gained = onp.diff(one.elbos([first, second]), axis=1)[:, 0]
    assert gained.mean() < 3.0 * gained.std(ddof=1) / len(gained) ** 0.5


def test_a_window_that_spreads_over_nats_has_not_settled_however_it_looks():
    wide = independent(onp.random.default_rng(8), 1.0)
    for batch in wide:
        batch["log_scale"] = BEST_LOG_SCALE
    halves = [*wide[:2], *wide[:2], *wide[4:6], *wide[4:6]]
    for i, batch in enumerate(halves):
        halves[i] = {**batch, "loc": MEAN + 3.0 * (batch["loc"] - MEAN)}
    assert jensen(halves, 2) > 1.0
    assert not a_judge().look(halves, TINY, None).settled


def test_below_the_tolerance_a_drift_does_not_matter():
    slope = 0.01 * onp.linspace(-0.5, 0.5, BATCHES)[:, None] * onp.exp(BEST_LOG_SCALE)
    batches = batches_at(MEAN + slope)
    window = a_judge().look(batches, TINY, None)
    assert not window.settled
    assert a_judge().look(batches, 1.01 * window.noise, None).settled


# --------------------------------------------------------------------------------- bias
def test_bias_is_the_distance_of_two_means(engine):
    """Without noise, (a - b)' P (a - b) / 2."""
    apart = onp.array([0.1, -0.2, 0.3, 0.05])
    here, there = (batches_at([loc] * BATCHES) for loc in (MEAN + 0.5, MEAN + 0.5 + apart))
    look = a_judge().look
    before = look(here, TINY, None)
    window = look(there, TINY, before)
    onp.testing.assert_allclose(window.bias, 0.5 * apart @ PRECISION @ apart, rtol=1e-9)
    onp.testing.assert_allclose(window.gap, window.bias, atol=1e-12)


def test_noise_explains_a_part_of_the_distance():
    rng, look = onp.random.default_rng(9), a_judge().look
    before = look(independent(rng), TINY, None)
    for shift in (0.0, 2.0):
        batches = independent(rng)
        for batch in batches:
            batch["loc"] = batch["loc"] + shift * onp.exp(BEST_LOG_SCALE)
        window = look(batches, TINY, before)
        middle = mean_of([window.mean, before.mean])
        distance = 4.0 * (elbo(middle) - 0.5 * (window.elbo + before.elbo))
        expected = max(0.0, distance - window.noise - before.noise)
        onp.testing.assert_allclose(window.bias, expected, rtol=1e-7, atol=1e-12)
        assert window.gap == window.noise + window.bias
        assert (window.bias > 1.0) is (shift > 0.0)


def test_luck_after_a_settled_window_counts_for_half():
    """Noise that falls to less than half of the window before is not believed at once."""
    rng, look = onp.random.default_rng(15), a_judge().look
    before = look(independent(rng, 0.2), 1.0, None)
    assert before.settled
    lucky = look(independent(rng, 0.02), 1.0, before)
    assert lucky.noise < 0.1 * before.noise
    assert lucky.gap == 0.5 * before.noise + lucky.bias
    travelling = replace(before, settled=False)  # its noise was not only noise
    assert look(independent(rng, 0.02), 1.0, travelling).gap < 0.5 * before.noise


def test_a_constant_in_the_log_density_changes_nothing(engine):
    """A million nats: rounding is 1e-16 of them."""
    shifted = a_judge(vl.Target(lambda z: density(z) + 1e6, dim=DIM))
    plain, rng = a_judge(), onp.random.default_rng(10)
    first, second = independent(rng), independent(rng)
    befores = [one.look(first, 1e-4, None) for one in (plain, shifted)]
    here, there = (
        one.look(second, 1e-4, before)
        for one, before in zip((plain, shifted), befores, strict=True)
    )
    onp.testing.assert_allclose(there.elbo - here.elbo, 1e6, rtol=1e-12)
    onp.testing.assert_allclose(there.noise, here.noise, atol=1e-8)
    onp.testing.assert_allclose(there.bias, here.bias, atol=1e-8)
    assert here.settled == there.settled


# -------------------------------------------------------------------------------- draws
@pytest.mark.parametrize(("dim", "draws"), [(1, FEWEST_DRAWS), (100, 204), (400, MOST_DRAWS)])
def test_a_judge_has_more_draws_than_directions_as_long_as_it_can(dim, draws):
    target = vl.Target(lambda z: -0.5 * np.sum(z**2, axis=-1), dim=dim)
    one, again, other = (judge(target, FAMILY, engines.get(), seed) for seed in (0, 0, 1))
    assert one.eps.shape == (draws, dim)
    onp.testing.assert_array_equal(one.eps, again.eps)
    assert (one.eps != other.eps).any()


def line(m, x, y):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * x, 1.0), y)


def test_with_minibatches_each_draw_has_rows_of_its_own(engine):
    """64 batches of 5 from 320 rows are an epoch: their mean is the ELBO of all rows.

    q is as narrow as a point, so that its draws add no noise.
    """
    rng = onp.random.default_rng(11)
    x = rng.normal(size=320)
    y = 0.5 * x + rng.normal(size=320)
    model = vl.Model(line, minibatch=vl.Minibatch(rows=("x", "y"), size=5), x=x, y=y)
    one = judge(model, FAMILY, engine, 0)
    assert one.rows["x"].shape == one.rows["y"].shape == (FEWEST_DRAWS, 5)
    assert len(onp.unique(one.rows["x"])) == 320
    params = {"loc": onp.array([0.5]), "log_scale": onp.array([-20.0])}  # as good as a point
    window = one.look([params] * BATCHES, TINY, None)
    entropy = -20.0 + 0.5 * (1.0 + onp.log(2.0 * onp.pi))
    onp.testing.assert_allclose(window.elbo, model.log_density(params["loc"]) + entropy, rtol=1e-8)
