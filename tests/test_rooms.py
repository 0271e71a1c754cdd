"""The rooms of the library: every file is in one of them, and no import runs back up.

The list is the table in CONTRIBUTING.md, the lowest room first. A file imports from its own
room and from rows above its own, wherever in the file the import stands; rooms that share a
row do not know each other.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import vi_lab as vl

ROOT = Path(__file__).parents[1]
PLACES_OF_TESTS = {"bad_calls", "book"}  # beside the rooms


def table() -> list[list[str]]:
    """The rooms by row: [["errors.py", "checks.py", ...], ["engine/"], ...]."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.search(r"^\| room \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows, "CONTRIBUTING.md has no table of rooms"
    return [re.findall(r"`([^`]+)`", row.split("|")[1]) for row in rows[1].splitlines()]


FLOOR = {room: floor for floor, row in enumerate(table()) for room in row}


def room_of(module: str) -> str:
    """The room of a module, as the table writes it: vi_lab.engine.trees is in "engine/"."""
    name = module.split(".")[1] if "." in module else "__init__"
    return f"{name}/" if (ROOT / "vi_lab" / name).is_dir() else f"{name}.py"


def imported_modules(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and name of every module of vi_lab that ``source``, in ``package``, imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            names = [origin]
            if origin == "vi_lab":  # a module, or something that its __init__ defines
                names = [
                    f"vi_lab.{name}" if isinstance(getattr(vl, name), ModuleType) else origin
                    for name in (alias.name for alias in node.names)
                ]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "vi_lab")


def complaints(path: str, source: str) -> Iterator[str]:
    """A sentence for every import in the file ``path`` that runs up or sideways."""
    *package, name = Path(path).with_suffix("").parts
    room = room_of(".".join(package if name == "__init__" else [*package, name]))
    for line, module in imported_modules(source, ".".join(package)):
        other = room_of(module)
        if other != room and FLOOR[other] >= FLOOR[room]:
            yield f"{path}, line {line}: imports {module}, but {other} does not stand below {room}"


FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "vi_lab").rglob("*.py"))


def test_every_file_is_in_one_room_and_every_room_has_a_file():
    rooms = [room for row in table() for room in row]
    assert len(rooms) == len(set(rooms)), "a room stands twice in the table of CONTRIBUTING.md"
    found = {Path(path).parts[1] + ("/" if len(Path(path).parts) > 2 else "") for path in FILES}
    assert found == set(rooms), "the table of CONTRIBUTING.md is not what is in vi_lab/"


def test_the_path_through_the_library_leads_to_files_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(vi_lab/[\w/.]+)`", text))
    assert len(named) > 20
    assert not {path for path in named if not (ROOT / path).exists()}


def test_no_import_runs_back_up():
    found = [
        sentence
        for path in FILES
        for sentence in complaints(path, (ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("path", "source", "module"),
    [
        ("engine/trees.py", "import vi_lab.numpy as np", "vi_lab.numpy"),
        ("gradients/x.py", "from vi_lab.advi.x import y", "vi_lab.advi.x"),
        ("gradients/x.py", "def f():\n    from vi_lab.advi import y", "vi_lab.advi"),
        ("model/x.py", "if TYPE_CHECKING:\n    import vi_lab.zoo as zoo", "vi_lab.zoo"),
        ("model/x.py", "from vi_lab import plots", "vi_lab.plots"),
        ("model/x.py", "from vi_lab import engine, Normal", "vi_lab"),
        ("zoo/x.py", "from vi_lab import advi", "vi_lab"),
        ("nuts/x.py", "from vi_lab.conjugate import cavi", "vi_lab.conjugate"),
        ("nuts/x.py", "from ..plots import trace", "vi_lab.plots"),
        ("progress.py", "from vi_lab.checks import is_whole", "vi_lab.checks"),
        ("errors.py", "from vi_lab.checks import check_whole", "vi_lab.checks"),
    ],
)
def test_an_import_that_runs_up_is_found(path, source, module):
    (sentence,) = complaints(f"vi_lab/{path}", source)
    assert sentence.startswith(f"vi_lab/{path}, line ")
    assert f": imports {module}, but " in sentence


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("advi/x.py", "from vi_lab.gradients import y"),
        ("advi/x.py", "from vi_lab.advi.y import z"),
        ("advi/x.py", "from .y import z"),
        ("advi/x.py", "from vi_lab import engine as engines"),
        ("advi/__init__.py", "from vi_lab.advi.x import advi"),
        ("numpy.py", "from vi_lab.engine import namespace"),
        ("plots.py", "from vi_lab.nuts import NutsResult"),
        ("__init__.py", "from vi_lab.plots import trace"),
        ("checks.py", "import numpy, vi_laboratory"),
    ],
)
def test_an_import_that_runs_down_is_let_through(path, source):
    assert not list(complaints(f"vi_lab/{path}", source))


def test_tests_are_in_the_rooms_of_what_they_test():
    places = {path.parent.name for path in (ROOT / "tests").glob("*/*.py")}
    assert places <= PLACES_OF_TESTS | {room.strip("/") for room in FLOOR if room.endswith("/")}


HIDDEN = [
    room.strip("/")
    for room in FLOOR
    if room.endswith("/") and not isinstance(getattr(vl, room.strip("/")), ModuleType)
]


@pytest.mark.parametrize("room", HIDDEN)
def test_what_a_hidden_room_offers_is_at_the_top(room):
    """`vi_lab.nuts` is the function: nobody gets at the folder through it."""
    package = importlib.import_module(f"vi_lab.{room}")
    for name in package.__all__:
        assert getattr(vl, name) is getattr(package, name)
        assert name in vl.__all__
