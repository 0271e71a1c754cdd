"""The reference engine: autograd, eager and pure Python.

autograd records each NumPy call on a tape and walks it backwards. It compiles
nothing: `compile` only marks the engine as running, a scan is a Python loop, and
a map is a loop over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy
import numpy as onp
from autograd.core import VJPNode, add_outgrads, make_vjp
from autograd.extend import defvjp
from autograd.numpy.numpy_vjps import unbroadcast_f
from autograd.tracer import getval, isbox, new_box, toposort, trace_stack

from vi_lab.engine import Array, Tree, running
from vi_lab.trees import tree_leaves, tree_map

# autograd's own rule for `where` forgets to sum over the axes along which a branch was repeated,
# so that its derivative has the wrong shape. (In 1.9 what is called `where` is a plain
# function around the primitive.)
where = getattr(autograd.numpy, "_original_where", autograd.numpy.where)
defvjp(
    where,
    None,
    lambda ans, c, x, y: unbroadcast_f(x, lambda g: where(c, g, 0.0)),
    lambda ans, c, x, y: unbroadcast_f(y, lambda g: where(c, 0.0, g)),
)


class AutogradEngine:
    """See :class:`vi_lab.engine.Engine` for what each operator means."""

    name = "autograd"
    parallel = False
    numpy = autograd.numpy

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
            # One root for each leaf. With one root for the whole dictionary, as autograd's own
            # `value_and_grad` has it, taking an entry out of it is a step on the tape.
            with trace_stack.new_trace() as tape:
                boxes = tree_map(lambda leaf: new_box(leaf, tape, VJPNode.new_root()), x)
                result = function(boxes, *rest)
            if not (isbox(result) and result._trace == tape):  # noqa: SLF001 - x has no part in it
                return result, tree_map(onp.zeros_like, x)
            gradients = _walk_back(result._node)  # noqa: SLF001

            def gradient_of(box: Array) -> Array:
                found = gradients.get(box._node)  # noqa: SLF001
                return onp.zeros_like(box._value) if found is None else found[0]  # noqa: SLF001

            return result._value, tree_map(gradient_of, boxes)  # noqa: SLF001

        return evaluate

    def hessian_vector_product(self, function: Callable[..., Array]) -> Callable:
        def at(x: Array, *rest: Tree) -> Callable[[Array], onp.ndarray]:
            def gradient(x: Array) -> Array:
                return self.value_and_grad(function)(x, *rest)[1]

            # The tape of the gradient is recorded once and walked for every v.
            with running(self):
                pullback, _ = make_vjp(gradient, x)

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
        size = _leading_axis(inputs)
        taken = size if length is None else int(length)
        rows = []
        for t in range(taken):
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
        return tree_map(_value, x)


def _walk_back(end: VJPNode) -> dict[VJPNode, tuple[Array, bool]]:
    """d end / d root, by root: autograd's `backward_pass`, which knows of one root only."""
    # The seed is an array: some rules ask it for its shape.
    gradients: dict[VJPNode, tuple[Array, bool]] = {end: (onp.float64(1.0), False)}
    for node in toposort(end):
        if node.parents:
            cotangent, _ = gradients.pop(node)
            for parent, part in zip(node.parents, node.vjp(cotangent), strict=True):
                gradients[parent] = add_outgrads(gradients.get(parent), part)
    return gradients


def _value(x: Array) -> Array:
    """The plain array inside however many boxes: nested tapes box more than once."""
    while isbox(x):
        x = getval(x)
    return x


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
