"""Rows in their millions: a tilted subsample, against all rows at once."""

import numpy as onp
import pytest
from asked import asked

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.advi import rows as rows_module
from vi_lab.advi.climb import Climb, look_again
from vi_lab.advi.density import Density
from vi_lab.advi.local import stratified_pairs
from vi_lab.advi.objective import Objective
from vi_lab.advi.rows import FEWEST_ROWS, SomeRows, needs_rows
from vi_lab.advi.search import Search
from vi_lab.families.charts import MeanFieldChart
from vi_lab.results.checkpoint import Checkpoint

JAX = {"engine": "jax", "progress": False}
N, FEW = 4_000, 300
RNG = onp.random.default_rng(0)
X = RNG.normal(size=(N, 2))
Y = RNG.poisson(onp.exp(0.3 + X @ [0.5, -0.4])).astype(float)
MINIBATCH = vl.Minibatch(rows=("x", "y"), size=50)


def counts(m, x, y):
    a = m.sample("a", vl.Normal(0.0, 1.0))
    b = m.sample("b", vl.Normal(0.0, 1.0), shape=(2,))
    m.observe("y", vl.Poisson(np.exp(a + np.dot(x, b))), y)


@pytest.fixture
def few(monkeypatch):
    """A subsample of 300 of 4,000 rows is worth it."""
    monkeypatch.setattr(rows_module, "FEWEST_ROWS", FEW)


def model():
    return vl.Model(counts, minibatch=MINIBATCH, x=X, y=Y)


def all_rows():
    return vl.Model(counts, x=X, y=Y)


def some_rows(seed=1):
    return SomeRows(model(), engines.get("jax"), onp.random.default_rng(seed))


def full_density():
    whole = all_rows()
    return Density(whole.structure, whole.data, engines.get("jax"), whole.dim)


CHART = MeanFieldChart(onp.array([0.3, 0.5, -0.4]), onp.full(3, 0.02))


def settled(objective, chart=CHART):
    c = Climb(chart, why="settled")
    look_again(
        objective.density, c, stratified_pairs(onp.random.default_rng(0), 64, chart.loc.size)
    )
    return c


def test_a_subsample_is_taken_of_more_than_a_few_rows(monkeypatch):
    assert not needs_rows(model())
    assert FEWEST_ROWS == 2_048
    monkeypatch.setattr(rows_module, "FEWEST_ROWS", N // 2 - 1)
    assert needs_rows(model())
    monkeypatch.setattr(rows_module, "ROWS_A_DIMENSION", N // 6 + 1)  # of three
    assert not needs_rows(model())


def test_the_tilted_gradient_is_that_of_all_rows_at_the_anchor(few):
    """And not without the tilt: rows that were taken by chance differ by their sd."""
    objective = some_rows()
    whole = full_density()
    (of_all,) = whole(CHART.loc[None])[1]
    (untilted,) = objective.density(CHART.loc[None])[1]
    assert onp.abs(untilted / of_all - 1.0).max() > 0.05
    assert objective.again(settled(objective), 1e-4)
    onp.testing.assert_allclose(objective.density(CHART.loc[None])[1][0], of_all, rtol=1e-9)
    # Nearby what is left is a difference of curvatures, some 1e3 times half a distance squared.
    z = CHART.loc + 1e-4 * onp.array([[1.0, 0.0, 0.0], [0.0, -1.0, 1.0]])
    away = objective.density(z)[0] - objective.density(CHART.loc[None])[0]
    onp.testing.assert_allclose(away, whole(z)[0] - whole(CHART.loc[None])[0], atol=1e-4)


def test_the_anchor_moves_until_that_moves_q_no_more(few):
    objective = some_rows()
    assert objective.again(settled(objective), 1e-4)  # the first pass
    assert not objective.again(settled(objective), 1e-4)  # q is where the anchor is
    farther = CHART.moved(onp.append(onp.full(3, 1e-2), onp.zeros(3)))
    assert not objective.again(settled(objective, farther), 1e-9)  # that is for good
    objective = some_rows()
    assert objective.again(settled(objective), 1e-4)
    assert objective.again(settled(objective, farther), 1e-4)  # half of 3e-4 nats off
    assert not objective.again(settled(objective, CHART), 1e-1)


def test_a_pass_counts_as_a_gradient_and_a_draw_as_its_share_of_rows(few):
    objective = some_rows()
    density = objective.density
    density(onp.zeros((N // FEW, 3)))
    assert density.gradients == 1
    objective.again(settled(objective), 1e-4)
    assert abs(density.gradients - (1 + (N // FEW + 65) * FEW / N)) <= 1.0


def test_all_rows_say_what_a_step_would_gain(few):
    """Whatever the subsample believes, within the error of a few draws."""
    objective, whole = some_rows(), Objective(all_rows(), engines.get("jax"))
    objective.again(settled(objective), 1e-4)
    c, of_all = settled(objective), settled(whole)
    eps = stratified_pairs(onp.random.default_rng(3), 64, 3)
    gain, error = objective.first_order(c, eps)
    exact, _ = whole.first_order(of_all, eps)
    # The inverse curvature is that of the subsample, 10% off.
    assert gain == pytest.approx(exact, rel=0.3, abs=4.0 * error)
    assert objective.lack == max(gain, 0.0) + error
    assert whole.lack == 0.0
    assert objective.fresh(512) == 16  # each draw is a pass
    assert whole.fresh(512) == 512


def test_nothing_is_claimed_before_all_rows_were_asked(few):
    objective = some_rows()
    assert objective.lack == onp.inf
    c = settled(objective)
    objective.first_order(c, stratified_pairs(onp.random.default_rng(3), 16, 3))
    assert onp.isfinite(objective.lack)
    objective.prepare(c)  # for other draws
    assert objective.lack == onp.inf
    with pytest.warns(vl.ConvergenceWarning, match="how far from the best q .* is not known"):
        cut = vl.advi(model(), seed=1, steps=12, **JAX)
    assert cut.convergence.gap == onp.inf


@pytest.mark.parametrize(("before", "asks"), [(1e9, 0), (1e-9, 1)])
def test_anchors_that_do_not_draw_near_ask_for_more_rows(few, monkeypatch, before, asks):
    objective = some_rows()
    c = settled(objective)
    assert objective.again(c, 1e-4)  # the first pass
    c.at, objective._moved = c.at.moved(onp.full(6, 0.5)), before
    asked_for = []
    monkeypatch.setattr(objective, "more", lambda: asked_for.append(1) or True)
    assert objective.again(c, 1e-4)
    assert len(asked_for) == asks


def test_only_a_q_that_runs_away_starts_again_on_more_rows(few, monkeypatch):
    """One that is on its way goes on as it is; and that posterior is not called improper."""
    search = Search(asked(model()), onp.random.default_rng(0), Checkpoint(None, {}))
    search.exploring, search.before = False, CHART
    search.eps = stratified_pairs(onp.random.default_rng(0), 64, 3)
    c = settled(search.objective, CHART.moved(onp.full(6, 0.01)))
    asked_for = []
    monkeypatch.setattr(search.objective, "more", lambda: asked_for.append(1) or True)
    search.climbs, c.why, c.memory = [c], "steps", [(c.known.slope, c.known.slope)]
    assert search._why_restless() == ""
    assert (asked_for, c.at is CHART, len(c.memory)) == ([], False, 1)
    c.why = "runs away"
    assert search._why_restless() == ""
    assert (asked_for, c.at is CHART, c.memory) == ([1], True, [])
    monkeypatch.setattr(search.objective, "more", lambda: False)
    assert search._why_restless() == "rows"


def test_a_column_that_the_subsample_does_not_hold_is_found():
    """Ten rows of 100,000: most subsamples of 2,048 hold none, and their tilt has no end."""
    rng = onp.random.default_rng(0)
    x = onp.zeros(100_000)
    x[rng.choice(x.size, 10, replace=False)] = 1.0
    y = 1.0 + 2.0 * x + rng.normal(size=x.size)

    def rare(m, x, y):
        a = m.sample("a", vl.Normal(0.0, 10.0))
        b = m.sample("b", vl.Normal(0.0, 10.0))
        m.observe("y", vl.Normal(a + b * x, 1.0), y)

    design = onp.stack([onp.ones(x.size), x], axis=1)
    precision = design.T @ design + 0.01 * onp.eye(2)
    best, sd = onp.linalg.solve(precision, design.T @ y), onp.diag(precision) ** -0.5
    batches = vl.Minibatch(rows=("x", "y"), size=1_024)
    held = []
    for seed in range(4):
        fit = vl.advi(vl.Model(rare, minibatch=batches, x=x, y=y), seed=seed, **JAX)
        assert fit.convergence.converged
        assert onp.abs((fit.params["loc"] - best) / sd).max() < 0.1
        assert onp.abs(fit.unconstrained_std["b"] / sd[1] - 1.0) < 0.1
        held.append(len(fit.stages))
    assert max(held) > 2  # more rows were taken for some


def test_four_times_as_many_rows_are_taken_up_to_all(few, monkeypatch):
    objective = some_rows()
    objective.again(settled(objective), 1e-4)
    (of_all,) = full_density()(CHART.loc[None])[1]
    sizes, cost = [], objective.density.gradients
    while objective.more():
        sizes.append(len(objective.density.data["y"]))
        assert objective.density.gradients >= cost
        onp.testing.assert_allclose(objective.density(CHART.loc[None])[1][0], of_all, rtol=1e-8)
    assert sizes == [1_200, N]
    onp.testing.assert_allclose(objective.density.tilt, 0.0, atol=1e-8)  # of all there is none
    objective = some_rows()
    monkeypatch.setattr(rows_module, "MOST_BYTES", 1_000 * 24)
    assert not objective.more()  # 1,200 rows of three numbers are more


def test_it_goes_on_from_what_was_kept(few):
    objective = some_rows()
    objective.again(settled(objective), 1e-4)
    objective.more()
    objective.again(settled(objective), 1e-4)
    saved = objective.snapshot()
    again = some_rows(seed=2)
    assert (again.density.data["y"][:50] != objective.density.data["y"][:50]).any()
    again.restore(saved)
    z = onp.random.default_rng(0).normal(size=(3, 3))
    for one, other in zip(again.density(z), objective.density(z), strict=True):
        onp.testing.assert_array_equal(one, other)
    next_rows, of_other = objective._next_rows(), again._next_rows()
    onp.testing.assert_array_equal(next_rows["x"], of_other["x"])


# ------------------------------------------------------------------------------ fits
def nats_apart(one, other):
    """KL of two mean-field fits: what one lacks, to second order, of the best that is the other."""
    away = (one.params["loc"] - other.params["loc"]) / onp.exp(other.params["log_scale"])
    ratio = onp.exp(2.0 * (one.params["log_scale"] - other.params["log_scale"]))
    return 0.5 * float((away**2 + ratio - 1.0 - onp.log(ratio)).sum())


@pytest.mark.parametrize("family", ["mean_field", "full_rank"])
def test_a_fit_agrees_with_that_of_all_rows(few, family):
    """Within the tolerance, 3% of an sd for each parameter, of the best q."""
    best = vl.advi(all_rows(), family, seed=1, **JAX)
    for seed in (1, 2) if family == "mean_field" else (1,):
        fit = vl.advi(model(), family, seed=seed, **JAX)
        verdict = fit.convergence
        assert verdict.converged, verdict
        parameters = 6 if family == "mean_field" else 9
        assert verdict.tolerance == pytest.approx(0.5 * 0.03**2 * parameters)
        away = (
            fit.params["loc"] - best.params["loc"]
        ) / best.unconstrained_covariance.diagonal() ** 0.5
        assert onp.abs(away).max() < 0.06
        sds = fit.unconstrained_covariance.diagonal() / best.unconstrained_covariance.diagonal()
        onp.testing.assert_allclose(sds, 1.0, atol=0.12)
        if family == "mean_field":
            assert nats_apart(fit, best) < verdict.tolerance
        assert verdict.gradients < best.convergence.gradients  # in units of all rows


def test_rare_columns_take_more_rows(few, monkeypatch):
    """All rows disagree: four times as many are taken, on the same draws, and it goes on."""
    said = []
    first_order = SomeRows.first_order

    def disagree(self, best, eps):
        found = first_order(self, best, eps)
        said.append(len(self.density.data["y"]))
        return (1.0, 1e-3) if len(said) == 1 else (0.0, 0.1 * found[1])

    monkeypatch.setattr(SomeRows, "first_order", disagree)
    fit = vl.advi(model(), seed=1, **JAX)
    assert fit.convergence.converged
    assert said[1] == min(4 * said[0], N)
    assert fit.stages[-1].draws == fit.stages[-2].draws


@pytest.mark.bits
def test_streams_and_memory_maps_are_read_as_arrays_are(few, tmp_path):
    """The same rows in another place give the same bits; in another order the same answer."""
    onp.save(tmp_path / "x.npy", X)
    onp.save(tmp_path / "y.npy", Y)
    mapped = {name: onp.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("x", "y")}

    def blocks():
        for start in range(0, N, 700):
            yield {"x": X[start : start + 700], "y": Y[start : start + 700]}

    stream = vl.Minibatch(rows=("x", "y"), size=50, blocks=blocks, num_rows=N)
    of_arrays, of_map, of_stream = (
        vl.advi(m, seed=1, **JAX)
        for m in (
            model(),
            vl.Model(counts, minibatch=MINIBATCH, **mapped),
            vl.Model(counts, minibatch=stream),
        )
    )
    for fit in (of_map, of_stream):
        assert fit.convergence.converged
        assert nats_apart(fit, of_arrays) < 2.0 * fit.convergence.tolerance
    onp.testing.assert_array_equal(of_map.params["loc"], of_arrays.params["loc"])
