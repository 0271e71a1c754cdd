r"""`scan`: a recursion, :math:`s_t = f(s_{t-1}, x_t)`, that engines run as one operation.

A Python loop of T steps in a program is unrolled by JAX, which compiles T copies of its body;
with `scan` it compiles one. autograd, and NumPy where no engine runs, do the loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as onp

from vi_lab.checks import check_function, described
from vi_lab.engine import Array, Tree, namespace
from vi_lab.engine.trees import tree_leaves, tree_map
from vi_lab.errors import ArgumentError, ArgumentTypeError

Step = Callable[[Tree, Tree], tuple[Tree, Tree]]


def scan(step: Step, state: Tree, inputs: Tree) -> tuple[Tree, Tree]:
    """Fold ``step(state, inputs[t]) -> (state, record)`` over t = 0, ..., T - 1.

    For programs with a recursion, on both engines and on plain NumPy, with derivatives.

    Parameters
    ----------
    step : function of a state and of one row of ``inputs``, which returns the next state and what
        is to be recorded of this step. It computes: calls of ``m`` stand outside
    state : the first state: a number, an array, or tuples and dictionaries of them. All states
        have its shape, and are floats if it is: start a sum with 0.0
    inputs : an array (T, ...), or tuples and dictionaries of them

    Returns
    -------
    the last state, and the records, (T, ...) each

    Raises
    ------
    TypeError, ValueError
        for arguments of other kinds, inputs of several lengths or of none, a ``step`` that
        returns no pair, or one whose state is of another shape or kind than the first.

    Examples
    --------
    The shocks e_t = y_t - mu - theta e_{t-1} of a moving average:

    >>> import numpy as np
    >>> import vi_lab as vl
    >>> def moving_average(m, y):
    ...     mu = m.sample("mu", vl.Normal(0.0, 5.0))
    ...     theta = m.sample("theta", vl.Normal(0.0, 2.0))
    ...     sigma = m.sample("sigma", vl.HalfCauchy(2.5))
    ...
    ...     def shock(before, y):
    ...         now = y - mu - theta * before
    ...         return now, now
    ...
    ...     shocks = vl.scan(shock, 0.0, y)[1]
    ...     m.factor("y", vl.Normal(0.0, sigma).log_prob(shocks))
    >>> vl.Model(moving_average, y=np.array([0.3, -0.1, 0.4])).dim
    3
    >>> vl.scan(lambda total, x: (total + x, total + x), 0.0, np.array([1.0, 2.0, 4.0]))
    (np.float64(7.0), array([1., 3., 7.]))
    """
    check_function("step", step, "step(state, row) -> (state, record)", 2)
    shapes: list[tuple[int, ...]] = [getattr(leaf, "shape", ()) for leaf in tree_leaves(inputs)]
    if not shapes or not all(shapes):
        raise ArgumentTypeError(
            f"inputs: is {described(inputs)}; give an array of at least one axis, or tuples and "
            "dictionaries of such arrays"
        )
    lengths = {shape[0] for shape in shapes}
    if len(lengths) > 1 or 0 in lengths:
        raise ArgumentError(
            f"inputs: have the lengths {sorted(lengths)}; give arrays of one length, at least 1"
        )
    if not tree_leaves(state):
        raise ArgumentError("state: is empty; give at least one number or array")
    engine_scan = getattr(namespace(), "scan", None)
    if engine_scan is not None:
        return engine_scan(step, state, inputs)
    # A program is first run here, so the checks of values and of each step are made here alone.
    for name, tree in (("state", state), ("inputs", inputs)):
        if not all(onp.asarray(leaf).dtype.kind in "biuf" for leaf in tree_leaves(tree)):
            raise ArgumentTypeError(
                f"{name}: is {described(tree)}; give real numbers, in arrays, tuples and "
                "dictionaries"
            )
    return fold(_checked(step), state, inputs, onp.stack)


def fold(step: Step, state: Tree, inputs: Tree, stack: Callable[[Any], Array]) -> tuple[Tree, Tree]:
    """The loop itself; ``stack`` makes an array (T, ...) of T arrays."""
    records = []
    for t in range(len(tree_leaves(inputs)[0])):
        row = tree_map(lambda x, t=t: x[t], inputs)
        state, record = step(state, row)
        records.append(record)
    return state, tree_map(lambda *rows: stack(rows), *records)


def _checked(step: Step) -> Step:
    """``step``, whose states must be like those that it is given: compiled, they have no choice."""

    def checked(state: Tree, row: Tree) -> tuple[Tree, Tree]:
        outcome: Any = step(state, row)
        if not (isinstance(outcome, tuple) and len(outcome) == 2):
            raise ArgumentTypeError(
                f"step: returns {described(outcome)}; it must return two, (state, record)"
            )
        try:
            tree_map(_refuse_other, state, outcome[0])
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"step: its state is another than the one before ({error}); all states must have "
                "the shape and the kind of the first, so start with zeros of that shape, and with "
                "0.0 rather than 0"
            ) from None
        return outcome

    return checked


def _refuse_other(before: Array, after: Array) -> None:
    was, now = onp.asarray(before), onp.asarray(after)
    if was.shape != now.shape:
        raise ArgumentError(f"state: of shape {was.shape}, now {now.shape}")
    if was.dtype.kind != now.dtype.kind:
        raise ArgumentError(f"state: of {was.dtype}, now {now.dtype}")
