"""Which instructions numbers are made with: told, and chosen."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import processor
import pytest

TOOL = Path(processor.__file__)
needs_levels = pytest.mark.skipif(
    not processor.older("SSE4_2"), reason="this processor has no smaller instruction set to keep to"
)


def run(*arguments, **environment):
    command = [sys.executable, "-W", "error", *map(str, arguments)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_architecture_is_told():
    assert processor.instruction_set().split()[0] == platform.machine()


@needs_levels
def test_numpy_and_xla_keep_to_the_smaller_set():
    told = run(TOOL, "SSE4_2").split()
    smaller = dict(pair.split("=", 1) for pair in told)
    assert smaller == processor.older("SSE4_2")
    assert run(TOOL, **smaller).split()[1] == "SSE4_2"
    # And so the last bits of a sum of exponentials differ: NumPy's vector code was in use.
    total = "import numpy as np; print(repr(np.exp(np.linspace(0, 1, 9_973)).tolist()))"
    assert run("-c", total) != run("-c", total, **smaller)


def test_features_of_older_numpy_are_known(monkeypatch):
    simd = {"baseline": ["SSE", "SSE2", "SSE3"], "found": ["SSE42", "AVX", "AVX2", "AVX512F"]}
    config = {"SIMD Extensions": simd | {"not found": ["AVX512_SKX"]}}
    monkeypatch.setattr(processor.np, "show_config", lambda **_: config)
    monkeypatch.setenv("XLA_FLAGS", "")
    assert processor.instruction_set().split()[1:] == ["AVX2"]
    assert processor.older("SSE4_2")["NPY_DISABLE_CPU_FEATURES"] == "AVX,AVX2,AVX512F"
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=SSE4_2")
    assert processor.instruction_set().split()[1:] == ["SSE4_2"]


def test_where_there_are_no_levels_nothing_is_set(monkeypatch):
    arm = {"SIMD Extensions": {"baseline": ["NEON", "ASIMD"], "found": ["ASIMDHP"]}}
    monkeypatch.setattr(processor.np, "show_config", lambda **_: arm)
    assert processor.older("SSE4_2") == {}
    assert processor.instruction_set() == platform.machine()
