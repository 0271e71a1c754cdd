"""Steps without a step size: distance over weighted gradients."""

from __future__ import annotations

from dataclasses import dataclass

import vi_lab.numpy as np
from vi_lab.checks import check_name, check_positive
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_leaves, tree_map
from vi_lab.optimizers.base import Additive, Memory, square, zeros_like_params

PER = ("all", "coordinate")


@dataclass(frozen=True)
class DoWG(Additive):
    r"""Distance over weighted gradients: the distance gone so far sets the step.

    .. math:: r_t = \max(|x_{t-1} - x_0|, r_{t-1}), \qquad
       v_t = v_{t-1} + r_t^2 |g_t|^2, \qquad
       x_t = x_{t-1} - \frac{r_t^2}{\sqrt{v_t}}\, g_t,

    with :math:`r_0 = r_\epsilon` small and :math:`v_0 = 0`. As long as x runs away from
    x_0, r and with it the steps grow, geometrically; once x turns about the optimum r
    stands still, and the steps fall as :math:`t^{-1/2}`. Near an optimum average the
    iterates. Khaled, Mishchenko and Jin (2023), "DoWG unleashed: an efficient universal
    parameter-free gradient descent method", Algorithm 1, with r_t and v_t counted from 1.

    The paper has one r and one v for all coordinates, which is ``per="all"``. Then the
    step is as long as the worst-scaled coordinate allows. ``per="coordinate"``, the
    default, is not in the paper: each coordinate has its own r, v and step, as in Adagrad.
    It loses the paper's guarantee, and gains what badly scaled posteriors need:
    measuring a coordinate in other units changes nothing but r_epsilon's meaning.

    As the sums reach back to the first step, a gradient's share of its own divisor
    vanishes, and with it the bias that a window has.

    Parameters
    ----------
    initial_distance : r_epsilon, an underestimate of how far there is to go; too small
        costs a few steps (their logarithm), too large may cost everything
    per : "coordinate" or "all"

    Raises
    ------
    TypeError, ValueError
    """

    initial_distance: float = 1e-3
    per: str = "coordinate"

    def __post_init__(self) -> None:
        check_positive("initial_distance", self.initial_distance)
        check_name("per", self.per, PER)

    def _memory(self, params: Tree) -> Memory:
        zeros = zeros_like_params(params)
        size = zeros if self.per == "coordinate" else np.zeros(())
        start = tree_map(lambda x: x + self.initial_distance, size)
        return {"moved": zeros, "distance": start, "v": size}

    def _increment(self, t: Array, gradient: Tree, memory: Memory) -> tuple[Tree, Memory]:
        squares = tree_map(square, gradient)
        away = tree_map(square, memory["moved"])
        if self.per == "all":
            squares, away = _total(squares), _total(away)
        r = tree_map(lambda a, r: np.maximum(np.sqrt(a), r), away, memory["distance"])
        v = tree_map(lambda v, r, s: v + r * r * s, memory["v"], r, squares)
        # Where no gradient was ever seen, v is zero and so is the step.
        step = tree_map(lambda r, v: r * r / np.sqrt(np.where(v > 0.0, v, 1.0)), r, v)
        if self.per == "all":
            increment = tree_map(lambda g: -step * g, gradient)
        else:
            increment = tree_map(lambda g, step: -step * g, gradient, step)
        moved = tree_map(lambda m, i: m + i, memory["moved"], increment)
        return increment, {"moved": moved, "distance": r, "v": v}


def _total(tree: Tree) -> Array:
    """The sum over all leaves."""
    return sum(np.sum(leaf) for leaf in tree_leaves(tree))
