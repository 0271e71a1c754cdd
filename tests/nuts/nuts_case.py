"""What the tests of NUTS share: targets, a model, and calls without a bar."""

import warnings

import numpy as onp

import vi_lab as vl
from vi_lab.errors import ConvergenceWarning

SHORT = {"chains": 2, "tune": 30, "draws": 20, "seed": 6}


def correlated(z):
    """Two normals with correlation 0.8."""
    return -0.5 * (z[..., 0] ** 2 + z[..., 1] ** 2 - 1.6 * z[..., 0] * z[..., 1]) / 0.36


CORRELATED = vl.Target(correlated, 2)


def gaussian(m, x):
    mu = m.sample("mu", vl.Normal(0.0, 1.0))
    sd = m.sample("sd", vl.HalfNormal(1.0))
    m.deterministic("ratio", mu / sd)
    m.observe("x", vl.Normal(mu, sd), x)


MODEL = vl.Model(gaussian, x=onp.random.default_rng(0).normal(0.3, 2.0, 30))


def quiet_nuts(target, **options):
    """`nuts` without a bar, and without the warnings that short runs deserve."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return vl.nuts(target, progress=False, **options)


def warnings_of(target, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = vl.nuts(target, engine="autograd", progress=False, **options)
    assert all(w.category is ConvergenceWarning and w.filename == __file__ for w in caught)
    return result, [str(w.message) for w in caught]
