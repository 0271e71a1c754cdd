r"""Distributions of positive numbers.

Scales and rates: a *rate* multiplies ``x`` and has the unit 1 / unit of x; a *scale*
divides it and has the unit of x (`InverseGamma`'s too).

Where the density has a limit at 0 the support includes 0, so that data may lie
there: :math:`(a-1) \log x` is written ``xlogy(a - 1, x)``, which is 0 for a = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.arrays import is_constant
from vi_lab.distributions.base import (
    FINITE,
    POSITIVE,
    Continuous,
    Rule,
    centred,
    safe_log,
)
from vi_lab.distributions.location_scale import LOG_ROOT_PI, LOG_TWO, ROOT_TWO
from vi_lab.engine import Array
from vi_lab.transforms.supports import LogSlack, NonNegative, Positive, Support


@dataclass(frozen=True, eq=False)
class HalfNormal(Continuous):
    """abs(Z) for Z normal with mean 0 and standard deviation ``scale`` > 0.

    Raises
    ------
    TypeError, ValueError
        if a constant ``scale`` is not positive.
    """

    scale: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"scale": POSITIVE}

    @property
    def support(self) -> Support:
        return NonNegative()

    def log_prob_in_support(self, x: Array) -> Array:
        s = ROOT_TWO * self.scale  # as for `Normal`
        return (LOG_TWO - LOG_ROOT_PI - np.log(s)) - np.square(x / s)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return onp.abs(rng.normal(0.0, self.scale, size))

    def log_cdf(self, x: Array) -> Array:
        return np.log(sp.erf(x / (ROOT_TWO * self.scale)))

    def log_survival(self, x: Array) -> Array:
        return LOG_TWO + sp.log_ndtr(-x / self.scale)

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        from scipy.special import erfinv  # SciPy only where a function needs it

        return ROOT_TWO * self.scale * erfinv(onp.exp(log_p))

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        from scipy.special import ndtri_exp

        return -self.scale * ndtri_exp(log_q - LOG_TWO)


@dataclass(frozen=True, eq=False)
class HalfCauchy(Continuous):
    """abs(C) for C Cauchy with location 0 and ``scale`` > 0, which is its median.

    Raises
    ------
    TypeError, ValueError
        if a constant ``scale`` is not positive.
    """

    scale: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"scale": POSITIVE}

    @property
    def support(self) -> Support:
        return NonNegative()

    def log_prob_in_support(self, x: Array) -> Array:
        return -np.log(0.5 * math.pi * self.scale) - sp.log1p_square(x / self.scale)

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        # log(1 + e^{2u}) = -log s(-2u) of u = log x - log scale, whose e^u may overflow.
        log_scale = np.log(self.scale)
        u = log_slack().lower - log_scale
        return sp.log_expit(-2.0 * u) - (math.log(0.5 * math.pi) + log_scale)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return self.scale * onp.abs(rng.standard_cauchy(size))

    def log_cdf(self, x: Array) -> Array:
        return np.log((2.0 / math.pi) * np.arctan(x / self.scale))

    def log_survival(self, x: Array) -> Array:
        return np.log((2.0 / math.pi) * np.arctan2(1.0, x / self.scale))

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        return self.scale * onp.tan(0.5 * math.pi * onp.exp(log_p))

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        return self.scale / onp.tan(0.5 * math.pi * onp.exp(log_q))


@dataclass(frozen=True, eq=False)
class Exponential(Continuous):
    """The exponential distribution, p(x) = rate exp(-rate x); its mean is 1 / ``rate``.

    Raises
    ------
    TypeError, ValueError
        if a constant ``rate`` is not positive.
    """

    rate: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"rate": POSITIVE}

    @property
    def support(self) -> Support:
        return NonNegative()

    def log_prob_in_support(self, x: Array) -> Array:
        return np.log(self.rate) - self.rate * x

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.standard_exponential(size) / self.rate

    def log_cdf(self, x: Array) -> Array:
        return np.log(-np.expm1(-self.rate * x))

    def log_survival(self, x: Array) -> Array:
        return -self.rate * x

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        return -onp.log1p(-onp.exp(log_p)) / self.rate

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        return -log_q / self.rate


@dataclass(frozen=True, eq=False)
class Gamma(Continuous):
    r"""The gamma distribution with shape a = ``concentration`` and r = ``rate``.

    .. math:: \log p(x) = a \log r - \log\Gamma(a) + (a-1)\log x - r x;
              \quad \text{mean } a/r, \text{ variance } a/r^2.

    Raises
    ------
    TypeError, ValueError
        if a constant ``concentration`` or ``rate`` is not positive.
    """

    concentration: Array
    rate: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"concentration": POSITIVE, "rate": POSITIVE}

    @property
    def support(self) -> Support:
        return NonNegative()

    def log_prob_in_support(self, x: Array) -> Array:
        a, r = self.concentration, self.rate
        return (a * np.log(r) - sp.gammaln(a)) + sp.xlogy(a - 1.0, x) - r * x

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        a, r = self.concentration, self.rate
        return (a * np.log(r) - sp.gammaln(a)) + (a - 1.0) * log_slack().lower - r * x

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.standard_gamma(self.concentration, size) / self.rate

    def log_cdf(self, x: Array) -> Array:
        self._needs_constant("concentration")
        return safe_log(sp.gammainc(self.concentration, self.rate * x))

    def log_survival(self, x: Array) -> Array:
        self._needs_constant("concentration")
        return safe_log(sp.gammaincc(self.concentration, self.rate * x))

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        from scipy.special import gammaincinv

        return gammaincinv(self.concentration, onp.exp(log_p)) / self.rate

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        from scipy.special import gammainccinv

        return gammainccinv(self.concentration, onp.exp(log_q)) / self.rate


@dataclass(frozen=True, eq=False)
class InverseGamma(Continuous):
    r"""1 / G for G gamma with shape a = ``concentration`` and *rate* s = ``scale``.

    .. math:: \log p(x) = a \log s - \log\Gamma(a) - (a+1)\log x - s / x;
              \quad \text{mean } s/(a-1) \text{ if } a > 1.

    Raises
    ------
    TypeError, ValueError
        if a constant ``concentration`` or ``scale`` is not positive.
    """

    concentration: Array
    scale: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"concentration": POSITIVE, "scale": POSITIVE}

    @property
    def support(self) -> Support:
        return Positive()

    def log_prob_in_support(self, x: Array) -> Array:
        log_x = np.log(x)
        if is_constant(x):
            return self._at(log_x, self.scale / x)
        return self._at(log_x, self._over(log_x))

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        log_x = log_slack().lower
        return self._at(log_x, self._over(log_x))

    def _over(self, log_x: Array) -> Array:
        """Divide s by x where x is differentiated: the derivative s / x^2 has a square."""
        return self.scale * np.exp(-log_x)

    def _at(self, log_x: Array, ratio: Array) -> Array:
        """The log density from log x and s / x."""
        a, s = self.concentration, self.scale
        return (a * np.log(s) - sp.gammaln(a)) - (a + 1.0) * log_x - ratio

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return self.scale / rng.standard_gamma(self.concentration, size)

    def log_cdf(self, x: Array) -> Array:
        self._needs_constant("concentration")
        return safe_log(sp.gammaincc(self.concentration, self.scale / x))

    def log_survival(self, x: Array) -> Array:
        self._needs_constant("concentration")
        return safe_log(sp.gammainc(self.concentration, self.scale / x))

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        from scipy.special import gammainccinv

        return self.scale / gammainccinv(self.concentration, onp.exp(log_p))

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        from scipy.special import gammaincinv

        return self.scale / gammaincinv(self.concentration, onp.exp(log_q))


@dataclass(frozen=True, eq=False)
class LogNormal(Continuous):
    """exp(Z) for Z normal with mean ``loc`` and standard deviation ``scale`` > 0.

    Raises
    ------
    TypeError, ValueError
        if a constant ``loc`` is not finite or a constant ``scale`` not positive.
    """

    loc: Array
    scale: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"loc": FINITE, "scale": POSITIVE}

    @property
    def support(self) -> Support:
        return Positive()

    def log_prob_in_support(self, x: Array) -> Array:
        return self._at(np.log(x))

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        return self._at(log_slack().lower)

    def _at(self, log_x: Array) -> Array:
        s = ROOT_TWO * self.scale  # as for `Normal`
        return (-LOG_ROOT_PI - np.log(s)) - np.square(centred(log_x, self.loc) / s) - log_x

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.lognormal(self.loc, self.scale, size)

    def log_cdf(self, x: Array) -> Array:
        return sp.log_ndtr((np.log(x) - self.loc) / self.scale)

    def log_survival(self, x: Array) -> Array:
        return sp.log_ndtr((self.loc - np.log(x)) / self.scale)

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        from scipy.special import ndtri_exp

        return onp.exp(self.loc + self.scale * ndtri_exp(log_p))

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        from scipy.special import ndtri_exp

        return onp.exp(self.loc - self.scale * ndtri_exp(log_q))
