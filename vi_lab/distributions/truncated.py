r"""Cutting a distribution off at bounds.

Restricted to lower < x < upper, a density must be divided by what is left of its mass,

.. math:: \log p(x \mid l < X < u) = \log p(x) - \log Z, \qquad Z = F(u) - F(l) = S(l) - S(u).

With one bound, log Z is log F(u) or log S(l). With two, both forms are equal in
exact arithmetic, but where F is close to 1 the first loses all its digits: beyond the
median (F(l) > 1/2) the second is taken. Either has a *near* term A, the larger, and a
*far* one B:

.. math:: \log Z = \log A + \log\bigl(1 - e^{\log B - \log A}\bigr).

Draws are inverted in the same tail, :math:`X = F^{-1}(V F(u) + (1-V) F(l))` for V
uniform, all in logarithms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as onp

import vi_lab.numpy as np
from vi_lab.arrays import check_order, every, is_constant
from vi_lab.distributions.base import NOT_NAN, Continuous, Distribution, check
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError, UnsupportedError
from vi_lab.transforms import supports
from vi_lab.transforms.supports import LogSlack, Support

LOG_HALF = math.log(0.5)


@dataclass(frozen=True, eq=False)
class Truncated(Distribution):
    """``distribution``, a continuous univariate one, given that lower < x < upper.

    Normalised. Bounds may be arrays or depend on latents; a bound that does must lie
    inside the support of ``distribution``. Gamma, inverse gamma, beta and Student's t
    need constant shape parameters here: their distribution functions have no
    derivative with respect to those.

    Raises
    ------
    TypeError
        if ``distribution`` is not continuous and univariate, or is truncated already.
    ValueError
        if constant bounds are NaN, out of order, leave none of the mass, or cut off
        something in some entries only.
    NotImplementedError
        from log_prob, where a shape parameter or a uniform's bound is a latent.

    Examples
    --------
    >>> from vi_lab.distributions import Cauchy, Truncated
    >>> half = Truncated(Cauchy(0.0, 2.5), lower=0.0)
    >>> half.support
    NonNegative()
    """

    distribution: Continuous
    lower: Array = -math.inf
    upper: Array = math.inf
    _cuts: tuple[bool, bool] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.distribution, Continuous):
            raise ArgumentTypeError(
                f"distribution: {type(self.distribution).__name__} cannot be truncated, only a "
                "continuous univariate distribution can; give one, with both bounds at once"
            )
        check(self, "lower", NOT_NAN)
        check(self, "upper", NOT_NAN)
        check_order("Truncated", self.lower, self.upper)
        first, last = self._ends()
        check_order("Truncated", self.lower, last)
        check_order("Truncated", first, self.upper)
        below = _cuts_off("lower", self.lower, self.lower > first)
        above = _cuts_off("upper", self.upper, self.upper < last)
        object.__setattr__(self, "_cuts", (below, above))

    @property
    def support(self) -> Support:
        below, above = self._cuts
        if not (below or above):
            return self.distribution.support
        first, last = self._ends()
        lower = self.lower if below else first
        upper = self.upper if above else last
        if above or every(last < math.inf):
            if below or every(first > -math.inf):
                return supports.Interval(lower, upper)
            return supports.LessThan(upper)
        if is_constant(lower) and every(lower == 0):
            return supports.NonNegative()
        return supports.GreaterThan(lower)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return self._broadcast(
            {
                "distribution": self.distribution.batch_shape,
                "lower": onp.shape(self.lower),
                "upper": onp.shape(self.upper),
            }
        )

    def log_prob_in_support(self, x: Array) -> Array:
        return self.distribution.log_prob_in_support(x) - self.log_mass()

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        d, (below, above) = self.distribution, self._cuts
        first, last = self._ends()

        def of_parent() -> LogSlack:
            """The slacks of the uncut support: where a bound cuts, no longer near 0."""
            slack = log_slack()
            lower = np.log(x - first) if below and every(first > -math.inf) else slack.lower
            upper = np.log(last - x) if above and every(last < math.inf) else slack.upper
            return LogSlack(lower, upper)

        return d.log_prob_of_latent(x, of_parent) - self.log_mass()

    def log_mass(self) -> Array:
        """The log probability log Z that ``distribution`` gives to the interval.

        Raises
        ------
        ValueError
            if it is constant and too small for a number.
        """
        log_z = self._log_mass()
        if is_constant(log_z) and not onp.all(onp.isfinite(log_z)):
            raise ArgumentError(
                f"lower, upper: {self.distribution} has no mass, in floating point, between "
                f"{self.lower} and {self.upper}; move the bounds towards its bulk"
            )
        return log_z

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        self.log_mass()  # refuses an empty interval
        d, (below, above) = self.distribution, self._cuts
        v = 1.0 - rng.random(size)  # (0, 1], so that log v is finite
        with onp.errstate(all="ignore"):  # infinities of the tail that is not taken
            log_v, log_rest = onp.log(v), onp.log1p(-v)
            log_f_lower = d.log_cdf(self.lower) if below else -onp.inf
            log_f_upper = d.log_cdf(self.upper) if above else 0.0
            log_s_lower = d.log_survival(self.lower) if below else 0.0
            log_s_upper = d.log_survival(self.upper) if above else -onp.inf
            log_p = onp.logaddexp(log_v + log_f_upper, log_rest + log_f_lower)
            log_q = onp.logaddexp(log_v + log_s_lower, log_rest + log_s_upper)
            x = onp.where(
                log_f_lower > LOG_HALF,
                d.inverse_log_survival(log_q),
                d.inverse_log_cdf(log_p),
            )
        return onp.clip(x, self.lower, self.upper)  # rounding may step over a bound

    def _log_mass(self) -> Array:
        d, (below, above) = self.distribution, self._cuts
        if not (below or above):
            return 0.0
        if not above:
            return d.log_survival(self.lower)
        if not below:
            return d.log_cdf(self.upper)
        log_f_lower = d.log_cdf(self.lower)
        beyond = log_f_lower > LOG_HALF
        near = np.where(beyond, d.log_survival(self.lower), d.log_cdf(self.upper))
        far = np.where(beyond, d.log_survival(self.upper), log_f_lower)
        return near + np.log(-np.expm1(far - near))

    def _ends(self) -> tuple[Array, Array]:
        """The ends of the support before the cut."""
        match self.distribution.support:
            case supports.Real():
                return -math.inf, math.inf
            case supports.Positive() | supports.NonNegative():
                return 0.0, math.inf
            case supports.Interval(lower, upper) if is_constant(lower) and is_constant(upper):
                return lower, upper
        raise UnsupportedError(
            f"distribution: {type(self.distribution).__name__} has bounds that depend on latents; "
            "give it the narrower bounds itself"
        )


def _cuts_off(name: str, bound: Array, cuts: Any) -> bool:
    """Whether a bound cuts anything off; a traced one is taken to."""
    if not is_constant(bound):
        return True
    all_cut = every(cuts)
    if not all_cut and onp.any(cuts):
        raise ArgumentError(
            f"{name}: some entries of {bound} lie inside the support and some do not; "
            "use one Truncated for those that cut and the bare distribution for the others"
        )
    return all_cut
