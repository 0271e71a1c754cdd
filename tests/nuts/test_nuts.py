"""The sampler from its front door: right distributions, reproducible, clear when it fails."""

import dataclasses
import re
import sys
import types
import warnings

import numpy as onp
import pytest
from scipy import signal, special, stats

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.errors import ConvergenceWarning
from vi_lab.nuts import NutsResult, chains, iterative, sampler
from vi_lab.nuts.adaptation import start_averaging
from vi_lab.nuts.result import STATISTICS
from vi_lab.nuts.trajectory import Noise
from vi_lab.results import diagnostics

# ------------------------------------------------------------------ targets


def correlated(z):
    """Two normals with correlation 0.8."""
    return -0.5 * (z[..., 0] ** 2 + z[..., 1] ** 2 - 1.6 * z[..., 0] * z[..., 1]) / 0.36


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


def nowhere(z):
    return np.log(-np.sum(z**2, axis=-1))


def positive(z):
    return np.log(z[..., 0]) - z[..., 0]


def flat(z):
    return 0.0 * z[..., 0]


CORRELATED = vl.Target(correlated, 2)
MIXED = vl.Target(mixed, 4)


def quiet_nuts(target, **options):
    """`nuts` without a bar, and without the warnings that short runs deserve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return vl.nuts(target, progress=False, **options)


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
    engine = vl.engine.get("jax")
    target, ones = vl.Target(density, 2).structure, onp.ones((chains_, 2))
    start = engine.compile(chains.start, static=(0,))
    points, _ = start(target, z, ones, z, onp.full(chains_, 1.0), {})
    run = engine.compile(chains.transitions, static=(0,))
    averaging = start_averaging(onp.full(chains_, step_size))
    (after, _), _ = run(target, points, averaging, ones, noise, count, False, 0.8, {})
    return first, after.z[:, 0]


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


def gaussian(m, x):
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    sd = m.sample("sd", vl.HalfNormal(1.0))
    m.deterministic("ratio", mu / sd)
    m.observe("x", vl.Normal(mu, sd), x)


MODEL = vl.Model(gaussian, x=onp.random.default_rng(0).normal(0.3, 2.0, 30))


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

SHORT = {"chains": 2, "tune": 30, "draws": 20, "seed": 6}


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


def test_draws_depend_neither_on_pace_nor_on_the_other_chains(monkeypatch):
    usual = quiet_nuts(CORRELATED, engine="autograd", **SHORT)
    monkeypatch.setattr(sampler, "SECONDS_PER_BLOCK", 1e-9)  # blocks of one transition
    slow = quiet_nuts(CORRELATED, engine="autograd", **SHORT)
    onp.testing.assert_array_equal(usual.z, slow.z)
    more = quiet_nuts(CORRELATED, engine="autograd", **{**SHORT, "chains": 3})
    onp.testing.assert_array_equal(usual.z, more.z[:2])


# ------------------------------------------------------------------- starting


def test_chains_start_where_init_says(monkeypatch):
    starts = []
    real = chains.start

    def spying(structure, z, *rest):
        starts.append(onp.array(z))
        return real(structure, z, *rest)

    monkeypatch.setattr(chains, "start", spying)
    each = onp.array([[0.1, 0.2], [0.3, 0.4]])
    for init in (each, each[0], {"mu": 0.5, "sd": 2.0}, None):
        quiet_nuts(MODEL, init=init, engine="autograd", **{**SHORT, "tune": 1, "draws": 2})
    onp.testing.assert_array_equal(starts[0], each)
    onp.testing.assert_array_equal(starts[1], each[[0, 0]])
    onp.testing.assert_allclose(starts[2], [[0.5, onp.log(2.0)]] * 2)
    assert (abs(starts[3]) < 2).all()


def test_bad_starts_are_tried_again():
    options = {"chains": 4, "tune": 20, "draws": 5, "engine": "autograd"}
    result = quiet_nuts(vl.Target(positive, 1), **options)
    assert (result.z > 0).all()


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (CORRELATED, {"chains": 0}, "chains: must be a whole number, 1 or more, not 0"),
        (CORRELATED, {"tune": 0}, "tune: must be"),
        (CORRELATED, {"draws": 2.5}, "draws: must be"),
        (CORRELATED, {"max_depth": 0}, "max_depth: must be"),
        (CORRELATED, {"target_accept": 1.0}, "target_accept: must be between 0 and 1, not 1.0"),
        (CORRELATED, {"init": onp.zeros(3)}, r"init: has shape \(3,\); give z of shape \(2,\)"),
        (CORRELATED, {"init": onp.zeros((3, 2))}, r"or \(4, 2\) for each"),
        (vl.Target(positive, 1), {"init": [-1.0]}, r"at the start; terms at fault: positive \(nan"),
        (vl.Target(nowhere, 2), {}, r"100 random points .*nowhere \(nan\)"),
        (vl.Target(flat, 2), {}, "flat and cannot be normalised"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_refusals(target, options, message):
    with pytest.raises(ValueError, match=message):
        quiet_nuts(target, engine="autograd", **options)


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


def warnings_of(target, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = vl.nuts(target, engine="autograd", progress=False, **options)
    assert all(w.category is ConvergenceWarning and w.filename == __file__ for w in caught)
    return result, [str(w.message) for w in caught]


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


# ------------------------------------------------- progress and interruption


class InterruptingBar:
    """A progress bar at which the user presses Ctrl-C after ``limit`` transitions."""

    def __init__(self, limit):
        self.limit, self.n = limit, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def set_description(self, text):
        pass

    def set_postfix(self, **_):
        pass

    def update(self, n):
        self.n += n
        if self.n >= self.limit:
            raise KeyboardInterrupt


def interrupt_after(limit, monkeypatch):
    monkeypatch.setattr(sampler, "progress_bar", lambda *_, **__: InterruptingBar(limit))
    monkeypatch.setattr(sampler, "SECONDS_PER_BLOCK", 1e-9)


def test_ctrl_c_keeps_the_draws_so_far(monkeypatch):
    whole = quiet_nuts(CORRELATED, engine="autograd", **SHORT)
    interrupt_after(30 + 8, monkeypatch)
    result, messages = warnings_of(CORRELATED, **SHORT)
    assert "kept the first 8 of 20 draws a chain" in messages[0]
    assert result.interrupted
    assert not whole.interrupted
    onp.testing.assert_array_equal(result.z, whole.z[:, :8])


def test_ctrl_c_during_warm_up_says_that_there_are_no_draws(monkeypatch):
    interrupt_after(12, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match="after 12 of 50 transitions, 30 of them warm-up"):
        vl.nuts(CORRELATED, engine="autograd", **SHORT)


def test_the_bar_is_on_stderr_and_can_be_silenced(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        vl.nuts(CORRELATED, engine="autograd", **SHORT)
    shown = capsys.readouterr()
    assert not shown.out
    for part in ("NUTS", "50/50", "divergences=0", "step_size="):
        assert part in shown.err
    quiet_nuts(CORRELATED, engine="autograd", **SHORT)
    assert capsys.readouterr() == ("", "")


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
    fake.from_dict = lambda groups: groups
    monkeypatch.setitem(sys.modules, "arviz_base", fake)
    tree = result.to_arviz()
    assert list(tree) == ["posterior", "sample_stats", "observed_data"]
    assert set(tree["posterior"]) == {"mu", "sd", "ratio"}
    assert {v.shape for v in tree["sample_stats"].values()} == {(2, 20)}
    onp.testing.assert_array_equal(tree["sample_stats"]["lp"], result.log_density)
    onp.testing.assert_array_equal(tree["observed_data"]["x"], MODEL.observed["x"])


def test_to_arviz_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(ImportError, match="pip install arviz-base"):
        GOOD.to_arviz()
