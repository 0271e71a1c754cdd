"""Chapters: MyST text in, executed notebooks out, and a check that the two agree.

A chapter is written as ``book/chapters/NN_name.md``. Beside it lies the notebook made
from it, with its outputs: what readers run, what the tests compare with and what the
book shows. Nobody edits the notebook.

    python book/tools/notebooks.py                  run every chapter
    python book/tools/notebooks.py PATH.md ...      run these
    python book/tools/notebooks.py --check          run nothing; name whatever is out of step

The same source and the same outputs give the same file, byte for byte, on the same
machine: no times are stored, a cell's id is a digest of its source, and what goes to
stderr (progress bars) is dropped. The notebook's metadata say with which instructions
and which versions its numbers were made.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from processor import instruction_set

CHAPTERS = Path(__file__).parents[1] / "chapters"
CELL_TIMEOUT = 1800  # seconds; long enough for the slowest engine on a slow machine

# The same for every chapter and every machine: nothing of an editor's.
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python", "pygments_lexer": "ipython3"},
}

# Whose versions the last digits of an output may hang on.
PACKAGES = ("numpy", "scipy", "autograd", "jax", "matplotlib", "seaborn", "arviz-stats")

# How Python prints a warning: "file.py:12: UserWarning: ..."
_WARNING = re.compile(r":\d+: (\w*Warning: .*)")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 if a check found something."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sources", nargs="*", type=Path, help="chapters (default: all)")
    parser.add_argument("--check", action="store_true", help="run nothing, compare the pairs")
    options = parser.parse_args(arguments)
    if options.check:
        complaints = list(check(CHAPTERS))
        print(*complaints or ["every notebook is in step with its source"], sep="\n")
        return bool(complaints)
    for source in options.sources or sorted(CHAPTERS.glob("*.md")):
        print(f"running {source}", flush=True)
        nbformat.write(execute(convert(source), source.parent), notebook_of(source))
    return 0


def notebook_of(source: Path) -> Path:
    """Where the notebook made from ``source`` lies."""
    return source.with_suffix(".ipynb")


# ------------------------------------------------------------------ source to notebook


def convert(source: Path) -> NotebookNode:
    """The notebook that ``source`` describes, not yet run."""
    notebook = jupytext.read(source, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        cell.id = f"{digest}-{seen[digest]}"  # unlike a running number, unmoved by a cell above
        seen[digest] += 1
    return notebook


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run ``notebook`` in ``folder``; the outputs are those worth storing.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        if a cell raises.
    RuntimeError
        if a cell warns: a chapter that means to show a warning catches and prints it.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    # In place of nbclient's, which adds the kernel's version.
    notebook.metadata = nbformat.from_dict(METADATA | {"made_with": made_with()})
    for cell in code_cells(notebook):
        if found := warnings_in(cell.outputs):
            raise RuntimeError(f"the cell\n\n{cell.source}\n\nwarns: {found[0]}")
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def made_with() -> dict[str, str]:
    """The instruction set and the versions with which numbers are made here."""
    versions = {name: version(name) for name in PACKAGES if find_spec(name.replace("-", "_"))}
    python = ".".join(map(str, sys.version_info[:2]))
    return {"processor": instruction_set(), "python": python, **versions}


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells with code in them."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def warnings_in(outputs: list[NotebookNode]) -> list[str]:
    """The Python warnings that a cell printed."""
    stderr = (output.text for output in outputs if output.get("name") == "stderr")
    return _WARNING.findall("".join(stderr))


# --------------------------------------------------------------------------- checking


def check(folder: Path) -> Iterator[str]:
    """Whatever is out of step in ``folder``, one line each."""
    sources = sorted(folder.glob("*.md"))
    for source in sources:
        if notebook_of(source).exists():
            notebook = nbformat.read(notebook_of(source), as_version=4)
            yield from (
                f"{notebook_of(source)}: {complaint}"
                for complaint in compare(convert(source), notebook)
            )
        else:
            yield f"{source}: has no notebook; run `make notebooks`"
    for orphan in sorted(set(folder.glob("*.ipynb")) - set(map(notebook_of, sources))):
        yield f"{orphan}: has no source; delete it"


def compare(expected: NotebookNode, notebook: NotebookNode) -> Iterator[str]:
    """Complaints about ``notebook``, which should be ``expected`` with outputs."""
    if without_outputs(notebook) != without_outputs(expected):
        yield "differs from its source; run `make notebooks`"
    if "made_with" not in notebook.metadata:
        yield "does not say with what it was made; run `make notebooks`"
    for cell in code_cells(notebook):
        yield from (f"cell {cell.id}: {complaint}" for complaint in cell_complaints(cell))


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """A copy as it was before it ran."""
    copy = nbformat.from_dict(notebook)
    copy.metadata.pop("made_with", None)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def cell_complaints(cell: NotebookNode) -> Iterator[str]:
    """What a code cell lacks: having been run; words for its picture."""
    if cell.execution_count is None:
        yield "was never run; run `make notebooks`"
    shown = cell.metadata.get("mystnb", {})
    if any("image/png" in output.get("data", {}) for output in cell.outputs):
        if not shown.get("image", {}).get("alt"):
            yield "its picture has no alt text (mystnb: image: alt)"
        if not shown.get("figure", {}).get("caption"):
            yield "its picture has no caption (mystnb: figure: caption)"


if __name__ == "__main__":
    sys.exit(main())
