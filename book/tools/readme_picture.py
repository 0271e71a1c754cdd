"""Copy one figure of an executed chapter to where the README shows it.

    python book/tools/readme_picture.py

So the README's picture is the chapter's, and the chapter's is checked.
"""

from __future__ import annotations

import base64
from pathlib import Path

import nbformat

BOOK = Path(__file__).parents[1]
CHAPTER = BOOK / "chapters" / "09_advi_gaussian.ipynb"
FIGURE = "fig-compare"
PICTURE = BOOK / "_static" / "compare.png"


def picture() -> bytes:
    """The PNG of the cell whose figure has the name `FIGURE`."""
    notebook = nbformat.read(CHAPTER, as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == FIGURE:
            (output,) = [o for o in cell.outputs if "image/png" in o.get("data", {})]
            return base64.b64decode(output.data["image/png"])
    raise LookupError(f"{CHAPTER} has no figure called {FIGURE}")


if __name__ == "__main__":
    PICTURE.write_bytes(picture())
