r"""Warm-up: finding the step size and the metric.

**Step size.** The leapfrog's energy error grows with eps; long steps are rejected,
short ones waste gradients. Dual averaging (Nesterov 2009; Hoffman and Gelman 2014,
section 3.2 and Algorithm 6) steers the mean acceptance statistic alpha to a target
delta by stochastic steps in log eps. After its t-th transition, with t0 = 10,
gamma = 0.05, kappa = 0.75 and mu = log(10 eps_1),

.. math::
   \bar H_t &= \bigl(1 - \tfrac{1}{t + t_0}\bigr) \bar H_{t-1}
               + \tfrac{1}{t + t_0} (\delta - \alpha_t), \\
   \log \epsilon_{t+1} &= \mu - \tfrac{\sqrt t}{\gamma} \bar H_t, \\
   \log \bar\epsilon_{t+1} &= t^{-\kappa} \log \epsilon_{t+1}
               + (1 - t^{-\kappa}) \log \bar\epsilon_t .

Warm-up runs at eps_t, sampling at the last averaged step. The first step eps_1
comes from doubling or halving (Algorithm 4).

**Metric.** M^-1 should be near the posterior variances, estimated from the draws of
windows that double in length, as estimates improve. Stan's schedule
(reference manual, "Automatic parameter tuning"): 75 transitions to find the typical
set; windows of 25, 50, 100, ...; 50 for the last step size. After each window the
draws before it are forgotten and the step size starts anew. Each chain adapts on its
own, as in Stan, so that chains stay independent and R-hat can compare them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array, current
from vi_lab.nuts.hamiltonian import Hamiltonian, Point

GAMMA, T0, KAPPA = 0.05, 10.0, 0.75

SLOWEST_SEARCH, FASTEST_SEARCH = 1e-15, 1e7
"""Bounds of the first step size: below, z + eps does not differ from z; above, as in Stan,
the density does not bend anywhere, so it cannot be normalised."""


class DualAveraging(NamedTuple):
    """The state of the recursion; a field is one number for each chain."""

    mu: Array
    """where log eps is drawn to"""
    count: Array
    """t, transitions so far"""
    error: Array
    """H-bar, the running mean of delta - alpha"""
    log_step_size: Array
    log_averaged: Array


def start_averaging(step_size: Array) -> DualAveraging:
    """Begin at ``step_size``, leaning towards ten times as much: short steps cost more."""
    nought = np.zeros_like(step_size)
    log_step_size = np.log(step_size)
    return DualAveraging(np.log(10.0) + log_step_size, nought, nought, log_step_size, nought)


def update_averaging(
    state: DualAveraging, acceptance: Array, target_accept: float
) -> DualAveraging:
    """One step of dual averaging, after a transition with mean acceptance ``acceptance``."""
    t = state.count + 1.0
    eta = 1.0 / (t + T0)
    error = (1.0 - eta) * state.error + eta * (target_accept - acceptance)
    log_step_size = state.mu - np.sqrt(t) / GAMMA * error
    weight = t**-KAPPA
    log_averaged = weight * log_step_size + (1.0 - weight) * state.log_averaged
    return DualAveraging(state.mu, t, error, log_step_size, log_averaged)


def first_step_size(hamiltonian: Hamiltonian, start: Point, normal: Array, guess: Array) -> Array:
    """Double or halve ``guess`` until one leapfrog step's acceptance crosses 0.8.

    Hoffman and Gelman (2014), Algorithm 4, with Stan's 0.8 for their 0.5. ``normal``
    (D,) are standard normal numbers for the momentum. Where the density is not finite
    there is nothing to find, and ``guess`` is returned.
    """
    momentum = hamiltonian.momentum(normal)
    energy = hamiltonian.energy(start, momentum)

    def accepts(step_size: Array) -> Array:
        after = hamiltonian.energy(*hamiltonian.leapfrog(start, momentum, step_size))
        return energy - after > np.log(0.8)  # False if the energy is not a number

    def not_done(search: tuple[Array, Array, Array]) -> Array:
        return np.logical_not(search[2])

    def attempt(search: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        step_size, factor, _ = search
        accepted = accepts(step_size)
        factor = np.where(factor == 1.0, np.where(accepted, 2.0, 0.5), factor)  # the first decides
        crossed = accepted != (factor > 1.0)
        step_size = np.where(crossed, step_size, factor * step_size)
        outside = (step_size <= SLOWEST_SEARCH) | (step_size >= FASTEST_SEARCH)
        return step_size, factor, crossed | outside

    step_size, _, _ = current().while_loop(
        not_done, attempt, (guess, np.ones_like(guess), np.logical_not(np.isfinite(energy)))
    )
    return step_size


def metric(draws: onp.ndarray) -> onp.ndarray:
    """The diagonal of M^-1, (..., D), from the ``draws`` (..., n, D) of a window.

    The sample variance, drawn towards 1e-3 as by five further draws (Stan,
    ``var_adaptation.hpp``): n / (n + 5) var + 5 / (n + 5) 1e-3.
    """
    n = draws.shape[-2]
    variance = draws.var(axis=-2, ddof=1)
    return onp.asarray((n * variance + 5.0 * 1e-3) / (n + 5.0))


class Schedule(NamedTuple):
    """Lengths, in transitions, of the three parts of warm-up."""

    initial: int
    windows: tuple[int, ...]
    final: int


def schedule(tune: int) -> Schedule:
    """Stan's windows for ``tune`` transitions: 75, then 25 doubling, then 50.

    With fewer than 150 transitions, 15%, one window of 75%, and 10%; with fewer than
    20, no window: a variance from so few would be worth nothing. A window is
    stretched to the end if the next, of twice its length, would not fit. (Stan does
    not look at the first window, and may follow it by one of a few draws.)
    """
    if tune < 20:
        return Schedule(tune, (), 0)
    if tune < 150:
        initial, final = int(0.15 * tune), int(0.1 * tune)
        return Schedule(initial, (tune - initial - final,), final)
    windows, left, length = [], tune - 125, 25
    while left >= 3 * length:
        windows.append(length)
        left -= length
        length *= 2
    return Schedule(75, (*windows, left), 50)
