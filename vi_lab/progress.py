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

DOUBLE = 0.5  # seconds in which somebody who presses twice has done so
IMPATIENCE = 5.0  # seconds after which a press is another one


def progress_bar(
    iterable: Iterable[Any] | None,
    description: str,
    show: bool,
    total: int | None = None,
    initial: int = 0,
) -> Any:
    """A tqdm bar over ``iterable`` (or a manual one of ``total`` steps); silent unless ``show``."""
    from tqdm import tqdm

    return tqdm(
        iterable,
        desc=description,
        total=total,
        initial=initial,
        disable=not show,
        leave=True,
        dynamic_ncols=True,
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

    def outlast_the_second(self) -> None:
        """Wait until a second press, if there is one, has come."""
        if self._first is not None:
            time.sleep(max(0.0, self._first + DOUBLE - time.monotonic()))

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
    together, which the second press would destroy; and if it takes none, the second would be
    raised where the result is about to be used, so half a second passes first. After five
    seconds one is raised again.
    Python lets only the main thread handle signals: elsewhere nothing is changed.
    """
    with _handling(Interrupts) as handler:
        yield handler
        handler.outlast_the_second()


@contextmanager
def held_interrupts() -> Iterator[None]:
    """Within the block no Ctrl-C is raised; at its end, one, if there were any."""
    noted = None
    try:
        with _handling(_Noted) as noted:
            yield
    finally:  # after an error too
        if noted is not None:
            noted.pass_on()


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
