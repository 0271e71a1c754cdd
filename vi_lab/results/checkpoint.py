"""Checkpoints: a fit on disk, between two blocks, from which it goes on bit for bit.

A snapshot is a tree: dictionaries of arrays, numbers and strings, and of lists of arrays that
are joined when it is written. It holds the state of the random generator and of the source of
minibatches along with the state of the fit, so what follows does not depend on whether the run
was interrupted. Files are written whole or not at all (`vi_lab.results.storage`).
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.checks import check_writable
from vi_lab.errors import ArgumentError
from vi_lab.results.identity import Identity, differences
from vi_lab.results.storage import load_arrays, remove_litter, save_arrays

SECONDS_BETWEEN_WRITES = 1.0
SHARE_OF_WRITES = 0.05  # of the time, at most
SEPARATOR = "/"

Snapshot = dict[str, Any]


class Checkpoint:
    """The file of one fit, or of none (``path`` None: nothing is kept).

    Parameters
    ----------
    path : where; a file that is there already is gone on from
    identity : what is fitted, and what was asked (`vi_lab.results.identity`): the file of another
        fit is refused

    Raises
    ------
    ValueError
        if the path cannot be written to: now, not after the first seconds of the fit.
    """

    def __init__(self, path: str | Path | None, identity: Identity) -> None:
        self._path = None if path is None else Path(path)
        if self._path is not None:
            check_writable("checkpoint", self._path)
            remove_litter(self._path)
        self._identity = identity
        self._last: Snapshot | None = None
        self._written, self._took = time.monotonic(), 0.0
        self._failed = False

    def load(self) -> Snapshot | None:
        """The snapshot in the file; None if there is no file yet.

        Raises
        ------
        ValueError
            if the file is damaged, or belongs to another fit; the message says what differs.
        """
        if self._path is None or not self._path.exists():
            return None
        try:
            snapshot = _nested(load_arrays(self._path))
        except ArgumentError as error:
            message = str(error).removeprefix("path: ")
            raise ArgumentError(
                f"checkpoint: {message}; give another path, or delete the file to start anew"
            ) from error
        if "identity" not in snapshot:
            found = ["it is no checkpoint, or one of an earlier release"]
        else:
            found = differences(json.loads(str(snapshot.pop("identity"))), self._identity)
        if found:
            raise ArgumentError(
                f"checkpoint: {self._path} was written by another fit ({'; '.join(found)}); give "
                "another path, or delete the file to start anew"
            )
        return snapshot

    def keep(self, take_snapshot: Callable[[], Snapshot]) -> None:
        """Take a snapshot, and write it if the last writing was long enough ago."""
        if self._path is None:
            return
        self._last = take_snapshot()
        rest = max(SECONDS_BETWEEN_WRITES, self._took / SHARE_OF_WRITES - self._took)
        if time.monotonic() - self._written > rest:
            self._write(self._path, self._last)

    def write(self) -> None:
        """The fit is over: write the last snapshot that was kept, come what may."""
        if self._path is not None and self._last is not None:
            with suppress(KeyboardInterrupt):  # there is nothing left to interrupt
                self._write(self._path, self._last)

    def _write(self, path: Path, snapshot: Snapshot) -> None:
        """Write ``snapshot``; if that fails, say so once, and let the fit go on."""
        began = time.monotonic()
        try:
            save_arrays(path, **_flat({"identity": json.dumps(self._identity), **snapshot}))
        except (OSError, ArgumentError) as error:
            if not self._failed:
                warnings.warn(
                    f"checkpoint: {path} could not be written ({error}). The fit goes on, and "
                    "tries again; see to the folder and the disk",
                    stacklevel=2,
                )
            self._failed = True
        self._written = time.monotonic()
        self._took = self._written - began


def generator_state(rng: onp.random.Generator) -> str:
    """The state of a random generator as text: its integers have 128 bits."""
    return json.dumps(rng.bit_generator.state)


def set_generator_state(rng: onp.random.Generator, state: Any) -> None:
    """Put ``rng`` into a state that `generator_state` wrote."""
    rng.bit_generator.state = json.loads(str(state))


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """A tree of dictionaries as one dictionary; an empty one, or a list, leaves no trace."""
    if isinstance(tree, list):
        return {path.removeprefix(SEPARATOR): onp.concatenate(tree)} if tree else {}
    if not isinstance(tree, dict):
        return {path.removeprefix(SEPARATOR): tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= _flat(value, f"{path}{SEPARATOR}{key}")
    return leaves


def _nested(leaves: dict[str, Any]) -> Snapshot:
    tree: Snapshot = {}
    for path, value in leaves.items():
        *parents, name = path.split(SEPARATOR)
        at = tree
        for parent in parents:
            at = at.setdefault(parent, {})
        at[name] = value
    return tree
