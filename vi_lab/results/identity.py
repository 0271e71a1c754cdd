"""To whom a file belongs: a model and what was asked of it, as names and short texts.

A fit can be gone on from only by the same fit, and its verdict is about one posterior only. So
beside the numbers of a file stands what they are of: the program, what it captures
(`vi_lab.engine.captured`) and the data, by digests that are the same in every process. What
differs is then said by name.

Arrays count by all of their bytes. Of a memory map, or of rows that come in blocks, which may be
larger than what can be read in a moment, names, shapes, types and a sample count: `SAMPLE_ROWS`
rows at equal distances, or those of the first block.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import numpy as onp

from vi_lab.engine import Engine
from vi_lab.engine.captured import captured
from vi_lab.engine.tokens import digest
from vi_lab.model.maps import is_mapped
from vi_lab.model.rows import Arrays, Blocks

Identity = dict[str, str]
"""What a file is of: a short text by name."""

SAMPLE_ROWS = 1_000
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
SHOWN = 60  # characters of an option in a message


def of_model(model: Any) -> Identity:
    """Of a posterior: its latents, its program, what that captures, and its data."""
    shapes = dict(model.unconstrained_shapes)
    found = {"latents": ", ".join(f"{name} {shapes[name]}" for name in model.latents)}
    code: list[str] = []
    structure = model.structure
    for name, value in captured(structure).digests().items():
        if name.isidentifier():
            found[f"captured {name}"] = value
        elif name:  # else of the model, whose latents and data have names of their own
            code.append(value)
    found["program"] = digest(code)
    for name, constant in getattr(structure, "constants", ()):
        found[f"data {name}"] = repr(constant)
    for name, array in (model.arrays if hasattr(model, "arrays") else model.data).items():
        found[f"data {name}"] = of_array(array)
    if model.minibatch is not None:
        found["minibatch"] = f"{model.minibatch.size} of {model.num_rows} rows"
        if model.minibatch.blocks is not None:
            found |= of_rows(model.minibatch.source({}))
    return found


def of_rows(source: Arrays | Blocks) -> Identity:
    """Of rows, wherever they come from."""
    if isinstance(source, Arrays):
        return {f"data {name}": of_array(array) for name, array in source.arrays.items()}
    first = {f"data {name}": of_array(array) for name, array in source.like.items()}
    return {**first, "rows": str(source.num_rows)}


def of_array(array: Any) -> str:
    """Its shape, type and bytes; of a map those of a sample of its rows."""
    if is_mapped(array):
        chosen = onp.linspace(0, len(array) - 1, min(len(array), SAMPLE_ROWS)).astype(int)
        return f"{array.shape} {array.dtype} map {digest(captured(array[chosen]).parts)}"
    array = onp.asarray(array)
    return f"{array.shape} {array.dtype} {digest(captured(array).parts)}"


def of_options(**options: Any) -> Identity:
    """Of settings: numbers and names as they are, functions by their code."""
    return {name: _option(value) for name, value in options.items()}


def of_library(engine: Engine | None) -> Identity:
    """Of whoever computes: bits and bytecode are theirs."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    runs = f"NumPy {onp.__version__}" if engine is None else f"{engine.name} {engine.version}"
    return {"vi_lab": sys.modules["vi_lab"].__version__, "engine": runs, "Python": python}


def differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """What differs, in words: "seed 1 there, 2 here"; nothing if all is the same."""
    found = []
    for name in dict.fromkeys([*ours, *theirs]):
        there, here = theirs.get(name), ours.get(name)
        if there == here:
            continue
        if there is None or here is None:
            found.append(f"{name} ({'not there' if there is None else 'not here'})")
        elif name == "program" or name.startswith("captured ") or here.startswith("("):
            found.append(name)  # of code and arrays there are digests, which say nothing
        else:
            found.append(f"{name} {there[:SHOWN]} there, {here[:SHOWN]} here")
    return found


def _option(value: Any) -> str:
    text = ADDRESS.sub("", repr(value))
    if isinstance(value, bool | int | float | str | None):
        return text
    return f"{text[:SHOWN]} ({digest(captured(value).parts)[:12]})"
