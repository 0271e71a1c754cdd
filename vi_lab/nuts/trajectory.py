r"""Trajectories: what both NUTS implementations know about a stretch of leapfrog steps.

NUTS follows a trajectory forwards and backwards in time, doubling it until it turns
back on itself, and draws the next state from its points, the *leaves*, with
probabilities proportional to exp(-H). A trajectory of 2^k leaves is a binary tree:
two halves of 2^(k-1) leaves each. A subtree is kept only if none of its own subtrees
turns back, so halves are joined from the bottom up. All that a join needs is a
:class:`Span`: constant memory however many leaves it stands for.

**U-turn.** A span turns back when it no longer moves along its own displacement.
With rho the sum of its momenta (a proxy of the displacement that works for any
metric), it goes on while M^-1 p . rho > 0 at both of its ends: the generalised
criterion of Betancourt (2017), Appendix A.4. Two halves that fit each other badly can
hide a turn at the seam, so Stan (since 2.21, ``base_nuts.hpp``) asks the same of the
first half with one leaf of the second, and of the second with one leaf of the first.
The criterion is the same read backwards, so a span's leaves are listed in the order
in which they were made, whichever way time ran.

**Which leaf.** Within a subtree, exactly in proportion to the weights: of two halves
with weights w_a, w_b, the second's leaf is kept with probability w_b / (w_a + w_b).
Between the old trajectory and the new half (always wholly on one side of it), with
probability min(1, w_new / w_old): biased to the new half, so away from where the
chain is, and still leaving the target invariant (Betancourt 2017, A.3.2).

**Noise is data.** A trajectory of 2^k leaves has 2^k - 1 such choices, but needs only
one uniform number *a level*: the leaf that survives meets one join at each level, all
other joins of that level decide between leaves that will be thrown away. So two joins
of the same level may share a number: never do both matter. Levels are decided by
different numbers, so the survivor is chosen by independent numbers. For the same
reason one set of numbers serves every doubling: a single doubling supplies the leaf
that is returned in the end, and which one it is depends on the weights and on other
numbers. A transition takes D normals and 3 x max_depth uniforms (:class:`Noise`),
however long its trajectory.
"""

from __future__ import annotations

from typing import NamedTuple

import vi_lab.numpy as np
from vi_lab.engine import Array
from vi_lab.nuts.hamiltonian import Hamiltonian, Point

MAX_ENERGY_ERROR = 1000.0
"""H may grow by this much (nats) before a leapfrog step counts as divergent, as in Stan."""


class Noise(NamedTuple):
    """The random numbers of one transition (arrays may have further axes in front)."""

    momentum: Array
    """standard normal, (D,)"""
    direction: Array
    """uniform, (max_depth,): doubling j runs forwards in time if below 1/2"""
    within: Array
    """uniform, (max_depth,): entry k decides joins of two spans of 2^k leaves in a subtree"""
    between: Array
    """uniform, (max_depth,): entry j decides between the trajectory and its j-th doubling"""


class Record(NamedTuple):
    """What a transition reports."""

    z: Array
    """the new state, (D,)"""
    log_density: Array
    acceptance: Array
    """mean of min(1, exp(H0 - H)) over the leaves: what step size adaptation steers"""
    n_leapfrog: Array
    """leapfrog steps, each one gradient"""
    depth: Array
    """doublings completed"""
    diverging: Array
    """True if some leaf's energy error exceeded `MAX_ENERGY_ERROR`"""
    energy: Array
    """H of the new state, for the E-BFMI"""


class Candidate(NamedTuple):
    """A leaf that may become the next state, and its energy."""

    point: Point
    energy: Array


class Span(NamedTuple):
    """A stretch of consecutive leaves."""

    first: Array
    """momentum of the leaf made first, (D,)"""
    last: Array
    """momentum of the leaf made last, (D,)"""
    rho: Array
    """sum of the momenta of all leaves, (D,)"""
    log_weight: Array
    """log sum of exp(H0 - H) over the leaves"""
    candidate: Candidate
    """the leaf chosen so far"""


def leaf(hamiltonian: Hamiltonian, point: Point, momentum: Array, start_energy: Array) -> Span:
    """A span of one leaf; an energy that is not a number counts as infinite.

    So a point whose log density or gradient (which moved the momentum) is not finite
    gets no weight, and is never a draw.
    """
    energy = hamiltonian.energy(point, momentum)
    log_weight = start_energy - energy
    log_weight = np.where(np.isnan(log_weight), -np.inf, log_weight)
    return Span(momentum, momentum, momentum, log_weight, Candidate(point, energy))


def is_divergent(leaf: Span) -> Array:
    """The leapfrog step to this leaf went wrong: H grew by more than `MAX_ENERGY_ERROR`."""
    return leaf.log_weight < -MAX_ENERGY_ERROR


def join(a: Span, b: Span, candidate: Candidate) -> Span:
    """The span of ``a``'s leaves and then ``b``'s, with the candidate that was chosen."""
    log_weight = np.logaddexp(a.log_weight, b.log_weight)
    return Span(a.first, b.last, a.rho + b.rho, log_weight, candidate)


def share(a: Span, b: Span) -> Array:
    """w_b / (w_a + w_b), the probability of the second half within a subtree."""
    return 1.0 / (1.0 + np.exp(a.log_weight - b.log_weight))


def bias(a: Span, b: Span) -> Array:
    """w_b / w_a, the probability of a new half over the old trajectory (1 if above 1)."""
    return np.exp(b.log_weight - a.log_weight)


def is_turning(hamiltonian: Hamiltonian, a: Span, b: Span) -> Array:
    """``a`` followed by ``b`` turns back on itself, as a whole or where they meet."""

    def goes_on(first: Array, last: Array, rho: Array) -> Array:
        rho = hamiltonian.velocity(rho)
        return (np.sum(first * rho) > 0.0) & (np.sum(last * rho) > 0.0)

    return np.logical_not(
        goes_on(a.first, b.last, a.rho + b.rho)
        & goes_on(a.first, b.first, a.rho + b.first)
        & goes_on(a.last, b.last, a.last + b.rho)
    )
