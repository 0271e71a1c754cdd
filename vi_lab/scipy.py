"""The active engine's special functions: ``import vi_lab.scipy as sp``.

The companion of :mod:`vi_lab.numpy` for what NumPy lacks. Each engine offers
exactly these names, with SciPy's meaning and argument order:

``betainc``, ``digamma``, ``erf``, ``expit``, ``gammainc``, ``gammaincc``,
``gammaln``, ``log_expit``, ``log_ndtr``, ``logit``, ``logsumexp``, ``ndtr``,
``solve_triangular``, ``xlog1py``, ``xlogy``,

and two that keep within the range of floats: ``log1p_square(t)``, log(1 + t^2) without an
overflow of the square, and ``positive_exp(z)``, e^z without an underflow to 0.

The incomplete gamma and beta functions have derivatives with respect to their
last argument only. ``solve_triangular(L, b, trans=0)`` takes one lower triangle
``L`` of shape (D, D) and ``b`` of shape (D,) or (D, K); ``trans=1`` solves with
``L`` transposed.
"""

from typing import Any

from vi_lab.engine import follow, namespace

NAMES = (
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
)


def __getattr__(name: str) -> Any:
    """Refuse what is none of `NAMES`, in the engine's words."""
    return getattr(namespace().special, name)


follow(__name__, NAMES, "namespace().special")
