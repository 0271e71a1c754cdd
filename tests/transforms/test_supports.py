"""Supports: what belongs, what does not, and over which axes."""

import dataclasses
import inspect

import numpy as np
import pytest

from vi_lab.transforms import supports
from vi_lab.transforms.supports import (
    Boolean,
    CorrelationCholesky,
    CovarianceCholesky,
    GreaterThan,
    IntegerInterval,
    Interval,
    LessThan,
    NonNegative,
    NonNegativeInteger,
    Ordered,
    Positive,
    PositiveOrdered,
    Real,
    RealVector,
    Simplex,
)

INF, NAN = np.inf, np.nan
ROOT_HALF = np.sqrt(0.5)

# support, values inside, values outside
CASES = [
    (Real(), [-1e300, 0.0, 2.5], [INF, -INF, NAN]),
    (Positive(), [1e-308, 3.0], [0.0, -1.0, INF, NAN]),
    (NonNegative(), [0.0, 3.0], [-1e-308, INF, NAN]),
    (GreaterThan(-1.5), [-1.4999, 7.0], [-1.5, -2.0, INF, NAN]),
    (LessThan(2.0), [1.9999, -7.0], [2.0, 3.0, -INF, NAN]),
    (Interval(-1.0, 2.0), [-1.0, 0.0, 2.0], [-1.0001, 2.0001, INF, -INF, NAN]),
    (RealVector(), [[0.0, -3.0], [1.0, 2.0]], [[0.0, INF], [NAN, 0.0]]),
    (
        Simplex(),
        [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3]],
        [[0.2, 0.3, 0.6], [-0.1, 0.6, 0.5], [0.3, 0.3, 0.4 + 1e-6], [NAN, 0.5, 0.5]],
    ),
    (
        Ordered(),
        [[-1.0, 0.0, 2.0], [1.0, 2.0, 3.0]],
        [[0.0, 0.0, 1.0], [0.0, 2.0, 1.0], [-INF, 0.0, 1.0], [0.0, 1.0, INF], [0.0, NAN, 1.0]],
    ),
    (PositiveOrdered(), [[0.1, 2.0]], [[0.0, 1.0], [-1.0, 1.0], [2.0, 1.0], [1.0, INF]]),
    (
        CovarianceCholesky(),
        [[[2.0, 0.0], [-3.0, 0.1]]],
        [
            [[2.0, 0.1], [-3.0, 0.1]],
            [[0.0, 0.0], [1.0, 1.0]],
            [[1.0, 0.0], [1.0, -1.0]],
            [[1.0, 0.0], [INF, 1.0]],
            [[1.0, NAN], [0.0, 1.0]],
        ],
    ),
    (
        CorrelationCholesky(),
        [np.eye(2), [[1.0, 0.0], [-ROOT_HALF, ROOT_HALF]]],
        [
            [[1.0, 0.0], [0.5, 0.5]],
            [[1.0, 0.0], [ROOT_HALF, -ROOT_HALF]],
            [[ROOT_HALF, ROOT_HALF], [ROOT_HALF, ROOT_HALF]],
        ],
    ),
    (Boolean(), [0.0, 1.0], [-1.0, 0.5, 2.0, NAN]),
    (IntegerInterval(-1, 3), [-1.0, 0.0, 3.0], [-2.0, 0.5, 4.0, INF, NAN]),
    (NonNegativeInteger(), [0.0, 1.0, 1e9], [-1.0, 0.5, INF, NAN]),
]


@pytest.mark.parametrize(("support", "inside", "outside"), CASES, ids=lambda c: type(c).__name__)
def test_contains(support, inside, outside):
    x = np.array([*inside, *outside])
    expected = np.array([True] * len(inside) + [False] * len(outside))
    assert x.ndim == 1 + support.event_ndim
    np.testing.assert_array_equal(support.contains(x), expected)
    batch = np.stack([x, x[::-1]])  # more batch axes
    np.testing.assert_array_equal(support.contains(batch), [expected, expected[::-1]])
    assert bool(support.contains(x[0]))  # and none
    assert not support.contains(x[-1])


@pytest.mark.parametrize(("support", "inside", "outside"), CASES, ids=lambda c: type(c).__name__)
def test_contains_within_an_engine(support, inside, outside, engine):
    x = np.array([*inside, *outside])
    np.testing.assert_array_equal(engine.compile(support.contains)(x), support.contains(x))


@pytest.mark.parametrize(("support", "inside", "outside"), CASES, ids=lambda c: type(c).__name__)
def test_its_interior_belongs_to_it(support, inside, outside):
    """... and so do its neighbours, if there are any to a continuous value."""
    shape = (3, *np.shape(inside[0]))
    point = np.broadcast_to(support.interior(shape), shape)
    assert np.all(support.contains(point))
    if support.event_ndim == 0 and not support.is_discrete:
        assert np.all(support.contains(point + 0.5))
        assert np.all(support.contains(point - 0.5))


def test_the_table_has_every_support():
    declared = {
        member
        for member in vars(supports).values()
        if inspect.isclass(member) and dataclasses.is_dataclass(member)
    }
    assert declared == {type(support) for support, _, _ in CASES}


def test_only_the_discrete_ones_say_so():
    discrete = {type(support) for support, _, _ in CASES if support.is_discrete}
    assert discrete == {Boolean, IntegerInterval, NonNegativeInteger}


def test_booleans_and_integers_are_values_too():
    assert Boolean().contains(np.array([True, False])).all()
    np.testing.assert_array_equal(
        NonNegativeInteger().contains(np.array([0, 5, -5])), [True, True, False]
    )


def test_bounds_broadcast_against_values():
    lower, upper = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    x = np.array([[0.5, 0.5], [2.5, 2.5]])
    np.testing.assert_array_equal(GreaterThan(lower).contains(x), [[True, False], [True, True]])
    np.testing.assert_array_equal(LessThan(upper).contains(x), [[True, True], [False, True]])
    np.testing.assert_array_equal(
        Interval(lower, upper).contains(x), [[True, False], [False, True]]
    )
    np.testing.assert_array_equal(
        IntegerInterval(0, np.array([1, 3])).contains(np.array([2, 2])), [False, True]
    )


def test_supports_are_values():
    assert Interval(0.0, 1.0) == Interval(0.0, 1.0) != Interval(0.0, 2.0)
    assert repr(Interval(0.0, 1.0)) == "Interval(lower=0.0, upper=1.0)"
