r"""`KnownVarianceMixture`: normal components of which only the means are unknown.

.. math:: \mu_k \sim N(m_0, s_0^2), \qquad z_n \sim \text{Categorical}(1/K, \dots, 1/K),
          \qquad x_n \given z_n = k \sim N(\mu_k, \sigma^2),

the example by which Blei, Kucukelbir and McAuliffe (2017, sections 2.1 and 3) teach CAVI.
The factors of q are normal, with natural parameters *precision* and *precision times mean*:

.. math:: p_k = \frac{1}{s_0^2} + \frac{N_k}{\sigma^2}, \qquad
          h_k = \frac{m_0}{s_0^2} + \frac{1}{\sigma^2} \sum_n r_{nk} x_n, \qquad
          q(\mu_k) = N(h_k / p_k,\ 1 / p_k).

As with `GaussianMixture`, what a mean and its rows bring to the ELBO is
:math:`\langle s + \lambda_0 - \lambda, \E_q[t]\rangle + A(\lambda) - A(\lambda_0)`, here with
:math:`t = (\mu, -\tfrac12\mu^2)` and
:math:`A = \tfrac12\log\tfrac{2\pi}{p} + \tfrac{h^2}{2p}`, and, from the rows alone,
:math:`-\sum_n r_{nk} x_n^2 / (2\sigma^2)` and constants.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as onp

import vi_lab.numpy as np
from vi_lab.checks import check_finite, check_positive
from vi_lab.conjugate.mixture_base import Mixture, pack, seen, unpack
from vi_lab.conjugate.model import Params, Statistics, check_params, finite_rows, no_covariates
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array


@dataclass(frozen=True, eq=False)
class KnownVarianceMixture(Mixture):
    """K equally likely normal components with a common, known sd, for rows (N,).

    Parameters of q, R being the leading axes: ``means``: ``precision_mean`` and ``precision``
    (R, K), the mean taken about ``origin``.

    Attributes
    ----------
    components : K
    sd : of each component
    prior_mean, prior_sd : of the means
    origin : about which squares are taken; set by `prepare`
    """

    sd: float = 1.0
    prior_mean: float = 0.0
    prior_sd: float = 10.0
    origin: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("sd", self.sd)
        check_positive("prior_sd", self.prior_sd)
        check_finite("prior_mean", self.prior_mean)
        if self.origin is not None:
            check_finite("origin", self.origin)

    @property
    def blocks(self) -> tuple[str, ...]:
        return ("means",)

    def check(self, rows: Any) -> onp.ndarray:
        return finite_rows(rows, 1)

    def prepare(self, rows: onp.ndarray, num_rows: int) -> Self:
        self.check_number(num_rows)
        origin = float(rows.mean()) if self.origin is None else self.origin
        return dataclasses.replace(self, origin=origin)

    @property
    def center(self) -> onp.ndarray:
        return seen(self.origin)

    # ---------------------------------------------------------------- coordinate steps
    def coefficients(self, params: Params) -> onp.ndarray:
        mean, minus_half_square = _expectations(params["means"])
        constant = -math.log(self.components) - 0.5 * LOG_TWO_PI - math.log(self.sd)
        weight = 1.0 / self.sd**2
        quadratic = onp.full((*mean.shape, 1, 1), -0.5 * weight)
        return pack(constant + weight * minus_half_square, weight * mean[..., None], quadratic)

    def named(self, sums: onp.ndarray) -> Statistics:
        counts, totals, squares = unpack(sums)
        return {"counts": counts, "sums": totals[..., 0], "squares": squares[..., 0, 0]}

    def optimum(self, block: str, params: Params, statistics: Statistics) -> dict[str, Array]:
        weight = 1.0 / self.sd**2
        precision_mean, precision = self._prior()
        return {
            "precision_mean": precision_mean + weight * statistics["sums"],
            "precision": precision + weight * statistics["counts"],
        }

    def elbo(self, params: Params, statistics: Statistics) -> Array:
        q, best = params["means"], self.optimum("means", params, statistics)
        mean, minus_half_square = _expectations(q)
        bound = (
            (best["precision_mean"] - q["precision_mean"]) * mean
            + (best["precision"] - q["precision"]) * minus_half_square
            + _log_normalizer(q["precision_mean"], q["precision"])
            - _log_normalizer(*self._prior())
            - 0.5 * statistics["squares"] / self.sd**2
        )
        a_row = -math.log(self.components) - 0.5 * LOG_TWO_PI - math.log(self.sd)
        return np.sum(bound, axis=-1) + statistics["entropy"] + a_row * statistics["count"]

    def _prior(self) -> tuple[float, float]:
        precision = 1.0 / self.prior_sd**2
        return precision * (self.prior_mean - float(self.center[0])), precision

    # ------------------------------------------------------------------------- answers
    def means(self, params: Params) -> onp.ndarray:
        check_params(self, params)
        mean, _ = _expectations(params["means"])
        return onp.asarray(mean + self.center)

    def sample(
        self, params: Params, num_draws: int, rng: onp.random.Generator
    ) -> dict[str, onp.ndarray]:
        """Draws of the components' ``mean`` (S, K), in the order that q has them in."""
        mean = self.means(params)
        sd = params["means"]["precision"] ** -0.5
        return {"mean": mean + sd * rng.standard_normal((num_draws, *mean.shape))}

    def predictive(
        self,
        params: Params,
        num_draws: int,
        rng: onp.random.Generator,
        covariates: Array | None = None,
    ) -> onp.ndarray:
        no_covariates(covariates)
        mean = self.sample(params, num_draws, rng)["mean"]
        label = rng.integers(self.components, size=num_draws)
        noise = self.sd * rng.standard_normal(num_draws)
        return onp.asarray(mean[onp.arange(num_draws), label] + noise)


def _expectations(q: dict[str, Array]) -> tuple[Array, Array]:
    """E[mu] and E[-mu^2/2]."""
    mean = q["precision_mean"] / q["precision"]
    return mean, -0.5 * (mean**2 + 1.0 / q["precision"])


def _log_normalizer(precision_mean: Array, precision: Array) -> Array:
    return 0.5 * (LOG_TWO_PI - np.log(precision) + precision_mean**2 / precision)
