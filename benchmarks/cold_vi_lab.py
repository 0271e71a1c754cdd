"""A cold process with vi_lab: import, model, fit, printed summary.

`python -m benchmarks.cold_vi_lab DATA.npy [STEPS]`, timed from outside: so many steps of
Adam (row c), or the fit that stops by itself (row m).
"""

import sys
from typing import Any

import numpy as np

import vi_lab as vl
from vi_lab import HalfNormal, Normal
from vi_lab.optimizers import Adam, ConstantThenDecay


def gaussian(m: Any, x: Any) -> None:
    """Normal data with unknown mean and standard deviation."""
    mu = m.sample("mu", Normal(0.0, 1.0))
    sd = m.sample("sd", HalfNormal(1.0))
    m.observe("x", Normal(mu, sd), x)


data, *steps = sys.argv[1:]
model = vl.Model(gaussian, x=np.load(data))
options: dict[str, Any] = {}
if steps:
    options["steps"] = count = int(steps[0])
    options["optimizer"] = Adam(ConstantThenDecay(0.05, 0.0005, hold=0, steps=count))
fit = vl.advi(model, seed=1, progress=False, **options)
print(fit.summary())
