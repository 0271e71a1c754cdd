"""The plug-in end to end: one notebook, one kernel, and a verdict on each cell."""

import importlib.metadata
import runpy
from pathlib import Path
from xml.etree import ElementTree

import nbformat
import nbval_plugin
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

pytest_plugins = ["pytester"]

PLOT = """
import matplotlib.pyplot as plt
fig, axes = plt.subplots(figsize=(2, 2))
axes.plot([0, {height}, 1])
plt.show()
"""


def printing(text, stored, *tags):
    """A cell that prints ``text`` where ``stored`` was printed before."""
    output = new_output("stream", name="stdout", text=stored + "\n")
    return cell(f"print({text!r})", [output], *tags)


def cell(source, outputs=(), *tags, execution_count=1):
    return new_code_cell(
        source, outputs=list(outputs), execution_count=execution_count, metadata={"tags": [*tags]}
    )


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """What PLOT shows for two heights, as a kernel draws it."""
    from notebooks import execute

    cells = [cell(PLOT.format(height=height)) for height in (0.2, 0.8)]
    executed = execute(new_notebook(cells=cells), tmp_path_factory.mktemp("pictures"))
    outputs = [cell.outputs for cell in executed.cells]
    assert all("image/png" in output.data for (output,) in outputs)
    return outputs


def test_every_cell_gets_its_verdict(pytester, pictures, monkeypatch):
    cells = {
        # what should pass
        "the same": (printing("0.5", "0.5"), "passed"),
        "shifted by 1e-9": (printing("0.5000000005", "0.5"), "passed"),
        "a time": (printing("1.5 s", "1.7 s", "nbval-ignore-output"), "passed"),
        "within its own tolerance": (printing("0.51", "0.5", "tolerance-0.05"), "passed"),
        "a progress bar": (cell("import sys; print('50%', file=sys.stderr)"), "passed"),
        "the same picture": (cell(PLOT.format(height=0.2), pictures[0]), "passed"),
        "blank, so never run": (cell("", execution_count=None), "passed"),
        # what should not
        "shifted by 1e-3": (printing("0.5005", "0.5"), "failed"),
        "another integer": (printing("101", "100"), "failed"),
        "beyond its own tolerance": (printing("0.6", "0.5", "tolerance-0.05"), "failed"),
        "another picture": (cell(PLOT.format(height=0.2), pictures[1]), "failed"),
        "never run": (cell("a = 1", execution_count=None), "failed"),
        "it warns": (cell("import warnings; warnings.warn('look')"), "failed"),
        "it raises": (cell("1 / 0"), "failed"),
    }
    notebook = new_notebook(cells=[made for made, _ in cells.values()])
    nbformat.write(notebook, pytester.path / "chapter.ipynb")
    pytester.makeconftest("from nbval_plugin import pytest_collect_file")
    # In a process of its own: what an inner run leaves open must not fall on later tests.
    monkeypatch.setenv("PYTHONPATH", str(Path(nbval_plugin.__file__).parent))
    pytester.runpytest_subprocess("chapter.ipynb", "--junitxml=verdicts.xml")
    tree = ElementTree.parse(pytester.path / "verdicts.xml")  # noqa: S314 - our own file
    verdicts = tree.iter("testcase")
    outcomes = ["failed" if case.find("failure") is not None else "passed" for case in verdicts]
    assert dict(zip(cells, outcomes, strict=True)) == {
        name: expected for name, (_, expected) in cells.items()
    }


def test_another_nbval_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.12.0")
    with pytest.raises(RuntimeError, match=r"nbval 0\.12\.0 is installed"):
        runpy.run_path(str(Path(nbval_plugin.__file__)))
