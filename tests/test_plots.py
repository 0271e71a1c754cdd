"""Pictures: what is drawn where, that options matter, and what is refused.

Results are made by hand, so that what must be drawn is known.
"""

import matplotlib.pyplot as plt
import numpy as onp
import pytest
from matplotlib.colors import to_hex

import vi_lab as vl
from vi_lab import plots
from vi_lab.families import MeanFieldGaussian
from vi_lab.nuts import NutsResult
from vi_lab.nuts.result import STATISTICS

MODEL = vl.zoo.notebook_gaussian().model()
STEPS = onp.arange(2_000)
NUTS = NutsResult(
    model=MODEL,
    z=onp.random.default_rng(1).standard_normal((2, 400, 2)) * [0.1, 0.07],
    **{name: onp.zeros((2, 400)) for name in STATISTICS},
    step_size=onp.ones(2),
    inverse_mass_matrix=onp.ones((2, 2)),
    max_depth=10,
    engine="autograd",
    seed=0,
)
RNG = onp.random.default_rng(2)
VECTORS = {"a": RNG.standard_normal((500, 2)), "b": RNG.standard_normal(500) + 3.0}


def make_fit(losses, loc=(0.1, 0.0)):
    return vl.Fit(
        model=MODEL,
        family=MeanFieldGaussian(),
        params={"loc": onp.array(loc), "log_scale": onp.log([0.1, 0.07])},
        losses=losses,
        engine="autograd",
        seed=0,
    )


FIT = make_fit(145.0 + 1e4 * onp.exp(-STEPS / 20) + onp.sin(1.0 * STEPS))


@pytest.fixture(autouse=True)
def _clean_figures():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def own_axes(*shape):
    """Axes of the caller's, as an array of this shape."""
    return plt.subplots(*shape, squeeze=False)[1]


def xy(line):
    return onp.asarray(line.get_xdata()), onp.asarray(line.get_ydata())


def centre(line):
    """The mean of the density that a line draws."""
    grid, density = xy(line)
    return onp.sum(grid * density) / onp.sum(density)


# ----------------------------------------------------------------------------- elbo


@pytest.mark.parametrize("every", [1, 10, 7])
def test_elbo_draws_every_so_manyth_estimate_and_the_running_mean_of_all(every):
    ax = plots.elbo(FIT, every=every)
    estimates, mean = ax.get_lines()
    onp.testing.assert_array_equal(xy(estimates), [STEPS[::every], -FIT.losses[::every]])
    slow = [-FIT.losses[max(0, t - 39) : t + 1].mean() for t in STEPS]  # 40 = 2,000 / 50
    onp.testing.assert_allclose(xy(mean), [STEPS[::every], slow[::every]], rtol=1e-9)
    assert ax.get_ylabel() == "ELBO (nats)"
    assert [text.get_text() for text in ax.get_legend().get_texts()][1] == (
        "mean of the last 40 steps"
    )


def test_elbo_shows_every_tenth_estimate_by_default():
    assert len(xy(plots.elbo(FIT).get_lines()[0])[0]) == 200


def test_elbo_shows_the_level_not_the_fall_from_the_start():
    low, high = plots.elbo(FIT).get_ylim()
    assert -150 < low < -146
    assert -144 < high < -142


def test_elbo_does_not_magnify_differences_that_mean_nothing():
    low, high = plots.elbo(make_fit(145.0 + 1e-9 * onp.sin(1.0 * STEPS))).get_ylim()
    assert high - low == pytest.approx(1.5 * plots.LEAST_SPAN, rel=1e-6)
    assert low < -145 < high


def test_elbo_of_few_steps_has_no_mean():
    (estimates,) = plots.elbo(make_fit(onp.array([150.0, 146.0, 145.0])), every=1).get_lines()
    onp.testing.assert_array_equal(xy(estimates)[1], [-150.0, -146.0, -145.0])


@pytest.mark.parametrize(
    ("fit", "every", "error", "message"),
    [
        (FIT, 0, ValueError, "every: must be a whole number, 1 or more"),
        (FIT, 2_000, ValueError, "every: 2000 leaves 1 of 2000 steps"),
        (NUTS, 1, TypeError, "fit: is a NutsResult; give the Fit of advi"),
        (
            make_fit(onp.array([1.0, onp.inf, 2.0])),
            1,
            ValueError,
            "fit: its losses: 1 of 3 values are infinite",
        ),
    ],
)
def test_elbo_refuses(fit, every, error, message):
    with pytest.raises(error, match=message):
        plots.elbo(fit, every=every)


# ---------------------------------------------------------------------------- trace


def test_trace_draws_each_chain_by_itself():
    axes = plots.trace(NUTS)
    assert axes.shape == (2, 2)
    for (density, order), name in zip(axes, ("mu", "sd"), strict=True):
        assert density.get_xlabel() == order.get_ylabel() == name
        for line, chain in zip(order.get_lines(), NUTS.draws[name], strict=True):
            onp.testing.assert_array_equal(xy(line), [onp.arange(400), chain])
        for line, chain in zip(density.get_lines(), NUTS.draws[name], strict=True):
            assert centre(line) == pytest.approx(chain.mean(), abs=0.05 * chain.std())
    labels = [text.get_text() for text in axes[0, 0].get_legend().get_texts()]
    assert labels == ["chain 0", "chain 1"]


def test_densities_stand_on_the_axis_and_share_the_width_of_all_draws():
    shifted = {"b": VECTORS["b"] + 5.0}
    panels = (
        (plots.trace({"b": VECTORS["b"]})[0, 0], [VECTORS]),
        (plots.compare(one={"b": VECTORS["b"]}, two=shifted)[0], [VECTORS, shifted]),
    )
    for ax, results in panels:
        pooled = onp.concatenate([onp.quantile(r["b"], [0.0005, 0.9995]) for r in results])
        onp.testing.assert_allclose(ax.get_xlim(), [pooled.min(), pooled.max()])
        assert ax.get_ylim()[0] == 0
        assert not len(ax.get_yticks())


def test_trace_of_a_fit_draws_from_q_with_the_seed():
    for seed in (0, 5):
        (line,) = plots.trace(FIT, seed=seed)[0, 1].get_lines()
        onp.testing.assert_array_equal(xy(line)[1], FIT.sample(10_000, seed=seed)["mu"])
    assert plots.trace(FIT)[0, 0].get_legend() is None


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (None, ["a[0]", "a[1]", "b"]),
        ("a", ["a[0]", "a[1]"]),
        (["b", "a[1]"], ["b", "a[1]"]),
    ],
)
def test_names_pick_and_order(names, shown):
    axes = plots.trace(VECTORS, names)
    assert [row[1].get_ylabel() for row in axes] == shown
    values = {"a[0]": VECTORS["a"][:, 0], "a[1]": VECTORS["a"][:, 1], "b": VECTORS["b"]}
    for row, name in zip(axes, shown, strict=True):
        onp.testing.assert_array_equal(xy(row[1].get_lines()[0])[1], values[name])
    assert [ax.get_xlabel() for ax in plots.compare(names=names, draws=VECTORS)] == shown


def test_a_density_is_that_of_the_draws():
    """Of 10,000 draws, the estimate's error at the mode is 2% (sd) and its bias 1%."""
    draws = onp.random.default_rng(3).standard_normal(10_000)
    grid, density = xy(plots.trace({"x": draws})[0, 0].get_lines()[0])
    assert onp.trapezoid(density, grid) == pytest.approx(1.0, abs=0.005)
    expected = onp.exp(-0.5 * grid**2) / onp.sqrt(2 * onp.pi)
    onp.testing.assert_allclose(density, expected, atol=0.1 * expected.max())


def test_an_outlier_does_not_fill_the_picture():
    draws = onp.append(onp.random.default_rng(3).standard_normal(5_000), 1e6)
    (density, _), *_ = plots.trace({"x": draws})
    grid, height = xy(density.get_lines()[0])
    assert density.get_xlim()[1] < 5.0
    assert grid.max() < 5.0
    assert height.max() == pytest.approx(0.4, rel=0.1)


def test_constant_numbers_are_drawn_as_a_bar():
    """Such as the corner of a correlation matrix's Cholesky factor."""
    axes = plots.trace({"x": onp.ones(100)})
    onp.testing.assert_array_equal(xy(axes[0, 0].get_lines()[0])[0], [1.0, 1.0])


# -------------------------------------------------------------------------- compare


def test_compare_lays_the_results_over_each_other():
    other = make_fit(FIT.losses, loc=(0.4, 0.3))
    axes = plots.compare(one=FIT, other=other, NUTS=NUTS)
    assert axes.shape == (2,)
    for ax, name in zip(axes, ("mu", "sd"), strict=True):
        assert ax.get_xlabel() == name
        expected = {
            "one": FIT.sample(10_000, seed=0)[name],
            "other": other.sample(10_000, seed=0)[name],
            "NUTS": NUTS.draws[name].ravel(),
        }
        lines = {line.get_label(): line for line in ax.get_lines()}
        assert list(lines) == list(expected)
        for label, draws in expected.items():
            assert centre(lines[label]) == pytest.approx(draws.mean(), abs=0.05 * draws.std())
    assert len(axes[0].get_legend().get_texts()) == 3


def test_results_differ_in_colour_and_in_line_style():
    lines = plots.compare(a=VECTORS, b=VECTORS, c=VECTORS, d=VECTORS)[0].get_lines()
    assert len({to_hex(line.get_color()) for line in lines}) == 4
    assert len({line.get_linestyle() for line in lines}) == 4


def test_compare_takes_the_draws_of_a_fit_with_the_seed():
    first, again, other = (
        xy(plots.compare(seed=seed, fit=FIT)[0].get_lines()[0])[1] for seed in (0, 0, 1)
    )
    onp.testing.assert_array_equal(first, again)
    assert not onp.array_equal(first, other)


def test_compare_shows_what_all_results_have():
    axes = plots.compare(one=VECTORS, two={"b": VECTORS["b"]})
    assert [ax.get_xlabel() for ax in axes] == ["b"]


def test_compare_leaves_no_empty_panels():
    axes = plots.compare(draws={"x": RNG.standard_normal((50, 4))})
    assert axes.shape == (4,)
    assert list(axes[0].figure.axes) == list(axes)


@pytest.mark.parametrize(
    ("results", "names", "message"),
    [
        ({}, None, "results: give at least one"),
        ({"a": FIT, "b": VECTORS}, None, "results: a, b have no number in common"),
        ({"a": FIT}, ["tau"], "names: there is no 'tau'; choose among mu, sd"),
        ({"a": VECTORS}, ["a[2]"], r"names: there is no 'a\[2\]'; choose among a\[0\], a\[1\], b"),
    ],
)
def test_compare_refuses(results, names, message):
    with pytest.raises(ValueError, match=message):
        plots.compare(names=names, **results)


# ----------------------------------------------------------------------- replicated

DATA = onp.random.default_rng(4).standard_normal(100)
REPLICATED = onp.random.default_rng(5).standard_normal((1_000, 100)) + 10.0 * onp.arange(100)


@pytest.mark.parametrize(
    ("columns", "shown"), [(None, [0, 33, 66, 99]), ((0, 1, 50, 99), [0, 1, 50, 99]), ([7], [7])]
)
def test_replicated_draws_each_column_and_the_data(columns, shown):
    ax = plots.replicated(DATA, REPLICATED, columns=columns)
    *curves, data = ax.get_lines()
    assert [line.get_label() for line in curves] == [f"replicated, row {k}" for k in shown]
    for line, k in zip(curves, shown, strict=True):
        assert centre(line) == pytest.approx(REPLICATED[:, k].mean(), abs=0.05)
    assert data.get_label() == "data"
    assert centre(data) == pytest.approx(DATA.mean(), abs=0.05)
    area = sum(bar.get_width() * bar.get_height() for bar in ax.patches)
    assert area == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("data", "replicated", "columns", "message"),
    [
        (DATA, REPLICATED[:, :9], None, r"replicated: need .* not \(100,\) and \(1000, 9\)"),
        (DATA[:, None], REPLICATED, None, r"replicated: need data \(N,\)"),
        (DATA, REPLICATED[:0], None, "replicated: is empty"),
        (["a"], REPLICATED, None, r"data: must be a number, not \['a'\]"),
        ([onp.inf], REPLICATED, None, "data: 1 of 1 values are infinite"),
        (DATA, REPLICATED, [5, 100], r"columns: there are none of \[100\]; data rows are 0 to 99"),
    ],
)
def test_replicated_refuses(data, replicated, columns, message):
    with pytest.raises((ValueError, TypeError), match=message):
        plots.replicated(data, replicated, columns=columns)


# -------------------------------------------------------------------------- scatter


def test_scatter_draws_one_number_against_another():
    ax = plots.scatter(VECTORS, "a[1]", "b")
    onp.testing.assert_array_equal(xy(ax.get_lines()[0]), [VECTORS["a"][:, 1], VECTORS["b"]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("a[1]", "b")


def test_scatter_thins_evenly_what_would_only_be_black():
    draws = {"x": onp.arange(20_000.0), "y": onp.zeros(20_000)}
    shown = xy(plots.scatter(draws, "x", "y").get_lines()[0])[0]
    assert shown.size == plots.POINTS
    assert (shown[0], shown[-1]) == (0.0, 19_999.0)
    assert set(onp.diff(shown)) == {3.0, 4.0} or set(onp.diff(shown)) == {4.0, 5.0}


def test_scatter_takes_the_draws_of_a_fit_with_the_seed():
    one, two = (xy(plots.scatter(FIT, "mu", "sd", seed=s).get_lines()[0]) for s in (0, 1))
    assert not onp.array_equal(one, two)
    assert set(one[0]) <= set(FIT.sample(10_000, seed=0)["mu"])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ("a", "b", r"x: there is no 'a'; choose among a\[0\], a\[1\], b"),
        ("b", "c", "y: there is no 'c'"),
    ],
)
def test_scatter_refuses(x, y, message):
    with pytest.raises(ValueError, match=message):
        plots.scatter(VECTORS, x, y)


# ------------------------------------------------------------------ results and axes


@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (MODEL, TypeError, "result: is a Model, which has no draws; give a Fit"),
        ({"a": onp.ones(3), "b": onp.ones(4)}, ValueError, r"result: draws by name must all be"),
        ({"a": 1.0}, ValueError, "result: draws by name must all be"),
        ({}, ValueError, "result: draws by name must all be"),
        ({"a": onp.ones((0, 2))}, ValueError, "result: draws by name must all be .*, at least one"),
        ({"a": [1.0, onp.nan]}, ValueError, "a: 1 of 2 values are infinite or NaN"),
        (NutsResult, TypeError, "result: is a type, which has no draws; give a Fit"),
    ],
)
def test_what_is_no_result_is_refused(result, error, message):
    with pytest.raises(error, match=message):
        plots.trace(result)


def test_given_axes_are_drawn_on_and_returned():
    (ax,) = own_axes(1, 1).ravel()
    assert plots.elbo(FIT, ax=ax) is ax
    assert plots.replicated(DATA, REPLICATED, ax=ax) is ax
    assert plots.scatter(VECTORS, "a[0]", "b", ax=ax) is ax
    four = own_axes(2, 2)
    onp.testing.assert_array_equal(plots.trace(NUTS, axes=four), four)
    two = own_axes(1, 2)[0]
    onp.testing.assert_array_equal(plots.compare(a=FIT, axes=two), two)
    assert plots.compare(a=VECTORS, names="b", axes=ax)[0] is ax
    assert len(plt.get_fignums()) == 3  # those made here


def test_axes_that_are_none_are_refused():
    with pytest.raises(TypeError, match="ax: must be of Matplotlib, not 'left'"):
        plots.elbo(FIT, ax="left")


def test_a_number_that_is_not_shown_need_not_be_finite():
    axes = plots.trace({"a": onp.arange(9.0), "b": onp.full(9, onp.nan)}, names="a")
    assert axes.shape == (1, 2)


def test_a_wrong_number_of_axes_is_refused():
    with pytest.raises(ValueError, match="axes: need 4 for 2 numbers, not 2"):
        plots.trace(NUTS, axes=own_axes(1, 2))
    with pytest.raises(ValueError, match="axes: need 2 for 2 numbers, not 4"):
        plots.compare(a=FIT, axes=own_axes(2, 2))
