r"""NUTS that runs: the same tree without recursion, in memory that grows with its depth.

A compiled loop cannot call itself. But the recursion visits leaves in order and joins
subtrees as soon as both halves are there, which is how a binary number is counted up:
leaf n of a subtree completes as many joins as n has trailing ones (a carry), and the
spans that wait for a partner are those at the ones of n. So max_depth waiting spans
are enough, one a level, and leaf n + 1 needs no others: the idea of Phan, Pradhan and
Jankowiak (2019), appendix, whose checkpoints are here whole spans, so that joins and
U-turn checks are literally those of the recursion.

::

    n = 0   span 0 waits at level 0
    n = 1   joins 0                    -> waits at level 1
    n = 2   waits at level 0
    n = 3   joins 2, then (0, 1)       -> waits at level 2

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
from vi_lab.engine import Array, Engine, Tree, current
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
    trajectory: Array
    """the span of all finished doublings, as a row"""
    waiting: Array
    """the spans that wait for their second half, a row for each level"""
    depth: Array
    """finished doublings"""
    n_leapfrog: Array
    sum_acceptance: Array
    diverging: Array
    stopped: Array


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
        engine, hamiltonian, depth = self.engine, self.hamiltonian, state.depth
        n = state.n_leapfrog + 1 - (1 << depth)  # in this doubling, which has 2^depth leaves
        forwards = self.noise.direction[depth] < 0.5
        before = self.noise.direction[np.maximum(depth - 1, 0)] < 0.5
        turned_round = (forwards != before) & (n == 0)
        growing = np.where(turned_round, state.other, state.growing)
        other = np.where(turned_round, state.growing, state.other)

        step_size = np.where(forwards, self.step_size, -self.step_size)
        end = hamiltonian.leapfrog(*_end(growing), step_size)
        new = leaf(hamiltonian, *end, self.start_energy)
        diverging = is_divergent(new)
        level, span, stopped = self.carry(state.waiting, n, _span_row(new), diverging)

        double = (n + 1 == 1 << depth) & np.logical_not(stopped)
        trajectory, turning = engine.cond(
            double,
            lambda *spans: self.double(depth, forwards != before, *spans),
            lambda old, _: (old, np.array(False)),
            state.trajectory,
            span,
        )
        depth = depth + double
        return State(
            growing=_end_row(*end),
            other=other,
            trajectory=trajectory,
            waiting=engine.set_at(state.waiting, level, span),
            depth=depth,
            n_leapfrog=state.n_leapfrog + 1,
            sum_acceptance=state.sum_acceptance + np.minimum(1.0, np.exp(new.log_weight)),
            diverging=diverging,
            stopped=stopped | turning | (depth == len(self.noise.direction)),
        )

    def carry(
        self, waiting: Array, n: Array, new: Array, diverging: Array
    ) -> tuple[Array, Array, Array]:
        """Join leaf ``n`` with the spans that wait for it: (level reached, span, stop)."""

        def has_partner(carry: Tree) -> Array:
            level, _, stop = carry
            return ((n >> level) & 1 == 1) & np.logical_not(stop)

        def join_partner(carry: Tree) -> Tree:
            level, row, _ = carry
            a, b = _span(waiting[level]), _span(row)
            take_b = self.noise.within[level] < share(a, b)
            span = join(a, b, self.choose(take_b, b, a))
            return level + 1, _span_row(span), is_turning(self.hamiltonian, a, b)

        # A divergent leaf joins nothing: its subtree is dropped, as it is if one turns back.
        found: tuple[Array, Array, Array] = self.engine.while_loop(
            has_partner, join_partner, (np.array(0), new, diverging)
        )
        return found

    def double(
        self, depth: Array, turned_round: Array, old: Array, new: Array
    ) -> tuple[Array, Array]:
        """The trajectory with its new half, and whether it turns back."""
        a, b = _span(old), _span(new)
        first = np.where(turned_round, a.last, a.first)  # leaves are listed in order of growth
        last = np.where(turned_round, a.first, a.last)
        a = a._replace(first=first, last=last)
        candidate = self.choose(self.noise.between[depth] < bias(a, b), b, a)
        return _span_row(join(a, b, candidate)), is_turning(self.hamiltonian, a, b)

    def choose(self, first: Array, a: Span, b: Span) -> Candidate:
        """The candidate of ``a`` if ``first``, else of ``b``."""
        chosen: Candidate = self.engine.cond(
            first, lambda a, _: a, lambda _, b: b, a.candidate, b.candidate
        )
        return chosen


def transition(
    hamiltonian: Hamiltonian, step_size: Array, start: Point, noise: Noise
) -> tuple[Point, Record]:
    """The next state of the chain after ``start``, and a report."""
    engine = current()
    momentum = hamiltonian.momentum(noise.momentum)
    energy = hamiltonian.energy(start, momentum)
    root = Span(momentum, momentum, momentum, np.array(0.0), Candidate(start, energy))
    end, span = _end_row(start, momentum), _span_row(root)
    final = engine.while_loop(
        lambda state: np.logical_not(state.stopped),
        Transition(engine, hamiltonian, step_size, noise, energy).add_leaf,
        State(
            growing=end,
            other=end,
            trajectory=span,
            waiting=np.zeros((len(noise.direction), *span.shape)),
            depth=np.array(0),
            n_leapfrog=np.array(0),
            sum_acceptance=np.array(0.0),
            diverging=np.array(False),
            stopped=np.array(False),
        ),
    )
    point, energy = _span(final.trajectory).candidate
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
