"""NUTS, the comparator: how a variational fit's answers are checked.

Read `hamiltonian`, `trajectory` and `recursive` in this order; `iterative` is the same
algorithm for a compiler, `adaptation` the warm-up, and `sampler` the front door.
"""

from vi_lab.nuts.result import NutsResult
from vi_lab.nuts.sampler import nuts

__all__ = ["NutsResult", "nuts"]
