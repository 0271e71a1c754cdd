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
    for numbers in posterior["reference"].values():
        assert set(numbers) == {"mean", "sd", "q05", "q50", "q95", "mcse"}
        assert numbers["q05"] < numbers["q50"] < numbers["q95"]


def test_an_unknown_posterior_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"name: no posterior 'radon'.*arK-arK"):
        datasets.posteriordb("radon")


def test_every_shipped_file_is_offered_and_has_its_provenance():
    files = {file.name for file in DATA.iterdir()} - {"README.md"}
    assert files == {f"{name}.json" for name in datasets.POSTERIORDB}
    readme = (DATA / "README.md").read_text("utf-8")
    assert all(f"| `{file}` |" in readme for file in files)
    assert "Redistributions of source code must retain the above copyright notice" in readme
