"""Change the library in small ways, one at a time, and see whether a test notices.

    python tests/mutants.py                       the whole library, a few changes a file
    python tests/mutants.py nuts gradients        some rooms of it
    python tests/mutants.py --each 20 --seed 2    more changes a file, other ones

A mutant is the library with one change: a comparison turned or made strict, a plus a
minus, a times an over, an `and` an `or`, a `not` left out, a number doubled, a min a max.
The tests of the file's room run on it until one fails; a mutant that passes them all
has survived, and is printed with its line. Not every survivor asks for a test: a
tolerance may be half as large, a buffer twice as long. Each that changes an answer does.

It takes minutes for a room, and is no part of `make test`.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 300  # a mutant that hangs is noticed too

COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {
    "min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum", "any": "all",
    "all": "any", "sum": "mean", "mean": "sum", "argmin": "argmax", "argmax": "argmin",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A file of the library with one change.

    Attributes
    ----------
    file : relative to the root of the project
    line : where the change is
    before, after : the changed expression
    source : of the whole file
    """

    file: Path
    line: int
    before: str
    after: str
    source: str


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """What ``node`` may become; nothing for most."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield _with(node, ops=[COMPARISONS[type(operator)]()])
        case ast.BinOp(op=operator) if type(operator) in OPERATORS:
            if not any(isinstance(side, ast.Constant | ast.JoinedStr) and _is_text(side)
                       for side in (node.left, node.right)):  # fmt: skip
                yield _with(node, op=OPERATORS[type(operator)]())
        case ast.BoolOp(op=operator):
            yield _with(node, op=OPERATORS[type(operator)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(value=not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value=2 * value if value else 1)
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in NAMES:
            field = "attr" if isinstance(node, ast.Attribute) else "id"
            yield _with(node, **{field: NAMES[name]})


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or isinstance(getattr(node, "value", None), str)


class Places(ast.NodeVisitor):
    """Collects the nodes that change what is computed: no messages, annotations or defaults."""

    def __init__(self) -> None:
        self.found: list[tuple[ast.AST, str, int | None]] = []

    def generic_visit(self, node: ast.AST) -> None:
        """Note each child that can change, and go down."""
        skipped = {"annotation", "returns", "decorator_list", "type_params"}
        for field, value in ast.iter_fields(node):
            if field in skipped:
                continue
            for i, child in enumerate(value if isinstance(value, list) else [value]):
                if isinstance(child, ast.AST) and not isinstance(child, ast.Raise | ast.JoinedStr):
                    if any(True for _ in changes(child)):
                        self.found.append((node, field, i if isinstance(value, list) else None))
                    self.visit(child)


def mutants_of(file: Path) -> Iterator[Mutant]:
    """All mutants of ``file``, in the order of its lines."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    places = Places()
    places.visit(tree)
    for parent, field, i in places.found:
        whole = getattr(parent, field)
        child = whole if i is None else whole[i]
        for changed in changes(child):
            _put(parent, field, i, ast.copy_location(changed, child))
            source = ast.unparse(ast.fix_missing_locations(tree))
            _put(parent, field, i, child)
            yield Mutant(
                file.relative_to(ROOT),
                child.lineno,
                ast.unparse(child),
                ast.unparse(changed),
                source,
            )


def _put(parent: ast.AST, field: str, i: int | None, child: ast.AST) -> None:
    if i is None:
        setattr(parent, field, child)
    else:
        getattr(parent, field)[i] = child


def survives(mutant: Mutant, tests: list[str]) -> bool:
    """Whether all of ``tests`` pass on it."""
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder)
        for name in ("vi_lab", "tests", "book/tools", "pyproject.toml", "README.md"):
            source, target = ROOT / name, copied / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        (copied / mutant.file).write_text(mutant.source, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow",
                   "-p", "no:cacheprovider", "--no-header", *tests]  # fmt: skip
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": folder}
        try:
            done = subprocess.run(
                command, cwd=folder, env=os.environ | single, capture_output=True,
                timeout=SECONDS, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0


def tests_of(room: str) -> list[str]:
    """The folder of tests of ``room``, or the file of a module that stands alone."""
    folder = ROOT / "tests" / room
    if folder.is_dir():
        return [str(folder.relative_to(ROOT))]
    return [str(file.relative_to(ROOT)) for file in (ROOT / "tests").glob(f"test_{room}*.py")]


def main(arguments: list[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rooms", nargs="*", help="folders or modules of vi_lab (default: all)")
    parser.add_argument("--each", type=int, default=4, help="mutants a file (default: 4)")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    options = parser.parse_args(arguments)
    rng = random.Random(options.seed)  # noqa: S311 - no secret
    files = sorted((ROOT / "vi_lab").rglob("*.py"))
    tried = survived = 0
    for file in files:
        room = file.relative_to(ROOT / "vi_lab").parts[0].removesuffix(".py")
        tests = tests_of(room)
        if (options.rooms and room not in options.rooms) or not tests:
            continue
        found = list(mutants_of(file))
        for mutant in rng.sample(found, min(options.each, len(found))):
            tried += 1
            if survives(mutant, tests):
                survived += 1
                print(f"{mutant.file}:{mutant.line}: {mutant.before} -> {mutant.after}", flush=True)
    print(f"{tried - survived} of {tried} changes were noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
