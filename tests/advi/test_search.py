"""The search as it is documented: its stages, its budget, its verdicts, its extremes."""

import warnings
from dataclasses import asdict
from itertools import pairwise

import numpy as onp
import pytest
from asked import asked
from handmade import Handmade, gaussian

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import zoo
from vi_lab.advi import search as searches
from vi_lab.advi.climb import Climb
from vi_lab.advi.local import MULTIPLE, Local
from vi_lab.advi.search import PRECISION, Search
from vi_lab.advi.starts import narrow
from vi_lab.families import FullRankGaussian, LowRankGaussian, MeanFieldGaussian
from vi_lab.results.checkpoint import Checkpoint
from vi_lab.results.convergence import ENDINGS

JAX = {"engine": "jax", "progress": False}
SKEWED = vl.Target(lambda z: np.sum(z - np.exp(z), axis=-1), dim=2)  # the best q: N(-1/2, 1)


def quiet(model, *args, **options):
    """A fit whose warning is not waited for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vl.ConvergenceWarning)
        return vl.advi(model, *args, **{**JAX, "seed": 1, **options})


def normal(precision, mean):
    """N(mean, precision^-1) as a target."""
    return vl.Target(
        lambda z: -0.5 * np.sum((z - mean) * np.dot(z - mean, precision), axis=-1), dim=len(mean)
    )


# ------------------------------------------------------------------------------ stages
@pytest.mark.bits
def test_stages_are_as_documented():
    fit = vl.advi(SKEWED, "full_rank", seed=1, **JAX)
    first, *stages = fit.stages
    assert (first.name, first.draws) == ("starts", 32)
    assert len(first.why.split(", ")) == 8
    assert {stage.name for stage in stages} == {"draws"}
    assert stages[0].draws == 64
    for stage, after in pairwise(stages):
        assert 2.0 <= after.draws / stage.draws <= 4.0
    assert all(stage.draws % MULTIPLE == 0 for stage in fit.stages)
    verdict = fit.convergence
    assert verdict.converged
    assert verdict.why == "settled"
    assert fit.stages[-1].gap <= verdict.gap <= verdict.tolerance
    assert verdict.gap <= verdict.tolerance
    assert verdict.gain <= 3.0 * (verdict.tolerance + verdict.error)
    assert sum(stage.steps for stage in fit.stages) == verdict.steps
    # The verdicts take a few gradients besides.
    of_verdicts = verdict.gradients - sum(stage.gradients for stage in fit.stages)
    assert 0 < of_verdicts < 0.15 * verdict.gradients
    onp.testing.assert_allclose(fit.params["loc"], -0.5, atol=0.01)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], 1.0, rtol=0.01)
    assert fit.losses[-1] == pytest.approx(-fit.stages[-1].elbo)


def test_the_tolerance_is_half_a_percent_of_an_sd_for_each_parameter():
    for family, parameters in (
        (MeanFieldGaussian(), 4),
        (FullRankGaussian(), 5),
        (LowRankGaussian(1), 5),  # in two dimensions, full rank
    ):
        fit = quiet(SKEWED, family, steps=1)
        assert fit.convergence.tolerance == pytest.approx(0.5 * 0.005**2 * parameters)
    assert PRECISION == 0.005
    fixed = vl.advi(SKEWED, method="deterministic", draws=512, seed=1, **JAX)
    assert fixed.convergence.tolerance == pytest.approx(0.5 * 0.05**2 * 4)


def test_draws_are_those_to_begin_with():
    for draws in (16, 128):
        stages = vl.advi(SKEWED, draws=draws, seed=1, **JAX).stages
        assert {stages[0].draws, stages[1].draws} == {draws}


def test_starts_are_as_many_as_asked_for():
    for starts in (1, 3, 20):
        stages = vl.advi(SKEWED, starts=starts, seed=1, **JAX).stages
        assert [stage.name for stage in stages[:2]] == ["starts", "draws"]
        assert len(stages[0].why.split(", ")) == starts


@pytest.mark.bits
@pytest.mark.parametrize("family", ["mean_field", "full_rank", "low_rank"])
def test_the_same_seed_the_same_bits(engine, family):
    options = {"family": family, "draws": 16, "progress": False, "steps": 7}
    one, again, other = (quiet(SKEWED, engine=engine.name, seed=s, **options) for s in (1, 1, 2))
    onp.testing.assert_array_equal(one.losses, again.losses)
    for name in one.params:
        onp.testing.assert_array_equal(one.params[name], again.params[name])
    assert one.losses[-1] != other.losses[-1]


@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
def test_both_engines_give_the_same_answer(family):
    """To 1e-8: sums in another order are 1e-16 apart, and a climb forgets where it came from."""
    fits = [vl.advi(SKEWED, family, seed=1, engine=e, progress=False) for e in ("autograd", "jax")]
    verdicts = [fit.convergence for fit in fits]
    assert verdicts[0].steps == verdicts[1].steps
    assert verdicts[0].gap == pytest.approx(verdicts[1].gap, rel=1e-6)
    onp.testing.assert_allclose(fits[0].losses, fits[1].losses, rtol=1e-8)
    for name, value in fits[0].params.items():
        onp.testing.assert_allclose(fits[1].params[name], value, atol=1e-8)


# ------------------------------------------------------------------------------ why it ended
def stop(*_):
    return True


def press(*_):
    raise KeyboardInterrupt


ENDS = {
    "steps": (SKEWED, {"steps": 4}),
    "callback": (SKEWED, {"callback": stop}),
    "interrupt": (SKEWED, {"callback": press}),
    "draws": (SKEWED, {"method": "deterministic", "draws": 8}),
}


@pytest.mark.parametrize("why", ENDS)
def test_what_ends_a_search_is_said(why):
    model, options = ENDS[why]
    with pytest.warns(vl.ConvergenceWarning, match=f"NOT CONVERGED: {ENDINGS[why]}, "):
        fit = vl.advi(model, seed=1, **JAX, **options)
    assert (fit.convergence.why, fit.convergence.converged) == (why, False)
    assert fit.interrupted == (why == "interrupt")
    assert onp.isfinite(fit.params["loc"]).all()
    assert onp.isnan(fit.convergence.gain)  # it did not come to that


def test_gradients_run_out(monkeypatch):
    monkeypatch.setattr(searches, "MOST_GRADIENTS", 3_000)
    with pytest.warns(vl.ConvergenceWarning, match="the gradients ran out"):
        fit = vl.advi(SKEWED, seed=1, **JAX)
    assert fit.convergence.why == "gradients"
    assert fit.convergence.gradients < 3_000
    assert fit.convergence.gap > fit.convergence.tolerance  # which is known, and said


def test_what_speaks_against_a_q_takes_more_draws_and_is_said(monkeypatch):
    """Each witness in turn: a fit on fixed draws ends with it, another goes on."""
    options = {"method": "deterministic", "draws": 4_096, "seed": 1, **JAX}
    assert vl.advi(SKEWED, **options).convergence.converged
    with monkeypatch.context() as patch:
        patch.setattr(searches, "beyond", lambda *_: 1.0)
        with pytest.warns(vl.ConvergenceWarning, match="a cliff or a tail lies beyond"):
            fit = vl.advi(SKEWED, **options)
        assert fit.convergence.why == "tail"
    with monkeypatch.context() as patch:
        patch.setattr(searches.Objective, "first_order", lambda *_: (1.0, 1e-3))
        with pytest.warns(vl.ConvergenceWarning, match="a step still gains on draws"):
            fit = vl.advi(SKEWED, **options)
        assert fit.convergence.why == "fresh"
        assert (fit.convergence.gain, fit.convergence.error) == (1.0, 1e-3)
    heard = []
    patched = searches.beyond

    def once(*arguments):
        heard.append(patched(*arguments))
        return 1.0 if len(heard) == 1 else heard[-1]

    monkeypatch.setattr(searches, "beyond", once)
    plain = vl.advi(SKEWED, seed=1, **JAX)
    assert len(heard) == 2
    assert plain.convergence.converged
    assert plain.stages[-1].draws == 4 * plain.stages[-2].draws


def test_a_gain_is_weighed_by_its_error_and_the_tolerance(monkeypatch):
    monkeypatch.setattr(searches, "beyond", lambda *_: 0.0)
    search = Search(asked(SKEWED), onp.random.default_rng(0), Checkpoint(None, {}))
    search.exploring, search.draws, search.eps = False, 64, onp.zeros((2, 2))
    best = climbed(0.0, 0.0)
    tolerance = search.tolerance
    for gain, error, against in (
        (2.9 * tolerance, 0.0, ""),
        (3.1 * tolerance, 0.0, "fresh"),
        (3.1 * tolerance, tolerance, ""),
        (onp.nan, tolerance, "fresh"),
    ):
        search.objective.first_order = lambda *_, said=(gain, error): said
        assert search.verdict(best) == against


def climbed(z, elbo, why="settled", dim=2):
    """A climb that has ended, on a Gaussian of sd 0.1 in everything."""
    c = Climb(narrow(onp.full(dim, z)), why=why)
    density = Handmade(gaussian(100.0 * onp.eye(dim), onp.full(dim, z)))
    (found,) = density.looks([c.at], onp.concatenate([onp.eye(dim), -onp.eye(dim)]) * dim**0.5)
    c.local = found.weighed([])
    c.local = Local(**{**vars(c.local), "elbo": elbo, "noise": 0.0, "spread": 0.0})
    return c


def test_a_climb_that_joined_another_is_not_the_best():
    search = Search(asked(SKEWED), onp.random.default_rng(0), Checkpoint(None, {}))
    search.climbs = [climbed(0.0, 0.0), climbed(0.001, 0.01, "joins"), climbed(1.0, -1.0)]
    assert search.best is search.climbs[0]


def test_rivals_come_along_and_the_others_are_noted():
    search = Search(asked(SKEWED), onp.random.default_rng(0), Checkpoint(None, {}))
    near, far, on_its_way = climbed(1.0, -0.9), climbed(2.0, -1.1), climbed(3.0, -5.0, "steps")
    search.climbs = [climbed(0.0, 0.0), far, near, on_its_way]
    assert search._rivals() == [near]
    assert search.modes == [-1.1]


@pytest.mark.parametrize(("why", "ending"), [("steps", "restless"), ("stuck", "gradients")])
def test_a_best_that_does_not_settle(why, ending, monkeypatch):
    """Eight stages on the same draws; or on ever more, if it is stuck, until there are no more."""

    def climb(density, climbs, eps, tolerance, *, after_step, **_):
        for c, found in zip(climbs, density.looks([c.at for c in climbs], eps), strict=True):
            c.local, c.why = found.weighed([]), why
        after_step()

    monkeypatch.setattr(searches, "climb", climb)
    with pytest.warns(vl.ConvergenceWarning, match=ENDINGS[ending]):
        fit = vl.advi(SKEWED, init={"z": [-0.5, -0.5]}, starts=1, seed=1, **JAX)
    assert fit.convergence.why == ending
    assert fit.convergence.gap == onp.inf
    assert len(fit.stages) <= 1 + searches.MOST_RESTLESS
    growth = 1 if why == "steps" else 4
    assert all(after.draws == growth * stage.draws for stage, after in pairwise(fit.stages[1:]))


def test_other_optima_are_reported():
    """Weights 1/5 and 4/5, 10 sds apart, and far enough in ELBO to leave out a stage later."""

    def two_modes(z):
        small = onp.log(0.2) - 0.5 * np.sum(z**2, axis=-1)
        return np.logaddexp(small, onp.log(0.8) - 0.5 * np.sum((z - 10.0) ** 2, axis=-1))

    fit = vl.advi(vl.Target(two_modes, 1), seed=1, init={"z": [9.0]}, **JAX)
    (mode,) = fit.convergence.modes
    assert mode == pytest.approx(onp.log(0.25), abs=1e-6)
    assert fit.params["loc"][0] == pytest.approx(10.0, abs=1e-6)
    assert "Starts disagreed: other optima, with ELBOs of -1.39 nats" in str(fit.convergence)


def test_ctrl_c_keeps_the_best_so_far():
    def callback(steps, params, losses):
        seen.append((steps, params["loc"].copy(), losses.copy()))
        if steps == 6:
            raise KeyboardInterrupt

    seen = []
    fit = quiet(zoo.notebook_gaussian().model(), callback=callback)
    assert fit.interrupted
    assert [steps for steps, _, _ in seen] == [1, 2, 3, 4, 5, 6]
    onp.testing.assert_array_equal(fit.params["loc"], seen[-1][1])
    onp.testing.assert_array_equal(fit.losses, seen[-1][2])
    assert "interrupted" in repr(fit)


def test_a_kept_fit_has_its_stages_and_its_verdict(tmp_path):
    def two_modes(z):
        small = -1.5 - 5.0 * np.sum((z - 4.0) ** 2, axis=-1)
        return np.logaddexp(-5.0 * np.sum(z**2, axis=-1), small)

    improper = vl.Target(lambda z: -0.5 * z[..., 0] ** 2, dim=2)
    for model, options in (
        (SKEWED, {}),
        (SKEWED, {"steps": 2}),
        (improper, {}),
        (vl.Target(two_modes, 1), {}),
    ):
        fit = quiet(model, **options)
        fit.save(tmp_path / "fit.npz")
        loaded = vl.Fit.load(tmp_path / "fit.npz", model)
        assert loaded.stages == fit.stages
        onp.testing.assert_equal(asdict(loaded.convergence), asdict(fit.convergence))
        assert str(loaded.convergence) == str(fit.convergence)
    assert fit.convergence.modes


# ------------------------------------------------------------------------------ extremes
@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
@pytest.mark.parametrize("condition", [1.0, 1e4, 1e8])
def test_a_gaussian_of_any_condition_is_exact_in_a_few_steps(family, condition):
    """To rounding, which the condition multiplies: 1e-16 times it, and a thousand."""
    dim = 10
    rotation = onp.linalg.qr(onp.random.default_rng(0).normal(size=(dim, dim)))[0]
    precision = (rotation * onp.geomspace(1.0, condition, dim)) @ rotation.T
    fit = quiet(normal(precision, onp.ones(dim)), family, starts=1)
    assert fit.convergence.converged, fit.convergence
    rtol = 1e-13 * condition
    assert fit.convergence.steps < 25
    if family == "mean_field":
        best = onp.diag(precision) ** -0.5
        onp.testing.assert_allclose(fit.unconstrained_std["z"], best, rtol=1e-10)
    else:
        sds = onp.diag(onp.linalg.inv(precision)) ** 0.5
        onp.testing.assert_allclose(fit.unconstrained_std["z"], sds, rtol=max(rtol, 1e-10))
    onp.testing.assert_allclose(fit.params["loc"], 1.0, rtol=max(rtol, 1e-10))


@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
def test_scales_from_1e_minus_8_to_1e8_are_exact(family):
    scale = onp.array([1e-8, 1e-3, 1.0, 1e4, 1e8])
    target = vl.Target(lambda z: -0.5 * np.sum((z / scale - 1.0) ** 2, axis=-1), dim=5)
    fit = vl.advi(target, family, seed=1, **JAX)
    assert fit.convergence.converged
    onp.testing.assert_allclose(fit.params["loc"], scale, rtol=1e-8)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], scale, rtol=1e-8)


def test_down_a_linear_tail_an_optimum_is_found_300_sds_away():
    """|y - z| has no curvature at 0, nor on the way; the best sd of Laplace is (pi/2)^(1/2)."""
    target = vl.Target(lambda z: -np.sum(np.abs(z - 300.0), axis=-1), dim=1)
    fit = vl.advi(target, starts=1, seed=1, **JAX)
    assert fit.convergence.converged
    assert fit.params["loc"][0] == pytest.approx(300.0, abs=0.02)
    assert fit.unconstrained_std["z"][0] == pytest.approx((onp.pi / 2.0) ** 0.5, rel=0.01)


def test_an_improper_posterior_has_no_optimum_and_its_latent_is_named():
    def program(m, x):
        a = m.sample("identified", vl.Normal(0.0, 1.0))
        m.sample("adrift", vl.Flat())
        m.observe("x", vl.Normal(a, 1.0), x)

    message = "there is no optimum to find, for the ELBO does not fall while adrift runs away"
    for family in ("mean_field", "full_rank"):
        with pytest.warns(vl.ConvergenceWarning, match=message):
            fit = vl.advi(vl.Model(program, x=onp.ones(3)), family, seed=1, **JAX)
        assert fit.convergence.why == "no optimum"
        assert fit.convergence.runaways == ("adrift",)
        assert fit.convergence.modes == ()


def test_an_explosive_start_works():
    """e^30 nats down, where Newton's steps are of one unit each, and e^-30 of curvature."""
    fit = vl.advi(SKEWED, init={"z": [30.0, -30.0]}, starts=1, seed=1, **JAX)
    assert fit.convergence.converged, fit.convergence
    assert fit.losses[0] > 1e12
    onp.testing.assert_allclose(fit.params["loc"], -0.5, atol=0.01)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], 1.0, rtol=0.01)


def test_a_start_near_an_edge_works():
    """Of a density that ends at z = 0: the first q, of sd 0.1, is made narrower to fit."""
    target = vl.Target(lambda z: np.sum(1e4 * np.log(z) - 1e4 * z, axis=-1), dim=2)  # sd 0.01
    fit = vl.advi(target, init={"z": [0.05, 1.0]}, starts=1, seed=1, **JAX)
    assert fit.convergence.converged, fit.convergence
    onp.testing.assert_allclose(fit.params["loc"], 1.0, atol=1e-3)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], 0.01, rtol=0.01)


def test_a_level_posterior_has_no_optimum():
    """Mean field has a best sd for each of three numbers of which only the sum counts; no mean."""
    fit = quiet(vl.Target(lambda z: -0.5 * np.sum(z, axis=-1) ** 2, 3))
    assert fit.convergence.why == "no optimum"
    assert not fit.convergence.converged


def test_an_unbounded_density_has_no_optimum():
    """Ten equal rows: the sd goes to zero, and the density without end."""

    def program(m, x):
        mu = m.sample("mu", vl.Flat())
        sd = m.sample("sd", vl.HalfNormal(5.0))
        m.observe("x", vl.Normal(mu, sd), x)

    fit = quiet(vl.Model(program, x=onp.ones(10)))
    assert fit.convergence.why == "no optimum"
    assert "mu" in fit.convergence.runaways


@pytest.mark.parametrize(("on_their_way", "batch"), [(2, 1), (1, 0)])
def test_starts_of_which_most_end_nowhere_are_no_agreement(on_their_way, batch):
    search = Search(asked(SKEWED), onp.random.default_rng(0), Checkpoint(None, {}))
    here = [climbed(0.0, 0.0), *(climbed(0.0, -5.0, "steps") for _ in range(on_their_way))]
    search.climbs = here
    search._explore_further()
    assert search.batch == batch
    assert search.exploring is (batch == 1)
