"""Progress bars: tqdm on standard error, imported only when one is shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def progress_bar(
    iterable: Iterable[Any] | None, description: str, show: bool, total: int | None = None
) -> Any:
    """A tqdm bar over ``iterable`` (or a manual one of ``total`` steps); silent unless ``show``."""
    from tqdm import tqdm

    return tqdm(
        iterable, desc=description, total=total, disable=not show, leave=True, dynamic_ncols=True
    )
