"""Results on disk: NumPy archives without pickles, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as onp


def save_arrays(path: str | Path, **arrays: Any) -> None:
    """Write ``arrays`` to ``path`` (.npz); an interrupted write leaves the old file.

    The archive is written beside its destination and then renamed, which a file
    system does in one step.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            onp.savez(file, allow_pickle=False, **arrays)
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def load_arrays(path: str | Path) -> dict[str, onp.ndarray]:
    """The arrays of an archive written by `save_arrays`.

    Raises
    ------
    FileNotFoundError
    """
    with onp.load(path, allow_pickle=False) as archive:
        return dict(archive)
