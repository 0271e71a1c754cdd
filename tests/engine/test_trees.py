"""Trees: nested dictionaries and tuples, mapped leaf by leaf."""

from collections import namedtuple

import numpy as np
import pytest

from vi_lab.engine.trees import tree_leaves, tree_map

Pair = namedtuple("Pair", "first second")


def test_structure_is_kept() -> None:
    tree = {"b": (1.0, {"c": 2.0}), "a": Pair(3.0, ()), "d": 4.0}
    assert tree_map(lambda x: 10.0 * x, tree) == {
        "b": (10.0, {"c": 20.0}),
        "a": Pair(30.0, ()),
        "d": 40.0,
    }
    assert isinstance(tree_map(abs, tree)["a"], Pair)
    assert list(tree_map(abs, tree)) == ["b", "a", "d"]


def test_several_trees_are_matched_by_key() -> None:
    ones, others = {"x": 1.0, "y": (2.0,)}, {"y": (30.0,), "x": 20.0}
    assert tree_map(lambda *leaves: leaves, ones, others, ones) == {
        "x": (1.0, 20.0, 1.0),
        "y": ((2.0, 30.0, 2.0),),
    }


def test_a_bare_array_is_a_tree() -> None:
    np.testing.assert_array_equal(tree_map(np.add, np.arange(3), np.ones(3)), [1.0, 2.0, 3.0])


def test_leaves() -> None:
    assert tree_leaves({"b": (1.0, {"c": 2.0}), "a": Pair(3.0, ())}) == [1.0, 2.0, 3.0]
    assert tree_leaves(5.0) == [5.0]


@pytest.mark.parametrize(
    "other", [{"x": 1.0}, {"x": 1.0, "y": 2.0, "z": 3.0}, {"x": 1.0, "z": 2.0}, 1.0]
)
def test_other_keys_are_refused(other: object) -> None:
    with pytest.raises(ValueError, match=r"^trees: one has the keys \['x', 'y'\], another"):
        tree_map(max, {"x": 1.0, "y": 2.0}, other)


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        tree_map(max, (1.0, 2.0), (1.0,))
