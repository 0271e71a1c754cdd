"""Chapters and the notebooks made from them: made the same each time, and kept in step."""

import platform
from pathlib import Path

import nbformat
import notebooks
import numpy as np
import pytest

CHAPTER = """\
---
kernelspec:
  name: python3
  display_name: Python 3
---

# A chapter

Some words.

```{code-cell} ipython3
import sys
print("shown")
print("50%", file=sys.stderr)
```

```{code-cell} ipython3
:tags: [hide-input]

1 + 1
```
"""

PICTURE = {"output_type": "display_data", "metadata": {}, "data": {"image/png": "..."}}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "01_chapter.md"
    path.write_text(CHAPTER)
    return path


@pytest.fixture
def pair(source):
    """A source and its notebook, marked as run."""
    notebook = notebooks.convert(source)
    for cell in notebooks.code_cells(notebook):
        cell.execution_count = 1
    notebook.metadata["made_with"] = {"processor": "another"}
    nbformat.write(notebook, notebooks.notebook_of(source))
    return source


def complaints(source: Path) -> str:
    return "\n".join(notebooks.check(source.parent))


def test_a_notebook_is_the_same_byte_for_byte_when_made_again(source, monkeypatch):
    monkeypatch.setattr(notebooks, "CHAPTERS", source.parent)
    made = []
    for _ in range(2):
        assert notebooks.main([]) == 0
        made.append(notebooks.notebook_of(source).read_bytes())
    assert made[0] == made[1]
    assert not complaints(source)
    assert notebooks.main(["--check"]) == 0


def test_progress_bars_are_not_stored_and_the_rest_is(source):
    notebook = notebooks.execute(notebooks.convert(source), source.parent)
    first, second = notebooks.code_cells(notebook)
    assert [output.text for output in first.outputs] == ["shown\n"]
    assert second.outputs[0].data == {"text/plain": "2"}
    assert second.metadata == {"tags": ["hide-input"]}
    made_with = notebook.metadata.pop("made_with")
    assert notebook.metadata == notebooks.METADATA
    assert made_with["processor"].startswith(platform.machine())
    assert made_with["numpy"] == np.__version__


def test_a_cell_that_warns_is_refused(source):
    source.write_text(CHAPTER.replace("1 + 1", "import warnings; warnings.warn('look here')"))
    with pytest.raises(RuntimeError, match="UserWarning: look here"):
        notebooks.execute(notebooks.convert(source), source.parent)


def test_a_cell_keeps_its_id_when_another_is_put_before_it(source):
    ids = [cell.id for cell in notebooks.convert(source).cells]
    source.write_text(CHAPTER.replace("```{code", "```{code-cell}\n0\n```\n\n```{code", 1))
    assert set(ids) < {cell.id for cell in notebooks.convert(source).cells}


def test_ids_are_unique_even_for_equal_cells(source):
    source.write_text(CHAPTER + "\n```{code-cell}\n1 + 1\n```\n\n```{code-cell}\n1 + 1\n```\n")
    ids = [cell.id for cell in notebooks.convert(source).cells]
    assert len(set(ids)) == len(ids)


def test_a_pair_in_step_passes(pair):
    assert not complaints(pair)


@pytest.mark.parametrize(
    ("old", "new"), [("Some words", "More words"), ("1 + 1", "1 + 2"), ("hide-input", "hide-cell")]
)
def test_a_changed_source_is_stale(pair, old, new):
    pair.write_text(CHAPTER.replace(old, new))
    assert "differs from its source" in complaints(pair)


def test_a_missing_notebook_is_found(source):
    assert "has no notebook" in complaints(source)


def test_a_notebook_says_with_what_it_was_made(pair):
    path = notebooks.notebook_of(pair)
    notebook = nbformat.read(path, as_version=4)
    del notebook.metadata["made_with"]
    nbformat.write(notebook, path)
    assert "does not say with what" in complaints(pair)


def test_an_orphan_is_found(pair):
    pair.unlink()
    assert "has no source" in complaints(pair)


def test_a_cell_that_was_never_run_is_found(source):
    nbformat.write(notebooks.convert(source), notebooks.notebook_of(source))
    assert complaints(source).count("was never run") == 2


def test_a_picture_needs_words(pair):
    path = notebooks.notebook_of(pair)
    notebook = nbformat.read(path, as_version=4)
    notebooks.code_cells(notebook)[0].outputs = [nbformat.from_dict(PICTURE)]
    nbformat.write(notebook, path)
    assert "no alt text" in complaints(pair)
    assert "no caption" in complaints(pair)


@pytest.mark.parametrize("source", sorted(notebooks.CHAPTERS.glob("*.md")), ids=lambda p: p.stem)
def test_pictures_use_a_font_that_is_everywhere(source):
    assert source.read_text().count('sns.set_theme(style="whitegrid", font="DejaVu Sans")') == 1


def test_the_book_is_in_step():
    assert not "\n".join(notebooks.check(notebooks.CHAPTERS))
