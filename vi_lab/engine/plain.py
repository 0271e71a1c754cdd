"""SciPy's own special functions, for `vi_lab.scipy` while no engine runs."""

from typing import Any

import numpy as onp
from scipy.linalg import solve_triangular as _solve_triangular
from scipy.special import (
    betainc,
    digamma,
    erf,
    expit,
    gammainc,
    gammaincc,
    gammaln,
    log_expit,
    log_ndtr,
    logit,
    logsumexp,
    ndtr,
    xlog1py,
    xlogy,
)

from vi_lab.engine.floats import LARGE, LOG_SMALLEST

__all__ = [
    "betainc",
    "digamma",
    "erf",
    "expit",
    "gammainc",
    "gammaincc",
    "gammaln",
    "log1p_square",
    "log_expit",
    "log_ndtr",
    "logit",
    "logsumexp",
    "ndtr",
    "positive_exp",
    "solve_triangular",
    "xlog1py",
    "xlogy",
]


def solve_triangular(lower: Any, b: Any, trans: int = 0) -> Any:
    """x with ``lower @ x = b`` (or ``lower.T @ x = b`` if trans=1)."""
    return _solve_triangular(lower, b, trans=trans, lower=True, check_finite=False)


def positive_exp(z: Any) -> Any:
    """e^z, held above 0 where it would underflow.

    What divides by it, or takes its logarithm, is finite then, and so is its derivative.
    """
    return onp.exp(onp.maximum(z, LOG_SMALLEST))


def log1p_square(t: Any) -> Any:
    """log(1 + t^2), which is 2 log abs(t) where the square overflows."""
    if isinstance(t, float) and -LARGE < t < LARGE:
        return onp.log1p(t * t)  # quicker for a number than what follows
    try:
        with onp.errstate(over="raise"):
            return onp.log1p(onp.square(t))
    except FloatingPointError:
        m = onp.abs(t)
        large = m > LARGE
        return onp.where(large, 2.0, 1.0) * onp.log1p(
            onp.where(large, m, onp.square(onp.where(large, 0.0, m)))
        )
