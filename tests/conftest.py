"""Fixtures that every test may use."""

import signal
from collections.abc import Iterator

import pytest

from vi_lab import engine as engines


def pytest_configure() -> None:
    """Ctrl-C means what it means in a terminal, here and in child processes.

    What a shell starts in the background ignores it, and would hand that on.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=engines.NAMES)
def engine(request: pytest.FixtureRequest) -> Iterator[engines.Engine]:
    """Each engine in turn, and in force while the test runs."""
    if request.param == "jax":
        pytest.importorskip("jax")
    with engines.use(request.param):
        yield engines.get()
