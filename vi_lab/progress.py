"""While something takes long: progress bars, and Ctrl-C at a moment that would lose work.

Bars are tqdm's, on standard error; it is imported only when one is shown.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

IMPATIENCE = 5.0  # seconds


def progress_bar(
    iterable: Iterable[Any] | None, description: str, show: bool, total: int | None = None
) -> Any:
    """A tqdm bar over ``iterable`` (or a manual one of ``total`` steps); silent unless ``show``."""
    from tqdm import tqdm

    return tqdm(
        iterable, desc=description, total=total, disable=not show, leave=True, dynamic_ncols=True
    )


class Interrupts:
    """What Ctrl-C does while a result is at stake; see `one_interrupt`.

    Attributes
    ----------
    pressed : whether it was
    """

    def __init__(self, previous: Callable[[int, Any], Any]) -> None:
        self._previous, self._held = previous, False
        self._first: float | None = None

    @property
    def pressed(self) -> bool:
        return self._first is not None

    def __call__(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            if not self._held:
                self._previous(number, frame)
        elif now - self._first > IMPATIENCE:
            self._previous(number, frame)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within the block the first is noted, not raised: what is begun is ended."""
        self._held = True
        try:
            yield
        finally:
            self._held = False


@contextmanager
def one_interrupt() -> Iterator[Interrupts]:
    """Within the block the first Ctrl-C is raised, and those that follow at once are not.

    Whoever presses twice wants an end, and gets it: the result so far. It takes a moment to put
    together, which the second press would destroy. After five seconds one is raised again.
    Python lets only the main thread handle signals: elsewhere nothing is changed.
    """
    with _handling(Interrupts) as handler:
        yield handler


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Within the block no Ctrl-C is raised; at its end, one, if there were any."""
    with _handling(_Noted) as handler:
        yield
    handler.pass_on()


class _Noted:
    """A handler that only takes note."""

    def __init__(self, previous: Callable[[int, Any], Any]) -> None:
        self._previous = previous
        self._noted: tuple[int, Any] | None = None

    def __call__(self, number: int, frame: Any) -> None:
        self._noted = number, frame

    def pass_on(self) -> None:
        if self._noted is not None:
            self._previous(*self._noted)


Handler = TypeVar("Handler", Interrupts, _Noted)


@contextmanager
def _handling(make: Callable[[Callable[[int, Any], Any]], Handler]) -> Iterator[Handler]:
    """Ctrl-C goes to a handler within the block, where this is to be had."""
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(previous):
        yield make(_nobody)
        return
    handler = make(previous)
    try:
        signal.signal(signal.SIGINT, handler)
        yield handler
    finally:
        signal.signal(signal.SIGINT, previous)


def _nobody(number: int, frame: Any) -> None:
    """Where nobody handles signals, none come."""
