"""Checkpoints: a fit on disk, between two blocks, from which it goes on bit for bit.

A snapshot is a tree: dictionaries of arrays, numbers and strings. It holds the state of
the random generator and of the source of minibatches along with the state of the fit, so what
follows does not depend on whether the run was interrupted. Files are written whole
or not at all (`vi_lab.results.storage`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.checks import check_writable
from vi_lab.errors import ArgumentError
from vi_lab.results.storage import load_arrays, save_arrays

SECONDS_BETWEEN_WRITES = 1.0
SEPARATOR = "/"

Snapshot = dict[str, Any]


class Checkpoint:
    """The file of one fit, or of none (``path`` None: nothing is kept).

    Parameters
    ----------
    path : where; a file that is there already is gone on from
    settings : what the fit was asked to do, in words: another fit's file is refused
    """

    def __init__(self, path: str | Path | None, settings: str) -> None:
        if path is not None:
            check_writable("checkpoint", path)  # now, not after the first seconds of the fit
        self._path = None if path is None else Path(path)
        self._settings = settings
        self._last: Snapshot | None = None
        self._written = time.monotonic()

    def load(self) -> Snapshot | None:
        """The snapshot in the file; None if there is no file yet.

        Raises
        ------
        ValueError
            if the file belongs to a fit with other settings.
        """
        if self._path is None or not self._path.exists():
            return None
        snapshot = _nested(load_arrays(self._path))
        theirs = str(snapshot.pop("settings", "it is no checkpoint"))
        if theirs != self._settings:
            raise ArgumentError(
                f"checkpoint: {self._path} was written by another fit ({theirs}; this one is "
                f"{self._settings}); give another path, or delete the file to start anew"
            )
        return snapshot

    def keep(self, take_snapshot: Callable[[], Snapshot]) -> None:
        """Take a snapshot, and write it if the last writing was a second ago."""
        if self._path is None:
            return
        self._last = take_snapshot()
        if time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Write the last snapshot that was kept."""
        if self._path is not None and self._last is not None:
            save_arrays(self._path, **_flat({"settings": self._settings, **self._last}))
        self._written = time.monotonic()


def generator_state(rng: onp.random.Generator) -> str:
    """The state of a random generator as text: its integers have 128 bits."""
    return json.dumps(rng.bit_generator.state)


def set_generator_state(rng: onp.random.Generator, state: Any) -> None:
    """Put ``rng`` into a state that `generator_state` wrote."""
    rng.bit_generator.state = json.loads(str(state))


def _flat(tree: Any, path: str = "") -> dict[str, Any]:
    """A tree of dictionaries as one dictionary; an empty one leaves no trace."""
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
