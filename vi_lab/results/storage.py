"""Results on disk: NumPy archives without pickles, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.checks import check_writable
from vi_lab.errors import ArgumentError


def save_arrays(path: str | Path, **arrays: Any) -> None:
    """Write ``arrays`` to ``path`` (.npz); an interrupted write leaves the old file.

    The archive is written beside its destination and then renamed, which a file
    system does in one step. A link stays one, to the new file.

    Raises
    ------
    ValueError
        if there is no such folder, or it may not be written to.
    """
    check_writable("path", path)
    path = Path(path).resolve()
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            onp.savez(file, allow_pickle=False, **arrays)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def load_arrays(path: str | Path) -> dict[str, onp.ndarray]:
    """The arrays of an archive written by `save_arrays`.

    Raises
    ------
    FileNotFoundError
    ValueError
        if the file is damaged, or is no archive of arrays.
    """
    try:
        with Path(path).open("rb") as file, onp.load(file, allow_pickle=False) as archive:
            return dict(archive)
    except (ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ArgumentError(
            f"path: {path} is damaged, or is not a file that this library saved"
        ) from error


def save_result(path: str | Path, model: Any, **fields: Any) -> None:
    """Write the fields of a result of ``model``, and the names of its latents."""
    save_arrays(path, latents=list(model.latents), dim=model.dim, **fields)


def load_result(path: str | Path, model: Any, needed: Collection[str]) -> dict[str, Any]:
    """What `save_result` wrote of a result of ``model``: arrays, and numbers and strings.

    Raises
    ------
    ValueError
        if ``model`` has other latents, or the file lacks some of the ``needed`` fields.
    """
    arrays = load_arrays(path)
    missing = sorted({*needed, "latents", "dim"} - arrays.keys())
    if missing:
        raise ArgumentError(f"path: {path} holds another kind of result: it has no {missing}")
    latents, dim = [str(name) for name in arrays.pop("latents")], int(arrays.pop("dim"))
    if latents != list(model.latents) or dim != model.dim:
        raise ArgumentError(
            f"model: has the latents {list(model.latents)} on R^{model.dim}, but {path} was "
            f"saved from {latents} on R^{dim}; give the model that it was made from"
        )
    return {name: a.item() if a.ndim == 0 else a for name, a in arrays.items()}


def _umask() -> int:
    """The permissions that new files of this process lack: asking sets them, so set them back."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
