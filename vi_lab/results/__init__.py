"""Results: what comes out of a fit, whichever method made it."""

from vi_lab.results.convergence import Convergence
from vi_lab.results.fit import Estimate, Fit
from vi_lab.results.summary import Summary, summarise

__all__ = ["Convergence", "Estimate", "Fit", "Summary", "summarise"]
