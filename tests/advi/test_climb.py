"""Climbing: up and never down, together, and to an end that is said."""

import numpy as onp
import pytest
from handmade import Handmade, gaussian, skewed

from vi_lab import engine as engines
from vi_lab.advi import climb as climbing
from vi_lab.advi.climb import MEMORY, MOST_STEPS, Climb, climb
from vi_lab.advi.local import stratified_pairs
from vi_lab.errors import ArgumentError
from vi_lab.families import LowRankGaussian, MeanFieldGaussian, NaturalChart
from vi_lab.families.charts import FullRankChart, MeanFieldChart

D = 3
EPS = stratified_pairs(onp.random.default_rng(0), 64, D)
PRECISION = onp.array([[2.0, 0.6, -0.3], [0.6, 1.5, -0.4], [-0.3, -0.4, 1.0]])
GAUSSIAN = gaussian(PRECISION, onp.ones(D))


def narrow(z=0.0, sd=0.1):
    return MeanFieldChart(onp.full(D, z), onp.full(D, sd))


def natural(dim=D):
    family = LowRankGaussian(1)
    params = family.init(onp.zeros(dim), 0.1)
    params["factors"] = onp.full((dim, 1), 0.1)
    return NaturalChart(family, engines.get("autograd"), params)


def eps_of(chart):
    if chart.scales != "unknown":
        return EPS
    return stratified_pairs(onp.random.default_rng(0), 64, D + 1)


def quartic(z):
    return -(z**4).sum(axis=1), -4.0 * z**3


def climbed(function, start, tolerance=1e-6, eps=EPS, **options):
    c = Climb(start)
    climb(Handmade(function), [c], eps, tolerance, **options)
    return c


def banana(z):
    """Curved and skewed: log density of y = (z0, z1 - z0^2, z2), a normal one."""
    bent = z[:, 1] - z[:, 0] ** 2
    gradients = -onp.stack([z[:, 0] - 2.0 * z[:, 0] * 4.0 * bent, 4.0 * bent, z[:, 2]], axis=1)
    return -0.5 * (z[:, 0] ** 2 + 4.0 * bent**2 + z[:, 2] ** 2), gradients


@pytest.mark.parametrize("start", [narrow(3.0), FullRankChart(onp.full(D, 3.0), 0.1 * onp.eye(D))])
@pytest.mark.parametrize("function", [GAUSSIAN, skewed, banana])
def test_the_elbo_never_falls_and_the_end_is_flat(function, start):
    """On its draws the ELBO is one smooth function: central differences of it vanish at the end."""
    c = climbed(function, start, 1e-12)
    assert c.why == "settled"
    losses = onp.array(c.losses)
    assert len(losses) == c.steps + 1
    assert (onp.diff(losses) < 1e-12 * onp.abs(losses[:-1]) + 1e-13).all()
    density, h = Handmade(function), 1e-5
    for direction in onp.eye(c.known.slope.size):
        if c.at.scales == "full":
            T = direction[D:].reshape(D, D)
            direction = onp.append(direction[:D], 0.5 * (T + T.T))  # noqa: PLW2901
        charts = [c.at.moved(t * direction) for t in (h, -h)]
        ahead, behind = (found.elbo for found in density.looks(charts, EPS))
        # What is left to gain, 0.1 of the noise at most, bounds the slope.
        slope = (ahead - behind) / (2.0 * h)
        assert slope == pytest.approx(c.known.slope @ direction, abs=1e-6)
    assert c.known.gain < max(climbing.SETTLED * c.known.noise, 1e-13)


def test_a_gaussian_takes_one_newton_step_once_trust_allows():
    c = climbed(GAUSSIAN, narrow(0.9, 0.5))
    assert (c.why, c.steps) == ("settled", 1)
    onp.testing.assert_allclose(c.at.loc, 1.0, rtol=1e-12)
    onp.testing.assert_allclose(c.at.sd, onp.diag(PRECISION) ** -0.5, rtol=1e-12)


def test_trust_grows_where_steps_gain_and_falls_where_they_fail():
    """Linear: what is foreseen comes true. Then a wall, behind which there is nothing."""

    def linear(z):
        return 10.0 * z.sum(axis=1), onp.full_like(z, 10.0)

    c = climbed(linear, narrow(), most_steps=4)
    assert c.trust == climbing.FIRST_TRUST * climbing.GROWTH**4

    def wall(z):
        outside = (z > 0.2).any(axis=1)
        return onp.where(outside, -onp.inf, 10.0 * z.sum(axis=1)), onp.full_like(z, 10.0)

    c = climbed(wall, narrow(0.0, 0.01))
    assert c.trust < climbing.FIRST_TRUST
    assert onp.isfinite(c.elbo)
    assert c.at.loc.max() < 0.2


# ------------------------------------------------------------------------------ ends
def test_one_that_meets_another_joins_it():
    climbs = [Climb(narrow(z)) for z in (0.0, 2.0, -1.0)]
    density = Handmade(skewed)
    climb(density, climbs, EPS, 1e-6)
    assert [c.why for c in climbs] == ["settled", "joins", "joins"]
    assert density.gradients < 3 * len(EPS) * (max(c.steps for c in climbs) + 3)

    def two_places(z):
        """At 1 and -1, with a drop between."""
        return -8.0 * ((z**2 - 1.0) ** 2).sum(axis=1), -32.0 * z * (z**2 - 1.0)

    apart = [Climb(narrow(z)) for z in (0.8, -0.8)]
    climb(Handmade(two_places), apart, EPS, 1e-6)
    assert [c.why for c in apart] == ["settled", "settled"]


def test_one_that_is_as_wide_is_needed_to_join():
    density = Handmade(skewed)
    (found,) = density.looks([narrow(-0.5, 1.0)], EPS)
    at, wide = Climb(narrow(-0.5, 1.0)), Climb(narrow(-0.5, 1.2))
    at.local, wide.local = found.weighed([]), found.weighed([])
    assert not climbing._joins(wide, at)
    same = Climb(narrow(-0.45, 1.05))
    same.local = found.weighed([])
    assert climbing._joins(same, at)
    for why, joins in (("stuck", False), ("steps", False), ("settled", True), ("joins", True)):
        at.why = why
        assert climbing._joins(same, at) == joins


def test_where_the_elbo_rises_without_end_it_runs_away():
    flat = climbed(lambda z: (onp.zeros(len(z)), onp.zeros_like(z)), narrow())
    assert flat.why == "runs away"
    assert flat.at.sd.max() > climbing.RUNAWAY
    assert flat.steps < 40


def test_steps_run_out():
    c = climbed(skewed, narrow(30.0), most_steps=5)
    assert (c.why, c.steps) == ("steps", 5)
    assert MOST_STEPS > 5


def test_where_no_step_gains_it_is_stuck():
    """Gradients that lie, as if there were more at -5: every step is down."""
    lies = climbed(lambda z: (-0.5 * (z**2).sum(axis=1), -5.0 - z), narrow(0.0, 1.0))
    assert (lies.why, lies.steps) == ("stuck", 0)
    assert (lies.at.loc == 0.0).all()


def test_it_becomes_narrower_where_the_density_is_not_finite_all_over_it():
    def within(limit):
        def function(z):
            outside = (onp.abs(z) > limit).any(axis=1)
            values = onp.where(outside, -onp.inf, -0.5 * (z**2).sum(axis=1) / limit**2 * 100.0)
            return values, -z / limit**2 * 100.0

        return function

    c = climbed(within(0.01), narrow())
    assert c.narrowed == 2  # 0.1 to 0.001
    assert c.why == "settled"
    onp.testing.assert_allclose(c.at.sd, 0.001, rtol=1e-9)
    full = climbed(within(0.01), FullRankChart(onp.zeros(D), 0.1 * onp.eye(D)))
    assert full.narrowed == 2
    onp.testing.assert_allclose(full.at.sd, 0.001, rtol=1e-9)
    hopeless = climbed(within(1e-9), narrow())
    assert (hopeless.why, hopeless.narrowed, hopeless.elbo) == ("not finite", 4, -onp.inf)
    assert climbed(within(0.01), natural(), eps=eps_of(natural())).why == "not finite"
    with pytest.raises(ArgumentError, match=r"^climb: nothing is known here"):
        _ = hopeless.known


def test_settled_is_a_part_of_noise_or_of_the_tolerance():
    """The larger the noise or the tolerance, the fewer the steps; and a nat counts as noise."""
    exact = climbed(GAUSSIAN, narrow(0.9, 0.5), tolerance=1e-9)
    coarse = climbed(GAUSSIAN, narrow(0.9, 0.5), tolerance=100.0)
    assert (exact.steps, coarse.steps) == (1, 0)
    few = stratified_pairs(onp.random.default_rng(0), 16, D)
    assert climbed(skewed, narrow(0.0, 0.5), 1e-9, few).known.gain < 0.1
    assert climbed(skewed, narrow(0.0, 0.5), 1e-9).steps >= climbed(skewed, narrow(0.0, 0.5)).steps


def test_after_a_round_it_may_be_ended_as_it_is():
    rounds = []
    c = climbed(skewed, narrow(5.0), after_step=lambda: rounds.append(1) or len(rounds) == 3)
    assert (c.why, len(rounds)) == ("", 3)
    assert c.steps == 2  # the first round is the look at where it starts
    assert c.local is not None


# ------------------------------------------------------------------------------ memory
def test_memory_corrects_what_the_curvature_leaves_out():
    """In a skewed density mean and scales hang together, which A does not know."""
    start, options = narrow(0.0, 0.7), {"tolerance": 1e-12}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(climbing, "SETTLED", 1e-6)
        with_memory = climbed(skewed, start, **options)
        patch.setattr(climbing, "two_loops", lambda memory, v, solve: solve(v))
        without = climbed(skewed, start, **options)
    assert with_memory.why == without.why == "settled"
    assert with_memory.steps < without.steps
    assert 0 < len(with_memory.memory) <= MEMORY


def test_memory_is_of_one_place_and_of_ten_steps():
    c = climbed(quartic, natural(), 1e-9, eps_of(natural()))
    assert c.why == "settled"
    assert len(c.memory) <= MEMORY
    far = climbed(skewed, narrow(8.0), most_steps=3)
    assert far.memory == []  # steps of more than half a nat


# ------------------------------------------------------------------------------ to disk
@pytest.mark.parametrize("start", [narrow(3.0), FullRankChart(onp.zeros(D), onp.eye(D)), natural()])
def test_a_climb_that_is_kept_goes_on_to_the_same_bits(start):
    whole = Climb(start)
    climb(Handmade(skewed), [whole], eps_of(start), 1e-9)
    rounds, c = [], Climb(start)
    four = {"after_step": lambda: rounds.append(1) or len(rounds) == 4}
    climb(Handmade(skewed), [c], eps_of(start), 1e-9, **four)
    family = start.family if start.scales == "unknown" else MeanFieldGaussian()
    again = Climb.restore(c.snapshot(), family, engines.get("autograd"))
    climbing.look_again(Handmade(skewed), again, eps_of(start))
    climb(Handmade(skewed), [again], eps_of(start), 1e-9)
    assert (again.why, again.steps, again.losses) == (whole.why, whole.steps, whole.losses)
    for name, value in whole.at.arrays().items():
        onp.testing.assert_array_equal(again.at.arrays()[name], value)


def test_other_draws_begin_anew():
    c = climbed(skewed, narrow(2.0))
    c.trust, losses = 1e-6, list(c.losses)
    c.begin()
    assert (c.local, c.why, c.steps) == (None, "", 0)
    assert c.trust == climbing.FIRST_TRUST
    assert c.losses == losses
    assert (c.elbo, c.gap) == (-onp.inf, onp.inf)
