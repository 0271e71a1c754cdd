"""Print the lowest versions of what the library needs, as constraints for pip.

    python tests/lowest.py > lowest.txt
    pip install --constraint lowest.txt --editable '.[jax,arviz]'

They are those that pyproject.toml allows, of the dependencies and of the extras that the library
itself imports. What these need in turn is as new as they let it be.
"""

import re
import tomllib
from pathlib import Path

EXTRAS = ("jax", "arviz")


def lowest(pyproject: Path) -> list[str]:
    """Lines such as "numpy==2.0"."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in EXTRAS for line in extras[name])]
    # One that names no lowest version is an error: what it would be, nobody has said.
    return ["{}=={}".format(*re.fullmatch(r"([\w-]+)>=([\w.]+)", line).groups()) for line in lines]


if __name__ == "__main__":
    print("\n".join(lowest(Path(__file__).parents[1] / "pyproject.toml")))
