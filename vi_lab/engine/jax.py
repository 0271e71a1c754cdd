"""The fast engine: JAX, compiled by XLA.

Numbers are float64, set for the duration of a call: a program that uses JAX in
float32 beside this library keeps its precision. What it shares with this library is how
XLA compiles loops (`vi_lab.engine.xla`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from threading import Lock
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as onp
from jax import lax

from vi_lab.engine import Array, Tree, running
from vi_lab.engine.captured import captured
from vi_lab.engine.floats import LARGE, LOG_SMALLEST
from vi_lab.engine.xla import FEW_ROWS, compile_loops_whole

compile_loops_whole()  # before anything is compiled

MOST_COMPILED = 24  # functions that are kept compiled: those of some 20 fits, at 3 MB a fit
_one_at_a_time = Lock()


class _Numpy:
    """`jax.numpy` with two rules mended: the derivative of log(0 + 0) is NaN there, not 0."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    def logaddexp(self, x: Array, y: Array) -> Array:
        return _of_nothing(jnp.logaddexp, x, y)

    def logaddexp2(self, x: Array, y: Array) -> Array:
        return _of_nothing(jnp.logaddexp2, x, y)


def _of_nothing(log_add: Callable[[Array, Array], Array], x: Array, y: Array) -> Array:
    """``log_add(x, y)``; where both are -inf, a constant."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    nothing = (x == -jnp.inf) & (y == -jnp.inf)
    added = log_add(jnp.where(nothing, 0.0, x), jnp.where(nothing, 0.0, y))
    return jnp.where(nothing, -jnp.inf, added)


class JaxEngine:
    """See :class:`vi_lab.engine.Engine` for what each operator means."""

    name = "jax"
    version: str = jax.__version__
    parallel = True  # what XLA has compiled does not hold Python's lock
    numpy = _Numpy()

    @property
    def special(self) -> Any:
        return _special()

    def compile(
        self,
        function: Callable[..., Tree],
        static: tuple[int, ...] = (),
        *,
        few_rows: bool = False,
    ) -> Callable:
        def run(*args: Tree) -> Tree:
            fixed = tuple((i, _Fixed(args[i])) for i in sorted(static))
            with _one_at_a_time:  # or two chains would compile the same
                jitted = _jitted(function, fixed, few_rows)
            others = [x for i, x in enumerate(args) if i not in static]
            with jax.enable_x64(True):
                return jax.tree.map(onp.asarray, jitted(*others))

        return run

    def value_and_grad(self, function: Callable[..., Array]) -> Callable:
        evaluate: Callable = jax.value_and_grad(function)
        return evaluate

    def hessian_vector_product(self, function: Callable[..., Array]) -> Callable:
        product = self.compile(_hessian_vector_product, static=(0,))
        return lambda x, *rest: lambda v: product(function, x, v, *rest)

    def vmap(self, function: Callable[..., Tree]) -> Callable[..., Tree]:
        mapped: Callable = jax.vmap(function)
        return mapped

    def scan(
        self,
        step: Callable[[Tree, Tree], tuple[Tree, Tree]],
        state: Tree,
        inputs: Tree,
        length: int | Array | None = None,
    ) -> tuple[Tree, Tree]:
        if length is None:
            return lax.scan(step, state, inputs)
        # lax.scan wants its length at compile time; a loop with a counter does not.
        size = jax.tree.leaves(inputs)[0].shape[0]
        step = jax.jit(step, inline=True)  # traced once for its shapes and for the loop

        def row(t: Array) -> Tree:
            return jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, t, keepdims=False), inputs)

        def body(t: Array, carry: tuple[Tree, Tree]) -> tuple[Tree, Tree]:
            state, records = carry
            state, record = step(state, row(t))
            put = lambda all_, one: lax.dynamic_update_index_in_dim(all_, one, t, 0)  # noqa: E731
            return state, jax.tree.map(put, records, record)

        _, record = jax.eval_shape(step, state, row(0))
        blank = jax.tree.map(lambda r: jnp.zeros((size, *r.shape), r.dtype), record)
        return lax.fori_loop(0, length, body, (state, blank))

    def while_loop(
        self, keep_going: Callable[[Tree], Array], body: Callable[[Tree], Tree], state: Tree
    ) -> Tree:
        return lax.while_loop(keep_going, body, state)

    def cond(
        self, predicate: Array, if_true: Callable[..., Tree], if_false: Callable, *args: Tree
    ) -> Tree:
        return lax.cond(predicate, if_true, if_false, *args)

    def set_at(self, array: Array, index: Any, value: Array) -> Array:
        return array.at[index].set(value)

    def stop_gradient(self, x: Tree) -> Tree:
        return lax.stop_gradient(x)


class _Fixed:
    """A static argument, equal to another if functions of the two are compiled to the same."""

    def __init__(self, value: Any) -> None:
        self.value, self._captured = value, captured(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and self._captured == other._captured

    def __hash__(self) -> int:
        return hash(self._captured)


@lru_cache(maxsize=MOST_COMPILED)
def _jitted(
    function: Callable[..., Tree], fixed: tuple[tuple[int, _Fixed], ...], few_rows: bool
) -> Callable:
    """``function`` with its ``fixed`` arguments in their places, compiled for the others."""

    def traced(*others: Tree) -> Tree:
        args = list(others)
        for place, argument in fixed:
            args.insert(place, argument.value)
        with running(ENGINE):
            return function(*args)

    options = _options_for_few_rows() if few_rows else {}
    return jax.jit(traced, compiler_options=options)


@cache
def _options_for_few_rows() -> dict[str, bool]:
    """`FEW_ROWS`, where this XLA knows such an option: an unknown one is an error."""
    try:
        jax.jit(lambda: 0.0, compiler_options=FEW_ROWS).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return FEW_ROWS


def _hessian_vector_product(
    function: Callable[..., Array], x: Array, v: Array, *rest: Tree
) -> Array:
    """Forward over reverse: the directional derivative of the gradient along v."""
    return jax.jvp(lambda x: jax.grad(function)(x, *rest), (x,), (v,))[1]


@cache
def _special() -> SimpleNamespace:
    from jax.scipy import special
    from jax.scipy.linalg import solve_triangular

    def x_log(log: Callable, shift: float) -> Callable:
        # JAX's own are right, but their derivative at x = y = 0 is NaN.
        def function(x: Array, y: Array) -> Array:
            return jnp.where(x == 0, 0.0, x * log(jnp.where(x == 0, 1.0 - shift, y)))

        return function

    def logsumexp(a: Array, axis: Any = None, keepdims: bool = False) -> Array:
        # JAX's own has a NaN derivative where every term is -inf: 0/0 of the sum. Here log 0 is
        # a constant.
        top = lax.stop_gradient(jnp.max(a, axis=axis, keepdims=True))
        top = jnp.where(jnp.isfinite(top), top, 0.0)
        total = jnp.sum(jnp.exp(a - top), axis=axis, keepdims=True)
        log = jnp.where(total == 0.0, -jnp.inf, jnp.log(jnp.where(total == 0.0, 1.0, total))) + top
        return log if keepdims else jnp.squeeze(log, axis=axis)

    def log1p_square(t: Array) -> Array:
        # One logarithm for both: log(1 + t^2), or 2 log(1 + |t|) where t^2 overflows.
        large = jnp.abs(t) > LARGE
        square = jnp.square(jnp.where(large, 0.0, t))
        return jnp.where(large, 2.0, 1.0) * jnp.log1p(jnp.where(large, jnp.abs(t), square))

    names = "betainc digamma erf expit gammainc gammaincc gammaln logit ndtr"
    return SimpleNamespace(
        **{name: getattr(special, name) for name in names.split()},
        xlogy=x_log(jnp.log, 0.0),
        xlog1py=x_log(jnp.log1p, 1.0),
        logsumexp=logsumexp,
        log1p_square=log1p_square,
        positive_exp=lambda z: jnp.exp(jnp.maximum(z, LOG_SMALLEST)),
        log_expit=jax.nn.log_sigmoid,
        # JAX's default of three terms of the tail series is off by 4e-9 below -20.
        log_ndtr=lambda x: special.log_ndtr(x, series_order=8),
        solve_triangular=lambda lower, b, trans=0: solve_triangular(
            lower, b, trans=trans, lower=True
        ),
    )


ENGINE = JaxEngine()
