"""A family, an optimiser, an average of the user's own: fitted, kept, gone on from."""

from dataclasses import dataclass

import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.advi import blocks
from vi_lab.engine import current
from vi_lab.engine.trees import tree_map
from vi_lab.families import LocationScaleGaussian
from vi_lab.families.base import entropy_of, log_normal
from vi_lab.optimizers import NaturalGradient
from vi_lab.results import checkpoint as checkpoints


@dataclass(frozen=True)
class OneScale(LocationScaleGaussian):
    """N(mu, (weight sigma)^2 I): one scale for all coordinates, and a setting to remember."""

    weight: float = 1.0

    def init(self, loc, scale):
        return {"loc": onp.array(loc, dtype=float), "log_scale": onp.log(scale / self.weight)}

    def scale(self, params):
        return self.weight * np.exp(params["log_scale"])

    def scale_times(self, params, eps):
        return self.scale(params) * eps

    def log_density(self, params, z):
        y, dim = (z - params["loc"]) / self.scale(params), np.shape(z)[-1]
        return log_normal(np.sum(y**2, axis=-1), dim * np.log(self.scale(params)), dim)

    def log_density_and_score(self, params, eps):
        return self.log_density(params, self.transform(params, eps)), -eps / self.scale(params)

    def entropy(self, params):
        dim = np.shape(params["loc"])[0]
        return entropy_of(dim * np.log(self.scale(params)), dim)

    def covariance(self, params):
        return self.scale(params) ** 2 * onp.eye(params["loc"].size)


FAMILY = OneScale(weight=3.0)
SDS, MEAN = onp.array([0.5, 1.0, 2.0]), onp.array([1.0, -2.0, 3.0])
BEST = onp.mean(SDS**-2.0) ** -0.5  # maximises -sum_d s^2 / (2 sd_d^2) + D log s
TARGET = vl.Target(lambda z: -0.5 * np.sum(((z - MEAN) / SDS) ** 2, axis=-1), dim=3)


def line(m, x, y):
    slope = m.sample("slope", vl.Normal(0.0, 1.0), shape=(2,))
    m.observe("y", vl.Normal(np.dot(x, slope), 1.0), y)


def batched():
    x = onp.random.default_rng(0).normal(size=(200, 2))
    return vl.Model(
        line, minibatch=vl.Minibatch(rows=("x", "y"), size=20), x=x, y=x @ onp.array([1.0, -1.0])
    )


def same(one, other):
    return all((one.params[name] == other.params[name]).all() for name in one.params)


# ------------------------------------------------------------------------------ a family
def test_the_default_search_finds_the_best_q_of_it(engine):
    fit = vl.advi(TARGET, FAMILY, seed=1, progress=False)
    assert fit.convergence.converged
    onp.testing.assert_allclose(fit.params["loc"], MEAN, atol=0.02)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], BEST, rtol=0.01)
    assert repr(fit).startswith("Fit(OneScale, ")
    eps = fit.sample_unconstrained(20_000, seed=1)
    assert abs(eps.std(axis=0) / fit.unconstrained_std["z"] - 1.0).max() < 0.02


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "reparameterised"},
        {"estimator": "score_function", "draws": 4},
        {"base_draws": "antithetic", "draws": 2},
        {"starts": 3},
        {"optimizer": NaturalGradient(FAMILY)},
    ],
    ids=str,
)
def test_what_else_a_fit_can_do_it_can_do_in_it(options):
    common = {"optimizer": "adam", "steps": 2_000, "seed": 1, "progress": False}
    plain = vl.advi(TARGET, FAMILY, **common)
    fit = vl.advi(TARGET, FAMILY, **{**common, **options})
    assert not same(fit, plain)
    onp.testing.assert_allclose(fit.unconstrained_std["z"], BEST, rtol=0.3)
    # From 0, which is two sds away in the first two: 2,000 steps take it more than half of it.
    assert (onp.abs(fit.params["loc"] - MEAN) < 0.75 * SDS).all()


@pytest.mark.parametrize("options", [{"starts": 3}, {"draws": 128}], ids=str)
def test_what_a_search_is_told_it_minds_in_it_too(options):
    plain, fit = (vl.advi(TARGET, FAMILY, seed=1, progress=False, **o) for o in ({}, options))
    assert fit.convergence.converged
    assert fit.convergence.gradients != plain.convergence.gradients
    onp.testing.assert_allclose(fit.unconstrained_std["z"], BEST, rtol=0.01)


def test_a_plain_step_is_a_step_along_its_natural_gradient():
    """Fisher's information: 1 / scale^2 in each location, 2 D in the one logarithm."""
    params = {"loc": MEAN, "log_scale": onp.array(-0.3)}
    gradient = {"loc": onp.array([0.5, 1.0, -2.0]), "log_scale": onp.array(0.7)}
    one = OneScale()
    h = 1e-3  # the retraction is linear in both
    moved = one.retract(params, tree_map(lambda u: h * u, one.tangent(params, gradient)))
    scale = onp.exp(params["log_scale"])
    onp.testing.assert_allclose(moved["loc"] - MEAN, h * scale**2 * gradient["loc"], rtol=1e-10)
    onp.testing.assert_allclose(moved["log_scale"] + 0.3, h * gradient["log_scale"] / 6, rtol=1e-10)


def test_saved_and_loaded(tmp_path):
    fit = vl.advi(TARGET, FAMILY, seed=1, progress=False)
    fit.save(tmp_path / "fit.npz")
    loaded = vl.Fit.load(tmp_path / "fit.npz", TARGET, family=OneScale(3.0))
    assert loaded.family == FAMILY
    assert same(loaded, fit)
    assert (loaded.sample(5, seed=1)["z"] == fit.sample(5, seed=1)["z"]).all()
    with pytest.raises(ValueError, match=r"^family: is OneScale, none of .* give it as family="):
        vl.Fit.load(tmp_path / "fit.npz", TARGET)
    with pytest.raises(ValueError, match=r"^family: was .*3\.0.*, but .*2\.0.* is given"):
        vl.Fit.load(tmp_path / "fit.npz", TARGET, family=OneScale(2.0))


@pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning")
@pytest.mark.parametrize("make", [lambda: TARGET, batched], ids=["target", "minibatches"])
@pytest.mark.parametrize(
    ("options", "step"),
    [({}, 3), ({}, 6), ({"optimizer": "adam", "steps": 800}, 300)],
    ids=["alone, starts", "alone, in the family", "adam"],
)
def test_resumed_from_its_checkpoint_to_the_bit(make, options, step, tmp_path, monkeypatch):
    monkeypatch.setattr(blocks, "STEPS_PER_BLOCK", 50)
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN_WRITES", 0.0)
    common = {"seed": 1, "progress": False, **options}

    def stop(done, params, losses):
        if done >= step:
            raise KeyboardInterrupt

    path, model = tmp_path / "fit.npz", make()
    whole = vl.advi(model, FAMILY, **common)
    assert vl.advi(model, FAMILY, **common, checkpoint=path, callback=stop).interrupted
    resumed = vl.advi(model, OneScale(3.0), **common, checkpoint=path)
    assert same(resumed, whole)
    with pytest.raises(ValueError, match=r"^checkpoint: .* was written by another fit"):
        vl.advi(model, OneScale(2.0), **common, checkpoint=path)


@pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning")
def test_gone_on_from_and_a_start_for_richer_ones():
    fit = vl.advi(TARGET, FAMILY, seed=1, progress=False)
    again = vl.advi(TARGET, FAMILY, init=fit, steps=1, optimizer="adam", progress=False)
    onp.testing.assert_allclose(again.params["loc"], fit.params["loc"], atol=0.011)
    with pytest.raises(ValueError, match=r"^init: this family cannot start from that fit; "):
        vl.advi(TARGET, FAMILY, init=vl.advi(TARGET, "full_rank", progress=False), progress=False)
    for family in ("mean_field", "full_rank", "low_rank"):
        richer = vl.advi(TARGET, family, init=fit, steps=1, optimizer="adam", progress=False)
        onp.testing.assert_allclose(richer.params["loc"], fit.params["loc"], atol=0.011)


# -------------------------------------------------------------------- a fit of low rank
@pytest.mark.filterwarnings("ignore::vi_lab.errors.ConvergenceWarning")
def test_a_low_rank_fit_is_gone_on_from():
    common = {"seed": 1, "progress": False}
    fit = vl.advi(TARGET, vl.LowRankGaussian(1), **common)
    again = vl.advi(TARGET, vl.LowRankGaussian(1), init=fit, **common)
    assert again.losses[0] < fit.losses[0] - 0.5
    assert again.convergence.steps < fit.convergence.steps
    wider = vl.advi(TARGET, vl.LowRankGaussian(2), init=fit, **common)
    assert wider.params["factors"].shape == (3, 2)


# ----------------------------------------------------------- an optimiser and an average
@dataclass(frozen=True)
class Halfway:
    """To z = 1 by halves: an optimiser that looks at the parameters alone."""

    def init(self, params):
        return {}

    def update(self, gradient, state, params):
        return tree_map(lambda x: 0.5 * (x + 1.0), params), state


@dataclass(frozen=True)
class First:
    """The first iterate, whatever comes later."""

    def init(self, params):
        return {"t": np.zeros(()), "first": params}

    def update(self, params, state):
        keep = tree_map(
            lambda x, first: np.where(state["t"] == 0.0, x, first), params, state["first"]
        )
        return {"t": state["t"] + 1.0, "first": keep}

    def value(self, state):
        return state["first"]


def test_an_optimiser_sees_the_parameters_and_an_average_the_iterates(engine):
    options = {"optimizer": Halfway(), "steps": 60, "progress": False}
    fit = vl.advi(TARGET, average=First(), **options)
    onp.testing.assert_allclose(fit.params["loc"], 0.5)
    last = vl.advi(TARGET, **options)  # the mean of iterates 15 to 60
    onp.testing.assert_allclose(last.params["loc"], 1.0, atol=1e-4)


# --------------------------------------------------------------------------- an estimator
@dataclass(frozen=True)
class Doubled:
    """Twice -ELBO, from draws that it wants independent."""

    compares_draws = True

    def negative_elbo(self, structure, family, params, eps, data):
        z = family.transform(params, current().stop_gradient(eps))
        mean = np.mean(structure.log_density_batch(z, data))
        return -2.0 * (mean + family.entropy(params))


def test_an_estimator_is_what_is_differentiated(engine):
    options = {"steps": 1, "draws": 2, "seed": 1, "progress": False, "optimizer": "adam"}
    plain = vl.advi(TARGET, estimator="reparameterised", **options)
    doubled = vl.advi(TARGET, estimator=Doubled(), **options)
    onp.testing.assert_allclose(doubled.losses, 2.0 * plain.losses, rtol=1e-14)
    with pytest.raises(ValueError, match=r"^base_draws: .* biases Doubled"):
        vl.advi(TARGET, estimator=Doubled(), base_draws="antithetic", **options)
