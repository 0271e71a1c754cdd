"""The fit that stops by itself: its honesty, and what its arguments promise.

What a fit lacks of the best ELBO is exact (`benchmarks.targets`; `test_targets` fits them all).
"""

import warnings

import numpy as onp
import pytest
from asked import asked

import vi_lab as vl
import vi_lab.numpy as np
from benchmarks import targets
from vi_lab.advi import blocks
from vi_lab.advi.automatic import Search
from vi_lab.advi.stages import FIRST_WINDOW
from vi_lab.families import FullRankGaussian, MeanFieldGaussian
from vi_lab.gradients.base_draws import Antithetic, Sobol
from vi_lab.gradients.estimators import Reparameterised, StickingTheLanding
from vi_lab.results.checkpoint import Checkpoint

pytestmark = pytest.mark.bits

FAMILIES = targets.FAMILIES


def lost(target, fit):
    family = "full_rank" if "lower" in fit.params else "mean_field"
    return targets.Outcome(target, family, fit).lost


def quietly(model, *args, **options):
    """A fit whose verdict is looked at by the test; seed 7 and no progress bar."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vl.ConvergenceWarning)
        return vl.advi(model, *args, **{"seed": 7, "progress": False, **options})


# ------------------------------------------------------------------------- it says if not
@pytest.mark.parametrize("steps", [400, 800])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "target",
    [
        targets.linear_regression(),
        pytest.param(targets.gaussian(50, 1e4), marks=pytest.mark.slow),
    ],
    ids=lambda t: t.name,
)
def test_a_starved_fit_says_so_and_is_right(target, family, steps):
    pytest.importorskip("jax")
    with pytest.warns(vl.ConvergenceWarning, match="NOT CONVERGED: the steps ran out"):
        fit = vl.advi(target.model, family, steps=steps, seed=0, engine="jax", progress=False)
    verdict = fit.convergence
    assert not verdict.converged
    assert verdict.why == "steps"
    assert verdict.steps <= steps
    assert verdict.gap > verdict.tolerance
    assert lost(target, fit) > verdict.tolerance


# --------------------------------------------------------------- seeds, engines, blocks
NOTEBOOK = targets.notebook_gaussian()
SHORT = {"steps": 320}  # a warm-up and a window of the descent


def bits(fit):
    return fit.losses.tobytes(), *(fit.params[name].tobytes() for name in sorted(fit.params))


def test_the_bits_follow_from_the_seed_alone(monkeypatch, engine):
    """Not from the pace of the machine. The warm-up is a full-rank fit."""
    first, again, other = (quietly(NOTEBOOK.model, **SHORT, seed=seed) for seed in (7, 7, 8))
    assert bits(first) == bits(again)
    assert first.convergence == again.convergence
    assert bits(first) != bits(other)
    monkeypatch.setattr(blocks, "STEPS_PER_BLOCK", 7)
    assert bits(quietly(NOTEBOOK.model, **SHORT)) == bits(first)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("target", [NOTEBOOK, targets.correlated_gaussian()], ids=lambda t: t.name)
def test_engines_agree_to_a_hundred_millionth_of_an_sd(target, family):
    pytest.importorskip("jax")
    one, other = (
        quietly(target.model, family, steps=480, engine=name) for name in ("autograd", "jax")
    )
    sds = onp.sqrt(onp.diag(other.unconstrained_covariance))
    assert (onp.abs(one.params["loc"] - other.params["loc"]) < 1e-8 * sds).all()
    onp.testing.assert_allclose(
        onp.sqrt(onp.diag(one.unconstrained_covariance)), sds, rtol=1e-8, atol=0.0
    )
    assert one.convergence.steps == other.convergence.steps
    assert one.convergence.converged == other.convergence.converged


# ----------------------------------------------------------------- Ctrl-C and callbacks
def interrupting(when):
    def callback(done, params, losses):
        if done > when:
            raise KeyboardInterrupt

    return callback


@pytest.mark.parametrize(("when", "main"), [(0, False), (130, False), (160, True), (290, True)])
def test_an_interrupted_fit_returns_what_there_is(monkeypatch, when, main):
    """320 steps: 160 of warm-up and 160 of descent. Stopped in either, early and late."""
    monkeypatch.setattr(blocks, "FIRST_BLOCK", 10)
    with pytest.warns(vl.ConvergenceWarning, match="NOT CONVERGED: it was interrupted"):
        fit = vl.advi(
            NOTEBOOK.model,
            **SHORT,
            seed=7,
            engine="autograd",
            progress=False,
            callback=interrupting(when),
        )
    assert fit.interrupted
    assert fit.convergence.why == "interrupt"
    assert not fit.convergence.converged
    assert fit.convergence.steps <= when + 30
    assert (fit.convergence.steps >= 160) is main
    assert set(fit.params) == {"loc", "log_scale"}
    assert all(onp.isfinite(value).all() for value in fit.params.values())
    if when >= 160:  # it kept what the warm-up had found
        assert lost(NOTEBOOK, fit) < 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_callback_that_returns_true_ends_the_fit(family):
    seen = []

    def callback(done, params, losses):
        seen.append(done)
        return done >= 300

    with pytest.warns(vl.ConvergenceWarning, match="NOT CONVERGED: the callback stopped it"):
        fit = vl.advi(
            NOTEBOOK.model,
            family,
            seed=7,
            engine="autograd",
            progress=False,
            callback=callback,
        )
    assert fit.convergence.why == "callback"
    assert not fit.interrupted
    assert seen == sorted(set(seen))
    assert seen[-2] < 300 <= seen[-1]
    assert fit.convergence.steps <= seen[-1]
    assert all(onp.isfinite(value).all() for value in fit.params.values())


# ------------------------------------------------------------------------------- options
OPTIONS = {
    "default": {},
    "reparameterised": {"estimator": "reparameterised"},
    "monte carlo entropy": {"estimator": Reparameterised("monte_carlo")},
    "sticking the landing": {"estimator": StickingTheLanding()},
    "score function": {"estimator": "score_function", "draws": 4},
    "two draws": {"draws": 2},
    "antithetic": {"base_draws": Antithetic(), "draws": 2},
    "four draws": {"draws": 4},
    "Sobol'": {"base_draws": Sobol(), "draws": 4},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_option_changes_the_numbers(family):
    """With one exception that is mathematics, and one that is the default."""
    found = {
        name: quietly(NOTEBOOK.model, family, steps=96, engine="autograd", **options)
        for name, options in OPTIONS.items()
    }
    assert all(onp.isfinite(fit.losses).all() and fit.losses.size for fit in found.values())
    locs = {name: fit.params["loc"] for name, fit in found.items()}
    # Their gradients are the same, draw by draw (`Reparameterised`): the losses differ.
    onp.testing.assert_allclose(
        locs.pop("monte carlo entropy"), locs["reparameterised"], rtol=1e-9, atol=1e-12
    )
    different = found["monte carlo entropy"].losses - found["reparameterised"].losses
    assert onp.abs(different).max() > 0.01
    if family == "full_rank":  # sticks the landing by itself
        onp.testing.assert_array_equal(locs.pop("sticking the landing"), locs["default"])
    values = [tuple(loc) for loc in locs.values()]
    assert len(set(values)) == len(values)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["reparameterised", "antithetic", "Sobol'"])
def test_with_every_option_the_fit_gets_there(name, family):
    pytest.importorskip("jax")
    fit = vl.advi(NOTEBOOK.model, family, seed=7, engine="jax", progress=False, **OPTIONS[name])
    assert fit.convergence.converged
    assert targets.Outcome(NOTEBOOK, family, fit).good_enough


# --------------------------------------------------------------------------- minibatches
def regression(m, x, y):
    beta = m.sample("beta", vl.Normal(0.0, 5.0), shape=x.shape[1:])
    sigma = m.sample("sigma", vl.HalfNormal(2.0))
    m.observe("y", vl.Normal(np.dot(x, beta), sigma), y)


def test_minibatches_find_what_all_rows_do():
    """To 0.1 sd of q: the tolerance is 0.03 in each direction."""
    pytest.importorskip("jax")
    rng = onp.random.default_rng(2)
    x = onp.column_stack([onp.ones(2_000), rng.normal(size=(2_000, 2))])
    y = x @ onp.array([1.0, -2.0, 0.5]) + rng.normal(size=2_000)
    options = {"seed": 7, "engine": "jax", "progress": False}
    all_rows = vl.advi(vl.Model(regression, x=x, y=y), **options)
    batched = vl.Model(regression, minibatch=vl.Minibatch(rows=("x", "y"), size=100), x=x, y=y)
    fit = vl.advi(batched, **options)
    assert fit.convergence.converged
    assert fit.convergence.tolerance > all_rows.convergence.tolerance
    sds = onp.exp(all_rows.params["log_scale"])
    assert (onp.abs(fit.params["loc"] - all_rows.params["loc"]) < 0.1 * sds).all()
    onp.testing.assert_allclose(onp.exp(fit.params["log_scale"]), sds, rtol=0.1)


def test_few_rows_a_step_shorten_the_first_steps_of_matrices_only():
    """By sqrt(B / N) = 0.2; mean field divides each coordinate by its own noise."""
    data = {"x": onp.ones((1_000, 2)), "y": onp.zeros(1_000)}
    batched = vl.Model(regression, minibatch=vl.Minibatch(rows=("x", "y"), size=40), **data)

    def first(model, family):
        settings = asked(model, family=family, engine="autograd")
        search = Search(settings, onp.random.default_rng(0), Checkpoint(None, {}))
        return search.begin(family, family.init(onp.zeros(3), 1.0), 1).memory["step_size"]

    for family, ratio in ((MeanFieldGaussian(), 1.0), (FullRankGaussian(), 0.2)):
        whole = first(vl.Model(regression, **data), family)
        assert first(batched, family) == pytest.approx(ratio * whole, rel=1e-14)


def test_one_window_is_never_enough():
    """No check is passed by luck: a fit that begins at the optimum needs a second window."""
    pytest.importorskip("jax")
    target = targets.correlated_gaussian()
    fit = quietly(target.model, "full_rank", engine="jax")
    assert fit.convergence.converged
    again = quietly(target.model, "full_rank", init=fit, steps=FIRST_WINDOW, engine="jax")
    assert lost(target, again) < 1e-10
    assert again.convergence.gap == onp.inf
    assert not again.convergence.converged
