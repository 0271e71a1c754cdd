"""The reference engine: autograd, eager and pure Python.

autograd records each NumPy call on a tape and walks it backwards. It compiles
nothing: `compile` only marks the engine as running, a scan is a Python loop, and
a map is a loop over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import autograd
import autograd.numpy
import numpy as onp
from autograd.extend import Box, defvjp, notrace_primitive, primitive

from vi_lab.engine import Array, Tree, running
from vi_lab.engine.recursion import fold
from vi_lab.engine.trees import tree_leaves, tree_map, tree_of

ONE = onp.float64(1.0)  # the seed of a walk back: an array, as some rules ask it for its shape

constant: Callable[[Array], Array] = notrace_primitive(lambda x: x)
"""The plain array inside however many boxes: nested tapes box more than once."""


def unbroadcast(like: Array, pullback: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """``pullback`` summed over the axes along which ``like`` was repeated, in its shape."""
    shape = getattr(like, "shape", ())  # boxes have one, numbers none

    def summed(g: Array) -> Array:
        g = pullback(g)
        if g.shape == shape:
            return g
        g = autograd.numpy.sum(g, axis=tuple(range(g.ndim - len(shape))))
        repeated = tuple(i for i, length in enumerate(shape) if length < g.shape[i])
        return autograd.numpy.sum(g, axis=repeated, keepdims=True)

    return summed


# autograd's own rule for `where` forgets to sum over the axes along which a branch was repeated,
# so that its derivative has the wrong shape. Hence one of our own, in a namespace of our own:
# other users of autograd in this process keep theirs.
_where = primitive(onp.where)
defvjp(
    _where,
    lambda ans, c, x, y: unbroadcast(x, lambda g: _where(c, g, 0.0)),
    lambda ans, c, x, y: unbroadcast(y, lambda g: _where(c, 0.0, g)),
    argnums=(1, 2),
)


def where(condition: Array, *branches: Array) -> Array:
    """NumPy's, with one argument or with three."""
    return _where(condition, *branches) if branches else onp.where(constant(condition))


def _log_sum(log_of_sum: Callable, exp: Callable[[Array], Array]) -> Callable:
    """``log_of_sum(x, y)``, of which each argument has its share, and of a sum of 0 none.

    autograd's own rule has -inf - (-inf) in the exponent there.
    """
    traced: Callable = primitive(lambda x, y: log_of_sum(x, y))

    def share(argnum: int) -> Callable:
        def pullback(ans: Array, *args: Array) -> Callable:
            total = where(constant(ans) == -onp.inf, 0.0, ans)
            return unbroadcast(args[argnum], lambda g: g * exp(args[argnum] - total))

        return pullback

    defvjp(traced, share(0), share(1))
    return traced


_numpy = SimpleNamespace(**vars(autograd.numpy))
_numpy.where = where
_numpy.logaddexp = _log_sum(onp.logaddexp, autograd.numpy.exp)
_numpy.logaddexp2 = _log_sum(onp.logaddexp2, autograd.numpy.exp2)


class AutogradEngine:
    """See :class:`vi_lab.engine.Engine` for what each operator means."""

    name = "autograd"
    version = f"{version('autograd')} on NumPy {onp.__version__}"
    parallel = False
    numpy = _numpy

    @property
    def special(self) -> Any:
        from vi_lab.engine import autograd_special  # imports scipy.special: on first use

        return autograd_special

    def compile(
        self,
        function: Callable[..., Tree],
        static: tuple[int, ...] = (),
        *,
        few_rows: bool = False,
    ) -> Callable:
        def run(*args: Tree) -> Tree:
            with running(self):
                return tree_map(onp.asarray, function(*args))

        return run

    def value_and_grad(self, function: Callable[..., Array]) -> Callable:
        def evaluate(x: Tree, *rest: Tree) -> tuple[Array, Tree]:
            leaves = tree_leaves(x)

            def of_leaves(*leaves: Array) -> Array:
                result = function(tree_of(leaves, x), *rest)
                # autograd warns of a result in which x has no part; its gradient is 0.
                return result if isinstance(result, Box) else result + 0.0 * leaves[0].sum()

            # Not of the tree itself: each look into a dictionary would be a step on the tape, as is
            # each leaf that is taken out of several. A single one is not.
            if len(leaves) == 1:
                pullback, value = autograd.make_vjp(of_leaves)(*leaves)
                return value, tree_of([pullback(ONE)], x)
            pullback, value = autograd.make_vjp(of_leaves, tuple(range(len(leaves))))(*leaves)
            return value, tree_of(pullback(ONE), x)

        return evaluate

    def hessian_vector_product(self, function: Callable[..., Array]) -> Callable:
        def at(x: Array, *rest: Tree) -> Callable[[Array], onp.ndarray]:
            def gradient(x: Array) -> Array:
                return self.value_and_grad(function)(x, *rest)[1]

            # The tape of the gradient is recorded once and walked for every v.
            with running(self):
                pullback, _ = autograd.make_vjp(gradient)(x)

            def product(v: Array) -> onp.ndarray:
                with running(self):
                    return onp.asarray(pullback(v))

            return product

        return at

    def vmap(self, function: Callable[..., Tree]) -> Callable[..., Tree]:
        def mapped(*args: Tree) -> Tree:
            rows = range(_leading_axis(args))
            return _stack([function(*_row(args, i)) for i in rows])

        return mapped

    def scan(
        self,
        step: Callable[[Tree, Tree], tuple[Tree, Tree]],
        state: Tree,
        inputs: Tree,
        length: int | Array | None = None,
    ) -> tuple[Tree, Tree]:
        if length is None:
            return fold(step, state, inputs, autograd.numpy.stack)
        size = _leading_axis(inputs)
        rows = []
        for t in range(int(length)):
            state, record = step(state, _row(inputs, t))
            rows.append(record)
        return state, _collect(rows, size)

    def while_loop(
        self, keep_going: Callable[[Tree], Array], body: Callable[[Tree], Tree], state: Tree
    ) -> Tree:
        while keep_going(state):
            state = body(state)
        return state

    def cond(
        self, predicate: Array, if_true: Callable[..., Tree], if_false: Callable, *args: Tree
    ) -> Tree:
        return if_true(*args) if predicate else if_false(*args)

    def set_at(self, array: Array, index: Any, value: Array) -> Array:
        changed = onp.array(array)
        changed[index] = value
        return changed

    def stop_gradient(self, x: Tree) -> Tree:
        return tree_map(constant, x)


def _leading_axis(tree: Tree) -> int:
    return len(tree_leaves(tree)[0])


def _row(tree: Tree, i: int) -> Tree:
    return tree_map(lambda x: x[i], tree)


def _collect(rows: list[Tree], size: int) -> Tree:
    """Records of steps as arrays of ``size`` rows, zero after the last."""

    def column(*values: Array) -> onp.ndarray:
        first = onp.asarray(values[0])
        filled = onp.zeros((size, *first.shape), dtype=first.dtype)
        filled[: len(values)] = values
        return filled

    return tree_map(column, *rows)


def _stack(trees: list[Tree]) -> Tree:
    return tree_map(lambda *rows: autograd.numpy.stack(rows), *trees)


ENGINE = AutogradEngine()
