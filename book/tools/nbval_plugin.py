"""Chapters as tests: ``pytest book/chapters`` runs every cell and compares its outputs.

nbval runs the cells. On its own it compares text by exact string and pictures not at
all, and passes a notebook that was never run. The two classes below replace its
judgement by :func:`outputs.differences`, and fail a cell that was never run or that
warns.

A cell's tags change what is asked of it:

``nbval-ignore-output``
    outputs are not compared: for timings.
``tolerance-0.05``
    numbers, integers too, may differ by 5%, and the pixels of a picture by that root mean
    square: for what depends on where a search ends, and for rounding errors.
``monte-carlo``
    the cell shows a long chain, whose every draw hangs on the last bit: estimates and
    pictures may differ as those of two independent runs do (see `monte_carlo`); beside it,
    ``tolerance-0.15`` is the bound for the picture.
``jax-output``
    on autograd the cell runs, but its outputs are not compared: it names the engine, or
    shows what without a compiler is computed from fewer draws.
``raises-exception``
    the cell raises, and what it raises is compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from nbval.plugin import IPyNbCell, IPyNbFile
from notebooks import warnings_in
from outputs import differences

# Overridden below: IPyNbFile.collect, IPyNbCell.runtest and .compare_outputs.
# Used: IPyNbCell.cell, .test_outputs, .comparison_traceback and .raise_cell_error.
KNOWN = "0.11."
if not version("nbval").startswith(KNOWN):
    raise RuntimeError(
        f"this plug-in leans on the internals of nbval {KNOWN}*, and nbval {version('nbval')} "
        "is installed: read nbval/plugin.py again, then mend this plug-in and its pin"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ChapterFile | None:
    """Collect notebooks; for a ``conftest.py`` to import."""
    if file_path.suffix != ".ipynb":
        return None
    return ChapterFile.from_parent(parent, path=file_path)


class ChapterFile(IPyNbFile):
    """A chapter: one kernel, and a test for each code cell."""

    def collect(self) -> Iterator[ChapterCell]:
        """Give each of nbval's cells our judgement."""
        for cell in super().collect():
            yield ChapterCell.from_parent(
                self, name=cell.name, cell_num=cell.cell_num, cell=cell.cell, options=cell.options
            )


class ChapterCell(IPyNbCell):
    """A code cell: it was run, runs, does not warn, and shows what it showed."""

    def runtest(self) -> None:
        """Run the cell in the chapter's kernel and judge it."""
        if self.cell.source.strip() and self.cell.execution_count is None:
            self.raise_cell_error("This cell was never run: run `make notebooks`")
        super().runtest()
        if found := warnings_in(self.test_outputs):
            self.raise_cell_error(f"The cell warns, and nothing catches it: {found[0]}")

    def compare_outputs(self, test: list[Any], ref: list[Any], skip_compare: Any = None) -> bool:
        """Replace nbval's comparison; it prints ``comparison_traceback`` if this is False."""
        del skip_compare  # nbval leaves pictures out this way; nothing is left out here
        if "jax-output" in self._tags() and os.environ.get("VI_LAB_ENGINE") == "autograd":
            return True
        monte_carlo = "monte-carlo" in self._tags()
        self.comparison_traceback = list(differences(ref, test, self._tolerance(), monte_carlo))
        return not self.comparison_traceback

    def _tolerance(self) -> float | None:
        """The number in the tag ``tolerance-...``, if the cell has one."""
        prefix = "tolerance-"
        given = (tag for tag in self._tags() if tag.startswith(prefix))
        return next((float(tag[len(prefix) :]) for tag in given), None)

    def _tags(self) -> list[str]:
        return list(self.cell.metadata.get("tags", []))
