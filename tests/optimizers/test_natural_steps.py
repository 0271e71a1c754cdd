"""Natural-gradient steps by hand, their cut-off to the digit, and where they come to rest."""

import numpy as onp
import pytest

from vi_lab.engine.trees import tree_map
from vi_lab.optimizers import NaturalGradient
from vi_lab.optimizers.natural_gradient import BETA_1, MOST_UNITS


class Plain:
    """Coordinates in which a tangent is what it is: the step rule alone is left."""

    def zero_tangent(self, params):
        return tree_map(onp.zeros_like, params)

    def tangent(self, params, gradient):
        return gradient

    def retract(self, params, step):
        return tree_map(lambda x, d: x + d, params, step)


PLAIN = Plain()


def unit_steps(beta2, shared, gamma=0.1):
    return NaturalGradient(PLAIN, step_size=gamma, beta2=beta2, shared=shared)


GAMMA = 0.1
LONGEST = MOST_UNITS / GAMMA  # of the first gradient
ENTRYWISE = unit_steps(beta2=0.999, shared=False)
SHARED = unit_steps(beta2=0.99, shared=True)


def update(steps, u, memory, x):
    return steps.update({"x": u}, memory, {"x": x})


def follow(engine, steps, gradients, gamma=GAMMA):
    """The steps, and the memories after them, for gradients one after the other."""
    run = engine.compile(update, static=(0,))
    nothing = onp.zeros(onp.shape(gradients[0]))  # where a step is where it leads
    memory = {**steps.init({"x": nothing}), "step_size": onp.array(gamma)}
    found = []
    for u in gradients:
        step, memory = run(steps, onp.asarray(u, dtype=float), memory, nothing)
        found.append((step["x"], memory))
    return found


def test_the_first_two_steps_by_hand(engine):
    one, two = onp.array([0.3, -2.0]), onp.array([-0.1, 4.0])
    (first, _), (second, memory) = follow(engine, ENTRYWISE, [one, two])
    onp.testing.assert_allclose(first, -GAMMA * one / (1.0 + onp.abs(one)), rtol=1e-12)
    mean = (0.9 * one + two) / 1.9
    size = (0.999 * one**2 + two**2) / 1.999
    onp.testing.assert_allclose(second, -GAMMA * mean / (1.0 + onp.sqrt(size)), rtol=1e-12)
    assert memory["t"] == 2.0
    onp.testing.assert_allclose(memory["m"]["x"], 0.1 * 0.9 * one + 0.1 * two, rtol=1e-12)


def test_the_first_two_steps_of_a_shared_size_by_hand(engine):
    one, two = onp.array([[0.3, -2.0, 1.0], [0.0, 1.0, 0.5]]), onp.ones((2, 3))
    (first, _), (second, memory) = follow(engine, SHARED, [one, two])
    size_one, size_two = onp.sum(one**2) / 2, 3.0  # two rows
    onp.testing.assert_allclose(first, -GAMMA * one / (1.0 + onp.sqrt(size_one)), rtol=1e-12)
    mean = (0.9 * one + two) / 1.9
    size = (0.99 * size_one + size_two) / 1.99
    onp.testing.assert_allclose(second, -GAMMA * mean / (1.0 + onp.sqrt(size)), rtol=1e-12)
    assert memory["v"]["x"].shape == ()


def test_a_shared_size_keeps_directions_and_entrywise_ones_do_not(engine):
    rng = onp.random.default_rng(0)
    gradients = 3.0 * rng.normal(size=(20, 4))
    rotation = onp.linalg.qr(rng.normal(size=(4, 4)))[0]
    there, here = (
        onp.array([step for step, _ in follow(engine, SHARED, rows)])
        for rows in (gradients @ rotation.T, gradients)
    )
    onp.testing.assert_allclose(there, here @ rotation.T, atol=1e-14)
    there, here = (
        onp.array([step for step, _ in follow(engine, ENTRYWISE, rows)])
        for rows in (gradients @ rotation.T, gradients)
    )
    assert onp.abs(there - here @ rotation.T).max() > 0.01


# --------------------------------------------------------------------------- the cut-off
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_first_gradient_is_cut_off_at_its_bound_and_not_before(engine, sign):
    inside, at, beyond = (
        follow(engine, ENTRYWISE, [onp.array([sign * size, 1.0])])[0][1]["m"]["x"]
        for size in (0.999 * LONGEST, LONGEST, 1e6)
    )
    weight = 1.0 - BETA_1
    onp.testing.assert_allclose(inside, [sign * weight * 0.999 * LONGEST, weight], rtol=1e-12)
    onp.testing.assert_allclose(at, [sign * weight * LONGEST, weight], rtol=1e-12)
    onp.testing.assert_array_equal(beyond, at)  # the other entry is left alone


def test_a_shared_cut_off_shortens_the_whole_array(engine):
    direction = onp.array([0.6, -0.8])  # of size 1 / 2
    weight, root = 1.0 - BETA_1, onp.sqrt(2.0)
    inside, beyond = (
        follow(engine, SHARED, [length * direction])[0][1]["m"]["x"]
        for length in (0.999 * LONGEST * root, 1e6)
    )
    onp.testing.assert_allclose(inside, weight * 0.999 * LONGEST * root * direction, rtol=1e-12)
    onp.testing.assert_allclose(beyond, weight * LONGEST * root * direction, rtol=1e-12)


@pytest.mark.parametrize("steps", [ENTRYWISE, SHARED], ids=["entrywise", "shared"])
def test_the_cut_off_recedes_with_the_size_of_gradients_and_with_gamma(engine, steps):
    """After gradients of size 3 it stands at (1 + 3) / (2 gamma)."""
    for gamma in (0.1, 0.01):
        quiet = [onp.array([3.0, 3.0])] * 5
        before, after = (
            memory["m"]["x"]
            for _, memory in follow(engine, steps, [*quiet, onp.array([1e9, 1e9])], gamma)[-2:]
        )
        cut = (after - BETA_1 * before) / (1.0 - BETA_1)
        onp.testing.assert_allclose(cut, MOST_UNITS * 4.0 / gamma, rtol=1e-9)


@pytest.mark.parametrize("steps", [ENTRYWISE, SHARED], ids=["entrywise", "shared"])
def test_one_gradient_of_any_size_moves_less_than_half_a_unit(engine, steps):
    quiet = [onp.array([0.01, -0.02])] * 3
    found = follow(engine, steps, [*quiet, onp.array([1e100, -1e100]), *quiet * 20])
    moved = onp.sum([step for step, _ in found[3:]], axis=0)
    assert (onp.abs(moved) < MOST_UNITS).all()


# --------------------------------------------------------------------------------- rest
@pytest.mark.parametrize("steps", [ENTRYWISE, SHARED], ids=["entrywise", "shared"])
def test_a_descent_of_a_parabola_comes_to_rest(engine, steps):
    """Increments vanish with the gradient: not so with Adam's epsilon of 1e-8."""
    run = engine.compile(update, static=(0,))
    x = onp.array([1.0, -0.5])
    memory = steps.init({"x": x})
    for _ in range(400):
        before = x
        moved, memory = run(steps, x, memory, x)
        x = moved["x"]
    assert onp.abs(x).max() < 1e-8
    assert onp.abs(x - before).max() < 1e-9


@pytest.mark.parametrize("steps", [ENTRYWISE, SHARED], ids=["entrywise", "shared"])
def test_no_gradient_no_step(engine, steps):
    found = follow(engine, steps, [onp.zeros(3)] * 3)
    assert all((step == 0.0).all() for step, _ in found)


@pytest.mark.parametrize("steps", [unit_steps(0.9, False), unit_steps(0.9, True)])
def test_steps_along_huge_gradients_have_length_gamma(engine, steps):
    """Once the sizes remembered are all huge: 0.9^300 is 2e-14."""
    huge = onp.array([1e8, -1e8])
    step = follow(engine, steps, [huge] * 300)[-1][0]
    onp.testing.assert_allclose(step, GAMMA * onp.array([-1.0, 1.0]), rtol=1e-7)


def test_a_slow_memory_remembers(engine):
    """beta2 does something: after one large gradient, small ones are divided by its size."""
    gradients = [onp.array([4.0]), *[onp.array([0.1])] * 200]
    slow = follow(engine, unit_steps(0.999, False), gradients)[-1][0]
    fast = follow(engine, unit_steps(0.9, False), gradients)[-1][0]
    onp.testing.assert_allclose(fast, -GAMMA * 0.1 / 1.1, rtol=1e-3)
    assert abs(slow[0]) < 0.9 * abs(fast[0])


def test_one_gradient_however_long_moves_q_by_less_than_half_a_unit():
    """At gamma = 0.1 the first is cut off at 5: the step is 0.1 * 5 / (1 + 5), by hand."""
    steps = unit_steps(beta2=0.99, shared=False)
    huge, nothing = {"loc": onp.array([1e6])}, {"loc": onp.zeros(1)}
    step, _ = steps.update(huge, steps.init(nothing), nothing)
    onp.testing.assert_allclose(step["loc"], -0.1 * 5.0 / 6.0, rtol=1e-12)


def test_the_step_size_to_begin_with_is_in_the_state_and_may_be_replaced_there(engine):
    one = onp.array([0.3, -2.0])
    assert unit_steps(0.9, False, gamma=0.02).init({"x": one})["step_size"] == 0.02
    half = follow(engine, ENTRYWISE, [one, one], gamma=0.5 * GAMMA)
    whole = follow(engine, ENTRYWISE, [one, one])
    for (small, memory), (large, _) in zip(half, whole, strict=True):
        onp.testing.assert_allclose(small, 0.5 * large, rtol=1e-14)
        assert memory["step_size"] == 0.5 * GAMMA


@pytest.mark.parametrize(
    ("argument", "options"), [("step_size", {"step_size": 0.0}), ("beta2", {"beta2": 1.0})]
)
def test_bad_settings_are_named(argument, options):
    with pytest.raises(ValueError, match=f"^{argument}: must "):
        NaturalGradient(PLAIN, **options)
