"""What the library raises: one base for all of it, and the builtin of each kind as well."""

import ast
import builtins
import re
from collections.abc import Callable, Iterator
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


def unnamed(path: str, source: str) -> Iterator[str]:
    """A sentence for each message about an argument that does not begin with what is wrong."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        if node.func.id not in {"ArgumentError", "ArgumentTypeError", "MissingFileError"}:
            continue
        message = node.args[0]
        parts = message.values if isinstance(message, ast.JoinedStr) else [message]
        if not isinstance(message, ast.JoinedStr | ast.Constant):
            continue  # put together elsewhere
        text = "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts
        )
        named = re.match(r"([^:;.]*): ", text)
        before = path in NAMED_BEFORE and text.startswith(NAMED_BEFORE[path])
        if not (named and len(named[1].split()) <= MOST_WORDS) and not before:
            yield f"{path}, line {node.lineno}: {text!r} does not begin with the argument's name"


MOST_WORDS = 3  # of what a message begins with: "latent {}", "lower, upper", "frame"
NAMED_BEFORE = {
    "vi_lab/arrays.py": "{} must be a number",  # whose name comes with a colon: "x:"
    "vi_lab/distributions/base.py": "{} must be {}, but",  # so does this: "loc: Normal's loc"
    "vi_lab/model/target.py": "it gives the shape",  # a part of the sentence that catches it
    "vi_lab/advi/non_finite.py": "the log density is not",  # in a file that is not free to change
}


def in_library(check: Callable[[str, str], Iterator[str]]) -> list[str]:
    return [
        sentence
        for path in sorted((ROOT / "vi_lab").rglob("*.py"))
        for sentence in check(path.relative_to(ROOT).as_posix(), path.read_text("utf-8"))
    ]


def test_no_builtin_exception_is_raised_by_its_own_name():
    found = in_library(bare_raises)
    assert not found, "\n".join(found)


def test_a_message_begins_with_what_is_wrong():
    found = in_library(unnamed)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("text", ["'no'", "f'the {x} is bad'", "'so it is; in x: no'", "f'{x} no'"])
def test_a_message_that_begins_otherwise_is_found(text):
    assert list(unnamed("vi_lab/x.py", f"raise ArgumentError({text})"))
    assert not list(unnamed("vi_lab/x.py", f"raise ArgumentError('x: ' {text})"))


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
