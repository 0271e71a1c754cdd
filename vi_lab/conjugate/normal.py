r"""The Normal model: unknown mean and precision.

.. math:: x_n \mid \mu, \tau \sim \mathcal N(\mu, \tau^{-1}), \qquad
   \mu \mid \tau \sim \mathcal N(m_0, (\kappa_0\tau)^{-1}), \qquad
   \tau \sim \mathrm{Gamma}(a_0, b_0).

The posterior is Normal-Gamma and the evidence is known (Murphy 2007, "Conjugate Bayesian
analysis of the Gaussian distribution", section 3): with
:math:`\kappa_N = \kappa_0 + N` and :math:`a_N = a_0 + N/2`,

.. math:: m_N &= \frac{\kappa_0 m_0 + N\bar x}{\kappa_N}, \qquad
   b_N = b_0 + \tfrac12 \sum_n (x_n - \bar x)^2
         + \frac{\kappa_0 N (\bar x - m_0)^2}{2\kappa_N}, \\
   \log p(x) &= \log\frac{\Gamma(a_N)}{\Gamma(a_0)} + a_0\log b_0 - a_N\log b_N
         + \tfrac12\log\frac{\kappa_0}{\kappa_N} - \tfrac N2\log 2\pi.

The factorised :math:`q(\mu)\,q(\tau) = \mathcal N(\mu \mid m, \lambda^{-1})\,
\mathrm{Gamma}(\tau \mid a, b)` has the coordinate optima (Bishop 2006, section 10.1.3)

.. math:: \lambda &= \kappa_N \E[\tau], \qquad m = m_N, \\
   a &= a_0 + \tfrac{N+1}2, \qquad
   b = b_0 + \tfrac12\E\Big[\sum_n (x_n - \mu)^2 + \kappa_0(\mu - m_0)^2\Big].

Sums are taken about an origin o near the data: :math:`\sum (x_n - o)` and
:math:`\sum (x_n - o)^2`, and q(mu) is stored as that of mu - o.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as onp

import vi_lab.numpy as np
from vi_lab.checks import check_finite, check_positive
from vi_lab.conjugate.factors import (
    gamma_kl,
    gamma_mean_log,
    normal_gamma_evidence,
)
from vi_lab.conjugate.model import (
    ConjugateModel,
    Params,
    Statistics,
    check_params,
    finite_rows,
    no_covariates,
    only_method,
)
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array


class NormalGamma(NamedTuple):
    """A distribution: mu | tau ~ Normal(mean, 1 / (strength tau)), tau ~ Gamma(shape, rate)."""

    mean: float
    strength: float
    shape: float
    rate: float


@dataclass(frozen=True, eq=False)
class NormalModel(ConjugateModel):
    """x ~ Normal(mu, 1/tau) with a Normal-Gamma prior; rows are numbers, (N,).

    Attributes
    ----------
    mean : m_0, where mu is expected
    strength : kappa_0: how many rows that expectation is worth
    shape, rate : a_0 and b_0 of the Gamma prior on the precision tau, whose mean is a_0/b_0
    origin : the number about which sums are taken and q(mu) is stored; None: the mean of the
        rows, or of a sample of them

    The defaults are for data on a scale near 1.

    Raises
    ------
    TypeError, ValueError
        for a mean that is not finite, or a strength, shape or rate that is not positive.
    """

    mean: float = 0.0
    strength: float = 1.0
    shape: float = 1.0
    rate: float = 1.0
    origin: float | None = None

    def __post_init__(self) -> None:
        check_finite("mean", self.mean)
        if self.origin is not None:
            check_finite("origin", self.origin)
        for name in ("strength", "shape", "rate"):
            check_positive(name, getattr(self, name))

    @property
    def blocks(self) -> tuple[str, ...]:
        return ("mu", "tau")

    def check(self, rows: Array) -> onp.ndarray:
        return finite_rows(rows, 1)

    def prepare(self, rows: onp.ndarray, num_rows: int) -> Self:
        return self if self.origin is not None else replace(self, origin=float(rows.mean()))

    def init(
        self,
        rows: onp.ndarray,
        rng: onp.random.Generator,
        *,
        starts: int = 1,
        method: str | None = None,
    ) -> Params:
        """The first start is the prior; the others draw their precision log-normally around it."""
        only_method(method, "prior")
        scatter = rng.standard_normal(starts)
        scatter[0] = 0.0
        shape = onp.full(starts, float(self.shape))
        rate = self.rate * onp.exp(scatter)
        precision = self.strength * shape / rate
        return {
            "mu": {"precision_mean": precision * self._prior_offset, "precision": precision},
            "tau": {"shape": shape, "rate": rate},
        }

    def statistics(self, params: Params, rows: onp.ndarray) -> Statistics:
        offsets = rows - self._origin
        return {
            "count": onp.array(float(len(rows))),
            "sum": offsets.sum(),
            "squares": offsets @ offsets,
        }

    def optimum(self, block: str, params: Params, statistics: Statistics) -> dict[str, Array]:
        if block == "mu":
            tau = params["tau"]["shape"] / params["tau"]["rate"]
            return {
                "precision_mean": tau * (self.strength * self._prior_offset + statistics["sum"]),
                "precision": tau * (self.strength + statistics["count"]),
            }
        rate = self.rate + 0.5 * self._expected_squares(params, statistics)
        shape = self.shape + 0.5 * (statistics["count"] + 1.0)
        return {"shape": shape * onp.ones_like(rate), "rate": rate}

    def elbo(self, params: Params, statistics: Statistics) -> Array:
        shape, rate = params["tau"]["shape"], params["tau"]["rate"]
        log_tau = gamma_mean_log(shape, rate)
        squares = self._expected_squares(params, statistics)
        # E[log p(x | mu, tau) + log p(mu | tau)]: N + 1 normal densities
        normals = 0.5 * (
            (statistics["count"] + 1.0) * (log_tau - LOG_TWO_PI)
            + float(onp.log(self.strength))
            - shape / rate * squares
        )
        entropy_mu = 0.5 * (LOG_TWO_PI + 1.0 - np.log(params["mu"]["precision"]))
        return normals + entropy_mu - gamma_kl(shape, rate, self.shape, self.rate)

    def sample(
        self, params: Params, num_draws: int, rng: onp.random.Generator
    ) -> dict[str, onp.ndarray]:
        mean, variance = self.moments(params)
        mu = mean + rng.standard_normal(num_draws) * onp.sqrt(variance)
        tau = rng.standard_gamma(params["tau"]["shape"], num_draws) / params["tau"]["rate"]
        return {"mu": mu, "tau": tau}

    def predictive(
        self,
        params: Params,
        num_draws: int,
        rng: onp.random.Generator,
        covariates: Array | None = None,
    ) -> onp.ndarray:
        no_covariates(covariates)
        draws = self.sample(params, num_draws, rng)
        noise = rng.standard_normal(num_draws)
        return onp.asarray(draws["mu"] + noise / onp.sqrt(draws["tau"]))

    def moments(self, params: Params) -> tuple[Array, Array]:
        """Mean and variance of mu under q."""
        check_params(self, params)
        mean, precision = _mean_precision(params)
        return self._origin + mean, 1.0 / precision

    def posterior(self, rows: Array) -> NormalGamma:
        """The exact posterior: m_N, kappa_N, a_N and b_N above."""
        rows = self.check(rows)
        count, mean = len(rows), rows.mean()
        strength = self.strength + count
        between = self.strength * count / strength * (mean - self.mean) ** 2
        within = onp.sum((rows - mean) ** 2)
        return NormalGamma(
            mean=float(self.mean + count / strength * (mean - self.mean)),
            strength=float(strength),
            shape=self.shape + count / 2,
            rate=float(self.rate + 0.5 * (within + between)),
        )

    def log_evidence(self, rows: Array) -> float:
        """The log evidence log p(x) in nats, exactly."""
        exact = self.posterior(rows)
        return normal_gamma_evidence(
            prior=(self.shape, self.rate),
            posterior=(exact.shape, exact.rate),
            log_shrinkage=float(onp.log(self.strength / exact.strength)),
            num_rows=len(rows),
        )

    @property
    def _origin(self) -> float:
        return 0.0 if self.origin is None else self.origin

    @property
    def _prior_offset(self) -> float:
        """m_0 as seen from the origin."""
        return self.mean - self._origin

    def _expected_squares(self, params: Params, statistics: Statistics) -> Array:
        """E[sum_n (x_n - mu)^2 + kappa_0 (mu - m_0)^2] under q(mu)."""
        mean, precision = _mean_precision(params)
        count = statistics["count"]
        about_mean = statistics["squares"] - 2.0 * mean * statistics["sum"] + count * mean**2
        prior = self.strength * (mean - self._prior_offset) ** 2
        return about_mean + prior + (count + self.strength) / precision


def _mean_precision(params: Params) -> tuple[Array, Array]:
    """Mean, from the origin, and precision of q(mu)."""
    precision = params["mu"]["precision"]
    return params["mu"]["precision_mean"] / precision, precision
