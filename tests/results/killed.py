"""Kill fits at random moments, go on from their files, and compare with fits that lived.

    python tests/results/killed.py 50 autograd        50 kills of each door
    python tests/results/killed.py 20 jax --seed 2    in fresh processes, as JAX cannot be forked

A life of a fit ends by SIGKILL after a random time, often in the middle of a write, for the file
is written after every block. Lives follow each other until one reaches the end; its numbers
must be those of a fit that was never killed, to the bit. Between lives there is nothing in the
folder but the file, whole, and at most one that was being written; after the last, the file alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as onp

import vi_lab as vl
from vi_lab import zoo
from vi_lab.advi import blocks
from vi_lab.conjugate import GaussianMixture, NormalModel
from vi_lab.optimizers import Adam
from vi_lab.results import checkpoint as checkpoints

X = onp.random.default_rng(0).normal(3.0, 2.0, 1_000)
QUIET: dict[str, Any] = {"progress": False, "seed": 3}

DOORS: dict[str, Callable[..., Any]] = {
    "advi": lambda **o: vl.advi(
        zoo.notebook_gaussian().model(), optimizer=Adam(0.01), steps=1_500, **QUIET, **o
    ),
    "nuts": lambda **o: vl.nuts(
        zoo.eight_schools_noncentered().model(), chains=2, tune=40, draws=30, **QUIET, **o
    ),
    "cavi": lambda **o: vl.cavi(
        GaussianMixture(3), onp.concatenate([X, X + 4.0]), starts=4, max_sweeps=80, **QUIET, **o
    ),
    "svi": lambda **o: vl.svi(NormalModel(), X, batch=30, steps=400, **QUIET, **o),
}
WITHOUT_ENGINE = ("cavi", "svi")


def numbers(door: str, path: Path | None) -> str:
    """A digest of all that the fit found, of a whole life."""
    warnings.simplefilter("ignore")
    blocks.STEPS_PER_BLOCK = 20
    checkpoints.SECONDS_BETWEEN_WRITES = -1.0
    checkpoints.SHARE_OF_WRITES = 1.0
    onp.savez = slowly(onp.savez)
    found = DOORS[door](checkpoint=path)
    parts = [found.losses, found.params] if door == "advi" else []
    parts += [found.z, found.energy, found.step_size] if door == "nuts" else []
    parts += [found.start_elbos, found.start_params] if door in WITHOUT_ENGINE else []
    with onp.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def begun_by_fork(door: str, path: Path) -> int:
    """A child that lives a life, and writes down what came out."""
    child = os.fork()
    if not child:
        path.with_suffix(".txt").write_text(numbers(door, path))
        os._exit(0)
    return child


def begun_afresh(door: str, path: Path) -> int:
    """The same as a process of its own."""
    command = [sys.executable, __file__, "--life", door, str(path)]
    return subprocess.Popen(command).pid


def killed(door: str, kills: int, begin: Callable[[str, Path], int], chance: random.Random) -> None:
    """Kill ``kills`` lives of one door, and say what became of them."""
    done = writing = fits = 0
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        whole = _lived(begin(door, path := Path(folder) / "whole.npz"), path)
        whole_took = time.perf_counter() - began
        path.unlink()
        while done < kills:
            path = Path(folder) / f"fit{fits}.npz"
            while True:
                child = begin(door, path)
                if _ended(child, chance.uniform(0.0, whole_took)):
                    break
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                path.with_suffix(".txt").unlink(missing_ok=True)  # the last of its acts, not ours
                done += 1
                left = sorted(file.name for file in Path(folder).iterdir())
                writing += any(name.endswith(".part") for name in left)
                assert len(left) <= 1 + path.exists(), left
                if path.exists():
                    with onp.load(path) as archive:
                        assert {name: archive[name] for name in archive.files}
            assert _lived(child, path) == whole, f"{door}: other numbers after {done} kills"
            assert [file.name for file in Path(folder).iterdir()] == [path.name], "litter"
            path.unlink()
            fits += 1
    print(f"{door}: {done} kills, {writing} of them in a write; {fits} fits, all the same bits")  # noqa: T201


def _lived(child: int, path: Path) -> str:
    os.waitpid(child, 0)
    text = path.with_suffix(".txt")
    numbers = text.read_text()
    text.unlink()
    return numbers


def _ended(child: int, seconds: float) -> bool:
    """Wait for ``seconds``, or until the child has ended, which is then true."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        time.sleep(0.001)
    return False


def slowly(savez: Callable[..., None]) -> Callable[..., None]:
    """`numpy.savez` on a slow disk: for a moment, only a part of the file is there."""

    def save(file: Any, **arrays: Any) -> None:
        file.write(b"PK" * 500)
        file.flush()
        time.sleep(0.003)
        file.seek(0)
        file.truncate()
        savez(file, **arrays)

    return save


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kills", type=int, nargs="?", default=10)
    parser.add_argument("engine", choices=("autograd", "jax"), nargs="?", default="autograd")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--doors", nargs="+", default=list(DOORS))
    parser.add_argument("--life", nargs=2)
    asked = parser.parse_args()
    if asked.life:
        door, path = asked.life[0], Path(asked.life[1])
        path.with_suffix(".txt").write_text(numbers(door, path))
        return
    os.environ["VI_LAB_ENGINE"] = asked.engine
    begin = begun_by_fork if asked.engine == "autograd" else begun_afresh
    chance = random.Random(asked.seed)  # noqa: S311
    for door in asked.doors:
        killed(door, asked.kills, begin, chance)


if __name__ == "__main__":
    main()
