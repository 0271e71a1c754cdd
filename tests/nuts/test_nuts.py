"""The sampler from its front door: right distributions, reproducible, clear when it fails."""

import dataclasses
import re
import sys
import types

import numpy as onp
import pytest
from nuts_case import CORRELATED, MODEL, SHORT, correlated, quiet_nuts, warnings_of
from scipy import signal, special, stats

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.engine import current
from vi_lab.nuts import NutsResult, chains, iterative
from vi_lab.nuts.adaptation import start_averaging
from vi_lab.nuts.result import STATISTICS
from vi_lab.nuts.trajectory import Noise
from vi_lab.results import diagnostics

# ------------------------------------------------------------------ targets


def log_gamma(z):
    """exp(z) is Gamma(3, 2), and the second entry normal given the first."""
    return 3.0 * z[..., 0] - 2.0 * np.exp(z[..., 0]) - 0.5 * (z[..., 1] - z[..., 0]) ** 2


def mixed(z):
    """The two side by side."""
    return correlated(z[..., :2]) + log_gamma(z[..., 2:])


def funnel(z):
    return -0.5 * (z[..., 0] / 3) ** 2 - 0.5 * z[..., 1] ** 2 * np.exp(-z[..., 0]) - 0.5 * z[..., 0]


def two_modes(z):
    return np.logaddexp(-0.5 * np.sum((z - 9.0) ** 2), -0.5 * np.sum((z + 9.0) ** 2))


MIXED = vl.Target(mixed, 4)


# ---------------------------------------------------- the right distribution


def test_moments():
    """Nine within 4.5 Monte Carlo errors: a false alarm for one seed in 16,000.

    On the engine in force; that the engines agree is tested below.
    """
    result = quiet_nuts(MIXED, chains=2, tune=150, draws=350, seed=4)
    x, y, g, _ = onp.moveaxis(result.z, -1, 0)
    found = {
        "x": (x, 0.0),
        "y": (y, 0.0),
        "x^2": (x**2, 1.0),
        "y^2": (y**2, 1.0),
        "xy": (x * y, 0.8),
        "x^3": (x**3, 0.0),
        "log gamma": (g, special.digamma(3.0) - onp.log(2.0)),
        "gamma": (onp.exp(g), 1.5),
        "gamma^2": (onp.exp(2 * g), 0.75 + 1.5**2),
    }
    for name, (draws, exact) in found.items():
        assert diagnostics.ess_bulk(draws) > 100, name
        assert abs(draws.mean() - exact) < 4.5 * diagnostics.mcse(draws), name
    assert result.acceptance.mean() == pytest.approx(0.85, abs=0.1)
    assert result.diverging.sum() == 0


def after_transitions(density, count, chains_, step_size):
    """Exact draws of `log_gamma`'s first entry, moved by ``count`` transitions each."""
    rng = onp.random.default_rng(8)
    first = onp.log(rng.gamma(3.0, 0.5, chains_))
    z = onp.stack([first, first + rng.standard_normal(chains_)], axis=1)
    shape = (chains_, count, 10)
    noise = Noise(rng.standard_normal((chains_, count, 2)), *rng.random((3, *shape)))
    target, averaging = vl.Target(density, 2).structure, start_averaging(onp.array(step_size))

    def all_chains(z, noise):
        def one(z, noise):
            point, _ = chains.start(target, z, onp.ones(2), z, 1.0, {})
            moving = (point, averaging, onp.ones(2), noise, count, False, 0.8, {})
            return chains.transitions(target, *moving)[0][0].z

        return current().vmap(one)(z, noise)

    after = vl.engine.get("jax").compile(all_chains)(z, noise)
    return first, after[:, 0]


def is_log_gamma(z):
    return stats.kstest(onp.exp(z), stats.gamma(3.0, scale=0.5).cdf).pvalue


def test_the_target_is_stationary_and_a_sampler_without_weights_is_caught(monkeypatch):
    """4,000 exact draws stay exact under transitions with coarse steps (level 1e-4)."""
    pytest.importorskip("jax")
    before, after = after_transitions(log_gamma, 3, 4_000, 1.2)
    assert is_log_gamma(after) > 1e-4
    assert onp.mean(before == after) < 0.5  # they moved
    monkeypatch.setattr(iterative, "share", lambda a, b: 0.5 + 0.0 * a.log_weight)
    monkeypatch.setattr(iterative, "bias", lambda a, b: 1.0 + 0.0 * a.log_weight)
    # A density of its own, so that nothing compiled before is used.
    _, after = after_transitions(lambda z: log_gamma(z), 3, 4_000, 1.2)
    assert is_log_gamma(after) < 1e-4


# ----------------------------------------------------------------- the model


def test_a_model_gives_named_constrained_draws(engine):
    result = quiet_nuts(MODEL, chains=2, tune=60, draws=40, seed=1)
    assert {name: v.shape for name, v in result.draws.items()} == {
        "mu": (2, 40),
        "sd": (2, 40),
        "ratio": (2, 40),
    }
    assert (result.draws["sd"] > 0).all()
    onp.testing.assert_allclose(
        result.draws["ratio"], result.draws["mu"] / result.draws["sd"], rtol=1e-12
    )
    onp.testing.assert_allclose(result.log_density, MODEL.log_density(result.z), rtol=1e-10)
    stacked = result.stacked()
    onp.testing.assert_array_equal(stacked["mu"], result.draws["mu"].ravel())
    assert result.mean["sd"] == pytest.approx(stacked["sd"].mean())
    assert result.std["sd"] == pytest.approx(stacked["sd"].std(ddof=1))


def test_the_metric_and_the_step_size_adapt_for_each_chain():
    """Variances of 0.04 and 9, from the 50 draws of the last window, within a factor of 4."""
    target = vl.Target(scaled, 2)
    result = quiet_nuts(target, chains=2, tune=200, draws=10, seed=2, engine="autograd")
    ratio = result.inverse_mass_matrix[:, 1] / result.inverse_mass_matrix[:, 0]
    assert (abs(onp.log(ratio / 225.0)) < onp.log(4.0)).all()
    assert result.step_size == pytest.approx(1.0, abs=0.5)
    assert result.step_size[0] != result.step_size[1]


def scaled(z):
    return -0.5 * ((z[..., 0] / 0.2) ** 2 + (z[..., 1] / 3.0) ** 2)


def test_target_accept_is_aimed_at():
    options = {"chains": 1, "tune": 200, "draws": 150, "seed": 3, "engine": "autograd"}
    low, high = (quiet_nuts(CORRELATED, target_accept=a, **options) for a in (0.6, 0.95))
    assert high.step_size[0] < 0.7 * low.step_size[0]
    assert high.acceptance.mean() == pytest.approx(0.95, abs=0.04)


# ------------------------------------------------------------ reproducibility


def test_same_seed_same_bits(engine):
    first, again = (quiet_nuts(MIXED, **SHORT) for _ in range(2))
    other = quiet_nuts(MIXED, **{**SHORT, "seed": 7})
    onp.testing.assert_array_equal(first.z, again.z)
    onp.testing.assert_array_equal(first.energy, again.energy)
    assert (first.z != other.z).all()


def test_engines_agree():
    pytest.importorskip("jax")
    one, other = (quiet_nuts(MODEL, engine=name, **SHORT) for name in ("autograd", "jax"))
    onp.testing.assert_allclose(one.z, other.z, rtol=1e-8, atol=1e-8)
    onp.testing.assert_array_equal(one.n_leapfrog, other.n_leapfrog)
    onp.testing.assert_allclose(one.step_size, other.step_size, rtol=1e-8)
    assert (one.engine, other.engine) == ("autograd", "jax")


# ------------------------------------------------------------------- warnings


def synthetic(**changes):
    """Good draws of a standard normal in two dimensions, with some fields replaced."""
    rng = onp.random.default_rng(9)
    fields = {
        "z": rng.standard_normal((4, 500, 2)),
        "energy": rng.gamma(2.0, size=(4, 500)),
        "diverging": onp.zeros((4, 500), dtype=bool),
        "depth": onp.full((4, 500), 2),
        "n_leapfrog": onp.full((4, 500), 3),
        "acceptance": onp.full((4, 500), 0.8),
        "log_density": onp.zeros((4, 500)),
    }
    return NutsResult(
        model=CORRELATED,
        **{**fields, **changes},
        step_size=onp.ones(4),
        inverse_mass_matrix=onp.ones((4, 2)),
        max_depth=10,
        engine="autograd",
        seed=0,
    )


GOOD = synthetic()
RNG = onp.random.default_rng(1)
SLOW = RNG.standard_normal((4, 500, 2)).cumsum(axis=1)
# Each half chain is the same 25 quantiles, shuffled and repeated: R-hat sees nothing wrong.
QUANTILES = stats.norm.ppf((onp.arange(25) + 0.5) / 25)
REPEATED = onp.stack([RNG.permutation(QUANTILES) for _ in range(16)]).repeat(10, axis=1)
REPEATED = onp.moveaxis(REPEATED.reshape(2, 4, 500), 0, -1)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({}, []),
        ({"diverging": onp.eye(4, 500, dtype=bool)}, ["4 of 2000 transitions diverged"]),
        ({"depth": onp.eye(4, 500) * 10}, ["4 of 2000 transitions reached max_depth=10"]),
        ({"energy": SLOW[..., 0]}, ["E-BFMI is 0.0"]),
        (
            {"z": GOOD.z + 0.5 * onp.arange(4)[:, None, None] * [1, 0]},
            [r"R-hat above 1.01 for z\[0\] \(1", r"under 100 a chain for z\[0\]"],
        ),
        ({"z": REPEATED}, ["under 100 a chain"]),
    ],
    ids=["good", "divergences", "depth", "energy", "chains apart", "alike"],
)
def test_problems(changes, messages):
    result = synthetic(**changes)
    found = result.problems
    assert len(found) == len(messages)
    for problem, message in zip(found, messages, strict=True):
        assert re.search(message, problem)
    assert result.summary().notes[1:] == found


def test_draws_that_are_alike_are_no_problem_if_there_are_enough():
    # AR(1) with coefficient 0.9: worth (1 - 0.9) / (1 + 0.9) = 5% of 20,000 draws, 1,050.
    noise = onp.random.default_rng(2).standard_normal((4, 5_000, 2))
    alike = signal.lfilter([1.0], [1.0, -0.9], noise, axis=1)
    few = synthetic()
    fields = {name: onp.resize(getattr(few, name), (4, 5_000)) for name in STATISTICS}
    result = dataclasses.replace(few, z=alike, **fields)
    assert result.summary()["ess_bulk"].max() < 0.07 * 20_000
    assert result.problems == ()


def test_nuts_warns_of_every_problem():
    options = {"chains": 2, "tune": 30, "draws": 60, "seed": 6, "target_accept": 0.5}
    result, messages = warnings_of(vl.Target(funnel, 2), **options)
    assert tuple(messages) == result.problems
    assert any("diverged" in message for message in messages)


def test_nuts_is_silent_if_all_is_well():
    _, messages = warnings_of(vl.Target(independent, 2), chains=2, tune=200, draws=400)
    assert messages == []


def independent(z):
    return -0.5 * np.sum(z**2, axis=-1)


def test_chains_in_two_modes_disagree():
    options = {"chains": 2, "tune": 30, "draws": 30, "init": [[-9.0], [9.0]]}
    _, messages = warnings_of(vl.Target(two_modes, 1), **options)
    assert any("R-hat above 1.01" in message for message in messages)


# ------------------------------------------------------------------ in and out


def test_summary_has_the_notebooks_columns():
    table = GOOD.summary(prob=0.9)
    assert list(table.columns) == [
        "mean", "sd", "mcse", "hdi 5%", "hdi 95%", "ess_bulk", "ess_tail", "r_hat",
    ]  # fmt: skip
    (note,) = table.notes
    assert note.startswith("4 chains of 500 draws, 0 divergences, acceptance ")
    result = synthetic(acceptance=onp.full((4, 500), 0.75), n_leapfrog=onp.full((4, 500), 3))
    assert result.summary().notes[0].endswith("acceptance 0.75, 3.0 gradients a draw")
    assert "4 chains of 500 draws on R^2, on autograd, 0 divergences" in repr(GOOD)


def test_save_and_load(tmp_path):
    result = quiet_nuts(MODEL, engine="autograd", **SHORT)
    result.save(tmp_path / "chains.npz")
    again = NutsResult.load(tmp_path / "chains.npz", MODEL)
    for name, value in vars(result).items():
        if name in NutsResult.__dataclass_fields__ and name != "model":
            onp.testing.assert_array_equal(getattr(again, name), value)
            assert type(getattr(again, name)) is type(value)
    onp.testing.assert_array_equal(again.draws["sd"], result.draws["sd"])
    with pytest.raises(ValueError, match=r"has the latents \['z'\] on R\^2, but .* was saved from"):
        NutsResult.load(tmp_path / "chains.npz", CORRELATED)


def test_to_arviz_groups(monkeypatch):
    result = quiet_nuts(MODEL, engine="autograd", **SHORT)
    fake = types.ModuleType("arviz_base")
    fake.from_dict = lambda groups, **_: groups
    monkeypatch.setitem(sys.modules, "arviz", None)
    monkeypatch.setitem(sys.modules, "arviz_base", fake)
    tree = result.to_arviz()
    assert list(tree) == ["posterior", "sample_stats", "observed_data"]
    assert set(tree["posterior"]) == {"mu", "sd", "ratio"}
    assert {v.shape for v in tree["sample_stats"].values()} == {(2, 20)}
    onp.testing.assert_array_equal(tree["sample_stats"]["lp"], result.log_density)
    onp.testing.assert_array_equal(tree["observed_data"]["x"], MODEL.observed["x"])


def test_to_arviz_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz", None)
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(ImportError, match="pip install arviz"):
        GOOD.to_arviz()
