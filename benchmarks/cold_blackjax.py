"""A cold process with BlackJAX: import, model, 50,000 steps, printed summary.

`python -m benchmarks.cold_blackjax DATA.npy`, timed from outside (row c). The same
numbers as `benchmarks.cold_vi_lab` prints: mean, sd, Monte Carlo error and a 95%
interval from 10,000 draws of q; in float64, as there.
"""

import sys

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import peers

jax.config.update("jax_enable_x64", True)
state, _losses = peers.meanfield(np.load(sys.argv[1]), steps=50_000)()
position = blackjax.vi.meanfield_vi.sample(jax.random.key(2), state, 10_000)
draws = {"mu": position["mu"], "sd": jnp.exp(position["log_sd"])}
print("      mean     sd    mcse   2.5%  97.5%")
for name, values in draws.items():
    low, high = np.quantile(values, [0.025, 0.975])
    mean, sd = np.mean(values), np.std(values, ddof=1)
    print(f"{name:4} {mean:6.3f} {sd:6.3f} {sd / 100:7.4f} {low:6.3f} {high:6.3f}")
