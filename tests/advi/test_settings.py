"""Wrong arguments of `advi`: each is named, before anything is computed."""

import re

import numpy as onp
import pytest
from asked import asked

import vi_lab as vl
from vi_lab import zoo
from vi_lab.families import FullRankGaussian, LowRankGaussian
from vi_lab.gradients import ESTIMATORS, Antithetic, ScoreFunction, Sobol
from vi_lab.optimizers import OPTIMIZERS, Adam, TailAverage


def program(m):
    m.sample("a", vl.Normal(0.0, 1.0))
    m.sample("b", vl.HalfNormal(1.0), shape=(2,))


MODEL = vl.Model(program)
OTHER = vl.Fit(
    model=None,
    family=FullRankGaussian(),
    params={"loc": onp.zeros(2)},
    losses=onp.zeros(1),
    engine="autograd",
    seed=0,
)

ADAM = {"optimizer": "adam"}

WRONG = [
    ({"family": "banana"}, "family: 'banana' is none of ['full_rank', 'low_rank', 'mean_field']"),
    ({"family": LowRankGaussian}, "family: LowRankGaussian is a class; give a value of it"),
    ({"family": 3}, "family: 3 has no method 'init'; give one of ['full_rank', "),
    ({"method": "magic"}, "method: 'magic' is none of ['deterministic', 'stochastic']"),
    ({"steps": 0}, "steps: must be a whole number, 1 or more, not 0"),
    ({"steps": 10.0}, "steps: must be a whole number, 1 or more, not 10.0"),
    ({"steps": True}, "steps: must be a whole number, 1 or more, not True"),
    ({"draws": 0}, "draws: must be a whole number, 1 or more, not 0"),
    ({"draws": 3, "base_draws": "antithetic", **ADAM}, "draws: antithetic draws come in pairs"),
    ({"draws": 3, "base_draws": Sobol(), **ADAM}, "draws: Sobol' points are balanced in powers of"),
    ({"base_draws": "halton", **ADAM}, "base_draws: 'halton' is none of ['antithetic', 'indepen"),
    ({"base_draws": Sobol, **ADAM}, "base_draws: Sobol is a class; give a value of it, Sobol(...)"),
    ({"estimator": "magic", **ADAM}, "estimator: 'magic' is none of ['reparameterised', "),
    ({"estimator": ScoreFunction, **ADAM}, "estimator: ScoreFunction is a class; give a value of"),
    ({"estimator": ScoreFunction(), **ADAM}, "draws: ScoreFunction compares each draw with the ot"),
    ({"draws": 3}, "draws: must be even and at least 4, for they come in pairs, not 3"),
    ({"draws": 2}, "draws: must be even and at least 4, for they come in pairs, not 2"),
    ({"draws": 6, "family": "full_rank"}, "draws: full rank on R^3 needs more than 6, or nothing"),
    ({"draws": 2**50}, f"draws: {2**50} of 3 numbers each take"),
    ({"base_draws": "sobol"}, "base_draws: for an optimizer of your choice; give optimizer="),
    ({"estimator": "score_function"}, "estimator: for an optimizer of your choice; give opt"),
    (
        {"estimator": "magic", "average": TailAverage(1)},
        "estimator, average: for an optimizer of your choice",
    ),
    ({"optimizer": "adamw"}, "optimizer: 'adamw' is none of ['adagrad', 'adam', "),
    ({"optimizer": Adam}, "optimizer: Adam is a class; give a value of it, Adam(...)"),
    ({"optimizer": 0.01}, "optimizer: 0.01 has no method 'init'; give one of ['adagrad', "),
    ({"average": TailAverage(1)}, "average: for an optimizer of your choice"),
    ({"average": "tail", "optimizer": "adam"}, "average: 'tail' has no method 'init'; give Tail"),
    ({"average": TailAverage, "optimizer": "adam"}, "average: TailAverage is a class; give a v"),
    ({"init": "posterior"}, "init: 'posterior' is none of ['prior']"),
    ({"init": 3.0}, "init: is the float 3.0; give 'prior', values by latent, or a Fit"),
    ({"init": {"a": 0.0}}, "init: needs exactly the latents ['a', 'b']; missing or unknown: ['b']"),
    ({"init": {"a": 0.0, "b": 1.0, "c": 1.0}}, "init: needs exactly the latents ['a', 'b']; "),
    ({"init": OTHER}, "init: is a fit on R^2, but the model lives on R^3"),
    ({"init": OTHER, "starts": 2}, "starts: an earlier fit is one start"),
    ({"starts": 0}, "starts: must be a whole number, 1 or more, not 0"),
    ({"seed": -1}, "seed: must be a whole number from 0 to 2^63 - 1, not -1"),
    ({"seed": None}, "seed: must be a whole number from 0 to 2^63 - 1, not None"),
    ({"seed": True}, "seed: must be a whole number from 0 to 2^63 - 1, not True"),
    ({"seed": 1.5}, "seed: must be a whole number from 0 to 2^63 - 1, not 1.5"),
    ({"seed": 2**63}, "seed: must be a whole number from 0 to 2^63 - 1, not 9223372036854775808"),
    ({"seed": onp.random.default_rng(1)}, "seed: must be a whole number from 0 to 2^63 - 1, not G"),
    ({"engine": "torch"}, "engine: 'torch' is none of ['autograd', 'jax']"),
    ({"progress": "no"}, "progress: must be True or False, not 'no'"),
    ({"callback": 3}, "callback: is the int 3; give a function of (steps, params, losses)"),
    ({"checkpoint": 3}, "checkpoint: is the int 3; give the path of a file"),
    (
        {"checkpoint": "/nowhere/fit.npz"},
        "checkpoint: there is no folder /nowhere to write fit.npz",
    ),
]
DETERMINISTIC = [
    ({"steps": 10}, "steps: mean(s) nothing to method='deterministic'"),
    ({"estimator": "reparameterised", "callback": print}, "estimator, callback: mean(s) nothing"),
    ({"optimizer": "adam"}, "optimizer: mean(s) nothing"),
    ({"average": TailAverage(1)}, "average: mean(s) nothing"),
    ({"base_draws": "sobol"}, "base_draws: mean(s) nothing"),
    ({"checkpoint": "fit.npz"}, "checkpoint: mean(s) nothing"),
    ({"family": "full_rank"}, "family: method='deterministic' is for mean_field only"),
    ({"draws": 3}, "draws: must be even and at least 4, for they come"),
]
CASES = [*WRONG, *[({"method": "deterministic", **options}, m) for options, m in DETERMINISTIC]]


@pytest.mark.parametrize(("options", "message"), CASES, ids=[message[:40] for _, message in CASES])
def test_a_wrong_argument_is_named_before_any_work(options, message, monkeypatch):
    def work(*_, **__):
        pytest.fail("the log density was evaluated")

    monkeypatch.setattr(type(MODEL.structure), "run", work)
    with pytest.raises(vl.ViLabError, match="^" + re.escape(message)):
        vl.advi(MODEL, **{"progress": False, **options})


@pytest.mark.parametrize("model", [program, lambda z: -(z**2), None])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(TypeError, match=r"^model: .* give a vl.Model\(program, \*\*data\), or"):
        vl.advi(model)


def test_names_stand_for_values():
    settings = asked(MODEL, optimizer="adam", base_draws="antithetic", draws=2)
    assert settings.optimizer == OPTIMIZERS["adam"] == Adam(0.01)
    assert settings.base_draws == Antithetic()
    asked_for = asked(MODEL, estimator="score_function", draws=2, **ADAM)
    assert asked_for.estimator == ScoreFunction()
    for name in OPTIMIZERS:
        assert asked(MODEL, optimizer=name).optimizer is OPTIMIZERS[name]
    for name in ESTIMATORS:
        assert asked(MODEL, estimator=name, draws=2, **ADAM).estimator is ESTIMATORS[name]


def test_what_is_left_out_is_filled_in():
    settings = asked(MODEL)
    assert (settings.steps, settings.draws, settings.starts) == (None, None, None)
    assert (settings.estimator, settings.optimizer, settings.checkpoint) == (None, None, None)
    chosen = asked(MODEL, optimizer="adam")
    assert (chosen.steps, chosen.draws) == (20_000, 1)
    assert chosen.average == TailAverage(5_000)
    assert asked(MODEL, optimizer="adam", steps=100).average == TailAverage(25)
    assert asked(MODEL, method="deterministic").draws == 30
    wide = vl.Target(lambda z: -(z**2).sum(axis=-1), dim=40)
    assert asked(wide, family="full_rank", **ADAM).draws == 5
    assert asked(wide, family="low_rank", **ADAM).draws == 1
    assert asked(wide, family="full_rank").draws is None
    assert asked(wide, family="full_rank", draws=82).draws == 82


def test_seeds_of_numpy_are_whole_numbers_too():
    model = zoo.correlated_gaussian().model()
    options = {"optimizer": "adam", "steps": 50, "progress": False}
    one, other = (vl.advi(model, seed=seed, **options) for seed in (3, onp.int64(3)))
    assert (one.losses == other.losses).all()
    assert type(other.seed) is int
