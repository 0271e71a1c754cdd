"""A cold process with vi_lab: import, model, 50,000 steps, printed summary.

`python -m benchmarks.cold_vi_lab DATA.npy`, timed from outside (row c).
"""

import sys
from typing import Any

import numpy as np

import vi_lab as vl
from vi_lab import HalfNormal, Normal


def gaussian(m: Any, x: Any) -> None:
    """Normal data with unknown mean and standard deviation."""
    mu = m.sample("mu", Normal(0.0, 1.0))
    sd = m.sample("sd", HalfNormal(1.0))
    m.observe("x", Normal(mu, sd), x)


model = vl.Model(gaussian, x=np.load(sys.argv[1]))
fit = vl.advi(model, steps=50_000, seed=1, progress=False)
print(fit.summary())
