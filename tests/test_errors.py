"""What the library raises: one base for all of it, and the builtin of each kind as well."""

import ast
import builtins
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import vi_lab as vl
from vi_lab import engine as engines
from vi_lab import errors

ROOT = Path(__file__).parents[1]
ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type)]

# A module's `__getattr__` must raise what Python's import system expects.
EXEMPT = {("vi_lab/__init__.py", "AttributeError")}


def bare_raises(path: str, source: str) -> Iterator[str]:
    """A sentence for each builtin exception that the file raises by its own name."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Raise):
            continue
        raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        if (
            isinstance(raised, ast.Name)
            and isinstance(kind := getattr(builtins, raised.id, None), type)
            and issubclass(kind, Exception)  # KeyboardInterrupt is none
            and (path, raised.id) not in EXEMPT
        ):
            yield f"{path}, line {node.lineno}: raises {raised.id}; vi_lab.errors has one for it"


def in_library() -> list[str]:
    return [
        sentence
        for path in sorted((ROOT / "vi_lab").rglob("*.py"))
        for sentence in bare_raises(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]


def test_no_builtin_exception_is_raised_by_its_own_name():
    found = in_library()
    assert not found, "\n".join(found)


@pytest.mark.parametrize("source", ["raise ValueError('x')", "raise TypeError", "raise KeyError()"])
def test_a_builtin_exception_is_found(source):
    assert list(bare_raises("vi_lab/x.py", source))


@pytest.mark.parametrize("source", ["raise", "raise error", "raise errors.ArgumentError('x')"])
def test_other_raises_are_let_through(source):
    assert not list(bare_raises("vi_lab/x.py", source))


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind is not errors.ConvergenceWarning])
def test_every_error_has_the_common_base_and_its_builtin(kind):
    assert issubclass(kind, vl.ViLabError)
    if kind is not vl.ViLabError:
        own = next(base for base in kind.__mro__ if base.__module__ == "builtins")
        assert own is not Exception
        assert f"`{kind.__name__}`" in errors.__doc__
        assert f"`{own.__name__}`" in errors.__doc__


@pytest.mark.parametrize(
    ("wrong", "builtin"),
    [
        (lambda: vl.Normal(0.0, -1.0), ValueError),
        (lambda: vl.Model("no program"), TypeError),
        (lambda: vl.use("torch"), ValueError),
        (lambda: engines.current(), RuntimeError),
        (lambda: vl.cavi(vl.conjugate.NormalModel(), [np.nan], progress=False), ValueError),
        (lambda: vl.Summary((), {})["mu", "sd"], KeyError),
    ],
)
def test_errors_are_caught_by_either(wrong, builtin):
    with pytest.raises(vl.ViLabError):
        wrong()
    with pytest.raises(builtin):
        wrong()


def test_an_unknown_name_prints_as_a_sentence():
    assert str(errors.UnknownNameError("there is no 'mu'")) == "there is no 'mu'"
