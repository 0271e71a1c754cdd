"""Chains side by side: on threads if the engine lets them run at once, else in turn."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from vi_lab.engine import Engine

Item = TypeVar("Item")


def side_by_side(
    engine: Engine, chains: Sequence[Iterator[Item]]
) -> Generator[tuple[int, Item], None, None]:
    """``(c, item)`` for each item of ``chains[c]``, as they come, until all are exhausted.

    A chain is on one thread at a time, and is asked for its next item when its last has
    been handed over, in turn with the others: none runs ahead by much. Close it to end
    early: that waits for the items which are being made.
    """
    workers = min(len(chains), _cores()) if engine.parallel else 1
    return _on_threads(workers, chains) if workers > 1 else _in_turn(chains)


def _in_turn(chains: Sequence[Iterator[Item]]) -> Generator[tuple[int, Item], None, None]:
    left = dict(enumerate(chains))
    while left:
        for c, chain in list(left.items()):
            try:
                yield c, next(chain)
            except StopIteration:
                del left[c]


def _on_threads(
    workers: int, chains: Sequence[Iterator[Item]]
) -> Generator[tuple[int, Item], None, None]:
    pool = ThreadPoolExecutor(workers)
    running: dict[Future[Any], int] = {}
    try:
        for c, chain in enumerate(chains):
            running[pool.submit(next, chain, None)] = c
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                c = running.pop(future)
                item = future.result()
                if item is not None:
                    running[pool.submit(next, chains[c], None)] = c
                    yield c, item
    finally:  # interrupted, or a chain has failed: the blocks that are running end first
        pool.shutdown(wait=True, cancel_futures=True)


def _cores() -> int:
    """The processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
