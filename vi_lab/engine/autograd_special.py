"""`vi_lab.scipy` for the autograd engine: SciPy's functions with their derivatives.

``autograd.scipy`` imports all of ``scipy.stats`` (more than a second), lacks half
of these functions, and gives some of them no second derivative. A rule is one
line, so the rules are stated here, each in terms of functions that have one too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as np
import numpy as onp
from autograd.extend import defvjp, primitive
from scipy import special

from vi_lab.engine import Array, plain
from vi_lab.engine.autograd import constant, unbroadcast, where
from vi_lab.engine.floats import LARGE, LOG_SMALLEST

ROOT_TWO_PI = onp.sqrt(2.0 * onp.pi)


def _unary(function: Callable, derivative: Callable[[Array, Array], Array]) -> Callable:
    """``function(x)`` with ``derivative(ans, x)``."""
    traced: Callable = primitive(function)
    defvjp(traced, lambda ans, x: lambda g: g * derivative(ans, x))
    return traced


def _in_last(function: Callable, argnum: int, derivative: Callable) -> Callable:
    """``function(*shapes, x)``, differentiable in ``x``, its argument ``argnum``, alone."""
    traced: Callable = primitive(function)

    def pullback(ans: Array, *args: Array) -> Callable:
        return unbroadcast(args[argnum], lambda g: g * derivative(*args))

    defvjp(traced, pullback, argnums=(argnum,))
    return traced


# ------------------------------------------------------------------ gamma family
# The derivative of trigamma is SciPy's own: differentiating once more fails loudly.
_trigamma = _unary(lambda x: special.polygamma(1, x), lambda ans, x: special.polygamma(2, x))
digamma = _unary(special.digamma, lambda ans, x: _trigamma(x))
gammaln = _unary(special.gammaln, lambda ans, x: digamma(x))


def _x_log(function: Callable, log: Callable, shift: float) -> Callable:
    """x log(shift + y): at x = 0 it is 0 for every y, and so are its derivatives."""
    traced: Callable = primitive(function)

    def in_x(ans: Array, x: Array, y: Array) -> Callable:
        safe = where(x == 0, 1.0 - shift, y)
        return unbroadcast(x, lambda g: g * log(safe))

    def in_y(ans: Array, x: Array, y: Array) -> Callable:
        safe = where(x == 0, 1.0, shift + y)
        return unbroadcast(y, lambda g: g * x / safe)

    defvjp(traced, in_x, in_y)
    return traced


xlogy = _x_log(special.xlogy, np.log, 0.0)
xlog1py = _x_log(special.xlog1py, np.log1p, 1.0)


def _gamma_density(a: Array, x: Array) -> Array:
    return np.exp(xlogy(a - 1.0, x) - x - gammaln(a))


def _beta_density(a: Array, b: Array, x: Array) -> Array:
    log_normaliser = gammaln(a) + gammaln(b) - gammaln(a + b)
    return np.exp(xlogy(a - 1.0, x) + xlog1py(b - 1.0, -x) - log_normaliser)


gammainc = _in_last(special.gammainc, 1, _gamma_density)
gammaincc = _in_last(special.gammaincc, 1, lambda a, x: -_gamma_density(a, x))
betainc = _in_last(special.betainc, 2, _beta_density)

positive_exp = _unary(plain.positive_exp, lambda ans, z: ans * (z > LOG_SMALLEST))


def _slope(t: Array) -> Array:
    """2t / (1 + t^2), which is 2 / t where the square overflows."""
    try:
        with onp.errstate(over="raise"):
            return t / (0.5 + 0.5 * onp.square(t))
    except FloatingPointError:
        large = onp.abs(t) > LARGE
        m = onp.where(large, 1.0, t)
        return onp.where(large, 2.0 / onp.where(large, t, 1.0), 2.0 * m / (1.0 + m * m))


log1p_square_slope = _unary(_slope, lambda ans, t: 2.0 * np.exp(-log1p_square(t)) - ans * ans)
log1p_square: Callable = _unary(plain.log1p_square, lambda ans, t: log1p_square_slope(t))

# ------------------------------------------------------- normal and logistic family
erf = _unary(special.erf, lambda ans, x: 2.0 / onp.sqrt(onp.pi) * np.exp(-(x**2)))
ndtr = _unary(special.ndtr, lambda ans, x: np.exp(-0.5 * x**2) / ROOT_TWO_PI)
# phi(x) / Phi(x), in logarithms: both underflow in the left tail, their ratio does not.
log_ndtr = _unary(special.log_ndtr, lambda ans, x: np.exp(-0.5 * x**2 - ans) / ROOT_TWO_PI)
expit = _unary(special.expit, lambda ans, x: ans * (1.0 - ans))
logit = _unary(special.logit, lambda ans, x: 1.0 / (x * (1.0 - x)))
log_expit = _unary(special.log_expit, lambda ans, x: expit(-x))


def _logsumexp(a: Array, axis: Any = None, keepdims: Any = False) -> Array:
    """log sum exp(a), shifted by the largest term."""
    top = onp.max(a, axis=axis, keepdims=True)
    top = onp.where(onp.isfinite(top), top, 0.0)
    with onp.errstate(divide="ignore"):  # log 0 = -inf, where every term is -inf
        total = onp.log(onp.sum(onp.exp(a - top), axis=axis, keepdims=keepdims))
    return total + (top if keepdims else onp.squeeze(top, axis=axis))


def _softmax(ans: Array, a: Array, axis: Any = None, keepdims: bool = False) -> Callable:
    """exp(a - ans): shares of the sum. Where the sum is 0 nothing has a share, not 0/0 of it."""
    shape = onp.shape(onp.max(constant(a), axis=axis, keepdims=True))
    total = np.reshape(where(constant(ans) == -onp.inf, 0.0, ans), shape)
    return lambda g: np.reshape(g, shape) * np.exp(a - total)


logsumexp: Callable = primitive(_logsumexp)
defvjp(logsumexp, _softmax)


# ------------------------------------------------------------------ linear algebra
solve_triangular: Callable = primitive(plain.solve_triangular)


def _solve_in_lower(ans: Array, lower: Array, b: Array, trans: int = 0) -> Callable:
    """L x = b: the cotangent of L is -tril(u x'), L' u = g; transposed, if trans is 1."""

    def pullback(g: Array) -> Array:
        columns = (np.shape(lower)[0], -1)
        u = np.reshape(solve_triangular(lower, g, trans=1 - trans), columns)
        x = np.reshape(ans, columns)
        return -np.tril(np.dot(u, x.T) if trans == 0 else np.dot(x, u.T))

    return pullback


def _solve_in_b(ans: Array, lower: Array, b: Array, trans: int = 0) -> Callable:
    return lambda g: solve_triangular(lower, g, trans=1 - trans)


defvjp(solve_triangular, _solve_in_lower, _solve_in_b)
