"""Distributions on a bounded interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.arrays import check_order
from vi_lab.distributions.base import (
    FINITE,
    POSITIVE,
    Continuous,
    Rule,
    safe_log,
)
from vi_lab.engine import Array
from vi_lab.transforms.supports import Interval, LogSlack, Support

UNIT_INTERVAL = Interval(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Beta(Continuous):
    r"""The beta distribution on [0, 1].

    .. math:: \log p(x) = (\alpha-1)\log x + (\beta-1)\log(1-x) - \log B(\alpha, \beta);
              \quad \text{mean } \alpha/(\alpha+\beta).

    Raises
    ------
    TypeError, ValueError
        if a constant ``alpha`` or ``beta`` is not positive.
    """

    alpha: Array
    beta: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"alpha": POSITIVE, "beta": POSITIVE}

    @property
    def support(self) -> Support:
        return UNIT_INTERVAL

    def log_prob_in_support(self, x: Array) -> Array:
        a, b = self.alpha, self.beta
        return sp.xlogy(a - 1.0, x) + sp.xlog1py(b - 1.0, -x) - self._log_normaliser()

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        log_x, log_rest = log_slack()
        a, b = self.alpha, self.beta
        return (a - 1.0) * log_x + (b - 1.0) * log_rest - self._log_normaliser()

    def _log_normaliser(self) -> Array:
        a, b = self.alpha, self.beta
        return sp.gammaln(a) + sp.gammaln(b) - sp.gammaln(a + b)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.beta(self.alpha, self.beta, size)

    def log_cdf(self, x: Array) -> Array:
        self._needs_constant("alpha", "beta")
        return safe_log(sp.betainc(self.alpha, self.beta, x))

    def log_survival(self, x: Array) -> Array:
        self._needs_constant("alpha", "beta")
        return safe_log(sp.betainc(self.beta, self.alpha, 1.0 - x))

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        from scipy.special import betaincinv  # SciPy only where a function needs it

        return betaincinv(self.alpha, self.beta, onp.exp(log_p))

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        from scipy.special import betainccinv

        return betainccinv(self.alpha, self.beta, onp.exp(log_q))


@dataclass(frozen=True, eq=False)
class Uniform(Continuous):
    """The uniform distribution on [``lower``, ``upper``].

    Raises
    ------
    TypeError, ValueError
        if a constant bound is not finite, or ``lower`` is not below ``upper``.
    """

    lower: Array
    upper: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"lower": FINITE, "upper": FINITE}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order("Uniform", self.lower, self.upper)

    @property
    def support(self) -> Support:
        return Interval(self.lower, self.upper)

    def log_prob_in_support(self, x: Array) -> Array:
        log_density = -np.log(self.upper - self.lower)
        return log_density + onp.zeros(onp.shape(x)) if onp.ndim(x) else log_density

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.uniform(self.lower, self.upper, size)

    def log_cdf(self, x: Array) -> Array:
        return np.log((x - self.lower) / (self.upper - self.lower))

    def log_survival(self, x: Array) -> Array:
        return np.log((self.upper - x) / (self.upper - self.lower))

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        return self.lower + (self.upper - self.lower) * onp.exp(log_p)

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        return self.upper - (self.upper - self.lower) * onp.exp(log_q)
