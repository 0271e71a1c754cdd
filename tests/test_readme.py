"""The README's code runs, and its picture is the chapter's."""

import re
from pathlib import Path

import matplotlib as mpl
import pytest
from readme_picture import PICTURE, picture

README = Path(__file__).parents[1] / "README.md"


def test_the_picture_is_the_one_in_the_chapter():
    assert PICTURE.read_bytes() == picture(), "run `make notebooks`"


def test_the_code_runs_as_it_stands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # it saves its picture
    pytest.importorskip("jax")
    mpl.use("agg")
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, str(README), "exec"), {})  # noqa: S102 - our own README
    printed = capsys.readouterr().out
    assert re.search(r"^sd ", printed, re.MULTILINE)
    assert re.search(r"^Converged: ", printed, re.MULTILINE)
    assert (tmp_path / "compare.png").stat().st_size > 10_000
