"""One list of what must be installed: pyproject.toml; environment.yml and reality follow it."""

import tomllib
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"matplotlib-base": "matplotlib"}  # conda's matplotlib without the window toolkits
EXTRAS = ("jax", "arviz", "book", "dev")

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def by_name(lines: Iterable[str]) -> dict[str, SpecifierSet]:
    """Requirement lines as {canonical name: range}."""
    requirements = [Requirement(line) for line in lines]
    names = [canonicalize_name(requirement.name) for requirement in requirements]
    return {
        CONDA_NAMES.get(name, name): requirement.specifier
        for name, requirement in zip(names, requirements, strict=True)
    }


def pyproject() -> dict[str, SpecifierSet]:
    optional = PROJECT["optional-dependencies"]
    return by_name(PROJECT["dependencies"] + [line for extra in EXTRAS for line in optional[extra]])


def conda() -> dict[str, SpecifierSet]:
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    return by_name(line for line in lines if isinstance(line, str) and line != "pip")


def test_environment_yml_has_the_names_and_ranges_of_pyproject():
    expected = pyproject() | {"python": SpecifierSet(PROJECT["requires-python"])}
    assert conda() == expected


@pytest.mark.parametrize("name", sorted(pyproject()))
def test_what_is_installed_is_within_its_range(name):
    assert version(name) in pyproject()[name]
