"""Which instructions numbers are made with, and how to do with fewer of them.

NumPy, OpenBLAS and XLA each choose their code by what the processor can do, and round
accordingly: the last bits of a sum depend on how many numbers are added at a time.

    python book/tools/processor.py            this processor's instruction set
    python book/tools/processor.py SSE4_2     the environment variables, as for `env`, by which
                                              all three do as on a processor that has no more

`make test` runs what may depend on bits a second time in that way. On other processors
than x86-64 there is no such choice, and the command prints nothing.
"""

from __future__ import annotations

import os
import platform
import re
import sys

import numpy as np

# By XLA's name of an instruction set, the smallest first: NumPy's names (since 2.4, and before)
# of the last feature that belongs to it, and OpenBLAS's name of a processor that has no more.
LEVELS = {
    "SSE4_2": (("X86_V2", "SSE42"), "Nehalem"),
    "AVX2": (("X86_V3", "AVX2"), "Haswell"),
    "AVX512": (("X86_V4", "AVX512_SKX"), "SkylakeX"),
}


def features() -> list[str]:
    """NumPy's names of the instructions that it chooses by and that this processor has."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]
    return [*simd.get("baseline", ()), *simd.get("found", ())]


def instruction_set() -> str:
    """Such as "x86_64 AVX2": the architecture, and the largest set that NumPy and XLA both use."""
    present = set(features())
    found = [level for level, (names, _) in LEVELS.items() if present & set(names)]
    capped = re.search(r"xla_cpu_max_isa=(\w+)", os.environ.get("XLA_FLAGS", ""))
    if capped and capped[1] in found:
        found = found[: found.index(capped[1]) + 1]
    return " ".join([platform.machine(), *found[-1:]])


def older(level: str) -> dict[str, str]:
    """Environment variables that keep to ``level``; none where the processor has no more.

    Raises
    ------
    KeyError
        if there is no such level.
    """
    names, core = LEVELS[level]
    present = features()
    last = [i for i, feature in enumerate(present) if feature in names]
    if not last:
        return {}
    above = present[last[0] + 1 :]
    return {
        "XLA_FLAGS": f"--xla_cpu_max_isa={level}",
        "OPENBLAS_CORETYPE": core,
        "NPY_DISABLE_CPU_FEATURES": ",".join(above),
    }


def main(arguments: list[str]) -> None:
    """Run the command line."""
    if not arguments:
        print(instruction_set())
        return
    print(*(f"{name}={value}" for name, value in older(arguments[0]).items()))


if __name__ == "__main__":
    main(sys.argv[1:])
