"""`Convergence`, the verdict on a fit: how far it believes to be from its optimum, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ENDINGS = {
    "steps": "the steps ran out",
    "gradients": "the gradients ran out",
    "callback": "the callback stopped it",
    "interrupt": "it was interrupted",
    "rows": "more rows would be needed than are held at a time",
    "draws": "more would be needed than the fixed draws",
    "restless": "q still moves",
    "stuck": "no step gains anything on these draws",
    "fresh": "a step still gains on draws (and rows) that the search has not seen",
    "tail": "a cliff or a tail lies beyond the draws, where the ELBO's error is not known",
}
"""What ends a fit that has not converged, by ``Convergence.why``."""

MOST_NAMED = 5  # other optima


@dataclass(frozen=True)
class Convergence:
    """The verdict on a fit; printed, it is a sentence or two.

    It judges the search for the best q of the family, not whether that q is close to
    the posterior. Two witnesses are heard: the draws of the search (``gap``), and others that it
    has not seen (``gain``), besides a look beyond the outermost of them.

    Attributes
    ----------
    converged : True if ``gap`` is below the tolerance and nothing speaks against it
    why : what ended the fit: "settled", "no optimum" (the ELBO rises without end, or is level),
        or a key of `ENDINGS`
    gap : nats that the ELBO of q is believed to lie below the family's optimum near it: what the
        noise of the draws is expected to cost (on the high side), twice the standard deviation of
        that, what is left to gain on them (`vi_lab.advi.local`), and what lies beyond them or in
        rows that were not among them; infinite if nothing is known
    tolerance : nats the gap was to come below
    steps : steps taken, in all
    gradients : gradients of the log density, one a draw and step (with rows: in units of all rows)
    gain, error : nats that a further step would gain, estimated without bias on draws that the
        search has not seen, and the standard error of that; NaN if it did not come to that
    modes : ELBOs less that of q, of optima in other places that were found on the way
    runaways : names of the latents that run away where there is "no optimum"
    """

    converged: bool
    why: str
    gap: float
    tolerance: float
    steps: int
    gradients: int
    gain: float = float("nan")
    error: float = float("nan")
    modes: tuple[float, ...] = ()
    runaways: tuple[str, ...] = ()

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Convergence:
        """What was stored, with its tuples as arrays."""
        modes = tuple(map(float, record.get("modes", ())))
        names = tuple(map(str, record.get("runaways", ())))
        return cls(**{**record, "modes": modes, "runaways": names})

    def __str__(self) -> str:
        cost = f"{self.steps:,} steps, {self.gradients:,} gradients"
        known = (
            f"about {self.gap:.1g} nats from the best q of its family"
            if self.gap < float("inf")
            else "how far from the best q of its family is not known"
        )
        asked = f"{self.tolerance:.1g} asked"
        if self.converged:
            verdict = f"Converged: {known} ({asked}); {cost}."
        elif self.why == "no optimum":
            names = ", ".join(self.runaways)
            verdict = (
                "NOT CONVERGED: there is no optimum to find, for the ELBO does not fall while "
                f"{names} run{'s' if len(self.runaways) == 1 else ''} away: is the posterior "
                f"improper, a prior missing? {cost}."
            )
        else:
            verdict = f"NOT CONVERGED: {ENDINGS[self.why]}, {known} ({asked}); {cost}."
        if self.modes:
            found = ", ".join(f"{mode:+.2f}" for mode in self.modes[:MOST_NAMED])
            found += ", ..." if len(self.modes) > MOST_NAMED else ""
            verdict += (
                f" Starts disagreed: other optima, with ELBOs of {found} nats beside this one."
            )
        return verdict


@dataclass(frozen=True)
class Stage:
    """One stage of a search: a line of ``fit.stages``.

    Attributes
    ----------
    name : "starts" or "draws"
    draws : S, on which all its steps were taken
    steps, gradients : taken in it
    seconds : wall time
    elbo : of the best q at its end, on its draws, in nats
    gap : nats that this q is believed to lack
    why : how each of its climbs ended
    """

    name: str
    draws: int
    steps: int
    gradients: int
    seconds: float
    elbo: float
    gap: float
    why: str

    def __str__(self) -> str:
        return (
            f"{self.name:<7}{self.draws:>8,} draws{self.steps:>6,} steps{self.gradients:>12,} "
            f"gradients{self.seconds:>9.3f} s  ELBO {self.elbo:.6g}, gap {self.gap:.1g}: {self.why}"
        )
