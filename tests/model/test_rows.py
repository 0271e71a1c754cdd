"""Rows: the same ones from memory, from a map or in blocks; none lost, none held too long."""

import tracemalloc
from pathlib import Path

import numpy as onp
import pytest
from peak import only_on_linux, printed_by

import vi_lab as vl
from vi_lab.conjugate import GaussianMixture, LinearRegression, NormalModel, cavi, svi
from vi_lab.model import maps, rows
from vi_lab.model.maps import is_mapped, parts, release
from vi_lab.model.rows import Arrays, Batches, Blocks, InTurn, Keyed

N = 1_000
TABLE = onp.random.default_rng(0).normal(3.0, 2.0, (N, 4))
FIELDS = onp.dtype([("x", "f4"), ("k", "u1"), ("y", "f8")])


def memory_map(path: Path, array: onp.ndarray, mode: str = "r") -> onp.memmap:
    onp.save(path, array)
    mapped: onp.memmap = onp.load(path, mmap_mode=mode)
    return mapped


def line(m, x, y):
    slope = m.sample("slope", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(slope * x, 1.0), y)


# ------------------------------------------------------------------------ memory maps
VIEWS = {
    "all": lambda table: table,
    "a column": lambda table: table[:, 3],
    "every other row": lambda table: table[::2],
    "backwards": lambda table: table[::-1, 1],
    "an ndarray": onp.asarray,
    "a column of an ndarray": lambda table: onp.asarray(table)[:, 3],
    "transposed twice": lambda table: table.T[:2].T,
    "another type": lambda table: table.view(onp.int64)[:, 0],
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_of_a_map_are_recognised_and_copies_are_not(view: str, tmp_path: Path) -> None:
    mapped = memory_map(tmp_path / "table.npy", TABLE)
    assert is_mapped(VIEWS[view](mapped))
    for in_memory in (VIEWS[view](mapped).copy(), VIEWS[view](TABLE), VIEWS[view](mapped) + 1):
        assert not is_mapped(in_memory)
    assert not is_mapped([1.0])


def test_fields_and_raw_maps_are_recognised(tmp_path: Path) -> None:
    records = memory_map(tmp_path / "records.npy", onp.zeros(10, FIELDS))
    assert is_mapped(records["y"])
    raw = onp.frombuffer(records._mmap, onp.uint8)
    assert is_mapped(raw[128:])
    release(raw)  # whose mode nobody knows: nothing happens


def test_parts_are_small_and_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "PART_BYTES", 100 * 32)  # a row of the table has 32 bytes
    column = memory_map(tmp_path / "table.npy", TABLE)[:, 2]
    assert [len(part) for part in parts(column)] == [100] * 10
    onp.testing.assert_array_equal(onp.concatenate(list(parts(column))), TABLE[:, 2])
    assert [part.shape for part in parts(onp.array(3.0))] == [(1,)]


def test_what_was_written_to_a_private_map_survives(tmp_path: Path) -> None:
    mapped = memory_map(tmp_path / "table.npy", TABLE, mode="c")
    mapped[5, 3] = 100.0  # nowhere but in these pages
    for view in (mapped, mapped[:, 3], onp.asarray(mapped)):
        release(view)
    assert mapped[5, 3] == 100.0
    written = memory_map(tmp_path / "written.npy", TABLE, mode="r+")
    written[5, 3] = 100.0
    release(written[:, 3])
    assert written[5, 3] == 100.0


# ----------------------------------------------------- one order, wherever the rows are
def sources(tmp_path: Path) -> dict[str, Arrays | Blocks]:
    """The same numbers from everywhere."""
    numbers = onp.arange(float(N))
    table = memory_map(tmp_path / "numbers.npy", onp.column_stack([-numbers, numbers]))
    blocks = [{"row": block} for block in onp.split(numbers, [3, 4, 200, 777])]
    return {
        "memory": Arrays({"row": numbers}),
        "a map": Arrays.of({"row": table[:, 1]}),
        "a long map": Arrays({"row": table[:, 1]}, block_rows=30, buffer_blocks=7),
        "blocks": Blocks(lambda: iter(blocks), N, blocks[0]),
    }


SOURCES = ("memory", "a map", "a long map", "blocks")


@pytest.mark.parametrize("name", SOURCES)
def test_every_row_once_an_epoch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BUFFER_BYTES", 8 * 150)
    source = sources(tmp_path)[name]
    first_to_last = onp.concatenate([block["row"] for block in source.blocks(64)])
    onp.testing.assert_array_equal(first_to_last, onp.arange(N))
    stream = Batches(source, 64, Keyed(3)).take(125)["row"].reshape(8, N)  # 8 epochs
    onp.testing.assert_array_equal(onp.sort(stream, axis=1), onp.tile(onp.arange(N), (8, 1)))
    assert len({tuple(epoch) for epoch in stream}) == 8
    assert (onp.diff(stream) > 0).mean() < 0.6  # in order, it would be 1


@pytest.mark.parametrize("name", SOURCES)
def test_a_stream_continues_bit_for_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From within a part, from the end of an epoch, backwards, and in another object."""
    monkeypatch.setattr(rows, "BUFFER_BYTES", 8 * 150)
    source = sources(tmp_path)[name]
    whole = Batches(source, 50, Keyed(3)).take(60)["row"]
    for taken in (0, 7, 20, 33):
        here, other = Batches(source, 50, Keyed(3)), Batches(source, 50, Keyed(4))
        here.take(taken)
        state = here.state()
        here.take(50)
        other.take(3)
        for stream in (here, other):
            stream.restore(state)
            onp.testing.assert_array_equal(stream.take(20)["row"], whole[taken : taken + 20])


def test_permutations_in_turn_continue_too() -> None:
    source, rng = Arrays({"row": onp.arange(N)}), onp.random.default_rng(5)
    by_hand = onp.random.default_rng(5)
    order = onp.concatenate([by_hand.permutation(N) for _ in range(4)])
    here, other = (Batches(source, 50, InTurn.of(rng, N)) for _ in range(2))
    other.take(1)
    onp.testing.assert_array_equal(here.take(47)["row"].ravel(), order[: 47 * 50])
    for taken in (47, 60, 20, 0):
        other.restore(here.state() | {"position": 50 * taken})
        onp.testing.assert_array_equal(other.take(3)["row"].ravel(), order[50 * taken :][:150])
    assert rng.permutation(N)[0] == order[0]  # a copy was drawn from


def test_a_map_that_fits_into_the_buffer_is_permuted_as_in_memory(tmp_path: Path) -> None:
    at_hand, mapped = (sources(tmp_path)[name] for name in ("memory", "a map"))
    streams = [Batches(source, 64, Keyed(3)).take(40)["row"] for source in (at_hand, mapped)]
    onp.testing.assert_array_equal(*streams)
    fits = [
        svi(NormalModel(), table, batch=64, steps=40, seed=1, progress=False)
        for table in (TABLE[:, 1], memory_map(tmp_path / "table.npy", TABLE)[:, 1])
    ]
    onp.testing.assert_array_equal(fits[0].elbos, fits[1].elbos)


@pytest.mark.parametrize("in_one_part", [True, False])
def test_reading_that_was_interrupted_is_repeated(in_one_part: bool) -> None:
    pressed: list[int] = []

    def impatient(array: onp.ndarray) -> onp.ndarray:
        if pressed and len(array) > 1:
            raise KeyboardInterrupt
        return array

    parts = {} if in_one_part else {"block_rows": 30, "buffer_blocks": 7}
    source = Arrays({"row": onp.arange(N)}, impatient, **parts)
    order = InTurn.of(onp.random.default_rng(3), N) if in_one_part else Keyed(3)
    whole = Batches(source, 50, order).take(50)["row"]
    stream = Batches(source, 50, order)
    stream.take(11)
    pressed.append(1)
    with pytest.raises(KeyboardInterrupt):
        stream.take(39)  # beyond the buffer, of 210 rows or all
    pressed.clear()
    onp.testing.assert_array_equal(stream.take(39)["row"], whole[11:])


def test_a_source_that_ends() -> None:
    blocks = iter([{"row": onp.arange(70)}, {"row": onp.arange(70, 100)}])
    source = Blocks(lambda: blocks, 100, {"row": onp.arange(1)})
    assert [len(batch["row"]) for batch in Batches(source, 30, Keyed(0))] == [30, 30, 30, 10]
    with pytest.raises(ValueError, match="length: the source ended 0 rows into 1 batches"):
        Batches(source, 30, Keyed(0)).take(1)


# ------------------------------------------------------------------- the three doors
def test_advi_takes_columns_of_a_map_as_they_are(tmp_path: Path) -> None:
    table = memory_map(tmp_path / "table.npy", TABLE)
    minibatch = vl.Minibatch(rows=("x", "y"), size=64)
    models = [
        vl.Model(line, minibatch=minibatch, x=x, y=y)
        for x, y in (
            (TABLE[:, 0], TABLE[:, 3]),
            (table[:, 0], table[:, 3]),
            (onp.asarray(table)[:, 0], table[:, 3]),
        )
    ]
    for mapped in models[1:]:
        assert all(is_mapped(array) for array in mapped.arrays.values())
        assert mapped.log_density([0.3]) == models[0].log_density([0.3])
        taken = (
            m.minibatches(onp.random.default_rng(1)).take(40)["x"] for m in (models[0], mapped)
        )
        onp.testing.assert_array_equal(*taken)


def test_cavi_and_svi_take_columns_of_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "LOOK_ROWS", 640)
    monkeypatch.setattr(rows, "BUFFER_BYTES", 150 * 8)
    table = onp.asarray(memory_map(tmp_path / "table.npy", TABLE))
    for model, mapped, there in (
        (NormalModel(), table[:, 3], TABLE[:, 3]),
        (LinearRegression(), table[:, 1:], TABLE[:, 1:]),
    ):
        fits = [cavi(model, data, progress=False) for data in (there, mapped)]
        # Another origin, and so another rounding: that of a sample of the map.
        assert fits[1].elbo == pytest.approx(fits[0].elbo, rel=1e-11)
        assert svi(model, mapped, batch=64, epochs=2, progress=False).rows_seen[-1] == 31 * 64


def observes_a_column(m, table):
    mean = m.sample("mean", vl.Normal(0.0, 1.0))
    m.observe("y", vl.Normal(mean, 1.0), table[:, 3])
    m.observe("all", vl.Normal(mean, 1.0), table)
    m.observe("prior", vl.Normal(mean, 1.0), onp.array([1.0, 2.0]))


def test_what_is_computed_from_rows_is_observed_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vi_lab.model.row_terms.ROWS_AT_ONCE", 300)
    table = memory_map(tmp_path / "table.npy", TABLE)
    model = vl.Model(
        observes_a_column, minibatch=vl.Minibatch(rows=("table",), size=10), table=table
    )
    assert "observed: y (1000,), all (1000, 4), prior (2,)" in repr(model)
    seen = model.observed
    assert list(seen) == ["y", "all", "prior"]
    onp.testing.assert_array_equal(seen["y"], TABLE[:, 3])
    assert seen["all"] is model.arrays["table"]
    assert is_mapped(seen["all"])
    assert seen["prior"].tolist() == [1.0, 2.0]


def test_a_column_of_a_map_is_never_held_whole(tmp_path: Path) -> None:
    """A column of 16 MB, of 2 million rows; an array of all its rows would show."""
    table = onp.lib.format.open_memmap(
        tmp_path / "table.npy", mode="w+", dtype=float, shape=(2_000_000, 2)
    )
    table[:] = onp.linspace(0.0, 1.0, 2_000_000)[:, None]
    model = vl.Model(line, minibatch=vl.Minibatch(("x", "y"), 100), x=TABLE[:, 0], y=TABLE[:, 1])
    model.log_density([0.0])  # what is imported and compiled is not counted

    def peak(work) -> float:
        tracemalloc.start()
        work()
        found = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
        return found

    def observe() -> None:
        minibatch = vl.Minibatch(rows=("table",), size=100)
        model = vl.Model(
            lambda m, table: line(m, 1.0, table[:, 1]), minibatch=minibatch, table=table
        )
        assert "y (2000000,)" in repr(model)

    def columns() -> None:
        minibatch = vl.Minibatch(rows=("x", "y"), size=100)
        vl.Model(line, minibatch=minibatch, x=table[:, 0], y=onp.asarray(table)[:, 1])

    def sweep() -> None:
        cavi(NormalModel(), onp.asarray(table)[:, 1], max_sweeps=2, progress=False)

    for work in (observe, columns, sweep):
        assert peak(work) < 12.0


WIDE = """
import sys
import numpy as np
import vi_lab as vl
from vi_lab.conjugate import NormalModel, cavi

def program(m, y):
    m.observe("y", vl.Normal(m.sample("mean", vl.Normal(0.0, 1.0)), 1.0), y)

vl.Model(program, y=[1.0, 2.0]).log_density([0.0])
column = np.asarray(np.load(sys.argv[1], mmap_mode="r"))[:, 3]
before = peak()
model = vl.Model(program, minibatch=vl.Minibatch(rows=("y",), size=1_000), y=column)
model.minibatches(np.random.default_rng(0)).take(10)
cavi(NormalModel(), column, max_sweeps=2, progress=False)
print(peak() - before)
"""


@only_on_linux
def test_pages_of_a_wide_map_are_let_go_of(tmp_path: Path) -> None:
    """One column of 128 touches every page of 256 MB: 2 MB of numbers, 8 MB of pages a time."""
    path = tmp_path / "table.npy"
    onp.lib.format.open_memmap(path, mode="w+", dtype=float, shape=(2**18, 128)).flush()
    assert printed_by(WIDE, str(path))[0] < 100


# ------------------------------------------------------------------- what is refused
MASKED = onp.ma.masked_equal([1.0, -999.0, 2.0] * 10, -999.0)
PLAIN = onp.ones(30)


@pytest.mark.parametrize("masked", [MASKED, list(MASKED), [[MASKED]], onp.ma.array(PLAIN)])
def test_masks_are_refused_wherever_data_enter(masked) -> None:
    for minibatch in (None, vl.Minibatch(rows=("x", "y"), size=3)):
        with pytest.raises(
            ValueError, match=r"data 'x': is a masked array.*remove the masked rows"
        ):
            vl.Model(line, minibatch=minibatch, x=masked, y=PLAIN)
    for model in (NormalModel(), LinearRegression(), GaussianMixture(2)):
        for call in (
            lambda model=model: cavi(model, masked, progress=False),
            lambda model=model: svi(model, masked, batch=2, progress=False),
            lambda model=model: svi(model, iter([masked]), batch=2, num_rows=30, progress=False),
            lambda model=model: model.check(masked),
        ):
            with pytest.raises(
                ValueError, match=r"rows: is a masked array.*remove the masked rows"
            ):
                call()
    with pytest.raises(ValueError, match="is a masked array"):
        svi(NormalModel(), PLAIN, batch=2, evaluate_on=masked, progress=False)


def test_integers_that_would_wrap_are_refused(tmp_path: Path) -> None:
    counts = onp.arange(30, dtype=onp.uint64)
    minibatch = vl.Minibatch(rows=("x", "y"), size=3)
    largest = counts + onp.uint64(2**63 - 30)
    assert vl.Model(line, x=largest, y=PLAIN).data["x"][-1] == 2**63 - 1
    counts[7] = 2**63
    for x in (counts, memory_map(tmp_path / "x.npy", counts)):
        for given in (None, minibatch):
            with pytest.raises(ValueError, match="data 'x': holds 9223372036854775808, and"):
                vl.Model(line, minibatch=given, x=x, y=PLAIN)
        with pytest.raises(ValueError, match="rows: holds 9223372036854775808, and"):
            cavi(NormalModel(), x, progress=False)  # as floats they would lose digits


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    signal = onp.exp(1j * onp.arange(30))
    with pytest.raises(TypeError, match=r"data 'x': holds complex128 values.*both parts"):
        vl.Model(line, x=signal, y=PLAIN)
    mapped = memory_map(tmp_path / "x.npy", signal)
    for rows_ in (signal, mapped, signal.tolist()):
        with pytest.raises(TypeError, match="rows: must be numbers, and real, not complex128"):
            cavi(NormalModel(), rows_, progress=False)
        with pytest.raises(TypeError, match="rows: must be numbers, and real, not complex128"):
            svi(NormalModel(), rows_, batch=3, progress=False)
    for rows_ in (["1.5"], onp.array([1.0 + 0j], dtype=object), onp.array(["2020"], "M8[D]")):
        with pytest.raises(TypeError, match="rows: must be numbers"):
            cavi(NormalModel(), rows_, progress=False)
    objects = onp.array([1.0, 2, onp.float32(3.0)], dtype=object)  # as a table of mixed types gives
    assert NormalModel().check(objects).tolist() == [1.0, 2.0, 3.0]
