"""Examples in docstrings do what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "vi_lab").rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    as_pasted = {"__name__": "__main__"}  # not the names that the module has imported
    failed, tried = doctest.testmod(importlib.import_module(name), globs=as_pasted)
    assert tried
    assert not failed
