"""How much memory a fresh process takes: its own account of itself, on Linux."""

import subprocess
import sys

import pytest

# Not getrusage: the peak that it tells began in the process that started this one.
PEAK = """
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
"""

only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")


def printed_by(code: str, *arguments: str) -> list[float]:
    """The numbers that ``code`` prints in a process of its own; ``peak()`` is in MB."""
    command = [sys.executable, "-c", PEAK + code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]
