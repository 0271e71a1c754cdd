"""No file of the library is longer than a few screens, no function longer than one."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "vi_lab").rglob("*.py"))
MOST_LINES, MOST_CODE, MOST_ARGUMENTS = 400, 60, 10
FRONT_DOORS = {
    "advi",
    "cavi",
    "checked",
    "nuts",
    "svi",
}  # what a user may choose; `checked` takes advi's


def functions(source: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]


def lines_of_code(function: ast.FunctionDef, source: str) -> int:
    """Lines of its body that are neither docstring, comment nor blank."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    if not body:
        return 0
    lines = source.splitlines()[body[0].lineno - 1 : function.end_lineno]
    return sum(bool(line.strip()) and not line.strip().startswith("#") for line in lines)


def arguments(function: ast.FunctionDef) -> int:
    given = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return sum(argument.arg not in {"self", "cls"} for argument in given)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_can_be_seen_whole(path):
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= MOST_LINES, "split it"
    for function in functions(source):
        assert lines_of_code(function, source) <= MOST_CODE, f"{function.name}: name its parts"
        if function.name not in FRONT_DOORS:
            assert arguments(function) <= MOST_ARGUMENTS, f"{function.name}: takes too many"


def test_what_is_counted():
    source = (
        'def f(self, a, /, b, *, c=1):\n    """Words.\n\n    More."""\n    # why\n\n    return a\n'
    )
    (function,) = functions(source)
    assert lines_of_code(function, source) == 1
    assert arguments(function) == 3
