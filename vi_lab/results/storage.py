"""Results on disk: NumPy archives without pickles, written whole or not at all."""

from __future__ import annotations

import glob
import json
import os
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.checks import check_methods, check_readable, check_writable
from vi_lab.errors import ArgumentError
from vi_lab.progress import held_interrupts
from vi_lab.results.identity import differences, of_library, of_model

PART = ".part"  # ends the name of a file that is being written


def save_arrays(path: str | Path, **arrays: Any) -> None:
    """Write ``arrays`` to ``path`` (.npz); an interrupted write leaves the old file.

    The archive is written beside its destination and then renamed, which a file
    system does in one step. A link stays one, to the new file. Ctrl-C waits until that is done.

    Raises
    ------
    TypeError, ValueError
        if there is no such folder, or it may not be written to.
    """
    with held_interrupts():
        check_writable("path", path)
        path = Path(path).resolve()
        remove_litter(path)
        temporary = path.with_name(f"{path.name}.{os.getpid()}{PART}")
        try:
            with temporary.open("wb") as file:
                onp.savez(file, allow_pickle=False, **arrays)
            if path.exists():
                temporary.chmod(path.stat().st_mode)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def remove_litter(path: str | Path) -> None:
    """Remove what a process that was killed while it wrote ``path`` has left beside it."""
    path = Path(path).resolve()
    for temporary in path.parent.glob(f"{glob.escape(path.name)}.*{PART}"):
        number = temporary.name[len(path.name) + 1 : -len(PART)]
        if number.isdecimal() and int(number) != os.getpid() and not _runs(int(number)):
            temporary.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether there is such a process; where that cannot be asked, there may be."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


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
    """Write the fields of a result of ``model``, and which model that is."""
    identity = json.dumps({**of_model(model), **of_library(None)})
    save_arrays(path, latents=list(model.latents), dim=model.dim, identity=identity, **fields)


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
        if ``model`` is none, has other latents, data or another program, or the file lacks some of
        the ``needed`` fields.
    """
    check_methods("model", model, ("log_density", "constrain"), "the Model or Target of the fit")
    fields = load_fields(path, {*needed, "latents", "dim"})
    latents, dim = [str(name) for name in onp.ravel(fields.pop("latents"))], fields.pop("dim")
    if latents != list(model.latents) or dim != model.dim:
        raise ArgumentError(
            f"model: has the latents {list(model.latents)} on R^{model.dim}, but {path} was "
            f"saved from {latents} on R^{dim}; give the model that it was made from"
        )
    if "identity" in fields:  # of releases before it was written, latents say all that is known
        _check_identity(path, model, json.loads(fields.pop("identity")))
    return fields


def _check_identity(path: str | Path, model: Any, theirs: dict[str, str]) -> None:
    """Refuse a model whose posterior is another than that of the file."""
    ours, library = of_model(model), of_library(None)
    there = {name: value for name, value in theirs.items() if name not in library}
    if theirs.get("Python") != library["Python"]:  # whose code cannot be compared
        ours.pop("program"), there.pop("program", None)
    found = differences(there, ours)
    if found:
        raise ArgumentError(
            f"model: is not the one that {path} was saved from; these differ: {', '.join(found)}. "
            "What was found is about that posterior, not about this: give the program and the "
            "data that it was made from, or fit this model anew"
        )
