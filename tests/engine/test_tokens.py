"""Values as tokens, and what is let go of when it was not used for long."""

import gc
import random
import weakref
from collections import OrderedDict, deque
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial, wraps

import numpy as onp
import pytest

import vi_lab as vl
from vi_lab import engine as engines
from vi_lab.engine.captured import captured

X = onp.arange(6.0)


class Colour(Enum):
    RED = 1
    BLUE = 2


@dataclass
class Point:
    x: float
    names: tuple = ("a",)


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


def twice(f):
    @wraps(f)
    def both(*args):
        return f(*args) + f(*args)

    return both


def cyclic(last):
    found = [1.0, {"last": last}]
    found.append(found)
    return found


def following(x):
    return lambda z: following(x)(z) if z else x


UNLIKE = [
    (1, True),
    (1, 1.0),
    (0.0, -0.0),
    ("a", b"a"),
    ((1, 2), [1, 2]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({1, 2}, frozenset({1, 2})),
    (X, X.astype(onp.float32)),
    (X, X.reshape(2, 3)),
    (X, X + 1e-12),
    (onp.ma.masked_array(X, X > 3), onp.ma.masked_array(X, X > 4)),
    (onp.float64(1.0), 1.0),
    (Point(1.0), Point(2.0)),
    (Slotted(1.0), Slotted(2.0)),
    (Colour.RED, Colour.BLUE),
    (Decimal("1.0"), Decimal("1.00")),
    (deque([1]), deque([1, 2])),
    (random.Random(1), random.Random(2)),  # noqa: S311
    (onp.random.default_rng(1).normal, onp.random.default_rng(2).normal),
    (partial(pow, 2), partial(pow, 3)),
    (lambda: 1, lambda: True),
    (lambda x=1: x, lambda x=2: x),
    (twice(lambda: 1), twice(lambda: 2)),
    (lru_cache(lambda: 1), lru_cache(lambda: 2)),
    (vl.Normal(0.0, 1.0), vl.Normal(0.0, 2.0)),
    (cyclic(1), cyclic(2)),
    (following(1), following(2)),
    (object(), object()),
    (iter([1]), iter([2])),
]
ALIKE = [
    (float("nan"), float("nan")),
    (X, X.copy()),
    (X[::-1], X[::-1].copy()),
    (X.reshape(2, 3).T, X.reshape(2, 3).T.copy()),
    ({3, 1, 2}, {2, 3, 1}),
    (Point(1.0), Point(1.0)),
    (Slotted(X), Slotted(X.copy())),
    (OrderedDict(a=1), OrderedDict(a=1)),
    (onp.random.default_rng(1), onp.random.default_rng(1)),
    (lambda z: z + 1, lambda z: z + 1),
    (twice(lambda: 1), twice(lambda: 1)),
    (partial(pow, 2), partial(pow, 2)),
    (vl.Normal(X, 1.0), vl.Normal(X.copy(), 1.0)),
    (cyclic(1), cyclic(1)),
    (following(1), following(1)),
    (onp.array([1, "a"], dtype=object), onp.array([1, "a"], dtype=object)),
]


@pytest.mark.parametrize(("one", "other"), UNLIKE)
def test_unlike_values_are_told_apart(one, other):
    assert captured(one) != captured(other)
    assert captured(lambda: one) != captured(lambda: other)
    assert captured(one) == captured(one)


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_like_values_are_one(one, other):
    assert captured(one) == captured(other)
    assert hash(captured(one)) == hash(captured(other))
    assert captured(one).digests() == captured(other).digests()
    assert captured(one).readable


def test_what_is_too_large_counts_as_itself():
    large = list(map(float, range(200_000)))
    nested = [[x] for x in large]
    assert not captured(nested).readable
    assert captured(nested) == captured(nested)


def test_compiled_code_is_let_go_of_when_others_were_used_since():
    pytest.importorskip("jax")
    from vi_lab.engine.jax import MOST_COMPILED

    class Held:
        factor = 2.0

    def compiled(number, held):
        run = engines.load("jax").compile(apply, static=(0,))
        return run(lambda x: held.factor * x + number, onp.ones(2))

    held = Held()
    compiled(-1, held)
    gone = weakref.ref(held)
    del held
    gc.collect()
    assert gone() is not None
    for number in range(MOST_COMPILED):
        compiled(number, Held())
    gc.collect()
    assert gone() is None


def apply(function, x):
    return function(x)
