"""Several starts: the best basin wins, on both engines, and each option does something."""

import numpy as onp
import pytest
from asked import asked

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import zoo
from vi_lab.advi.chosen import best_start
from vi_lab.advi.climb import Climb
from vi_lab.advi.local import Local
from vi_lab.advi.starts import distinct, narrow, prior_points


def two_modes(z):
    """Weights 0.02 near z = 0 and 0.98 at z = 5: a start at 0 sees the small mode only."""
    small = onp.log(0.02) - 0.5 * np.sum((z / 0.3) ** 2, axis=-1)
    large = onp.log(0.98) - 0.5 * np.sum(((z - 5.0) / 0.3) ** 2, axis=-1)
    return np.logaddexp(small, large)


def test_one_start_stays_in_its_basin_and_the_best_of_many_wins():
    target = vl.Target(two_modes, 1)
    alone = vl.advi(target, starts=1, seed=1, engine="jax", progress=False)
    assert abs(alone.unconstrained_mean["z"][0]) < 0.1
    best = vl.advi(target, starts=16, seed=1, engine="jax", progress=False)
    assert abs(best.unconstrained_mean["z"][0] - 5.0) < 0.1
    assert best.elbo().value > alone.elbo().value + 3.0  # log(0.98 / 0.02) = 3.9


def test_more_starts_are_tried_where_the_first_disagree():
    """8, then 16, then 32: all are in the stages, and the better mode is found without asking."""
    fit = vl.advi(vl.Target(two_modes, 1), seed=1, engine="jax", progress=False)
    assert abs(fit.unconstrained_mean["z"][0] - 5.0) < 0.1
    batches = [len(stage.why.split(", ")) for stage in fit.stages if stage.name == "starts"]
    assert len(batches) == 3
    assert batches[0] == 8  # the later ones have the places found so far as well
    assert 17 <= batches[1] <= 20
    assert 33 <= batches[2] <= 40
    one_place = vl.advi(zoo.correlated_gaussian().model(), seed=1, engine="jax", progress=False)
    assert [stage.name for stage in one_place.stages].count("starts") == 1


def test_starts_of_an_optimizer_are_climbed_alike_on_both_engines():
    target = vl.Target(two_modes, 1)
    found = [
        best_start(
            asked(target, optimizer="adam", starts=16, engine=name), onp.random.default_rng(1)
        )
        for name in ("autograd", "jax")
    ]
    onp.testing.assert_allclose(found[0]["loc"], found[1]["loc"], rtol=1e-10)
    assert abs(found[0]["loc"][0] - 5.0) < 0.3


def ended(z, sd, elbo, why="settled"):
    c = Climb(narrow(onp.array([z])).stretched(onp.ones(1), onp.array([sd / 0.1])), why=why)
    c.local = Local(elbo, onp.zeros(2), onp.zeros((0, 2)), None, None, gain=0.0)
    return c


def test_distinct_climbs_are_one_for_each_place_the_best_first():
    best, near, worse, other, on_its_way = (
        ended(0.0, 1.0, 0.0),
        ended(0.9, 1.0, -1.0),
        ended(4.0, 1.0, -5.0),
        ended(4.5, 1.0, -3.0),
        ended(9.0, 1.0, -2.0, "stuck"),
    )
    assert distinct(best, [worse, near, best, on_its_way, other]) == [other]
    far = ended(6.0, 1.0, -9.0)
    assert distinct(best, [worse, far, other]) == [other, far]


def test_prior_points_are_draws_from_the_prior():
    """The notebook's mu has prior N(0, 1): mean and sd of 2,000 draws within 4 errors."""
    model = zoo.notebook_gaussian().model()
    z = onp.stack(prior_points(model, 2_000, 1))
    assert abs(z[:, 0].mean()) < 4.0 / 2_000**0.5
    assert abs(z[:, 0].std() - 1.0) < 4.0 / 4_000**0.5
    # where no prior can be drawn from: N(0, 2^2)
    wide = onp.stack(prior_points(vl.Target(two_modes, 1), 2_000, 1))
    assert abs(wide.std() - 2.0) < 2.0 * 4.0 / 4_000**0.5


def test_init_prior_starts_elsewhere():
    model = zoo.notebook_gaussian().model()
    seen = {}

    def first(name):
        def callback(done, params, losses):
            seen.setdefault(name, losses[0])
            return True

        return callback

    with pytest.warns(vl.ConvergenceWarning):
        vl.advi(model, seed=1, progress=False, callback=first("zero"))
    with pytest.warns(vl.ConvergenceWarning):
        vl.advi(model, init="prior", seed=1, progress=False, callback=first("prior"))
    assert abs(seen["zero"] - seen["prior"]) > 1.0


def test_values_of_another_shape_are_no_start():
    with pytest.raises(ValueError, match=r"^init: z: must have the shape .*, not \(2,\)"):
        vl.advi(vl.Target(two_modes, 1), init={"z": onp.zeros(2)}, progress=False)


def test_a_fit_goes_on_from_an_earlier_one():
    model = zoo.correlated_gaussian().model()
    fit = vl.advi(model, "full_rank", seed=1, progress=False)
    again = vl.advi(model, "full_rank", init=fit, seed=2, progress=False)
    assert again.losses[0] < 1e-10  # q was the target already
    assert [stage.name for stage in again.stages] == ["draws"]
    assert again.convergence.steps == 1


def test_starts_that_all_overflow_say_so():
    def nowhere(z):
        return np.sum(z, axis=-1) * onp.nan

    with pytest.raises(
        ValueError, match=r"not finite at the start; the terms at fault: nowhere \(nan\)"
    ):
        vl.advi(vl.Target(nowhere, 1), starts=3, engine="jax", progress=False)


def test_a_start_on_an_edge_says_that_the_density_is_not_finite_about_it():
    def at_zero_alone(z):
        return -0.0 * np.sum(z, axis=-1) + np.where(np.all(z == 0.0, axis=-1), 0.0, -onp.inf)

    with pytest.raises(ValueError, match=r"^init: the log density is finite at the start, but not"):
        vl.advi(vl.Target(at_zero_alone, 1), starts=1, engine="jax", progress=False)
