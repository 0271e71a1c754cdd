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

:func:`transition` is pure and runs inside a function that an engine runs; under JAX
it is mapped over chains and scanned, under autograd its loops are Python's.
"""

from __future__ import annotations

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
from vi_lab.trees import tree_map


class End(NamedTuple):
    """One of the two ends of the trajectory."""

    point: Point
    momentum: Array


class State(NamedTuple):
    """What the loop carries from leaf to leaf."""

    growing: End
    """the end at which leaves are added: the forward one, or the backward one"""
    other: End
    forwards: Array
    trajectory: Span
    """all finished doublings"""
    waiting: Span
    """spans of the present doubling that wait for their second half; level by level"""
    depth: Array
    """finished doublings"""
    n: Array
    """leaves so far in the present doubling"""
    n_leapfrog: Array
    sum_acceptance: Array
    diverging: Array
    stopped: Array


def transition(
    hamiltonian: Hamiltonian, step_size: Array, start: Point, noise: Noise
) -> tuple[Point, Record]:
    """The next state of the chain after ``start``, and a report."""
    engine = current()
    max_depth = len(noise.direction)

    def add_leaf(state: State) -> State:
        return _add_leaf(engine, hamiltonian, step_size, start_energy, noise, state)

    def not_stopped(state: State) -> Array:
        return np.logical_not(state.stopped)

    momentum = hamiltonian.momentum(noise.momentum)
    start_energy = hamiltonian.energy(start, momentum)
    no, none = np.array(False), np.array(0)
    root = Span(momentum, momentum, momentum, np.array(0.0), Candidate(start, start_energy))
    end = End(start, momentum)
    final = engine.while_loop(
        not_stopped,
        add_leaf,
        State(
            growing=end,
            other=end,
            forwards=np.array(True),
            trajectory=root,
            waiting=tree_map(lambda x: np.zeros((max_depth, *np.shape(x))), root),
            depth=none,
            n=none,
            n_leapfrog=none,
            sum_acceptance=np.array(0.0),
            diverging=no,
            stopped=no,
        ),
    )
    point, energy = final.trajectory.candidate
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


def _add_leaf(
    engine: Engine,
    hamiltonian: Hamiltonian,
    step_size: Array,
    start_energy: Array,
    noise: Noise,
    state: State,
) -> State:
    """One leapfrog step, and the joins that it completes."""
    forwards = noise.direction[state.depth] < 0.5
    turn_round = (state.n == 0) & (forwards != state.forwards)
    growing, other, trajectory = engine.cond(
        turn_round, _turn_round, _as_is, state.growing, state.other, state.trajectory
    )
    forwards = np.where(state.n == 0, forwards, state.forwards)

    signed = np.where(forwards, step_size, -step_size)
    growing = End(*hamiltonian.leapfrog(growing.point, growing.momentum, signed))
    new = leaf(hamiltonian, growing.point, growing.momentum, start_energy)
    diverging = is_divergent(new)
    acceptance = np.minimum(1.0, np.exp(new.log_weight))

    level, span, turning = _carry(
        engine, hamiltonian, noise, state.waiting, state.n, new, diverging
    )
    waiting = tree_map(lambda all_, one: engine.set_at(all_, level, one), state.waiting, span)

    complete = state.n + 1 == 1 << state.depth  # 2^depth leaves
    double = complete & np.logical_not(diverging | turning)
    trajectory, turned = engine.cond(
        double,
        lambda old, new: _double(engine, hamiltonian, noise.between[state.depth], old, new),
        lambda old, new: (old, np.array(False)),
        trajectory,
        span,
    )
    depth = state.depth + double
    return State(
        growing=growing,
        other=other,
        forwards=forwards,
        trajectory=trajectory,
        waiting=waiting,
        depth=depth,
        n=np.where(complete, 0, state.n + 1),
        n_leapfrog=state.n_leapfrog + 1,
        sum_acceptance=state.sum_acceptance + acceptance,
        diverging=diverging,
        stopped=diverging | turning | turned | (depth == len(noise.direction)),
    )


def _carry(
    engine: Engine,
    hamiltonian: Hamiltonian,
    noise: Noise,
    waiting: Span,
    n: Array,
    new: Span,
    diverging: Array,
) -> tuple[Array, Span, Array]:
    """Join leaf ``n`` with the spans that wait for it: (level reached, span, turning)."""

    def has_partner(carry: Tree) -> Array:
        level, _, stop = carry
        return ((n >> level) & 1 == 1) & np.logical_not(stop)

    def join_partner(carry: Tree) -> Tree:
        level, b, _ = carry
        a = tree_map(lambda x: x[level], waiting)
        take_b = noise.within[level] < share(a, b)
        span = join(a, b, _choose(engine, take_b, b.candidate, a.candidate))
        return level + 1, span, is_turning(hamiltonian, a, b)

    # A divergent leaf joins nothing: its subtree is dropped, as it is if one turns back.
    level, span, stop = engine.while_loop(has_partner, join_partner, (np.array(0), new, diverging))
    return level, span, stop & np.logical_not(diverging)


def _double(
    engine: Engine, hamiltonian: Hamiltonian, uniform: Array, old: Span, new: Span
) -> tuple[Span, Array]:
    """The trajectory with its new half, and whether it turns back."""
    chosen = _choose(engine, uniform < bias(old, new), new.candidate, old.candidate)
    return join(old, new, chosen), is_turning(hamiltonian, old, new)


def _choose(engine: Engine, first: Array, a: Tree, b: Tree) -> Tree:
    return engine.cond(first, lambda a, b: a, lambda a, b: b, a, b)


def _turn_round(growing: End, other: End, trajectory: Span) -> tuple[End, End, Span]:
    """Grow at the other end from now on; leaves are listed in the order of growth."""
    reversed_ = trajectory._replace(first=trajectory.last, last=trajectory.first)
    return other, growing, reversed_


def _as_is(growing: End, other: End, trajectory: Span) -> tuple[End, End, Span]:
    return growing, other, trajectory
