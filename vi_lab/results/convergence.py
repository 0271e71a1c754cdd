"""`Convergence`: why a fit stopped, how far it believes to be from its optimum, at what cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Convergence:
    """The verdict on a fit; printed, it is a sentence.

    It judges the search for the best q of the family, not whether that q is close to
    the posterior.

    Attributes
    ----------
    converged : True if the gap is known to be below the tolerance
    why : what ended the fit: "settled", "steps" (they ran out), "callback" or "interrupt"
    gap : nats that the ELBO of q is believed to lie below the family's optimum: Monte Carlo
        noise plus bias of the step size (see `vi_lab.advi.stopping`); infinite if nothing is
        known, because fewer than two windows of iterates were complete or the last one
        was still travelling
    tolerance : nats the gap was to come below
    steps : steps taken, those of the warm-up included
    gradients : gradients of the log density, one a draw and step
    """

    converged: bool
    why: str
    gap: float
    tolerance: float
    steps: int
    gradients: int

    def __str__(self) -> str:
        cost = f"{self.steps:,} steps, {self.gradients:,} gradients"
        asked = f"{self.tolerance:.1g} asked"
        if self.converged:
            return (
                f"Converged: about {self.gap:.1g} nats from the best q of its family ({asked}); "
                f"{cost}."
            )
        ended = {
            "steps": "the steps ran out",
            "callback": "the callback stopped it",
            "interrupt": "it was interrupted",
        }[self.why]
        known = (
            f"about {self.gap:.1g} nats from the best q of its family"
            if self.gap < float("inf")
            else "how far from the best q of its family is not known"
        )
        return f"NOT CONVERGED: {ended}, {known} ({asked}); {cost}."
