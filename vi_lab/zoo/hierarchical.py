r"""Hierarchical models.

**Eight schools** (Rubin 1981): estimated effects :math:`y_j` of coaching on a test score
in eight schools, with known standard errors :math:`\sigma_j`, and school effects
:math:`\theta_j` around a common mean,

.. math:: \mu \sim N(0, 5), \quad \tau \sim \text{HalfCauchy}(5), \quad
          \theta_j \sim N(\mu, \tau), \quad y_j \sim N(\theta_j, \sigma_j).

Sampling :math:`\theta_j` itself gives a funnel: where :math:`\tau` is small, so must the
spread of all :math:`\theta_j` be. The non-centred form samples
:math:`\tilde\theta_j \sim N(0, 1)`, and :math:`\theta_j = \mu + \tau \tilde\theta_j`
follows; the posterior of :math:`(\mu, \tau, \theta)` is the same.
"""

from __future__ import annotations

from typing import Any

from vi_lab.distributions import HalfCauchy, Normal
from vi_lab.engine import Array
from vi_lab.zoo.entry import ZooEntry, from_posteriordb


def noncentered(m: Any, y: Array, sigma: Array) -> None:
    """Effects ``theta`` (8,) from standardised ones; ``y`` and ``sigma`` in test points."""
    theta_trans = m.sample("theta_trans", Normal(0.0, 1.0), shape=(8,))
    mu = m.sample("mu", Normal(0.0, 5.0))
    tau = m.sample("tau", HalfCauchy(5.0))
    theta = m.deterministic("theta", mu + tau * theta_trans)
    m.observe("y", Normal(theta, sigma), y)


def eight_schools_noncentered() -> ZooEntry:
    """Eight schools in the non-centred form."""
    return from_posteriordb(
        "eight_schools_noncentered",
        "eight_schools-eight_schools_noncentered",
        noncentered,
        lambda data: {"y": data["y"].astype(float), "sigma": data["sigma"].astype(float)},
    )
