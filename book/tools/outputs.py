"""Compare what a cell printed and drew with what it prints and draws now.

Numbers in text: integers are equal; the others agree to a relative tolerance, so that
rounding on another processor or in another engine passes and a change that a reader
could notice does not. Words are equal, white space aside (a column widens when
-0.00 becomes 0.00). Pictures: the root mean square over pixels stays small. What
goes to stderr, progress bars mostly, is not compared. What depends on a long chain is
compared by its Monte Carlo error instead: see `monte_carlo`.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Iterator
from typing import Any

import matplotlib.image
import numpy as np
from monte_carlo import INK, ink_difference, reconcile

Output = dict[str, Any]  # one output of a cell, as the notebook format has it

RELATIVE = 1e-4  # one unit in the fifth digit; engines agree to 1e-8, but printing rounds
ABSOLUTE = 1e-9  # below this a number is the rounding error of something that is zero
PIXEL_RMS = 0.01  # of the full range of a colour channel

_NUMBER = re.compile(r"(?<![\w.])([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)")


def differences(
    stored: list[Output],
    fresh: list[Output],
    relative: float | None = None,
    monte_carlo: bool = False,
) -> Iterator[str]:
    """In words, how the outputs of a cell now differ from those stored.

    Given a tolerance ``relative`` of its own, a cell's integers may differ by as much, and its
    picture by such a root mean square.
    With ``monte_carlo``, estimates and pictures may differ as those of two long chains do.
    """
    stored, fresh = _without_stderr(stored), _without_stderr(fresh)
    kinds = [_kind(output) for output in stored], [_kind(output) for output in fresh]
    if kinds[0] != kinds[1]:
        yield f"outputs were {kinds[0]} and are now {kinds[1]}"
        return
    for old, new in zip(map(_content, stored), map(_content, fresh), strict=True):
        for mime, value in old.items():
            if monte_carlo:
                complaints, now = _without_estimates(mime, value, new[mime], relative)
                yield from complaints
            else:
                now = new[mime]
            yield from _compare(mime, value, now, relative)


def _without_stderr(outputs: list[Output]) -> list[Output]:
    return [output for output in outputs if output.get("name") != "stderr"]


def _kind(output: Output) -> str:
    """The type of an output and of all it holds."""
    return f"{output['output_type']}: {', '.join(sorted(_content(output)))}"


def _content(output: Output) -> dict[str, Any]:
    """What an output shows, by MIME type."""
    match output["output_type"]:
        case "stream":
            return {"text/plain": output["text"]}
        case "error":  # without the traceback, which holds paths and line numbers
            return {"text/plain": f"{output['ename']}: {output['evalue']}"}
        case _:
            return dict(output["data"])


def _without_estimates(
    mime: str, old: Any, new: Any, relative: float | None
) -> tuple[list[str], Any]:
    """What Monte Carlo error does not explain, and ``new`` with the estimates of ``old``."""
    if mime == "image/png":
        most = INK if relative is None else relative
        found = ink_difference(_pixels(old), _pixels(new))
        told = f"the smoothed picture changed: by {found:.2f} of its ink, more than {most}"
        return [] if found <= most else [told], old
    return reconcile(old, new) if isinstance(old, str) else ([], new)


def _compare(mime: str, old: Any, new: Any, relative: float | None) -> Iterator[str]:
    if mime == "image/png":
        limit = PIXEL_RMS if relative is None else relative
        if (rms := pixel_rms(old, new)) > limit:
            yield f"the picture changed: pixel RMS {rms:.4f}, more than {limit}"
    elif not isinstance(old, str):
        if old != new:
            yield f"{mime} was {old} and is now {new}"
    elif not same_text(old, new, relative):
        yield f"{mime} was\n{old}\nand is now\n{new}"


def same_text(old: str, new: str, relative: float | None = None) -> bool:
    """Whether two texts say the same, their numbers compared as numbers."""
    old_parts, new_parts = _NUMBER.split(old), _NUMBER.split(new)
    if len(old_parts) != len(new_parts):
        return False
    words = zip(old_parts[::2], new_parts[::2], strict=True)
    numbers = zip(old_parts[1::2], new_parts[1::2], strict=True)
    return all(a.split() == b.split() for a, b in words) and all(
        _same_number(a, b, relative) for a, b in numbers
    )


def _same_number(old: str, new: str, relative: float | None) -> bool:
    if relative is None and (_is_integer(old) or _is_integer(new)):
        return old == new
    tolerance = RELATIVE if relative is None else relative
    return math.isclose(float(old), float(new), rel_tol=tolerance, abs_tol=ABSOLUTE)


def _is_integer(number: str) -> bool:
    return number.lstrip("+-").isdecimal()


def pixel_rms(old: str, new: str) -> float:
    """Root mean square difference of two base64 PNGs, in units of a channel's full range.

    Infinite if their sizes differ.
    """
    first, second = _pixels(old), _pixels(new)
    if first.shape != second.shape:
        return math.inf
    return float(np.sqrt(np.mean((first - second) ** 2)))


def _pixels(encoded: str) -> np.ndarray:
    """The picture as an array (rows, columns, channels) of numbers from 0 to 1."""
    pixels: np.ndarray = matplotlib.image.imread(io.BytesIO(base64.b64decode(encoded)))
    return pixels
