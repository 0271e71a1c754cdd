"""What parameters are refused, with which words, and what is left alone; the flat density."""

from __future__ import annotations

from typing import Any

import numpy as onp
import pytest

from vi_lab import engine as engines
from vi_lab.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Exponential,
    Flat,
    HalfNormal,
    LKJCholesky,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Uniform,
)
from vi_lab.errors import ViLabError
from vi_lab.transforms.supports import Interval, Ordered, Positive, Simplex

NAN = onp.nan
REFUSED = {
    "scale: Normal's scale must be positive": lambda: Normal(0.0, 0.0),
    "scale: HalfNormal's scale": lambda: HalfNormal(-1.0),
    "loc: Normal's loc must be finite": lambda: Normal(NAN, 1.0),
    "loc: LogNormal's loc must be finite": lambda: LogNormal(onp.inf, 1.0),
    "scale: Normal's scale must be positive and finite, but 2 of 3 .* -1.0": lambda: Normal(
        0.0, [1.0, -1.0, NAN]
    ),
    "scale: Normal's scale must be a number, not None": lambda: Normal(0.0, None),
    "df: StudentT's df": lambda: StudentT(0),
    "rate: Poisson's rate must be zero or positive": lambda: Poisson(onp.array(-1)),
    "alpha: Beta's alpha": lambda: Beta(onp.float64(-1.0), 1.0),
    "lower, upper: Uniform needs lower < upper": lambda: Uniform(1.0, 1.0),
    "probs: Bernoulli's probs must be between 0 and 1": lambda: Bernoulli(1.5),
    "logits: Bernoulli's logits must be finite": lambda: Bernoulli(logits=NAN),
    "give exactly one of probs= or logits=, not none": lambda: Bernoulli(),
    "give exactly one of probs= or logits=, not probs and logits": lambda: Categorical(
        [0.5, 0.5], [0.0, 0.0]
    ),
    "total_count: Binomial's total_count must be a whole": lambda: Binomial(2.5, 0.5),
    "probs: Categorical's probs must sum to 1": lambda: Categorical([0.5, 0.6]),
    "logits: Categorical needs an axis of categories": lambda: Categorical(logits=0.5),
    "concentration: Dirichlet needs a vector": lambda: Dirichlet(1.0),
    "concentration: Dirichlet's concentration": lambda: Dirichlet([1.0, 0.0]),
    "dim: must be a whole number, 2 or more, not 1": lambda: LKJCholesky(1, 1.0),
    "dim: must be a whole number, 2 or more, not 2.0": lambda: LKJCholesky(2.0, 1.0),
    "concentration: LKJCholesky's": lambda: LKJCholesky(3, 0.0),
    "give exactly one of covariance= or scale_tril=": lambda: MultivariateNormal(onp.zeros(2)),
    "needs a vector loc": lambda: MultivariateNormal(0.0, [[1.0]]),
    "covariance: .* one square matrix": lambda: MultivariateNormal(onp.zeros(2), onp.ones((2, 3))),
    "scale_tril: .* sizes agree": lambda: MultivariateNormal(onp.zeros(2), scale_tril=onp.eye(3)),
    "covariance must be symmetric": lambda: MultivariateNormal(
        onp.zeros(2), [[1.0, 0.5], [0.4, 1.0]]
    ),
    "positive definite, but its smallest eigenvalue is -1": lambda: MultivariateNormal(
        onp.zeros(2), [[1.0, 2.0], [2.0, 1.0]]
    ),
    "scale_tril must be lower triangular": lambda: MultivariateNormal(
        onp.zeros(2), scale_tril=[[1.0, 0.5], [0.0, 1.0]]
    ),
    "scale_tril must be lower triangular with a positive": lambda: MultivariateNormal(
        onp.zeros(2), scale_tril=[[1.0, 0.0], [0.5, -1.0]]
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_parameters_are_refused(message: str) -> None:
    with pytest.raises(ViLabError, match=message):
        REFUSED[message]()


def test_tracers_are_not_looked_at(engine: engines.Engine) -> None:
    # Their values are unknown, or change: even a bad one must not stop the program.
    def log_prob(scale: Any) -> Any:
        return Normal(0.0, scale).log_prob(1.0)

    value, _ = engine.compile(engine.value_and_grad(log_prob))(0.5)
    onp.testing.assert_allclose(value, Normal(0.0, 0.5).log_prob(1.0), rtol=1e-14)


def test_arrays_that_refuse_to_be_looked_at_are_parameters_too() -> None:
    class Guarded(onp.ndarray):
        def __bool__(self) -> bool:
            raise TypeError("looked at")

    def guarded(value: Any) -> Any:
        return onp.asarray(value, dtype=float).view(Guarded)

    one = guarded(1.0)
    for distribution in (Normal(one, one), Exponential(one), Uniform(0.0, one)):
        assert onp.asarray(distribution.log_prob(guarded([0.5]))).shape == (1,)
    matrix = MultivariateNormal(guarded([0.0, 0.0]), guarded([[1.0, 0.5], [0.5, 1.0]]))
    assert onp.isfinite(onp.asarray(matrix.log_prob([0.0, 1.0])))


# ----------------------------------------------------------------------------- Flat


@pytest.mark.parametrize(
    ("distribution", "x", "expected"),
    [
        (Flat(), [1.0, -1e9], [0.0, 0.0]),
        (Flat(Positive()), [1.0, -1.0, 0.0], [0.0, -onp.inf, -onp.inf]),
        (Flat(Interval(0.0, 2.0)), [[1.0], [3.0]], [[0.0], [-onp.inf]]),
        (Flat(Ordered()), [[1.0, 2.0], [2.0, 1.0]], [0.0, -onp.inf]),
        (Flat(Simplex()), [0.5, 0.5], 0.0),
    ],
    ids=repr,
)
def test_flat(distribution: Flat, x: Any, expected: Any, engine: engines.Engine) -> None:
    x = onp.array(x)
    onp.testing.assert_array_equal(distribution.log_prob(x), expected)
    onp.testing.assert_array_equal(engine.compile(distribution.log_prob)(x), expected)
    with pytest.raises(ValueError, match="improper and cannot be drawn from"):
        distribution.sample(onp.random.default_rng(0))


def test_flat_has_the_shape_of_its_bounds() -> None:
    flat = Flat(Interval(0.0, onp.ones(3)))
    assert (flat.batch_shape, flat.event_shape) == ((3,), ())
    assert flat.log_prob(0.5).shape == (3,)
