r"""Models that are not linear in their parameters: growth, volatility, a Gaussian process.

**Dugongs** (Carlin and Gelfand 1991): a sea cow of age :math:`x` has the length
:math:`\alpha - \beta \lambda^x`, up to noise: it grows to :math:`\alpha`, the slower the
closer :math:`\lambda` is to 1.

**GARCH(1, 1)**: the variance of a return follows the one before it,

.. math:: \sigma_t^2 = \alpha_0 + \alpha_1 (y_{t-1} - \mu)^2 + \beta_1 \sigma_{t-1}^2, \qquad
          \alpha_1 + \beta_1 < 1,

so the bound of :math:`\beta_1` depends on :math:`\alpha_1`. `scan` is that recursion as it
stands: compiled by JAX, it takes a quarter of the time of :math:`\log_2 T` sums of arrays that
amount to the same (32 draws at once, T = 200); autograd, which records each of the T steps, takes
19 times as long.

**A Gaussian process** for the logarithm of a Poisson rate, f ~ N(0, C), is sampled as
:math:`f = L \tilde f` with standard normal :math:`\tilde f` and the Cholesky factor L of C.
"""

from __future__ import annotations

from typing import Any

import vi_lab.numpy as np
from vi_lab.distributions import Flat, Gamma, HalfNormal, Normal, Poisson, Uniform
from vi_lab.engine import Array
from vi_lab.engine.recursion import scan
from vi_lab.transforms.supports import Interval, Positive
from vi_lab.zoo.entry import ZooEntry, from_posteriordb

JITTER = 1e-10  # on the diagonal of a covariance, as in the original


def growth_curve(m: Any, x: Array, y: Array) -> None:
    """y ~ N(alpha - beta lambda^x, 1 / sqrt(tau)); ages ``x`` in years, lengths ``y`` in m."""
    alpha = m.sample("alpha", Normal(0.0, 1000.0))
    beta = m.sample("beta", Normal(0.0, 1000.0))
    rate = m.sample("lambda", Uniform(0.5, 1.0))
    tau = m.sample("tau", Gamma(0.0001, 0.0001))
    sigma = m.deterministic("sigma", tau**-0.5)
    m.deterministic("U3", np.log(rate / (1.0 - rate)))
    m.observe("y", Normal(alpha - beta * rate**x, sigma), y)


def dugongs() -> ZooEntry:
    """Lengths of 27 dugongs by their age."""
    return from_posteriordb(
        "dugongs",
        "dugongs_data-dugongs_model",
        growth_curve,
        lambda data: {"x": data["x"], "y": data["Y"]},
    )


def volatility(m: Any, y: Array, sigma1: Array) -> None:
    """y_t ~ N(mu, sigma_t), a GARCH(1, 1) with flat priors; ``sigma1`` (1,) that of y_1."""
    mu = m.sample("mu", Flat())
    alpha0 = m.sample("alpha0", Flat(Positive()))
    alpha1 = m.sample("alpha1", Uniform(0.0, 1.0))
    beta1 = m.sample("beta1", Flat(Interval(0.0, 1.0 - alpha1)))
    news = alpha0 + alpha1 * (y[:-1] - mu) ** 2

    def follow(variance: Array, news: Array) -> tuple[Array, Array]:
        variance = news + beta1 * variance
        return variance, variance

    later = scan(follow, sigma1[0] ** 2, news)[1]
    m.observe("y", Normal(mu, np.sqrt(np.concatenate([sigma1**2, later]))), y)


def garch() -> ZooEntry:
    """200 simulated returns whose variance follows a GARCH(1, 1)."""
    return from_posteriordb(
        "garch",
        "garch-garch11",
        volatility,
        lambda data: {"y": data["y"], "sigma1": data["sigma1"][None]},
    )


def poisson_process(m: Any, x: Array, k: Array) -> None:
    """Counts ``k`` (11,) at ``x`` (11,), Poisson with a Gaussian process as log rate."""
    rho = m.sample("rho", Gamma(25.0, 4.0))
    alpha = m.sample("alpha", HalfNormal(2.0))
    f_tilde = m.sample("f_tilde", Normal(0.0, 1.0), shape=x.shape)
    correlation = np.exp(-((x[:, None] - x) ** 2) / (2.0 * rho**2))
    covariance = alpha**2 * correlation + JITTER * np.eye(len(x))
    f = m.deterministic("f", np.linalg.cholesky(covariance) @ f_tilde)
    m.observe("k", Poisson(np.exp(f)), k)


def gp_pois_regr() -> ZooEntry:
    """11 counts along a line, with a smooth rate."""
    return from_posteriordb(
        "gp_pois_regr",
        "gp_pois_regr-gp_pois_regr",
        poisson_process,
        lambda data: {"x": data["x"], "k": data["k"]},
    )
