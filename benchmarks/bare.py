r"""The floor: mean-field ADVI of the first model, written by hand as one `lax.scan`.

What `vi_lab.advi` does with the optimiser of `falling_adam`, step for step and for this
model alone: one base draw a step, sticking the landing (z = mu + sigma eps, the loss is
log q - log p~ with q's own parameters held constant), Adam with a step size that falls a
hundredfold, and the mean of the iterates of the last three quarters.
No program, no names, no blocks, no checks; the parameters lie in one (2, 2) array,
rows mu and log sigma. `tests/test_benchmarks.py` shows that the result is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from vi_lab.optimizers import Adam, ConstantThenDecay

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
FIRST_STEP, LAST_STEP = 0.05, 0.0005
FIRST_SIGMA = 0.1


def falling_adam(steps: int) -> Adam:
    """The optimiser with which `vi_lab.advi` does what `fit` does."""
    schedule = ConstantThenDecay(initial=FIRST_STEP, final=LAST_STEP, hold=0, steps=steps)
    return Adam(schedule, beta1=BETA1, beta2=BETA2, epsilon=EPSILON)


def log_density(z: Any, x: Any) -> Any:
    """log p~(mu, log sd): mu ~ N(0, 1), sd ~ HalfNormal(1), x ~ N(mu, sd)."""
    mu, log_sd = z[0], z[1]
    sd = jnp.exp(log_sd)
    prior_mu = -0.5 * mu**2 - HALF_LOG_TWO_PI
    prior_sd = math.log(2.0) - 0.5 * sd**2 - HALF_LOG_TWO_PI + log_sd
    likelihood = jnp.sum(-0.5 * ((x - mu) / sd) ** 2 - log_sd - HALF_LOG_TWO_PI)
    return prior_mu + prior_sd + likelihood


def negative_elbo(params: Any, eps: Any, x: Any) -> Any:
    """log q(z; stop(params)) - log p~(z) at z = mu + sigma eps."""
    z = params[0] + jnp.exp(params[1]) * eps
    mu, log_sigma = lax.stop_gradient(params)
    residual = (z - mu) * jnp.exp(-log_sigma)
    log_q = jnp.sum(-0.5 * residual**2 - log_sigma - HALF_LOG_TWO_PI)
    return log_q - log_density(z, x)


@jax.jit
def fit(noise: Any, x: Any) -> tuple[Any, Any]:
    """The averaged (2, 2) parameters and the losses, from base draws ``noise`` (T, 2)."""
    steps = noise.shape[0]
    first_averaged = steps // 4

    def step(state: Any, eps: Any) -> tuple[Any, Any]:
        t, params, m, v, average = state
        t = t + 1.0
        loss, g = jax.value_and_grad(negative_elbo)(params, eps, x)
        m = BETA1 * m + (1.0 - BETA1) * g
        v = BETA2 * v + (1.0 - BETA2) * g * g
        direction = (m / (1.0 - BETA1**t)) / (jnp.sqrt(v / (1.0 - BETA2**t)) + EPSILON)
        params = params - FIRST_STEP * (LAST_STEP / FIRST_STEP) ** (t / steps) * direction
        weight = 1.0 / jnp.maximum(1.0, t - first_averaged + 1.0)
        average = (1.0 - weight) * average + weight * params
        return (t, params, m, v, average), loss

    params = jnp.stack([jnp.zeros(2), jnp.full(2, math.log(FIRST_SIGMA))])
    zeros = jnp.zeros_like(params)
    state, losses = lax.scan(step, (0.0, params, zeros, zeros, params), noise)
    return state[-1], losses


def prepare(noise: Any, x: Any) -> Callable[[], Any]:
    """A call that runs `fit` in float64 on data already in place, and waits for it."""
    with jax.enable_x64(True):
        noise, x = jnp.asarray(noise), jnp.asarray(x)

    def run() -> Any:
        with jax.enable_x64(True):
            return jax.block_until_ready(fit(noise, x))

    return run
