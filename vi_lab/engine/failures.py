"""A user's program that NumPy ran and an engine does not: what in it, where, and what to write.

Engines run a program with arrays of their own, which remember what was done to them. What is
not done with the engine's functions they cannot follow, and each engine complains of that in
words about its own insides. `tell_of` says it in words about the program.
"""

from __future__ import annotations

import linecache
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from traceback import walk_stack, walk_tb
from types import FrameType

from vi_lab.engine import namespace
from vi_lab.engine.tokens import in_library
from vi_lab.errors import EngineError, ViLabError

KINDS = TypeError, ValueError, AttributeError, NotImplementedError, IndexError
"""what engines raise of such a program"""

NUMPY = (
    "`import vi_lab.numpy as np` in place of NumPy, and take vi_lab.scipy and the log_prob of "
    "vi_lab's distributions in place of SciPy"
)
BUILD = "make the array with np.stack, np.concatenate or np.where of vi_lab.numpy"
OF_LATENT = "a latent, or what was computed from one"
REASONS = {  # by what is found first in "kind of error: its message"
    r"TracerBoolConversionError": "it branches on the value of a latent or of data, but is "
    "compiled once for all values: choose with np.where of vi_lab.numpy, or pass a Python int, "
    "bool or str as data",
    r"NonConcreteBooleanIndexError": "it picks entries by a condition, so that their number would "
    "depend on values: keep all, and put a neutral value in place of the others, "
    "np.where(condition, values, 0.0)",
    r"item assignment": f"it assigns to entries of {OF_LATENT}: {BUILD} instead",
    r"setting an array element": f"it puts {OF_LATENT}, into an array of NumPy's own: {BUILD} "
    f"instead; and {NUMPY}",
    r"must be real number, not|(float|int)(\(\) argument|` function)|item\(\)|'item'"
    r"|TracerIntegerConversionError": f"it makes a Python number of {OF_LATENT}: leave out "
    "float(), int() and .item(), and use vi_lab.numpy and vi_lab.scipy in place of math",
    r"TracerArrayConversionError|ConcretizationTypeError|ufunc": f"it gives {OF_LATENT}, to a "
    f"function of NumPy's or SciPy's own: {NUMPY}",
    r"[VJ][VJ]P of (?P<name>\w+) .*not defined": "autograd has no derivative of {name}: write it "
    "with functions that have one, or fit with engine='jax'",
    r"(SimpleNamespace|autograd\S*|jax\S*)' (object )?has no attribute '(?P<name>\w+)'": "this "
    "engine's NumPy or SciPy has no {name}: write it with functions that it has",
    r"(Box|Tracer)(' object)? has no attribute '?(?P<name>\w+)": f"it uses .{{name}} of "
    f"{OF_LATENT}: only NumPy's own arrays have that; use a function of vi_lab.numpy",
}


def tell_of(what: str, error: Exception) -> None:
    """Raise an error that says why ``what`` cannot be run by the engine that runs it.

    Nothing is raised if no engine runs, or if ``error`` is one that speaks for itself.

    Raises
    ------
    RuntimeError
    """
    running = namespace()
    name = getattr(running, "name", None)
    if name is None or isinstance(error, ViLabError) or not isinstance(error, KINDS):
        return
    said = f"{type(error).__name__}: {error}"
    reason = f"NumPy runs this, {name} does not ({said.splitlines()[0]}): write it with {NUMPY}"
    for pattern, words in REASONS.items():
        if found := re.search(pattern, said):
            reason = words.format(**found.groupdict())
            break
    line = _line(walk_tb(error.__traceback__))
    raise EngineError(f"{what} cannot be run by {name}{line}: {reason}") from error


def line_now() -> str:
    """The line of the user's that is being run, as a part of a sentence."""
    frames = list(walk_stack(sys._getframe(1)))  # noqa: SLF001 - its documented use
    return _line(reversed(frames))


def _line(frames: Iterable[tuple[FrameType, int]]) -> str:
    """Of ``frames``, the innermost last, the innermost that belongs to no library."""
    own = [(f, n) for f, n in frames if not in_library(f.f_globals.get("__name__") or "")]
    if not own:
        return ""
    frame, number = own[-1]
    file = frame.f_code.co_filename
    text = linecache.getline(file, number, frame.f_globals).strip()
    return f", at line {number} of {Path(file).name}{f', `{text}`' if text else ''}"
