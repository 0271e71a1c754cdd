"""BlackJAX on the first model, as its documentation has it, compiled whole.

In float64, as ours, and with the same settings: one draw a step and Adam for ADVI; the
usual windowed warm-up, diagonal metric and a target acceptance of 0.8 for NUTS. Its own
way is kept where it has one: noise from JAX's keys, inside the loop.

Both run in a process of their own (`serve`), as they do for their users: vi_lab tells
XLA how to compile the loops of a process (`vi_lab.engine.xla`), theirs included.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm

STEP_SIZE = 0.05


def log_density(x: Any) -> Callable[[dict[str, Any]], Any]:
    """log p~ of ``{"mu": mu, "log_sd": log sd}``: the first model, as a user would write it."""

    def of(position: dict[str, Any]) -> Any:
        mu, log_sd = position["mu"], position["log_sd"]
        sd = jnp.exp(log_sd)
        prior = norm.logpdf(mu) + jnp.log(2.0) + norm.logpdf(sd) + log_sd
        return prior + jnp.sum(norm.logpdf(x, mu, sd))

    return of


def meanfield(x: Any, steps: int) -> Callable[[], Any]:
    """A call that takes ``steps`` steps of `blackjax.meanfield_vi`: its state and losses."""

    @jax.jit
    def fit(key: Any, x: Any) -> Any:
        algorithm = blackjax.meanfield_vi(log_density(x), optax.adam(STEP_SIZE), num_samples=1)
        state = algorithm.init(_start())

        def step(state: Any, key: Any) -> tuple[Any, Any]:
            state, info = algorithm.step(key, state)
            return state, info.elbo

        return jax.lax.scan(step, state, jax.random.split(key, steps))

    return _ready(fit, x)


def nuts(x: Any, chains: int, tune: int, draws: int) -> Callable[[], Any]:
    """A call that tunes and draws ``chains`` chains of `blackjax.nuts`: their positions."""

    def chain(key: Any, x: Any) -> Any:
        density = log_density(x)
        tune_key, draw_key = jax.random.split(key)
        warm_up = blackjax.window_adaptation(blackjax.nuts, density)
        (state, parameters), _ = warm_up.run(tune_key, _start(), tune)
        kernel = blackjax.nuts(density, **parameters).step

        def draw(state: Any, key: Any) -> tuple[Any, Any]:
            state, _ = kernel(key, state)
            return state, state.position

        return jax.lax.scan(draw, state, jax.random.split(draw_key, draws))[1]

    @jax.jit
    def sample(key: Any, x: Any) -> Any:
        return jax.vmap(chain, in_axes=(0, None))(jax.random.split(key, chains), x)

    return _ready(sample, x)


def serve() -> None:
    """Prepare the call named on the command line, then make and time it for each line of input.

    `python -m benchmarks.peers NAME DATA.npy NUMBER ...`, the numbers as `NAME` takes them.
    """
    name, path, *numbers = sys.argv[1:]
    call = {"meanfield": meanfield, "nuts": nuts}[name](np.load(path), *map(int, numbers))
    call()
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        call()
        print(time.perf_counter() - began, flush=True)


def _start() -> dict[str, Any]:
    return {"mu": jnp.zeros(()), "log_sd": jnp.zeros(())}


def _ready(function: Callable[[Any, Any], Any], x: Any) -> Callable[[], Any]:
    """``function(key, x)`` in float64 on data already in place, waited for."""
    with jax.enable_x64(True):
        x = jnp.asarray(x)

    def run() -> Any:
        with jax.enable_x64(True):
            return jax.block_until_ready(function(jax.random.key(1), x))

    return run


if __name__ == "__main__":
    serve()
