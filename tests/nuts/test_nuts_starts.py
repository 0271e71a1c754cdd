"""Starts: as asked for, or at random until a chain can move; what is refused, and how."""

import numpy as onp
import pytest
from nuts_case import CORRELATED, MODEL, SHORT, quiet_nuts

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.nuts import chains, starts, walk
from vi_lab.nuts.randomness import Randomness
from vi_lab.nuts.starts import Obstacle
from vi_lab.results import diagnostics


def nowhere(z):
    return np.log(-np.sum(z**2, axis=-1))


def positive(z):
    return np.log(z[..., 0]) - z[..., 0]


def flat(z):
    return 0.0 * z[..., 0]


def test_chains_start_where_init_says(monkeypatch):
    starts = []
    real = chains.start

    def spying(structure, z, *rest):
        starts.append(onp.array(z))
        return real(structure, z, *rest)

    monkeypatch.setattr(chains, "start", spying)
    each = onp.array([[0.1, 0.2], [0.3, 0.4]])
    mean = {"mu": 0.5, "sd": 2.0}
    for init in (each, each[0], mean, {**mean, "ratio": 0.25}, None):
        quiet_nuts(MODEL, init=init, engine="autograd", **{**SHORT, "tune": 1, "draws": 2})
    starts = onp.reshape(starts, (5, 2, 2))
    onp.testing.assert_array_equal(starts[0], each)
    onp.testing.assert_array_equal(starts[1], each[[0, 0]])
    onp.testing.assert_allclose(starts[2], [[0.5, onp.log(2.0)]] * 2)
    onp.testing.assert_array_equal(starts[3], starts[2])  # a deterministic quantity follows
    assert (abs(starts[4]) < 2).all()


def test_bad_starts_are_tried_again():
    options = {"chains": 4, "tune": 20, "draws": 5, "engine": "autograd"}
    result = quiet_nuts(vl.Target(positive, 1), **options)
    assert (result.z > 0).all()


# ------------------------------------------------- finite, but out of all proportion

RNG = onp.random.default_rng(1)
SHOCKS = RNG.standard_normal(101)
SERIES = 1.0 + SHOCKS[1:] + 0.6 * SHOCKS[:-1]
DOSE = onp.arange(1.0, 41.0)
COUNTS = RNG.poisson(onp.exp(1.0 + 1e-5 * DOSE**3))


def moving_average(m, y):
    """y_t = mu + e_t + theta e_{t-1}, solved for e: where theta is 2, e ends at 2^99."""
    mu = m.sample("mu", vl.Normal(0.0, 5.0))
    theta = m.sample("theta", vl.Normal(0.0, 2.0))
    sigma = m.sample("sigma", vl.HalfCauchy(2.5))
    e = [y[0] - mu]
    for t in range(1, len(y)):
        e.append(y[t] - mu - theta * e[-1])
    m.factor("y", np.sum(vl.Normal(0.0, sigma).log_prob(np.stack(e))))


def cubic(m, x, y):
    a = m.sample("a", vl.Uniform(-10.0, 10.0))
    b = m.sample("b", vl.Uniform(-10.0, 10.0))
    m.observe("y", vl.Poisson(np.exp(a + b * x**3)), y)


@pytest.mark.parametrize("seed", range(2))
def test_a_moving_average_starts(seed):
    """log p~ is -1e30 to -1e60 where theta is above 1.5, where no step keeps the energy.

    Theta has a second mode, narrow and minor, which a chain may end in: hence the median.
    """
    pytest.importorskip("jax")
    model = vl.Model(moving_average, y=SERIES)
    result = quiet_nuts(model, chains=4, tune=300, draws=200, seed=seed, engine="jax")
    assert onp.median(result.draws["theta"].mean(axis=1)) == pytest.approx(0.7, abs=0.1)


@pytest.mark.parametrize("seed", range(2))
def test_a_regression_on_cubes_starts(seed):
    """exp(a + 64,000 b) overflows all over the box; the mean of b by quadrature."""
    pytest.importorskip("jax")
    model = vl.Model(cubic, x=DOSE, y=COUNTS)
    result = quiet_nuts(model, chains=4, tune=300, draws=300, seed=seed, engine="jax")
    a, b = onp.linspace(0.0, 2.0, 200), onp.linspace(-3e-5, 3e-5, 200)
    log_rate = a[:, None, None] + b[:, None] * DOSE**3
    log_density = (COUNTS * log_rate - onp.exp(log_rate)).sum(axis=-1)
    weights = onp.exp(log_density - log_density.max()).sum(axis=0)
    draws = result.draws["b"]
    exact = b @ weights / weights.sum()
    assert abs(draws.mean() - exact) < 4.5 * diagnostics.mcse(draws)
    assert diagnostics.rhat(draws) < 1.1


def walled(z):
    """A standard normal, but for a slope of 1e30 beyond 1."""
    return -0.5 * z[..., 0] ** 2 - 1e30 * np.maximum(z[..., 0] - 1.0, 0.0) ** 2


def test_good_starts_are_left_as_they_are(monkeypatch, engine):
    points = [Randomness.from_seed(3, c, 1, 10) for c in range(6)]
    for each in points:
        each.start_normal()  # as a chain takes them: first the momentum, then points
    first = onp.array([each.start_point(2.0)[0] for each in points])
    assert (first > 1).any() and (first < 1).any()  # noqa: PT018
    begun = {}
    monkeypatch.setattr(walk, "_adapted", spy(walk._adapted, begun))
    quiet_nuts(vl.Target(walled, 1), chains=6, tune=5, draws=5, seed=3)
    begun = onp.array([begun[seed] for seed in sorted(begun)])
    assert (begun < 1).all()
    onp.testing.assert_array_equal(begun[first < 1], first[first < 1])


def spy(real, begun):
    """`walk._adapted`, noting where each chain begins, by the number of its random numbers."""

    def adapted(run, chain, tune):
        (number,) = run.randomness.starts.bit_generator.seed_seq.spawn_key[:1]
        begun[number] = float(chain.point.z[0])
        return real(run, chain, tune)

    return adapted


@pytest.mark.parametrize(("scale", "where"), [(1e-8, 0.0), (1e-8, 5.0), (1e-4, 1.0), (1e8, 0.0)])
def test_scales_from_small_to_large(scale, where):
    pytest.importorskip("jax")
    target = vl.Target(lambda z: -0.5 * np.sum(((z - where) / scale) ** 2, axis=-1), 1)
    result = quiet_nuts(target, chains=2, tune=400, draws=400, seed=2, engine="jax")
    standard = (result.z - where) / scale
    assert abs(standard.mean()) < 0.3
    assert standard.std() == pytest.approx(1.0, abs=0.2)


def test_a_chain_whose_windows_collapse_starts_again(monkeypatch, engine):
    """The first chain cannot move after its first window; its transitions are made anew."""
    real, asked = walk.chain_obstacle, []

    def collapsing(chain):
        asked.append(chain)
        return Obstacle(starts.NO_STEP, chain.point) if len(asked) == 2 else real(chain)

    monkeypatch.setattr(walk, "chain_obstacle", collapsing)
    options = {"chains": 1, "tune": 30, "draws": 20, "seed": 1}
    found = quiet_nuts(CORRELATED, **options)
    monkeypatch.undo()
    usual = quiet_nuts(CORRELATED, **options)
    assert len(asked) == 5  # at two starts, and after three windows
    assert found.z.shape == usual.z.shape
    assert (found.z != usual.z).all()


# -------------------------------------------------------------- what is refused


def remote(z):
    """So narrow, and so far, that no step is short enough anywhere near."""
    return -1e60 * np.sum((z - 1e3) ** 2, axis=-1)


def overflowing(m, y):
    b = m.sample("b", vl.Uniform(-1.0, 1.0))
    m.observe("y", vl.Poisson(np.exp(800.0 * b)), y)


OVERFLOWING = vl.Model(overflowing, y=[1, 2])
RESULT = quiet_nuts(CORRELATED, engine="autograd", **SHORT)


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (CORRELATED, {"chains": 0}, "chains: must be a whole number, 1 or more, not 0"),
        (CORRELATED, {"tune": 0}, "tune: must be"),
        (CORRELATED, {"draws": 2.5}, "draws: must be"),
        (CORRELATED, {"max_depth": 0}, "max_depth: must be"),
        (CORRELATED, {"seed": -1}, r"seed: must be a whole number from 0 to 2\^63 - 1, not -1"),
        (CORRELATED, {"seed": "a"}, "seed: must be"),
        (CORRELATED, {"target_accept": 1.0}, "target_accept: must be between 0 and 1, not 1.0"),
        (CORRELATED, {"target_accept": "high"}, "target_accept: must be between 0 and 1"),
        (print, {}, r"model: is .*; give a Model\(program, \*\*data\) or a Target"),
        (CORRELATED, {"init": onp.zeros(3)}, r"init: has shape \(3,\); give z of shape \(2,\)"),
        (CORRELATED, {"init": onp.zeros((3, 2))}, r"or \(4, 2\) for each"),
        (
            CORRELATED,
            {"init": "prior"},
            r"init: cannot start at the str 'prior'; .* init=fit.mean",
        ),
        (CORRELATED, {"init": RESULT}, r"init: cannot start at a NutsResult; .* init=result.z"),
        (CORRELATED, {"init": [0.0, onp.nan]}, "init: is not finite"),
        (
            CORRELATED,
            {"init": {"y": [0, 0]}},
            r"init: needs exactly the latents \['z'\]; .*'y', 'z'",
        ),
        (MODEL, {"init": {"mu": 0.0}}, r"init: needs exactly .*missing or unknown: \['sd'\]"),
        (MODEL, {"init": {"mu": 0.0, "sd": -1.0}}, "init: sd"),
        (vl.Target(positive, 1), {"init": [-1.0]}, r"at the start; terms at fault: positive \(nan"),
        (vl.Target(nowhere, 2), {}, r"100 random points .*nowhere \(nan\)"),
        (vl.Target(flat, 2), {}, "flat and cannot be normalised"),
        (
            vl.Target(remote, 2),
            {},
            r"100 random points: no step .*\(100 times\)\. There .* 2e\+63, in z\. .* with init=",
        ),
        (
            vl.Target(remote, 2),
            {"init": [1.0, 1.0]},
            r"at the start: no step short enough .*\. There",
        ),
        (
            OVERFLOWING,
            {"init": [30.0]},
            r"at the start; terms at fault: y .* init=\{latent",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_refusals(target, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        quiet_nuts(target, engine="autograd", **options)
