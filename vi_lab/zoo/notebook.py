r"""The two models of the course notebook that the book rebuilds.

The first has two latents and 100 rows,

.. math:: \mu \sim N(0, 1), \quad \sigma \sim \text{HalfNormal}(1), \quad
          x_i \sim N(\mu, \sigma),

and the second is a bivariate normal with correlation :math:`\rho` and no data. What is
exactly true of the first is quadrature (`tests/zoo/test_zoo.py` repeats it). The second is
known in closed form: with precision matrix :math:`\Lambda = \Sigma^{-1}`, the best
mean-field Gaussian has variances :math:`1/\Lambda_{ii} = 1 - \rho^2` and the loss
:math:`-\tfrac12 \log(1 - \rho^2)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

from vi_lab import datasets
from vi_lab.checks import check_finite
from vi_lab.distributions import HalfNormal, MultivariateNormal, Normal
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.zoo.entry import Exact, ZooEntry


def gaussian(m: Any, x: Array) -> None:
    """Normal data with unknown mean and standard deviation."""
    mu = m.sample("mu", Normal(0.0, 1.0))
    sd = m.sample("sd", HalfNormal(1.0))
    m.observe("x", Normal(mu, sd), x)


def notebook_gaussian() -> ZooEntry:
    """The notebook's first model, on `vi_lab.datasets.notebook_gaussian`."""
    return ZooEntry(
        name="notebook_gaussian",
        program=gaussian,
        data={"x": datasets.notebook_gaussian()},
        exact=Exact(
            mean={"mu": 0.134987, "sd": 0.993436},
            sd={"mu": 0.099097, "sd": 0.071026},
            log_evidence=-144.766614,
            mean_field_mean={"mu": 0.135013, "sd": -0.009179},
            mean_field_sd={"mu": 0.098121, "sd": 0.070366},
            mean_field_loss=144.773095,
        ),
    )


@cache
def correlated_program(rho: float) -> Callable[[Any], None]:
    """The program for one ``rho``: cached, so that equal models share compiled code."""
    # Outside the program, where its covariance is factorised once.
    target = MultivariateNormal([0.0, 0.0], covariance=[[1.0, rho], [rho, 1.0]])

    def correlated(m: Any) -> None:
        m.sample("density", target)

    return correlated


def correlated_gaussian(rho: float = 0.8) -> ZooEntry:
    """The notebook's second model: one latent, ``density``, and no data.

    Raises
    ------
    ValueError
        unless -1 < ``rho`` < 1.
    """
    check_finite("rho", rho)
    if not -1.0 < rho < 1.0:
        raise ArgumentError(f"rho: a correlation lies between -1 and 1, not {rho!r}")
    scalars = ("density[0]", "density[1]")
    return ZooEntry(
        name="correlated_gaussian",
        program=correlated_program(rho),
        data={},
        exact=Exact(
            mean=dict.fromkeys(scalars, 0.0),
            sd=dict.fromkeys(scalars, 1.0),
            log_evidence=0.0,
            mean_field_mean=dict.fromkeys(scalars, 0.0),
            mean_field_sd=dict.fromkeys(scalars, math.sqrt(1.0 - rho**2)),
            mean_field_loss=-0.5 * math.log1p(-(rho**2)),
        ),
    )
