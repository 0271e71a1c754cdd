"""The active engine's NumPy: ``import vi_lab.numpy as np``.

While an engine differentiates or compiles a function, every name looked up here
comes from that engine (``autograd.numpy`` or ``jax.numpy``); everywhere else it is
NumPy itself. So a log density is written once, and called from a notebook it
returns an ordinary array.

The look-up is per attribute and reads a context variable (see
:mod:`vi_lab.engine`), never a global: two engines can run side by side in one
process, in different threads if need be.
"""

from typing import Any

from vi_lab.engine import namespace


def __getattr__(name: str) -> Any:
    return getattr(namespace().numpy, name)
