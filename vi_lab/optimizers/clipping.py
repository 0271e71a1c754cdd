"""A bound on the length of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

import vi_lab.numpy as np
from vi_lab.checks import check_methods, check_positive
from vi_lab.engine import Tree
from vi_lab.engine.trees import tree_leaves, tree_map
from vi_lab.optimizers.base import Optimizer


@dataclass(frozen=True)
class Clipped:
    r"""``optimizer``, shown gradients no longer than ``norm``.

    .. math:: g \leftarrow g \min(1, c / |g|), \qquad |g|^2 = \sum_i g_i^2
       \text{ over all parameters together,}

    which keeps the direction (Pascanu, Mikolov and Bengio 2013, "On the difficulty of
    training recurrent neural networks", Algorithm 1). It saves a fit from the rare
    gradient that is thousands of times too long. A bound that is reached often is
    another matter: long gradients are then shortened and short ones are not, so the
    mean step is biased as that of a window is (see `vi_lab.optimizers`).

    Parameters
    ----------
    optimizer : any optimiser
    norm : c, in nats per unit of the parameters

    Raises
    ------
    TypeError
        if ``optimizer`` is none.
    ValueError
        if ``norm`` is not positive.
    """

    optimizer: Optimizer
    norm: float

    def __post_init__(self) -> None:
        check_methods("optimizer", self.optimizer, ("init", "update"), "one such as Adam(0.01)")
        check_positive("norm", self.norm)

    def init(self, params: Tree) -> Tree:
        """The state before the first step from ``params``: that of ``optimizer``."""
        return self.optimizer.init(params)

    def update(self, gradient: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        """The step that ``optimizer`` takes along the gradient, shortened if need be."""
        length = np.sqrt(sum(np.sum(leaf * leaf) for leaf in tree_leaves(gradient)))
        keep = self.norm / np.maximum(length, self.norm)  # 1 for short gradients, zero included
        return self.optimizer.update(tree_map(lambda g: keep * g, gradient), state, params)
