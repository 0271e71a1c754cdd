r"""NUTS that runs: the same tree without recursion, in memory that grows with its depth.

A compiled loop cannot call itself. But the recursion visits leaves in order and joins
subtrees as soon as both halves are there, which is how a binary number is counted up.
Number the leaves from 0, the start. Leaf m completes as many joins as m has trailing
ones (a carry), and the spans that wait for a partner, one at each of its levels, are
those at the ones of m. So max_depth + 1 waiting spans are enough: the idea of Phan,
Pradhan and Jankowiak (2019), appendix, whose checkpoints are here whole spans, so that
joins and U-turn checks are literally those of the recursion.

::

    start                              -> waits at level 0
    m = 1   joins the start            -> waits at level 1: the first doubling is complete
    m = 2                              -> waits at level 0
    m = 3   joins 2, then (0, 1)       -> waits at level 2: the second is complete

The trajectory of all finished doublings, 2^depth leaves, is the span that waits at level
``depth``. Its join with the new half is the only one that is biased, and the only one
that counts even if the result turns back.

A compiled loop pays for each array that it carries, however small, at every turn. So
this one carries a span, or an end of the trajectory, as one row of numbers, which
doubles its speed where gradients are cheap.

:func:`transition` is pure and runs inside a function that an engine runs; under JAX
it is mapped over chains and scanned, under autograd its loops are Python's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import vi_lab.numpy as np
from vi_lab.engine import Array, Engine, current
from vi_lab.nuts.hamiltonian import Hamiltonian, Point
from vi_lab.nuts.trajectory import (
    Candidate,
    Noise,
    Record,
    Span,
    bias,
    is_divergent,
    is_turning,
    join,
    leaf,
    share,
)


class State(NamedTuple):
    """What the loop carries from leaf to leaf."""

    growing: Array
    """the end at which leaves are added, as a row"""
    other: Array
    """the other end"""
    waiting: Array
    """spans that wait for their second half, a row for each level"""
    depth: Array
    """finished doublings"""
    n_leapfrog: Array
    """leaves made, the start not counted"""
    sum_acceptance: Array
    diverging: Array
    stopped: Array


class Carry(NamedTuple):
    """What a leaf has become: joins so far, the span that it ends, and how that went."""

    level: Array
    span: Array
    stopped: Array
    """by a divergence or a U-turn"""
    dropped: Array
    """stopped, and not at the end of a doubling: the new half is not used"""


@dataclass(frozen=True)
class Transition:
    """What stays the same from leaf to leaf."""

    engine: Engine
    hamiltonian: Hamiltonian
    step_size: Array
    noise: Noise
    start_energy: Array

    def add_leaf(self, state: State) -> State:
        """One leapfrog step, and the joins that it completes."""
        engine, depth, m = self.engine, state.depth, state.n_leapfrog + 1
        forwards = self.noise.direction[depth] < 0.5
        turned_round = forwards != (self.noise.direction[np.maximum(depth - 1, 0)] < 0.5)
        switch = turned_round & (m == 1 << depth)  # the first leaf of a doubling
        growing = np.where(switch, state.other, state.growing)
        other = np.where(switch, state.growing, state.other)

        step_size = np.where(forwards, self.step_size, -self.step_size)
        end = self.hamiltonian.leapfrog(*_end(growing), step_size)
        new = leaf(self.hamiltonian, *end, self.start_energy)
        diverging = is_divergent(new)
        carry: Carry = engine.while_loop(
            lambda carry: ((m >> carry.level) & 1 == 1) & np.logical_not(carry.stopped),
            lambda carry: self.join_waiting(state.waiting, depth, turned_round, carry),
            Carry(np.array(0), _span_row(new), diverging, diverging),
        )
        depth = depth + (carry.level > depth)
        return State(
            growing=_end_row(*end),
            other=other,
            waiting=engine.cond(
                carry.dropped,
                lambda waiting, *_: waiting,
                engine.set_at,
                state.waiting,
                carry.level,
                carry.span,
            ),
            depth=depth,
            n_leapfrog=m,
            sum_acceptance=state.sum_acceptance + np.minimum(1.0, np.exp(new.log_weight)),
            diverging=diverging,
            stopped=carry.stopped | (depth == len(self.noise.direction)),
        )

    def join_waiting(
        self, waiting: Array, depth: Array, turned_round: Array, carry: Carry
    ) -> Carry:
        """Join the span with the one that waits for it, a level up."""
        level = carry.level
        a, b = _span(waiting[level]), _span(carry.span)
        whole = level == depth  # a is the trajectory; b its new half
        swap = whole & turned_round  # its leaves are listed in the order of growth
        a = a._replace(first=np.where(swap, a.last, a.first), last=np.where(swap, a.first, a.last))
        take_b = np.where(
            whole,
            self.noise.between[level] < bias(a, b),
            self.noise.within[level] < share(a, b),
        )
        candidate = self.engine.cond(
            take_b, lambda _, b: b, lambda a, _: a, a.candidate, b.candidate
        )
        turning = is_turning(self.hamiltonian, a, b)
        return Carry(
            level + 1, _span_row(join(a, b, candidate)), turning, turning & np.logical_not(whole)
        )


def transition(
    hamiltonian: Hamiltonian, step_size: Array, start: Point, noise: Noise
) -> tuple[Point, Record]:
    """The next state of the chain after ``start``, and a report."""
    engine = current()
    momentum = hamiltonian.momentum(noise.momentum)
    energy = hamiltonian.energy(start, momentum)
    root = _span_row(Span(momentum, momentum, momentum, np.array(0.0), Candidate(start, energy)))
    waiting = np.zeros((len(noise.direction) + 1, *root.shape))
    end = _end_row(start, momentum)
    final: State = engine.while_loop(
        lambda state: np.logical_not(state.stopped),
        Transition(engine, hamiltonian, step_size, noise, energy).add_leaf,
        State(
            growing=end,
            other=end,
            waiting=engine.set_at(waiting, 0, root),
            depth=np.array(0),
            n_leapfrog=np.array(0),
            sum_acceptance=np.array(0.0),
            diverging=np.array(False),
            stopped=np.array(False),
        ),
    )
    point, energy = _span(final.waiting[final.depth]).candidate
    record = Record(
        z=point.z,
        log_density=point.log_density,
        acceptance=final.sum_acceptance / final.n_leapfrog,
        n_leapfrog=final.n_leapfrog,
        depth=final.depth,
        diverging=final.diverging,
        energy=energy,
    )
    return point, record


def _span_row(span: Span) -> Array:
    """A span as one row of 5 D + 3 numbers."""
    point, energy = span.candidate
    scalars = [np.reshape(x, 1) for x in (span.log_weight, point.log_density, energy)]
    vectors = [span.first, span.last, span.rho, point.z, point.gradient]
    return np.concatenate(vectors + scalars)


def _span(row: Array) -> Span:
    """The span of a row."""
    first, last, rho, z, gradient = np.reshape(row[:-3], (5, -1))
    return Span(first, last, rho, row[-3], Candidate(Point(z, row[-2], gradient), row[-1]))


def _end_row(point: Point, momentum: Array) -> Array:
    """An end of the trajectory as one row of 3 D numbers: all that a leapfrog step needs."""
    return np.concatenate([point.z, point.gradient, momentum])


def _end(row: Array) -> tuple[Point, Array]:
    """The point and the momentum of a row; the log density is not asked for again."""
    z, gradient, momentum = np.reshape(row, (3, -1))
    return Point(z, np.nan, gradient), momentum
