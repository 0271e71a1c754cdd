"""Results: what comes out of a fit, whichever method made it."""

from vi_lab.results.convergence import Convergence, Stage
from vi_lab.results.fit import Estimate, Fit
from vi_lab.results.summary import Summary, summarise

__all__ = ["Convergence", "Estimate", "Fit", "Stage", "Summary", "summarise"]
