"""Fixtures that every test may use."""

from collections.abc import Iterator

import pytest

from vi_lab import engine as engines


@pytest.fixture(params=engines.NAMES)
def engine(request: pytest.FixtureRequest) -> Iterator[engines.Engine]:
    """Each engine in turn, and in force while the test runs."""
    if request.param == "jax":
        pytest.importorskip("jax")
    with engines.use(request.param):
        yield engines.get()
