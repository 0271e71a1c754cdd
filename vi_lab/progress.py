"""While something takes long: progress bars, and Ctrl-C at a moment that would lose work.

Bars are tqdm's, on standard error; it is imported only when one is shown.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


def progress_bar(
    iterable: Iterable[Any] | None, description: str, show: bool, total: int | None = None
) -> Any:
    """A tqdm bar over ``iterable`` (or a manual one of ``total`` steps); silent unless ``show``."""
    from tqdm import tqdm

    return tqdm(
        iterable, desc=description, total=total, disable=not show, leave=True, dynamic_ncols=True
    )


@contextmanager
def held_interrupts() -> Iterator[list[int]]:
    """Ctrl-C within the block is noted in the list that it yields, not raised.

    So what is begun is ended, and a result can be returned. A second Ctrl-C is raised at once.
    Python lets only the main thread handle signals: elsewhere nothing is held.
    """
    pressed: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield pressed
        return

    def note(number: int, frame: Any) -> None:
        if pressed:
            previous(number, frame)
        pressed.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)
