"""log_prob: against SciPy, on both engines; derivatives; batches.

The table is in `distribution_cases`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import distribution_cases as cases
import numpy as onp
import pytest
from distribution_case import Case

import vi_lab.numpy as np
from vi_lab import engine as engines
from vi_lab.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Exponential,
    Gamma,
    Normal,
    Poisson,
    Uniform,
)

every_case = pytest.mark.parametrize("case", cases.ALL, ids=repr)
batch_case = pytest.mark.parametrize("case", [c for c in cases.ALL if c.scalable], ids=repr)

ROWS = onp.array([1.0, 0.8, 0.6])
INFINITIES = onp.array([-onp.inf, onp.inf])


@dataclass(frozen=True)
class Answers:
    """What an engine says: log_prob inside, outside, on the edge and at infinity; gradients.

    The gradients are of the sum over the points inside *and* outside, by parameter; that
    of the points is called x.
    """

    inside: onp.ndarray
    outside: onp.ndarray
    edge: onp.ndarray
    infinite: onp.ndarray
    gradients: dict[str, onp.ndarray]


@cache
def answers(engine: engines.Engine, case: Case) -> Answers:
    """One compiled call for each case: all that is traced or differentiated in these tests."""
    x = onp.concatenate([case.inside, case.outside]).astype(float)
    rest = onp.concatenate([case.edge, INFINITIES]) if case in cases.SCALAR else case.edge
    leaves = case.free if case.discrete else {**case.free, "x": x}
    leaves = {name: onp.asarray(value, dtype=float) for name, value in leaves.items()}

    def log_prob(leaves: dict[str, Any], x: Any) -> Any:
        return case.rebuild({name: leaves[name] for name in case.free}).log_prob(x)

    def total(leaves: dict[str, Any], x: Any) -> Any:
        # The second term: autograd warns where nothing depends on x, as in a uniform.
        x = leaves.get("x", x)
        return np.sum(log_prob(leaves, x)) + 0.0 * np.sum(x)

    def everything(leaves: dict[str, Any], x: Any, rest: Any) -> Any:
        gradients = engine.value_and_grad(total)(leaves, x)[1] if leaves else {}
        return log_prob(leaves, x), log_prob(leaves, rest), gradients

    at_x, at_rest, gradients = engine.compile(everything)(leaves, x, rest)
    n, m = len(case.inside), len(case.edge)
    return Answers(at_x[:n], at_x[n:], at_rest[:m], at_rest[m:], gradients)


# ------------------------------------------------------------------- against SciPy


def assert_is_scipys(found: Any, expected: Any) -> None:
    onp.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@every_case
def test_log_prob_is_scipys(case: Case) -> None:
    assert_is_scipys(case.build().log_prob(case.inside), case.log_prob(case.inside))


@cases.on_engines(cases.ALL)
def test_log_prob_is_scipys_on_each_engine(case: Case, engine: engines.Engine) -> None:
    assert_is_scipys(answers(engine, case).inside, case.log_prob(case.inside))


@cases.on_engines(cases.SCALAR)
def test_boundary_and_outside_are_scipys(case: Case, engine: engines.Engine) -> None:
    expected = case.log_prob(case.edge)
    assert_is_scipys(case.build().log_prob(case.edge), expected)
    assert_is_scipys(answers(engine, case).edge, expected)


@cases.on_engines(cases.ALL)
def test_outside_is_minus_infinity(case: Case, engine: engines.Engine) -> None:
    assert (answers(engine, case).outside == -onp.inf).all()
    assert (case.build().log_prob(case.outside) == -onp.inf).all()


@cases.on_engines(cases.SCALAR)
def test_infinity_has_no_density(case: Case, engine: engines.Engine) -> None:
    assert (answers(engine, case).infinite == -onp.inf).all()
    assert (case.build().log_prob(INFINITIES) == -onp.inf).all()


@pytest.mark.parametrize(
    ("distribution", "expected"),
    [
        (Gamma(1.0, 2.0), onp.log(2.0)),
        (Gamma(0.5, 2.0), onp.inf),
        (Beta(1.0, 2.0), onp.log(2.0)),
        (Beta(0.5, 2.0), onp.inf),
        (Poisson(0.0), 0.0),
        (Bernoulli(0.0), 0.0),
        (Categorical([1.0, 0.0]), 0.0),
    ],
    ids=repr,
)
def test_limits_at_zero(distribution: Any, expected: float) -> None:
    assert distribution.log_prob(0.0) == expected


@pytest.mark.parametrize("logit", [40.0, 1_000.0])
def test_logits_keep_their_tails(logit: float) -> None:
    # log(1 - p) = -log(1 + exp(-l)): about -exp(-40), where p itself rounds to 1.
    expected = onp.array([-logit - onp.log1p(onp.exp(-logit)), -onp.log1p(onp.exp(-logit))])
    onp.testing.assert_allclose(Bernoulli(logits=logit).log_prob([0, 1]), expected, rtol=1e-14)
    onp.testing.assert_allclose(Binomial(1, logits=logit).log_prob([0, 1]), expected, rtol=1e-14)


# --------------------------------------------------------------------- derivatives


def finite_difference(function: Any, value: Any) -> Any:
    """The derivative of ``function`` at each entry of ``value``: four points, error O(h^4)."""
    value = onp.asarray(value, dtype=float)
    out = onp.zeros(value.shape)
    for i in onp.ndindex(value.shape):
        h = 1e-4 * (abs(value[i]) or 1.0)

        def at(step: float, i: Any = i, h: float = h) -> Any:
            moved = value.copy()
            moved[i] += step * h
            return function(moved)

        out[i] = (8.0 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12.0 * h)
    return out


@cases.on_engines(cases.ALL)
def test_gradient_of_parameters(case: Case, engine: engines.Engine) -> None:
    # Points outside are among those summed, and must leave the gradient alone.
    for name, value in case.free.items():

        def total(moved: Any, name: str = name) -> Any:
            return onp.sum(case.rebuild({name: moved}).log_prob(case.inside))

        found = answers(engine, case).gradients[name]
        assert found.shape == onp.shape(value)
        onp.testing.assert_allclose(found, finite_difference(total, value), rtol=1e-6, atol=1e-6)


@cases.on_engines(tuple(c for c in cases.ALL if not c.discrete))
def test_gradient_of_x(case: Case, engine: engines.Engine) -> None:
    found = answers(engine, case).gradients["x"]
    inside, outside = onp.split(found, [len(case.inside)])
    assert (outside == 0.0).all()
    for x, slope in zip(case.inside, inside, strict=True):
        if 0.0 < onp.min(abs(x)) < 1e-6 or (case.name.startswith("Beta") and x > 0.99):
            continue  # steps would leave the support, or be lost to rounding
        # The bare formula: a step along one axis leaves a simplex.
        expected = finite_difference(case.build().log_prob_in_support, x)
        onp.testing.assert_allclose(slope, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", cases.ON_JAX, ids=repr)
def test_engines_agree_on_gradients(case: Case) -> None:
    pytest.importorskip("jax")
    first, second = (answers(engines.load(name), case).gradients for name in engines.NAMES)
    for name, value in first.items():
        onp.testing.assert_allclose(second[name], value, rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("x", [0.5, onp.array([0.5, 3.0])])
@pytest.mark.parametrize("upper", [1.0, onp.array([[1.0], [2.0]])])
def test_gradients_have_the_shape_of_what_they_belong_to(
    engine: engines.Engine, x: Any, upper: Any
) -> None:
    # autograd's own derivative of `where` has the shape of the result.
    def total(leaves: dict[str, Any]) -> Any:
        return np.sum(Uniform(leaves["lower"], leaves["upper"]).log_prob(leaves["x"]))

    leaves = {name: onp.asarray(v) for name, v in {"lower": 0.0, "upper": upper, "x": x}.items()}
    found = engine.compile(lambda leaves: engine.value_and_grad(total)(leaves)[1])(leaves)
    inside = onp.asarray(x < leaves["upper"] + 0.0 * leaves["x"])
    each = onp.where(inside, 1.0 / leaves["upper"], 0.0)  # of the log of 1 / (upper - lower)
    assert {name: v.shape for name, v in found.items()} == {n: v.shape for n, v in leaves.items()}
    onp.testing.assert_allclose(found["lower"], each.sum())
    columns = each.reshape(*onp.shape(upper)[:1], -1).sum(axis=-1).reshape(onp.shape(upper))
    onp.testing.assert_allclose(found["upper"], -columns)
    assert (found["x"] == 0.0).all()


def test_a_category_of_probability_zero_leaves_the_gradient_alone(engine: engines.Engine) -> None:
    def log_prob(probs: Any) -> Any:
        return np.sum(Categorical(probs=probs).log_prob(onp.array([0, 1, 1])))

    gradient = engine.compile(lambda p: engine.value_and_grad(log_prob)(p)[1])
    onp.testing.assert_allclose(gradient(onp.array([0.25, 0.75, 0.0])), [4.0, 2.0 / 0.75, 0.0])


def test_plain_values_inside_add_nothing_to_the_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("values were selected")

    monkeypatch.setattr(type(Exponential(1.0).support), "interior", refuse)
    engine = engines.load("autograd")

    def log_prob(rate: Any, x: Any) -> Any:
        return np.sum(Exponential(rate).log_prob(x))

    gradient = engine.compile(lambda rate, x: engine.value_and_grad(log_prob)(rate, x)[1])
    assert gradient(2.0, onp.array([1.0, 3.0])) == -3.0  # 2/rate - sum x
    with pytest.raises(AssertionError, match="selected"):
        gradient(2.0, onp.array([1.0, -3.0]))


# ------------------------------------------------------------------ shapes, batches


@every_case
def test_batch_of_values_is_a_loop(case: Case) -> None:
    points = onp.asarray(case.inside, dtype=float)
    batch = onp.stack([points, points[::-1], points])
    loop = [[case.build().log_prob(x) for x in row] for row in batch]
    onp.testing.assert_allclose(case.build().log_prob(batch), loop, rtol=1e-13, atol=1e-13)


@batch_case
def test_batch_of_parameters_is_a_loop(case: Case) -> None:
    x = onp.expand_dims(case.inside, 1)  # (points, 1, *event) against 3 rows of parameters
    batch = case.build(ROWS)
    assert batch.batch_shape == (3,)
    loop = [case.build(row).log_prob(case.inside) for row in ROWS]
    onp.testing.assert_allclose(batch.log_prob(x), onp.transpose(loop), rtol=1e-13, atol=1e-13)


@batch_case
def test_scaled_parameters_are_scipys(case: Case) -> None:
    for row in ROWS[1:]:
        expected = case.log_prob(case.inside, row)
        assert_is_scipys(case.build(row).log_prob(case.inside), expected)


@batch_case
def test_shapes(case: Case) -> None:
    event = case.inside.shape[1:]
    one, rows = case.build(), case.build(ROWS)
    assert (one.batch_shape, one.event_shape) == ((), event)
    assert (rows.batch_shape, rows.event_shape) == ((3,), event)
    rng = onp.random.default_rng(0)
    assert onp.shape(one.sample(rng)) == event
    assert onp.shape(one.sample(rng, 4)) == (4, *event)
    draws = rows.sample(rng, (2, 5))
    assert isinstance(draws, onp.ndarray)
    assert draws.shape == (2, 5, 3, *event)
    assert rows.support.contains(draws).all()
    assert onp.shape(rows.log_prob(draws)) == (2, 5, 3)


def test_parameters_broadcast() -> None:
    assert Normal(onp.zeros((4, 1)), onp.ones(3)).batch_shape == (4, 3)
    with pytest.raises(ValueError, match=r"loc \(4,\), scale \(3,\) do not broadcast"):
        _ = Normal(onp.zeros(4), onp.ones(3)).batch_shape


def test_lists_become_arrays() -> None:
    assert Dirichlet([1, 2, 3]).concentration.dtype == float
    onp.testing.assert_array_equal(
        Normal([0.0, 1.0], 1.0).log_prob([0.0, 1.0]), Normal(0.0, 1.0).log_prob(onp.zeros(2))
    )


def test_lists_of_tracers_become_arrays(engine: engines.Engine) -> None:
    def log_prob(a: Any) -> Any:
        return Dirichlet([a, 2.0 * a]).log_prob(onp.array([0.25, 0.75]))

    found = engine.compile(engine.value_and_grad(log_prob))(1.5)
    value = Dirichlet([1.5, 3.0]).log_prob([0.25, 0.75])
    slope = finite_difference(lambda a: Dirichlet([a[()], 2 * a[()]]).log_prob([0.25, 0.75]), 1.5)
    onp.testing.assert_allclose(found, (value, slope), rtol=1e-9)
