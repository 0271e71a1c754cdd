"""NUTS to read: the trajectory is a binary tree, and a function builds one by calling itself.

One transition of the no-U-turn sampler as Stan runs it: Hoffman and Gelman (2014),
Algorithm 6 (its BuildTree is :func:`build_tree`), with the slice variable replaced by
multinomial weights and the criterion generalised (Betancourt 2017, Appendix A). The
mathematics is in `vi_lab.nuts.trajectory`.

It runs under no engine (its branches depend on values) and is slow; tests hold
`vi_lab.nuts.iterative`, which runs, to the same draws from the same noise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as onp

from vi_lab.engine import Array
from vi_lab.nuts.hamiltonian import Hamiltonian, Point
from vi_lab.nuts.trajectory import (
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


class Tree(NamedTuple):
    """A subtree, where it ended, and whether its trajectory may go on."""

    span: Span
    end: Point
    momentum: Array
    valid: bool
    diverging: bool
    n_leapfrog: int
    sum_acceptance: float


def build_tree(
    hamiltonian: Hamiltonian,
    start_energy: float,
    step_size: float,
    noise: Noise,
    depth: int,
    end: Point,
    momentum: Array,
) -> Tree:
    """2^depth leapfrog steps from ``end``, fewer if they diverge or turn back."""
    if depth == 0:
        end, momentum = hamiltonian.leapfrog(end, momentum, step_size)
        span = leaf(hamiltonian, end, momentum, start_energy)
        diverging = bool(is_divergent(span))
        acceptance = min(1.0, float(onp.exp(span.log_weight)))
        return Tree(span, end, momentum, not diverging, diverging, 1, acceptance)

    fixed = (hamiltonian, start_energy, step_size, noise, depth - 1)
    a = build_tree(*fixed, end, momentum)
    if not a.valid:
        return a
    b = build_tree(*fixed, a.end, a.momentum)
    b = b._replace(
        n_leapfrog=a.n_leapfrog + b.n_leapfrog, sum_acceptance=a.sum_acceptance + b.sum_acceptance
    )
    if not b.valid:
        return b
    chosen = b if noise.within[depth - 1] < share(a.span, b.span) else a
    return b._replace(
        span=join(a.span, b.span, chosen.span.candidate),
        valid=not is_turning(hamiltonian, a.span, b.span),
    )


@onp.errstate(all="ignore")  # a diverging trajectory overflows, and is dropped
def transition(
    hamiltonian: Hamiltonian, step_size: float, start: Point, noise: Noise
) -> tuple[Point, Record]:
    """The next state of the chain after ``start``, and a report."""
    momentum = hamiltonian.momentum(noise.momentum)
    trajectory = leaf(hamiltonian, start, momentum, hamiltonian.energy(start, momentum))
    start_energy = trajectory.candidate.energy
    ends = {False: (start, momentum), True: (start, momentum)}  # backwards, forwards
    forwards, depth, n_leapfrog, sum_acceptance = True, 0, 0, 0.0
    diverging = turning = False

    while depth < len(noise.direction) and not (diverging or turning):
        if (noise.direction[depth] < 0.5) != forwards:
            forwards = not forwards
            trajectory = trajectory._replace(first=trajectory.last, last=trajectory.first)
        new = build_tree(
            hamiltonian,
            start_energy,
            step_size if forwards else -step_size,
            noise,
            depth,
            *ends[forwards],
        )
        ends[forwards] = (new.end, new.momentum)
        n_leapfrog += new.n_leapfrog
        sum_acceptance += new.sum_acceptance
        diverging = new.diverging
        if not new.valid:
            break
        turning = bool(is_turning(hamiltonian, trajectory, new.span))
        chosen = new.span if noise.between[depth] < bias(trajectory, new.span) else trajectory
        trajectory = join(trajectory, new.span, chosen.candidate)
        depth += 1

    point, energy = trajectory.candidate
    acceptance = sum_acceptance / n_leapfrog
    record = Record(point.z, point.log_density, acceptance, n_leapfrog, depth, diverging, energy)
    return point, record
