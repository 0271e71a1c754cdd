r"""Short chains from q: if q is the posterior, they stay what they are.

C chains start at draws of q and take transitions that leave the posterior as it is: if q is the
posterior, the C states go on having its means and spreads. If q is too narrow they spread, by as
much as it is too narrow; if it is off they drift to where the posterior is. So the last states,
beside q, say scalar by scalar what is wrong and by how much, with the errors of C independent
chains.

Transitions are Hamiltonian Monte Carlo (Neal 2011, "MCMC using Hamiltonian dynamics", section 5.3),
all chains in step: a trajectory in all takes one call an integration step. Lengths are pi/2,
jittered, in coordinates in which the posterior's covariance *as q sees its curvature* is I
(`vi_lab.trust.curvature`): along them a Gaussian posterior is crossed by a trajectory, even if q is
many times too narrow for it. The step size is steered by the mean acceptance of all chains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

from vi_lab.trust.curvature import White
from vi_lab.trust.density import Density

TARGET_ACCEPT = 0.8
GAIN = 1.0  # of the step size, in log units an acceptance
LENGTH = 0.5 * onp.pi
MOST_STEPS = 16  # of a trajectory


@dataclass(frozen=True, eq=False)
class Chains:
    """Chains that started at draws of q.

    Attributes
    ----------
    start : z (C, D)
    z : after each transition, (T, C, D)
    acceptance : the mean of the later half of the transitions
    step_size : the last
    """

    start: onp.ndarray
    z: onp.ndarray
    acceptance: float
    step_size: float


def short_chains(
    density: Density,
    metric: White,
    start: onp.ndarray,
    transitions: int,
    rng: onp.random.Generator,
) -> Chains:
    """``transitions`` of each chain from ``start`` (C, D)."""
    z = start.copy()
    values, gradients = density(z)
    step_size = 0.8 * z.shape[1] ** -0.25
    states, accepted = onp.empty((transitions, *z.shape)), onp.empty(transitions)
    for t in range(transitions):
        length = LENGTH * rng.uniform(0.6, 1.4)
        steps = int(min(MOST_STEPS, max(1, onp.ceil(length / step_size))))
        p = rng.standard_normal(z.shape)
        proposal, p_end = trajectory(density, metric, (z, values, gradients), p, step_size, steps)
        with onp.errstate(all="ignore"):
            log_ratio = proposal[1] - values - 0.5 * (p_end**2 - p**2).sum(axis=1)
        log_ratio = onp.where(onp.isfinite(log_ratio), onp.minimum(log_ratio, 0.0), -onp.inf)
        taken = onp.log(rng.random(len(z))) < log_ratio
        z = onp.where(taken[:, None], proposal[0], z)
        values = onp.where(taken, proposal[1], values)
        gradients = onp.where(taken[:, None], proposal[2], gradients)
        states[t], accepted[t] = z, onp.exp(log_ratio).mean()
        step_size *= float(onp.exp(GAIN * (accepted[t] - TARGET_ACCEPT)))
    return Chains(start, states, float(accepted[transitions // 2 :].mean()), step_size)


Point = tuple[onp.ndarray, onp.ndarray, onp.ndarray]
"""z (C, D), log p~ (C,) and its gradients (C, D)."""


def trajectory(
    density: Density, metric: White, point: Point, p: onp.ndarray, step_size: float, steps: int
) -> tuple[Point, onp.ndarray]:
    """The leapfrog from ``point`` with momenta ``p`` (C, D), in units of the metric."""
    z, values, gradients = point
    with onp.errstate(all="ignore"):
        for _ in range(steps):
            p = p + 0.5 * step_size * metric.transposed(gradients)
            z = z + step_size * metric.times(p)
            values, gradients = density(z)
            p = p + 0.5 * step_size * metric.transposed(gradients)
    return (z, values, gradients), p
