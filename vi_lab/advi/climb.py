r"""Climbing: q goes up the ELBO of fixed draws, by trusted steps, until what is left is noise.

A step is tried, and taken where the ELBO gains at least a tenth of what was foreseen. Its longest
divergence, the *trust*, grows fourfold where more than half was gained and falls to a tenth of
the length that failed. Steps shorter than half a nat are corrected by those before
(`vi_lab.advi.local.two_loops`): they know what A leaves out, how mean and scales hang together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as onp

from vi_lab.advi.density import Density
from vi_lab.advi.local import ROUGH, Local, Pairs, two_loops
from vi_lab.engine import Engine
from vi_lab.errors import ArgumentError
from vi_lab.families import Chart, Family, chart_of
from vi_lab.results.checkpoint import Snapshot

FIRST_TRUST, LEAST_TRUST = 2.0, 1e-12  # nats
MOST_TRUST = 1e30  # nats: to a q that an explosion made narrow a step of one is so long
GAINED, WELL_GAINED = 0.1, 0.5  # of what was foreseen
GROWTH, SHRINKAGE = 4.0, 0.1
NEAR = 0.5  # nats: steps so short are corrected by those before,
FAR = 4.0  # unless the correction makes them so many times as long
MEMORY = 10  # steps
MOST_STEPS = 100  # on one set of draws
SETTLED, WORTHLESS = (
    0.1,
    0.05,
)  # a gain below these parts of noise, and of tolerance, is not climbed
MOST_NOISE = 1.0  # nats, of which a tenth is "settled": no more, however large the noise
RUNAWAY = 1e12  # in units of z: beyond, nothing is left of float64's digits in a log density
NARROWEST = 1e-15  # of a mean: there float64 tells a handful of numbers apart
JOINED = 0.1  # standard deviations between two climbs that end in one place
NARROWER, TIMES_NARROWER = 0.1, 4  # where the density is not finite all over the first q
ROUNDING = 1e-13  # of an ELBO
HIDDEN = 0.02  # of the tolerance: so small a gain may be rounding, and is not asked to be seen
STRAIGHT = 1e-8  # least cosine of a step and the change of slope along it that is remembered


@dataclass(eq=False)
class Climb:
    """One q on its way.

    Attributes
    ----------
    at : where it is
    local : the ELBO about it; None before the first look
    trust : nats of divergence that a step may have
    memory : the last steps
    steps : taken on these draws
    why : what ended it: "settled", "joins" (another climb), "runs away", "stuck", "steps", "not
        finite"; empty while it goes on
    narrowed : how often q was made narrower because the density was not finite all over it
    losses : minus the ELBO at the start and after each step, in nats
    """

    at: Chart
    local: Local | None = None
    trust: float = FIRST_TRUST
    memory: Pairs = field(default_factory=list)
    steps: int = 0
    why: str = ""
    narrowed: int = 0
    losses: list[float] = field(default_factory=list)

    @property
    def known(self) -> Local:
        """``local``, once there has been a look.

        Raises
        ------
        ArgumentError
            if there was none.
        """
        if self.local is None:
            raise ArgumentError("climb: nothing is known here before the first look")
        return self.local

    @property
    def elbo(self) -> float:
        """In nats; minus infinity where it is not known."""
        return -onp.inf if self.local is None else self.local.elbo

    @property
    def gap(self) -> float:
        """Nats that it lacks, as far as these draws know."""
        return onp.inf if self.local is None else self.local.gap

    def begin(self) -> None:
        """Be ready for other draws."""
        self.local, self.why, self.steps = None, "", 0
        self.trust = max(self.trust, FIRST_TRUST)

    def snapshot(self) -> Snapshot:
        """All that the rest of the climb depends on."""
        tangents = {str(i): {"s": s, "y": y} for i, (s, y) in enumerate(self.memory)}
        return {
            "scales": self.at.scales,
            "at": self.at.arrays(),
            "trust": self.trust,
            "memory": tangents,
            "steps": self.steps,
            "why": self.why,
            "narrowed": self.narrowed,
            "losses": onp.array(self.losses),
            "looked": self.local is not None,
        }

    @classmethod
    def restore(cls, saved: Snapshot, family: Family, engine: Engine) -> Climb:
        """What `snapshot` was taken of, but for what is known there (`look_again`)."""
        memory = saved.get("memory", {})
        return cls(
            at=chart_of(str(saved["scales"]), saved["at"], family, engine),
            trust=float(saved["trust"]),
            memory=[(memory[str(i)]["s"], memory[str(i)]["y"]) for i in range(len(memory))],
            steps=int(saved["steps"]),
            why=str(saved["why"]),
            narrowed=int(saved["narrowed"]),
            losses=list(saved.get("losses", ())),
        )


@dataclass(frozen=True, eq=False)
class Proposal:
    """A step that is tried."""

    at: Chart
    tangent: onp.ndarray
    divergence: float
    gain: float


def climb(
    density: Density,
    climbs: Sequence[Climb],
    eps: onp.ndarray,
    tolerance: float,
    *,
    most_steps: int = MOST_STEPS,
    after_step: Callable[[], bool] = lambda: False,
) -> None:
    """Carry all ``climbs`` up on the draws ``eps``, each until its gain is noise.

    They go together, and one that joins another stops. ``after_step`` is called after each round;
    where it returns True they stop as they are, with ``why`` empty. One of which something is known
    on these draws is on its way, and goes on.
    """
    on_their_way = [i for i, c in enumerate(climbs) if not c.why and c.local is not None]
    proposals = {i: _propose(climbs[i]) for i in on_their_way}
    while going := [i for i, c in enumerate(climbs) if not c.why]:
        tried = [proposals[i].at if i in proposals else climbs[i].at for i in going]
        for i, found in zip(going, density.looks(tried, eps), strict=True):
            if i in proposals:
                _judge(climbs[i], proposals.pop(i), found, tolerance)
            elif not _first_look(climbs[i], found):
                continue
            climbs[i].why = _ended(climbs[i], climbs[:i], tolerance, most_steps)
            if not climbs[i].why:
                proposals[i] = _propose(climbs[i])
        if after_step():
            return


def look_again(density: Density, c: Climb, eps: onp.ndarray) -> None:
    """What is known where ``c`` is, on its draws."""
    (found,) = density.looks([c.at], eps)
    c.local = None if found is None else found.weighed(c.memory)


def _first_look(c: Climb, found: Local | None) -> bool:
    """Whether the climb can begin; where q is too wide for the density it becomes narrower."""
    if found is not None:
        c.local = found.weighed(c.memory)
        c.losses = c.losses or [-found.elbo]
        return True
    if c.at.scales == "unknown" or c.narrowed == TIMES_NARROWER:
        c.why = "not finite"
        return False
    c.at = c.at.moved(onp.log(NARROWER) * c.at.entropy_slope)
    c.narrowed += 1
    return False


def _judge(c: Climb, tried: Proposal, found: Local | None, tolerance: float) -> None:
    """Take the step that was tried, or shorten the trust."""
    known, ratio = c.known, -onp.inf
    if found is not None:
        rounding = ROUNDING * (abs(found.elbo) + abs(known.elbo)) + 1e-300
        ratio = (found.elbo - known.elbo + rounding) / (tried.gain + rounding)
    tiny = tried.gain < HIDDEN * tolerance and ratio > -1.0
    if found is None or not (ratio > GAINED or tiny):
        c.trust = SHRINKAGE * min(c.trust, tried.divergence)
        return
    if ratio > WELL_GAINED:
        c.trust = min(MOST_TRUST, GROWTH * c.trust)
    change, tangent = known.slope - found.slope, tried.tangent
    if c.at.scales != "unknown" and tried.divergence > NEAR:
        c.memory = []  # of another place
    elif tangent @ change > STRAIGHT * onp.linalg.norm(tangent) * onp.linalg.norm(change):
        c.memory = [*c.memory, (tangent, change)][-MEMORY:]
    c.at, c.local = tried.at, found.weighed(c.memory)
    c.steps += 1
    c.losses.append(-found.elbo)


def _ended(c: Climb, others: Sequence[Climb], tolerance: float, most_steps: int) -> str:
    """Why the climb ends here; "" if it does not."""
    if any(_joins(c, other) for other in others):
        return "joins"
    enough = max(SETTLED * min(c.known.noise, MOST_NOISE), WORTHLESS * tolerance)
    if c.known.gain < enough:
        return "settled"
    if max(onp.abs(c.at.loc).max(), c.at.sd.max()) > RUNAWAY or collapsed(c.at).any():
        return "runs away"
    if c.trust < LEAST_TRUST:
        return "stuck"
    return "steps" if c.steps >= most_steps else ""


def collapsed(q: Chart) -> onp.ndarray:
    """Coordinates (D,) in which all draws are one number, or nearly: q has shrunk onto a point."""
    return onp.asarray(q.sd < NARROWEST * onp.abs(q.loc))


def _joins(c: Climb, other: Climb) -> bool:
    """Whether ``c`` is so near another that it would end where that does."""
    if other.local is None or other.why in ("steps", "stuck", "not finite") or c.local is None:
        return False
    far = onp.abs((c.at.loc - other.at.loc) / other.at.sd).max()
    wider = onp.abs(onp.log(c.at.sd / other.at.sd)).max()
    return bool(far < JOINED and wider < JOINED and c.local.gain < ROUGH)


def _propose(c: Climb) -> Proposal:
    """The next q to try."""
    local = c.known
    step = local.curvature.trusted(local.slope, c.trust)
    tangent, divergence, gain = step.tangent, step.divergence, step.gain
    unknown = c.at.scales == "unknown"
    if c.memory and local.curvature.lowest > 0.0 and (divergence < NEAR or unknown):
        corrected = two_loops(c.memory, local.slope, local.curvature.solve)
        rise = float(corrected @ local.slope)
        length = 0.5 * float(corrected @ corrected)
        if not unknown:  # the divergence of scales: twice as much
            dim = c.at.loc.size
            length += 0.5 * float(corrected[dim:] @ corrected[dim:])
        if rise > 0.0 and (unknown or length < FAR * NEAR):
            share = min(1.0, (c.trust / length) ** 0.5)
            tangent, divergence = share * corrected, share**2 * length
            gain = rise * share * (1.0 - 0.5 * share)
    with onp.errstate(all="ignore"):
        return Proposal(c.at.moved(tangent), tangent, divergence, gain)
