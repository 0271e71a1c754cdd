"""How XLA compiles loops on a CPU: whole, rather than operation by operation.

XLA works off the operations of a loop's body one by one, from a list, which costs some
40 ns each; only a loop whose body touches less than a kilobyte is compiled as one
function. A step of ADVI on a small model is forty operations on a handful of numbers and
a hundred rows, which is more. Compiled whole it runs five times as fast, and compiles
in half the time. A body that touches megabytes gains more from being spread over cores,
which a whole loop is not: hence a limit, not none.

A scatter (the gradient of ``effect[group]``) keeps a loop from being compiled whole,
unless XLA writes it as a loop of its own: hence the option `FEW_ROWS`, for functions
that gather a few thousand rows at most. A leapfrog step with 919 rows in 85 groups takes
8 microseconds with it and 13 without. Of many rows a scatter as a loop takes longer (2 ns
a row) than XLA's own, so that it is not for them.

XLA takes the limit from the environment variable XLA_FLAGS alone, which it reads when the
process first compiles something. So it holds for all JAX programs of the process.
"""

from __future__ import annotations

import os

EXTRA = "--xla_backend_extra_options"
LIMIT = "xla_cpu_small_while_loop_byte_threshold=4000000"  # bytes

FEW_ROWS = {"xla_cpu_use_fusion_emitters": False}
"""Options for compiling a function whose loops gather few rows."""


def compile_loops_whole() -> None:
    """Lift the limit in XLA_FLAGS, unless extra options are set there already."""
    flags = os.environ.get("XLA_FLAGS", "")
    if EXTRA not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {EXTRA}={LIMIT}".strip()
