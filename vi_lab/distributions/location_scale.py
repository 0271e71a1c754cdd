r"""Symmetric location-scale families on the real line.

With :math:`t = (x - \text{loc}) / \text{scale}` and :math:`f, F` the density and the
distribution function of the standard member (loc 0, scale 1),

.. math:: \log p(x) = \log f(t) - \log \text{scale}, \qquad
          \Pr(X \le x) = F(t), \qquad \Pr(X > x) = F(-t),

the last because :math:`f` is even; so one function, accurate in the left tail, serves
both tails.

Under autograd every array operation has a price, so formulas here are arranged for
few operations on ``x``, with constants first: plain numbers fold by themselves.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.distributions.base import (
    FINITE,
    POSITIVE,
    Continuous,
    Rule,
    centred,
    safe_log,
)
from vi_lab.engine import Array
from vi_lab.transforms.supports import Real, Support

ROOT_TWO = math.sqrt(2.0)
LOG_ROOT_PI = 0.5 * math.log(math.pi)
LOG_TWO = math.log(2.0)


class SymmetricLocationScale(Continuous):
    """A symmetric location-scale family: it has both tails if it has the left one."""

    loc: Array
    scale: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"loc": FINITE, "scale": POSITIVE}

    @property
    def support(self) -> Support:
        return Real()

    @abstractmethod
    def standard_log_cdf(self, t: Array) -> Array:
        """The logarithm of F(t)."""

    @abstractmethod
    def standard_inverse(self, log_p: onp.ndarray) -> onp.ndarray:
        """The t with log F(t) = ``log_p``."""

    def standardised(self, x: Array) -> Array:
        """The standardised value t = (x - loc) / scale."""
        return centred(x, self.loc) / self.scale

    def log_cdf(self, x: Array) -> Array:
        return self.standard_log_cdf(self.standardised(x))

    def log_survival(self, x: Array) -> Array:
        return self.standard_log_cdf(-self.standardised(x))

    def inverse_log_cdf(self, log_p: onp.ndarray) -> onp.ndarray:
        return self.loc + self.scale * self.standard_inverse(log_p)

    def inverse_log_survival(self, log_q: onp.ndarray) -> onp.ndarray:
        return self.loc - self.scale * self.standard_inverse(log_q)


@dataclass(frozen=True, eq=False)
class Normal(SymmetricLocationScale):
    """The normal distribution with mean ``loc`` and standard deviation ``scale`` > 0.

    Raises
    ------
    TypeError, ValueError
        if a constant ``loc`` is not finite or a constant ``scale`` not positive.

    Examples
    --------
    >>> from vi_lab import Normal
    >>> round(float(Normal(0.0, 1.0).log_prob(0.0)), 6)
    -0.918939
    """

    loc: Array
    scale: Array

    def log_prob_in_support(self, x: Array) -> Array:
        # s = sqrt(2) scale spares the factor 1/2: log p = -log(sqrt(pi) s) - ((x - loc) / s)^2.
        s = ROOT_TWO * self.scale
        return (-LOG_ROOT_PI - np.log(s)) - np.square(centred(x, self.loc) / s)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.normal(self.loc, self.scale, size)

    def standard_log_cdf(self, t: Array) -> Array:
        return sp.log_ndtr(t)

    def standard_inverse(self, log_p: onp.ndarray) -> onp.ndarray:
        from scipy.special import ndtri_exp  # SciPy only where a function needs it

        return ndtri_exp(log_p)


@dataclass(frozen=True, eq=False)
class StudentT(SymmetricLocationScale):
    r"""Student's t with ``df`` > 0 degrees of freedom, location and scale.

    .. math:: \log f(t) = \log\Gamma(\tfrac{\nu+1}{2}) - \log\Gamma(\tfrac{\nu}{2})
              - \tfrac12 \log(\nu\pi) - \tfrac{\nu+1}{2} \log(1 + t^2/\nu)

    Raises
    ------
    TypeError, ValueError
        if a constant ``df`` or ``scale`` is not positive, or ``loc`` not finite.
    """

    df: Array
    loc: Array = 0.0
    scale: Array = 1.0
    constraints: ClassVar[Mapping[str, Rule]] = {
        "df": POSITIVE,
        **SymmetricLocationScale.constraints,
    }

    def log_prob_in_support(self, x: Array) -> Array:
        df = self.df
        half = 0.5 * (df + 1.0)
        s = np.sqrt(df) * self.scale
        constant = sp.gammaln(half) - sp.gammaln(0.5 * df) - (LOG_ROOT_PI + np.log(s))
        return constant - half * sp.log1p_square(centred(x, self.loc) / s)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return self.loc + self.scale * rng.standard_t(self.df, size)

    def standard_log_cdf(self, t: Array) -> Array:
        r"""The logarithm of F(t), through the incomplete beta function with equal parameters.

        .. math:: F(-m) = I_y(\nu/2, \nu/2), \quad y = \frac{\nu/2}{r (r + m)},
                  \quad r = \sqrt{\nu + m^2}, \quad m \ge 0.

        Unlike the usual form, in :math:`I_{\nu/(\nu+t^2)}(\nu/2, 1/2)`, it has a
        derivative at t = 0, which is where a half-t is cut.
        """
        self._needs_constant("df")
        # Not abs(t), whose derivative at 0 is 0 on both engines.
        m = np.where(t < 0, -t, t)
        half = 0.5 * self.df
        r = np.sqrt(self.df + m * m)
        tail = sp.betainc(half, half, half / (r * (r + m)))
        return np.where(t < 0, safe_log(tail), np.log1p(-tail))

    def standard_inverse(self, log_p: onp.ndarray) -> onp.ndarray:
        from scipy.special import stdtrit

        return stdtrit(self.df, onp.exp(log_p))


@dataclass(frozen=True, eq=False)
class Cauchy(SymmetricLocationScale):
    """The Cauchy distribution: Student's t with one degree of freedom.

    Raises
    ------
    TypeError, ValueError
        if a constant ``loc`` is not finite or a constant ``scale`` not positive.
    """

    loc: Array
    scale: Array

    def log_prob_in_support(self, x: Array) -> Array:
        return -np.log(math.pi * self.scale) - sp.log1p_square(self.standardised(x))

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return self.loc + self.scale * rng.standard_cauchy(size)

    def standard_log_cdf(self, t: Array) -> Array:
        # The angle of (-t, 1): no cancellation in the left tail, unlike 1/2 + arctan(t) / pi.
        return np.log(np.arctan2(1.0, -t) / math.pi)

    def standard_inverse(self, log_p: onp.ndarray) -> onp.ndarray:
        return -1.0 / onp.tan(math.pi * onp.exp(log_p))


@dataclass(frozen=True, eq=False)
class Laplace(SymmetricLocationScale):
    """The Laplace (double exponential) distribution; its variance is 2 scale^2.

    Raises
    ------
    TypeError, ValueError
        if a constant ``loc`` is not finite or a constant ``scale`` not positive.
    """

    loc: Array
    scale: Array

    def log_prob_in_support(self, x: Array) -> Array:
        return -np.log(2.0 * self.scale) - np.abs(self.standardised(x))

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.laplace(self.loc, self.scale, size)

    def standard_log_cdf(self, t: Array) -> Array:
        m = np.where(t < 0, -t, t)  # abs(t), with a derivative at 0
        return np.where(t < 0, -m - LOG_TWO, np.log1p(-0.5 * np.exp(-m)))

    def standard_inverse(self, log_p: onp.ndarray) -> onp.ndarray:
        return onp.where(log_p < -LOG_TWO, log_p + LOG_TWO, -LOG_TWO - onp.log(-onp.expm1(log_p)))


@dataclass(frozen=True, eq=False)
class Logistic(SymmetricLocationScale):
    """The logistic distribution: F is the logistic function; its variance is (pi scale)^2 / 3.

    Raises
    ------
    TypeError, ValueError
        if a constant ``loc`` is not finite or a constant ``scale`` not positive.
    """

    loc: Array
    scale: Array

    def log_prob_in_support(self, x: Array) -> Array:
        t = self.standardised(x)
        return sp.log_expit(t) + sp.log_expit(-t) - np.log(self.scale)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.logistic(self.loc, self.scale, size)

    def standard_log_cdf(self, t: Array) -> Array:
        return sp.log_expit(t)

    def standard_inverse(self, log_p: onp.ndarray) -> onp.ndarray:
        return log_p - onp.log(-onp.expm1(log_p))
