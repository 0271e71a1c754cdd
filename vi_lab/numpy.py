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

import numpy as onp

from vi_lab.engine import follow, numpy_now


def __getattr__(name: str) -> Any:
    """What NumPy lacks and an engine has."""
    return getattr(numpy_now(), name)


follow(__name__, [name for name in dir(onp) if not name.startswith("_")], "numpy_now()")
