"""Trust: what asks whether q is near the posterior, and what repairs it.

Everything here works on a q (a family and its parameters) and the log density, whichever method
made the q: `weights` are those of importance sampling, `short_chains` start from q and show where
it is wrong, `curvature` is the posterior as q sees it, and `response` what that says of its
covariance. `vi_lab.results.check` puts them together.
"""

from vi_lab.trust.curvature import White, bent, draws_for_line, pairs, white
from vi_lab.trust.density import Density
from vi_lab.trust.response import Response, respond
from vi_lab.trust.short_chains import Chains, short_chains
from vi_lab.trust.weights import Weights, weigh

__all__ = [
    "Chains",
    "Density",
    "Response",
    "Weights",
    "White",
    "bent",
    "draws_for_line",
    "pairs",
    "respond",
    "short_chains",
    "weigh",
    "white",
]
