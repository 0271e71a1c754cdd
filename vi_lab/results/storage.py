"""Results on disk: NumPy archives without pickles, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.checks import check_methods, check_readable, check_writable
from vi_lab.errors import ArgumentError


def save_arrays(path: str | Path, **arrays: Any) -> None:
    """Write ``arrays`` to ``path`` (.npz); an interrupted write leaves the old file.

    The archive is written beside its destination and then renamed, which a file
    system does in one step. A link stays one, to the new file.

    Raises
    ------
    TypeError, ValueError
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
    TypeError, ValueError
        if the path is that of a folder, the file is damaged, or it is no archive of arrays.
    """
    check_readable("path", path)
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


def flat(tree: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Dictionaries within a dictionary as one: {"params.loc": ..., "seed": ...}."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        inner = isinstance(value, Mapping)
        leaves |= flat(value, f"{above}{key}.") if inner else {f"{above}{key}": value}
    return leaves


def part(leaves: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What `flat` made of the dictionary ``name``."""
    above = f"{name}."
    return {key.removeprefix(above): leaves[key] for key in leaves if key.startswith(above)}


def load_fields(path: str | Path, needed: Collection[str]) -> dict[str, Any]:
    """The fields of a result: arrays, and numbers and strings.

    Raises
    ------
    FileNotFoundError
    TypeError, ValueError
        as `load_arrays` does, and if the file lacks some of the ``needed`` fields.
    """
    arrays = load_arrays(path)
    missing = sorted(set(needed) - arrays.keys())
    if missing:
        raise ArgumentError(f"path: {path} holds another kind of result: it has no {missing}")
    return {name: a.item() if a.ndim == 0 else a for name, a in arrays.items()}


def load_result(path: str | Path, model: Any, needed: Collection[str]) -> dict[str, Any]:
    """What `save_result` wrote of a result of ``model``: arrays, and numbers and strings.

    Raises
    ------
    FileNotFoundError
    TypeError, ValueError
        if ``model`` is none or has other latents, or the file lacks some of the ``needed`` fields.
    """
    check_methods("model", model, ("log_density", "constrain"), "the Model or Target of the fit")
    fields = load_fields(path, {*needed, "latents", "dim"})
    latents, dim = [str(name) for name in onp.ravel(fields.pop("latents"))], fields.pop("dim")
    if latents != list(model.latents) or dim != model.dim:
        raise ArgumentError(
            f"model: has the latents {list(model.latents)} on R^{model.dim}, but {path} was "
            f"saved from {latents} on R^{dim}; give the model that it was made from"
        )
    return fields


def _umask() -> int:
    """The permissions that new files of this process lack: asking sets them, so set them back."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
