"""Results: what comes out of a fit, whichever method made it."""

from vi_lab.results.check import Check
from vi_lab.results.convergence import Convergence, Stage
from vi_lab.results.fit import Estimate, Fit
from vi_lab.results.linear_response import LinearResponse, linear_response
from vi_lab.results.summary import Summary, summarise

__all__ = [
    "Check",
    "Convergence",
    "Estimate",
    "Fit",
    "LinearResponse",
    "Stage",
    "Summary",
    "linear_response",
    "summarise",
]
