"""`to_arviz` keeps every variable, whatever it is called; what it gives, ArviZ takes."""

import importlib.util
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as onp
import pytest

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.results.export import to_arviz

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("arviz_base") is None and importlib.util.find_spec("arviz") is None,
    reason="ArviZ is optional",
)
RNG = onp.random.default_rng(0)
SCALAR, VECTOR, MATRIX = (RNG.normal(size=(2, 5, *shape)) for shape in ((), (3,), (3, 2)))


@pytest.mark.parametrize(
    ("posterior", "dims"),
    [
        ({"a": VECTOR}, {"a": ("chain", "draw", "a_dim_0")}),
        ({"draw": SCALAR, "a": SCALAR}, {"draw": ("chain", "draw_")}),
        ({"chain": VECTOR, "draw": SCALAR}, {"chain": ("chain_", "draw_", "chain_dim_0")}),
        ({"draw": SCALAR, "draw_": SCALAR}, {"draw_": ("chain", "draw__")}),
        ({"a": VECTOR, "a_dim_0": SCALAR}, {"a": ("chain", "draw", "a_dim_0_")}),
        (
            {"a": MATRIX, "a_dim_1": VECTOR},
            {"a": ("chain", "draw", "a_dim_0", "a_dim_1_")},
        ),
    ],
)
def test_axes_give_way_to_variables(posterior, dims):
    tree = to_arviz(posterior=posterior, observed={"y": onp.ones(4)}, sample_stats={"lp": SCALAR})
    group = tree["posterior"]
    assert set(group.data_vars) == set(posterior)
    for name, value in posterior.items():
        onp.testing.assert_array_equal(group[name].values, value)
    for name, expected in dims.items():
        assert group[name].dims == expected
    onp.testing.assert_array_equal(tree["sample_stats"]["lp"].values, SCALAR)
    assert tree["sample_stats"]["lp"].dims == next(iter(dims.values()))[:2]
    assert tree["observed_data"]["y"].dims == ("y_dim_0",)


def test_observed_axes_give_way_too():
    observed = {"y": onp.ones((4, 2)), "y_dim_0": onp.zeros(4)}
    group = to_arviz(posterior={"a": SCALAR}, observed=observed)["observed_data"]
    assert set(group.data_vars) == {"y", "y_dim_0"}
    assert group["y"].dims == ("y_dim_0_", "y_dim_1")


def test_a_fit_with_such_names_keeps_them():
    pytest.importorskip("jax")

    def program(m, y):
        draw = m.sample("draw", vl.Normal(0.0, 1.0))
        a = m.sample("a", vl.Normal(0.0, 1.0), shape=2)
        m.deterministic("a_dim_0", np.sum(a))
        m.observe("y", vl.Normal(draw, 1.0), y)

    fit = vl.advi(vl.Model(program, y=[1.0]), seed=1, engine="jax", progress=False)
    group = fit.to_arviz(50, seed=3)["posterior"]
    draws = fit.sample(50, seed=3)
    for name in ("draw", "a", "a_dim_0"):
        onp.testing.assert_array_equal(group[name].values[0], draws[name])


# By question, what ArviZ calls it: before 1.0, or since.
QUESTIONS = {
    "summary": ["summary"],
    "trace": ["plot_trace"],
    "posterior": ["plot_posterior", "plot_dist"],
    "forest": ["plot_forest"],
    "pair": ["plot_pair"],
    "energy": ["plot_energy"],
    "rank": ["plot_rank"],
}


@pytest.fixture(scope="module")
def arviz():
    """ArviZ itself, of any release: the project needs its parts alone."""
    if importlib.util.find_spec("arviz") is None:
        pytest.skip("ArviZ with its plots is not installed")
    mpl.use("agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it is to be, and of what it rests on
        return importlib.import_module("arviz")


@pytest.fixture(scope="module")
def chains():
    def program(m, y):
        mu = m.sample("mu", vl.Normal(0.0, 1.0))
        sd = m.sample("sd", vl.HalfNormal(1.0))
        m.sample("b", vl.Normal(0.0, 1.0), shape=2)
        m.observe("y", vl.Normal(mu, sd), y)

    short = {"chains": 2, "tune": 60, "draws": 60, "progress": False, "engine": "autograd"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", vl.ConvergenceWarning)
        return vl.nuts(vl.Model(program, y=[0.2, -0.4, 1.0]), seed=1, **short)


@pytest.mark.parametrize("question", QUESTIONS)
def test_arviz_answers(arviz, chains, question):
    ask = next(getattr(arviz, name) for name in QUESTIONS[question] if hasattr(arviz, name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ's own
        answer = ask(chains.to_arviz())
    assert answer is not None
    if question == "summary":
        assert list(answer.index) == ["mu", "sd", "b[0]", "b[1]"]
        onp.testing.assert_allclose(
            onp.asarray(answer["mean"], float), chains.summary()["mean"], atol=0.06
        )
    plt.close("all")
