"""What is shipped: exact numbers, their fields, and where they come from."""

from importlib import resources

import numpy as onp
import pytest

from vi_lab import datasets

DATA = resources.files("vi_lab") / "data"


def test_the_notebooks_data_have_the_statistics_that_its_tables_pin_down():
    x = datasets.notebook_gaussian()
    assert x.shape == (100,)
    assert abs(x.mean() - 0.1363257) < 1e-15
    assert abs(x.std() - 0.9810319) < 1e-15


def test_the_notebooks_data_are_always_the_same_and_the_callers_own():
    first = datasets.notebook_gaussian()
    first += 1.0
    onp.testing.assert_array_equal(datasets.notebook_gaussian() + 1.0, first)


@pytest.mark.parametrize("name", datasets.POSTERIORDB)
def test_a_posterior_says_what_it_is_and_whose(name):
    posterior = datasets.posteriordb(name)
    assert posterior["name"] == name
    assert "posteriordb" in posterior["source"]
    assert posterior["licence"].startswith("BSD-3-Clause")
    assert posterior["reference_n_draws"] == 10_000
    assert len(posterior["check_points"]["points"]) == 6
    for numbers in posterior["vi_baseline"].values():
        assert numbers["sd_ratio_min"] <= numbers["sd_ratio_median"] <= numbers["sd_ratio_max"]
        assert numbers["rms_z"] <= numbers["max_abs_z"]
    for numbers in posterior["reference"].values():
        assert set(numbers) == {"mean", "sd", "q05", "q50", "q95", "mcse"}
        assert numbers["q05"] < numbers["q50"] < numbers["q95"]


def test_an_unknown_posterior_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"name: 'radon' is none of .*arK-arK"):
        datasets.posteriordb("radon")


def test_every_shipped_file_is_offered_and_has_its_provenance():
    files = {file.name for file in DATA.iterdir()} - {"README.md"}
    offered = {f"{name}.json" for name in datasets.POSTERIORDB}
    offered |= {f"{name}.csv" for name in datasets.TABLES} | {"flights.npz"}
    assert files == offered
    readme = (DATA / "README.md").read_text("utf-8")
    assert all(f"| `{file}` |" in readme for file in files)
    assert "Redistributions of source code must retain the above copyright notice" in readme


@pytest.mark.parametrize(
    ("load", "rows", "column", "total"),
    [
        (datasets.michelson, 100, "speed", 29_985_240),
        (datasets.faithful, 272, "waiting", 19_284),
        (datasets.galaxies, 82, "velocity", 1_707_910),
        (datasets.wells, 3_020, "switched", 1_737),
        (datasets.radon, 919, "floor", 153),
        (lambda: datasets.radon("us"), 12_573, "county", 2_373_308),
        (datasets.flights, 327_346, "arr_delay", 2_257_174),
    ],
)
def test_tables_are_whole(load, rows, column, total):
    """Sums of a column, taken from the files themselves; Michelson's mean is 299852.4."""
    table = load()
    lengths = {len(values) for name, values in table.items() if not name.endswith("_names")}
    assert lengths == {rows}
    assert table[column].sum(dtype=int) == total


def test_codes_have_names_and_counties_count_from_zero():
    flights = datasets.flights()
    for code, count in (("carrier", 16), ("origin", 3), ("dest", 104)):
        assert flights[f"{code}_names"].shape == (count,)
        assert set(flights[code]) == set(range(count))
    for where, count in (("minnesota", 85), ("us", 386)):
        assert set(datasets.radon(where)["county"]) == set(range(count))


def test_galaxies_follow_the_paper():
    velocity = datasets.galaxies()["velocity"]
    assert 26_690 in velocity
    assert 26_960 not in velocity


def test_an_unknown_place_is_refused():
    with pytest.raises(ValueError, match=r"where: 'mars' is none of \['minnesota', 'us'\]"):
        datasets.radon("mars")
