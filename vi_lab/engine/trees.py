"""Trees: arrays in nested dictionaries and tuples.

Parameters, gradients and the states of optimisers are trees. Leaves may be arrays
of NumPy or of either engine; a named tuple stays one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from vi_lab.engine import Array, Tree
from vi_lab.errors import ArgumentError


def tree_map(function: Callable[..., Any], tree: Tree, *rest: Tree) -> Tree:
    """``function(leaf, *leaves_of_rest)`` at every leaf of ``tree``.

    Raises
    ------
    ValueError
        if the trees differ in the keys of a dictionary or the length of a tuple.
    """
    if isinstance(tree, dict):
        for other in rest:
            if not isinstance(other, dict) or other.keys() != tree.keys():
                found = sorted(other) if isinstance(other, dict) else type(other).__name__
                raise ArgumentError(f"trees: one has the keys {sorted(tree)}, another {found}")
        return {key: tree_map(function, tree[key], *[other[key] for other in rest]) for key in tree}
    if isinstance(tree, tuple):
        parts = [tree_map(function, *column) for column in zip(tree, *rest, strict=True)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return function(tree, *rest)


def tree_leaves(tree: Tree) -> list[Array]:
    """The leaves of ``tree``, in the order in which its dictionaries were made."""
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    if isinstance(tree, tuple):
        return [leaf for part in tree for leaf in tree_leaves(part)]
    return [tree]


def tree_of(leaves: Iterable[Array], like: Tree) -> Tree:
    """The tree in the shape of ``like`` whose leaves, in their order, are ``leaves``."""
    remaining = iter(leaves)
    return tree_map(lambda _: next(remaining), like)
