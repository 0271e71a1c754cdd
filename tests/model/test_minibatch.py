"""Minibatches: what is scaled, which rows are seen, what is refused, how much memory it takes."""

import itertools

import numpy as onp
import pytest
from peak import only_on_linux, printed_by

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.model.rows import Arrays, Batches, Keyed
from vi_lab.optimizers import SGD

N, GROUPS = 60, 4
RNG = onp.random.default_rng(5)
X = RNG.normal(size=N)
GROUP = RNG.integers(GROUPS, size=N).astype(onp.uint8)
Y = (1.0 + 0.5 * X + RNG.normal(size=N)).astype(onp.float32)
TOTAL = onp.array([3.0, 2.0])


def varying(m, y, x, group, total, groups):
    """Rows, an observation that is no row, a factor for each row and one for none."""
    level = m.sample("level", vl.Normal(0.0, 1.0), shape=(groups,))
    slope = m.sample("slope", vl.Normal(0.0, 2.0))
    sd = m.sample("sd", vl.HalfNormal(1.0))
    m.deterministic("twice", 2.0 * slope)
    m.observe("y", vl.Normal(level[group] + slope * x, sd), y)
    m.observe("total", vl.Normal(slope, sd), total)
    m.factor("soft", -0.1 * np.sum((slope * x) ** 2))
    m.factor("prior", -0.5 * slope**2)


def model_of(size=None, program=varying, **changes):
    data = {"y": Y, "x": X, "group": GROUP, "total": TOTAL, "groups": GROUPS} | changes
    minibatch = vl.Minibatch(rows=("y", "x", "group"), size=size) if size else None
    return vl.Model(program, minibatch=minibatch, **data)


def over_an_epoch(engine, model, z, function):
    """The mean of ``function(structure, z, data)`` over the batches of one whole epoch."""
    run = engine.compile(function, static=(0,))
    batches = model.minibatches(onp.random.default_rng(1)).take(N // model.minibatch.size)
    values = [
        run(model.structure, z, model.shared_data | {name: b[t] for name, b in batches.items()})
        for t in range(N // model.minibatch.size)
    ]
    return onp.mean(values, axis=0), values


def value(structure, z, data):
    return structure.log_density(z, data)


def gradient(structure, z, data):
    current = vl.engine.current()
    return current.value_and_grad(lambda z: structure.log_density(z, data))(z)[1]


# ------------------------------------------------------------------------ the scaling


def test_the_mean_over_an_epoch_is_the_log_density_of_all_rows(engine):
    z = onp.linspace(-0.5, 0.7, 6)
    whole, scaled = model_of(), model_of(size=12)
    mean, values = over_an_epoch(engine, scaled, z, value)
    assert mean == pytest.approx(whole.log_density(z), rel=1e-12)
    assert onp.std(values) > 1.0  # batches differ, or this would be no test
    # Without N/B, the rows' terms would be missing but for B of N.
    forgotten = whole.log_density(z) - (1 - 12 / N) * sum(
        whole.terms(z)[name] for name in ("y", "soft")
    )
    assert abs(mean - forgotten) > 10.0


def test_so_is_the_mean_of_its_gradient(engine):
    z = onp.linspace(-0.5, 0.7, 6)
    whole, scaled = model_of(), model_of(size=12)
    mean, values = over_an_epoch(engine, scaled, z, gradient)
    run = engine.compile(gradient, static=(0,))
    onp.testing.assert_allclose(mean, run(whole.structure, z, whole.data), rtol=1e-12, atol=1e-12)
    assert onp.std(values, axis=0).min() > 0.01


def test_only_terms_of_rows_are_scaled():
    scaling = model_of(size=12).structure.scaling
    assert scaling.terms == ("y", "soft")
    assert scaling.num_rows == N


def test_the_model_itself_is_about_all_rows(engine, monkeypatch):
    monkeypatch.setattr("vi_lab.model.model.ROWS_AT_ONCE", 25)  # 25, 25 and 10 rows
    monkeypatch.setattr("vi_lab.model.model.NUMBERS_AT_ONCE", 50)  # 2 draws at a time
    z = onp.random.default_rng(2).normal(size=(5, 6))
    whole, scaled = model_of(), model_of(size=12)
    onp.testing.assert_allclose(scaled.log_density(z), whole.log_density(z), rtol=1e-12)
    assert scaled.terms(z[0]) == pytest.approx(whole.terms(z[0]), rel=1e-12)
    for name, draws in whole.constrain(z).items():
        onp.testing.assert_array_equal(scaled.constrain(z)[name], draws)
    draws = whole.constrain(z)
    one, other = (vl.posterior_predictive(m, draws, seed=3)["y"] for m in (whole, scaled))
    onp.testing.assert_array_equal(one, other)
    at = {name: draws[name][0] for name in whole.latents}
    onp.testing.assert_array_equal(scaled.unconstrain(at), whole.unconstrain(at))
    assert scaled.log_joint(at) == whole.log_joint(at)


def test_a_deterministic_of_the_rows_has_all_of_them(engine):
    def fitted(m, y, x):
        slope = m.sample("slope", vl.Normal(0.0, 2.0))
        m.observe("y", vl.Normal(m.deterministic("line", slope * x), 1.0), y)

    x, y = onp.arange(400.0), onp.ones(400)
    model = vl.Model(fitted, minibatch=vl.Minibatch(rows=("x", "y"), size=10), x=x, y=y)
    onp.testing.assert_allclose(model.constrain([[2.0]])["line"], [2.0 * x])


def test_a_batch_of_all_rows_is_the_whole(engine):
    z = onp.linspace(-0.5, 0.7, 6)
    mean, _ = over_an_epoch(engine, model_of(size=N), z, value)
    assert mean == pytest.approx(model_of().log_density(z), rel=1e-13)


def test_its_description_says_what_a_step_sees():
    assert "minibatches: 12 of 60 rows of y, x, group" in repr(model_of(size=12))
    assert "minibatch" not in repr(model_of())
    assert model_of(size=12).observed["y"].shape == (N,)


# ---------------------------------------------------------------------------- batches


def rows_of(**options):
    """The stream of row numbers, from an array that holds them."""
    number = onp.arange(options.pop("count", 10), dtype=onp.int16)
    size, key = options.pop("size", 4), options.pop("key", 3)
    return Batches(Arrays({"row": number}, **options), size, Keyed(key))


LAYOUTS = ({}, {"block_rows": 3, "buffer_blocks": 2}, {"block_rows": 4, "buffer_blocks": 1})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_epoch_has_every_row_once(layout):
    # 10 rows, 4 a batch: batch 3 holds the end of one epoch and the beginning of the next.
    stream = rows_of(**layout).take(15)["row"].reshape(6, 10)
    onp.testing.assert_array_equal(onp.sort(stream, axis=1), onp.tile(onp.arange(10), (6, 1)))
    assert len({tuple(epoch) for epoch in stream}) == 6


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_row_is_equally_likely_at_every_position(layout):
    # 2,000 independent streams of 7 rows: a chi-squared test with 6 degrees of freedom at each of
    # 7 positions, which exceeds 30 by chance with probability 4e-5: 0.03% for all 7.
    sources = (rows_of(count=7, size=7, key=key, **layout) for key in range(2_000))
    streams = onp.stack([source.take(1)["row"][0] for source in sources])
    counts = onp.stack([(streams == row).sum(axis=0) for row in range(7)])
    expected = len(streams) / 7
    assert ((counts - expected) ** 2 / expected).sum(axis=0).max() < 30.0


def test_blocks_stay_together_and_move():
    stream = rows_of(count=12, size=12, block_rows=4, buffer_blocks=1).take(20)["row"]
    for epoch in stream:
        for block in epoch.reshape(3, 4):
            # Four neighbours on a circle of 12.
            assert sorted(onp.diff(onp.sort(block)).tolist()) in ([1, 1, 1], [1, 1, 9], [1, 1, 9])
    assert len({tuple(onp.sort(epoch[:4])) for epoch in stream}) > 6  # 12 places to begin


def test_streams_do_not_depend_on_how_they_are_taken():
    for layout in LAYOUTS:
        at_once = rows_of(**layout).take(9)["row"]
        source = rows_of(**layout)
        pieces = [source.take(length)["row"] for length in (1, 3, 0, 5)]
        onp.testing.assert_array_equal(onp.concatenate(pieces), at_once)
        assert not onp.array_equal(rows_of(key=4, **layout).take(9)["row"], at_once)


def test_a_restored_stream_goes_on():
    for layout in LAYOUTS:
        source = rows_of(**layout)
        source.take(4)
        state = source.state()
        following = source.take(6)["row"]
        other = rows_of(key=99, **layout)
        other.take(1)
        other.restore(state)
        onp.testing.assert_array_equal(other.take(6)["row"], following)


def test_the_same_seed_gives_the_same_batches():
    model = model_of(size=7)
    first, second, other = (
        model.minibatches(onp.random.default_rng(seed)).take(20)["x"] for seed in (1, 1, 2)
    )
    onp.testing.assert_array_equal(first, second)
    assert not onp.array_equal(first, other)


def test_rows_stay_together_and_are_wide():
    batches = model_of(size=7).minibatches(onp.random.default_rng(1)).take(20)
    assert {name: b.dtype.name for name, b in batches.items()} == {
        "y": "float64", "x": "float64", "group": "int64"
    }  # fmt: skip
    at = onp.argmax(batches["x"][..., None] == X, axis=-1)
    onp.testing.assert_array_equal(batches["y"], Y[at])
    onp.testing.assert_array_equal(batches["group"], GROUP[at])


def test_batches_into_the_same_arrays():
    model = model_of(size=7)
    source, again = (model.minibatches(onp.random.default_rng(1)) for _ in range(2))
    out = source.empty(5)
    assert sum(array.nbytes for array in out.values()) == 5 * source.bytes_per_step == 5 * 7 * 24
    assert source.take(5, out)["x"] is out["x"]
    fifth = out["x"][4].copy()
    source.take(2, out)
    taken = again.take(7)["x"]
    onp.testing.assert_array_equal(fifth, taken[4])
    onp.testing.assert_array_equal(out["x"][:2], taken[5:])
    with pytest.raises(ValueError, match="out: cannot hold 6"):
        source.take(6, out)
    with pytest.raises(ValueError, match="length"):
        source.take(-1)


# ------------------------------------------------------------------- what is refused


def autoregression(m, y):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * y[:-1], 1.0), y[1:])


def standardised(m, y, x):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * (x - np.mean(x)), 1.0), y)


def local(m, y):
    theta = m.sample("theta", vl.Normal(0.0, 1.0), shape=y.shape)
    m.observe("y", vl.Normal(theta, 1.0), y)


def local_by_number(m, y, size):
    theta = m.sample("theta", vl.Normal(0.0, 1.0), shape=(size,))
    m.observe("y", vl.Normal(theta, 1.0), y)


def prior_of_rows(m, y):
    mu = m.sample("mu", vl.Normal(np.mean(y), 1.0))
    m.observe("y", vl.Normal(mu, 1.0), y)


def factor_of_rows(m, y):
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(mu, 1.0), y)
    m.factor("squared", np.sum(mu * y) ** 2)


def no_rows(m, y, total):
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    m.observe("total", vl.Normal(mu, 1.0), total)


def unnamed(m, y, x):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * x, 1.0), y)


def never_finite(m, y):
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(mu, 1.0), y)
    m.factor("log", -np.exp(1e3 * (2.0 + mu)))


def outside(m, y):
    mu = m.sample("mu", vl.HalfNormal(1.0))
    m.observe("y", vl.Poisson(mu), y)


REFUSED = {
    "a time series": (autoregression, ("y",), {"y": Y}, "'y' is no sum over the rows"),
    "a statistic of rows": (standardised, ("y", "x"), {"y": Y, "x": X}, "pass it as data"),
    "a latent a row": (local, ("y",), {"y": Y}, r"latents \['theta'\] have an entry.*amortise"),
    "the same by number": (local_by_number, ("y",), {"y": Y, "size": N}, "integrate them out"),
    "a prior of the rows": (prior_of_rows, ("y",), {"y": Y}, "prior of 'mu' depends on the rows"),
    "a factor": (factor_of_rows, ("y",), {"y": Y}, "'squared' is no sum over the rows"),
    "nothing observed": (no_rows, ("y",), {"y": Y, "total": TOTAL}, "no observation depends"),
    "an unnamed array": (unnamed, ("y",), {"y": Y, "x": X}, r"\['x'\] have 60 rows too"),
    "not finite": (never_finite, ("y",), {"y": Y}, "finite at fewer than 2 of 20"),
    "outside its support": (outside, ("y",), {"y": Y}, "'y': .* lie outside"),
    "an unknown name": (unnamed, ("y", "z"), {"y": Y, "x": X}, r"names \['z'\], which are no"),
    "lengths": (unnamed, ("y", "x"), {"y": Y, "x": X[1:]}, r"y \(60,\), x \(59,\)"),
    "a number": (unnamed, ("y", "x"), {"y": Y, "x": 2.0}, r"x \(\)"),
    "one row": (unnamed, ("y", "x"), {"y": [1.0], "x": [1.0]}, "only one row"),
    "a NaN": (unnamed, ("y", "x"), {"y": Y, "x": X * onp.nan}, "60 of 60 values are NaN"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what):
    program, rows, data, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        vl.Model(program, minibatch=vl.Minibatch(rows=rows, size=1), **data)


def test_a_row_beyond_those_that_are_tried_is_looked_at_too():
    def counts(m, y):
        m.observe("y", vl.Poisson(m.sample("rate", vl.HalfNormal(1.0))), y)

    y = onp.ones(100_000, dtype=onp.int8)
    y[77_777] = -1
    with pytest.raises(ValueError, match=r"'y': 1 of .* values lie outside"):
        vl.Model(counts, minibatch=vl.Minibatch(rows=("y",), size=10), y=y)


def test_what_a_minibatch_itself_refuses():
    with pytest.raises(TypeError, match="rows: give the names"):
        vl.Minibatch(rows="y", size=2)
    with pytest.raises(ValueError, match="rows: name each array of rows once"):
        vl.Minibatch(rows=("y", "y"), size=2)
    with pytest.raises(ValueError, match="rows: name each array of rows once"):
        vl.Minibatch(rows=(), size=2)
    with pytest.raises(ValueError, match="size: must be a whole number"):
        vl.Minibatch(rows=("y",), size=0)
    with pytest.raises(ValueError, match="size=61 exceeds the 60 rows"):
        model_of(size=N + 1)
    with pytest.raises(TypeError, match="minibatch: is the int 10; give a Minibatch"):
        vl.Model(autoregression, minibatch=10, y=Y)
    with pytest.raises(ValueError, match="minibatch: the model has none"):
        model_of().minibatches(onp.random.default_rng(0))


def test_a_series_with_its_past_as_columns_is_accepted():
    entry = vl.zoo.ark()
    size = vl.Minibatch(rows=("past", "y"), size=20)
    assert vl.Model(entry.program, minibatch=size, **entry.data).structure.scaling.terms == ("y",)


# ---------------------------------------------------------------------------- on disk


def test_a_memory_map_gives_the_same_model(engine, tmp_path):
    maps = {}
    for name, array in {"y": Y, "x": X, "group": GROUP}.items():
        maps[name] = onp.memmap(tmp_path / name, dtype=array.dtype, mode="w+", shape=array.shape)
        maps[name][:] = array
    mapped, loaded = model_of(size=12, **maps), model_of(size=12)
    assert isinstance(mapped.arrays["y"], onp.memmap)
    z = onp.linspace(-0.5, 0.7, 6)
    assert mapped.log_density(z) == loaded.log_density(z)
    batches = mapped.minibatches(onp.random.default_rng(1)).take(5)
    onp.testing.assert_array_equal(onp.sort(batches["x"].ravel()), onp.sort(X))
    maps["x"][7] = onp.nan
    with pytest.raises(ValueError, match="'x': 1 of 60 values are NaN"):
        model_of(size=12, **maps)


MEMORY = """
import sys
import numpy as np
import vi_lab as vl

def line(m, y, x):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * x, 1.0), y)

count, folder = int(sys.argv[1]), sys.argv[2]
for name in ("x", "y"):
    with open(f"{folder}/{name}", "wb") as file:
        for _ in range(count // 1_000_000):
            np.linspace(0.0, 1.0, 1_000_000, dtype=np.float32).tofile(file)
maps = {n: np.memmap(f"{folder}/{n}", dtype=np.float32, mode="r", shape=(count,)) for n in "xy"}
model = vl.Model(line, minibatch=vl.Minibatch(rows=("x", "y"), size=1_000), **maps)
source = model.minibatches(np.random.default_rng(0))
out = source.empty(100)
for _ in range(count // 100_000):
    source.take(100, out)
assert np.isfinite(model.terms(np.zeros(1))["y"])
print(peak())
"""


@only_on_linux
def test_memory_is_flat_on_a_memory_map(tmp_path):
    def peak(millions):
        """Peak memory, in MB, of a process that goes through so many rows."""
        folder = tmp_path / str(millions)
        folder.mkdir()
        return printed_by(MEMORY, str(millions * 1_000_000), str(folder))[0]

    # 16 MB of data fit into one buffer of 32 MB; 128 MB do not.
    assert peak(16) - peak(2) < 50


# ------------------------------------------------------------- rows that come in blocks


def in_blocks(lengths=(7, 20, 33), **changes):
    """A function that gives the rows in blocks of these lengths."""
    rows = {"y": Y, "x": X, "group": GROUP} | changes
    cuts = onp.cumsum([0, *lengths])

    def begin():
        for start, stop in itertools.pairwise(cuts):
            yield {name: array[start:stop] for name, array in rows.items()}

    return begin


def blocked(begin=None, num_rows=N, **data):
    minibatch = vl.Minibatch(("y", "x", "group"), 12, begin or in_blocks(), num_rows)
    return vl.Model(varying, minibatch=minibatch, total=TOTAL, groups=GROUPS, **data)


def test_rows_in_blocks_are_the_rows(engine):
    z = onp.linspace(-0.5, 0.7, 6)
    whole, blocks = model_of(size=12), blocked()
    assert repr(blocks) == repr(whole)
    assert blocks.log_density(z) == pytest.approx(whole.log_density(z), rel=1e-12)
    assert blocks.terms(z) == pytest.approx(whole.terms(z))
    onp.testing.assert_array_equal(blocks.observed["y"], Y)
    taken = blocks.minibatches(onp.random.default_rng(1)).take(5)
    onp.testing.assert_array_equal(onp.sort(taken["x"].ravel()), onp.sort(X))
    assert {name: b.dtype.name for name, b in taken.items()} == {
        "y": "float64", "x": "float64", "group": "int64"
    }  # fmt: skip
    fit, of_blocks = (
        vl.advi(model, steps=8, optimizer=SGD(1e-3), seed=2, progress=False, engine=engine.name)
        for model in (whole, blocks)
    )
    for name, value in fit.params.items():  # all rows fill one buffer, so the order is the same
        onp.testing.assert_array_equal(of_blocks.params[name], value)


def test_a_stream_of_blocks_goes_on_where_it_was():
    source = blocked().minibatches(onp.random.default_rng(3))
    source.take(8)
    state, following = source.state(), source.take(6)["x"]
    other = blocked().minibatches(onp.random.default_rng(4))
    other.restore(state)
    onp.testing.assert_array_equal(other.take(6)["x"], following)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"begin": in_blocks()()}, TypeError, "blocks: is a generator; give a function"),
        ({"num_rows": None}, ValueError, "num_rows: is to be given with blocks"),
        ({"num_rows": N + 1}, ValueError, "num_rows: 61 were announced, but the blocks held 60"),
        ({"num_rows": 10}, ValueError, "size=12 exceeds the 10 rows"),
        ({"begin": lambda: iter(())}, ValueError, "blocks: there are no blocks"),
        ({"x": X}, ValueError, r"blocks: give \['x'\], which are data too"),
        ({"begin": in_blocks(extra=X)}, ValueError, "blocks: each must be a dictionary of"),
        ({"begin": in_blocks(x=onp.full(N, onp.nan))}, ValueError, "'x': 7 of 7 values are NaN"),
        ({"begin": in_blocks(x=X[:30])}, ValueError, "same number of rows"),
    ],
)  # fmt: skip
def test_blocks_that_cannot_be_used(options, error, message):
    with pytest.raises(error, match=message):
        blocked(**options)


def test_what_needs_all_rows_at_once_says_that_blocks_do_not_do():
    with pytest.raises(ValueError, match="model: its rows come in blocks"):
        vl.nuts(blocked(), chains=1, tune=2, draws=2, progress=False)
