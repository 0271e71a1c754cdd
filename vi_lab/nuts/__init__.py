"""NUTS, the comparator: how a variational fit's answers are checked.

Read `hamiltonian`, `trajectory` and `recursive` in this order; `iterative` is the same
algorithm for a compiler. `adaptation` has the rules of warm-up and `starts` those of the
start; `walk` takes one chain through both, `side_by_side` runs several, and `sampler` is
the front door.
"""

from vi_lab.nuts.result import NutsResult
from vi_lab.nuts.sampler import nuts

__all__ = ["NutsResult", "nuts"]
