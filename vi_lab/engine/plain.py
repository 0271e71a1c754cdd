"""SciPy's own special functions, for `vi_lab.scipy` while no engine runs."""

from typing import Any

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

__all__ = [
    "betainc",
    "digamma",
    "erf",
    "expit",
    "gammainc",
    "gammaincc",
    "gammaln",
    "log_expit",
    "log_ndtr",
    "logit",
    "logsumexp",
    "ndtr",
    "solve_triangular",
    "xlog1py",
    "xlogy",
]


def solve_triangular(lower: Any, b: Any, trans: int = 0) -> Any:
    """x with ``lower @ x = b`` (or ``lower.T @ x = b`` if trans=1)."""
    return _solve_triangular(lower, b, trans=trans, lower=True, check_finite=False)
