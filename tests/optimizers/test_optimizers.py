"""Optimisers: first steps by hand, convergence, both engines, bad settings."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from vi_lab.engine import Engine, Tree, current
from vi_lab.errors import ViLabError
from vi_lab.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdviSequence,
    DoWG,
    Momentum,
    Optimizer,
    RMSProp,
    WindowedAdagrad,
)
from vi_lab.optimizers.schedules import ConstantThenDecay, RobbinsMonro


class Case(NamedTuple):
    optimizer: Optimizer
    increments: list[float]  # by hand, for GRADIENTS
    on_parabola: Optimizer  # converges to 1e-9 in 500 steps
    on_rosenbrock: Optimizer
    steps: int  # ... to this accuracy in this number of steps
    accuracy: float


# Their squares, 9, 16, 144 and 7056, add up to 3^2, 5^2, 13^2 and 85^2.
GRADIENTS = np.array([3.0, -4.0, 12.0, 84.0])

R4 = 1.0 + 12.0 / 13.0 - 0.8  # of DoWG: where its first three steps lead, -1 + 0.8 - 12 / 13

CASES = {
    "sgd": Case(
        SGD(0.5),
        [-1.5, 2.0, -6.0, -42.0],
        on_parabola=SGD(0.1),
        on_rosenbrock=SGD(0.001),
        steps=20_000,
        accuracy=1e-3,
    ),
    "momentum": Case(
        Momentum(0.5, decay=0.5),  # v = 3, -2.5, 10.75, 89.375
        [-1.5, 1.25, -5.375, -44.6875],
        on_parabola=Momentum(0.02),
        on_rosenbrock=Momentum(0.001),
        steps=5_000,
        accuracy=1e-8,
    ),
    "adagrad": Case(
        Adagrad(0.5, epsilon=1.0),  # divisors 3 + 1, 5 + 1, 13 + 1, 85 + 1
        [-1.5 / 4, 2.0 / 6, -6.0 / 14, -42.0 / 86],
        on_parabola=Adagrad(1.0),
        on_rosenbrock=Adagrad(1.0),
        steps=10_000,
        accuracy=2e-3,
    ),
    "windowed_adagrad": Case(
        WindowedAdagrad(0.5, window=2, epsilon=9.0),  # sums 9, 25, 160, 7200
        [-1.5 / 18**0.5, 2.0 / 34**0.5, -6.0 / 13, -42.0 / 7209**0.5],
        on_parabola=WindowedAdagrad(0.03),
        on_rosenbrock=WindowedAdagrad(ConstantThenDecay(0.01, 1e-4, hold=2_500, steps=5_000)),
        steps=5_000,
        accuracy=0.01,
    ),
    "rmsprop": Case(
        RMSProp(0.5, decay=0.75, epsilon=0.5),  # v = 2.25, 5.6875, 40.265625, 1794.19921875
        [
            -1.5 / 2,
            2.0 / (5.6875**0.5 + 0.5),
            -6.0 / (40.265625**0.5 + 0.5),
            -42.0 / (1794.19921875**0.5 + 0.5),
        ],
        on_parabola=RMSProp(ConstantThenDecay(0.1, 1e-6, hold=100, steps=500)),
        on_rosenbrock=RMSProp(ConstantThenDecay(0.01, 1e-6, hold=2_000, steps=5_000)),
        steps=5_000,
        accuracy=0.02,
    ),
    "adam": Case(
        # m = 1.5, -1.25, 5.375, 44.6875, of mass 1/2, 3/4, 7/8, 15/16;
        # v as above, of mass 1/4, 7/16, 37/64, 175/256
        Adam(0.5, beta1=0.5, beta2=0.75, epsilon=1.0),
        [
            -0.5 * 3 / (3.0 + 1.0),
            0.5 * 5 / 3 / (13.0**0.5 + 1.0),
            -0.5 * 43 / 7 / ((2577 / 37) ** 0.5 + 1.0),
            -0.5 * 44.6875 * 16 / 15 / ((1794.19921875 * 256 / 175) ** 0.5 + 1.0),
        ],
        on_parabola=Adam(0.1),
        on_rosenbrock=Adam(0.03),
        steps=5_000,
        accuracy=1e-8,
    ),
    "advi": Case(
        AdviSequence(0.5),  # s = 9, 9.7, 23.13, 726.417
        [
            -1.5 / 4,
            2.0 / 2**0.5 / (1 + 9.7**0.5),
            -6.0 / 3**0.5 / (1 + 23.13**0.5),
            -42.0 / 2 / (1 + 726.417**0.5),
        ],
        on_parabola=AdviSequence(1.0),
        on_rosenbrock=AdviSequence(0.3),
        steps=5_000,
        accuracy=0.02,
    ),
    "advi_lagged": Case(
        # Divisors 1 + sqrt of 9, 9, 9.7, 23.13; 84 / 5.8 is cut off at sqrt(10).
        AdviSequence(0.5, lagged=True),
        [-1.5 / 4, 2.0 / 2**0.5 / 4, -6.0 / 3**0.5 / (1 + 9.7**0.5), -0.5 / 2 * 10**0.5],
        on_parabola=AdviSequence(1.0, lagged=True),
        on_rosenbrock=AdviSequence(0.2, lagged=True),
        steps=5_000,
        accuracy=0.02,
    ),
    "dowg": Case(
        # r = 1, 1, 1, R4 (x = 0, -1, -0.2, -R4); v = 9, 25, 169, 169 + (84 R4)^2
        DoWG(1.0),
        [-1.0, 0.8, -12.0 / 13.0, -(R4**2) * 84.0 / (169.0 + (R4 * 84.0) ** 2) ** 0.5],
        on_parabola=DoWG(),
        on_rosenbrock=DoWG(),
        steps=20_000,
        accuracy=0.02,
    ),
    "dowg_all": Case(
        DoWG(1.0, per="all"),
        [-1.0, 0.8, -12.0 / 13.0, -(R4**2) * 84.0 / (169.0 + (R4 * 84.0) ** 2) ** 0.5],
        on_parabola=DoWG(per="all"),
        on_rosenbrock=DoWG(per="all"),
        steps=20_000,
        accuracy=0.002,
    ),
}
OPTIMIZERS = [pytest.param(case.optimizer, id=name) for name, case in CASES.items()]


def increments(optimizer: Optimizer, gradients: np.ndarray) -> np.ndarray:
    """What `optimizer` answers to ``gradients`` (T, ...), one after the other."""
    nothing = np.zeros(gradients.shape[1:])  # where an increment is where it leads
    state = optimizer.init(nothing)
    answers = []
    for gradient in gradients:
        increment, state = optimizer.update(gradient, state, nothing)
        answers.append(increment)
    return np.array(answers)


def minimise(optimizer: Optimizer, gradient: Callable[[Tree], Tree], x: Tree, steps: int) -> Tree:
    state = optimizer.init(x)
    for _ in range(steps):
        x, state = optimizer.update(gradient(x), state, x)
    return x


# ------------------------------------------------------------------------- exact


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_first_steps_by_hand(case: Case) -> None:
    np.testing.assert_allclose(increments(case.optimizer, GRADIENTS), case.increments, rtol=1e-13)


def test_the_cut_off_works_on_both_sides() -> None:
    lagged = AdviSequence(0.5, lagged=True)
    np.testing.assert_array_equal(increments(lagged, -GRADIENTS), -increments(lagged, GRADIENTS))


def test_defaults_are_those_of_the_sources() -> None:
    assert WindowedAdagrad() == WindowedAdagrad(0.001, window=10, epsilon=0.1)  # PyMC
    assert Adam(1.0) == Adam(1.0, beta1=0.9, beta2=0.999, epsilon=1e-8)  # Kingma and Ba
    assert RMSProp(1.0).decay == Momentum(1.0).decay == 0.9
    assert not AdviSequence(1.0).lagged


OTHER = {
    "step_size": 0.25,
    "eta": 0.25,
    "decay": 0.3,
    "beta1": 0.3,
    "beta2": 0.3,
    "epsilon": 0.7,
    "window": 3,
    "lagged": True,
    "initial_distance": 0.25,
    "per": "all",
}
OPTIONS = [
    pytest.param(case.optimizer, field.name, id=f"{name}-{field.name}")
    for name, case in CASES.items()
    if name not in {"advi_lagged", "dowg_all"}
    for field in fields(case.optimizer)  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("optimizer", "option"), OPTIONS)
def test_every_option_matters(optimizer: Any, option: str) -> None:
    changed = replace(optimizer, **{option: OTHER[option]})
    gradients = np.stack([GRADIENTS, GRADIENTS[::-1]], axis=1)
    gap = increments(changed, gradients) - increments(optimizer, gradients)
    assert np.abs(gap).max() > 1e-3
    assert changed != optimizer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_equal_settings_are_equal_and_hash_equally(optimizer: Any) -> None:
    assert replace(optimizer) is not optimizer
    assert replace(optimizer) == optimizer
    assert hash(replace(optimizer)) == hash(optimizer)


WITH_A_STEP_SIZE = [p for p in OPTIMIZERS if not isinstance(p.values[0], DoWG)]


@pytest.mark.parametrize("optimizer", WITH_A_STEP_SIZE)
def test_directions_do_not_depend_on_the_step_size(optimizer: Any) -> None:
    """Twice the step size, twice the increments; a schedule scales them step by step."""
    noise = np.random.default_rng(1).normal(size=(30, 2))
    once = increments(optimizer, noise)
    if isinstance(optimizer, AdviSequence):
        np.testing.assert_array_equal(increments(replace(optimizer, eta=1.0), noise), 2.0 * once)
        return
    np.testing.assert_array_equal(increments(replace(optimizer, step_size=1.0), noise), 2.0 * once)
    schedule = RobbinsMonro(0.5, delay=2.0, forgetting=0.7)
    gamma = schedule(np.arange(1.0, 31.0))[:, None]
    scheduled = increments(replace(optimizer, step_size=schedule), noise)
    np.testing.assert_allclose(scheduled, gamma / 0.5 * once, rtol=1e-13)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_coordinates_and_leaves_are_independent(optimizer: Optimizer) -> None:
    noise = np.random.default_rng(2).normal(size=(12, 3))
    together = increments(optimizer, noise)
    if optimizer != CASES["dowg_all"].optimizer:  # one step for all is what it is for
        apart = np.stack([increments(optimizer, noise[:, d]) for d in range(3)], axis=1)
        np.testing.assert_allclose(together, apart, rtol=1e-13)
    nothing = {"a": np.zeros(2), "b": (0.0,)}
    state = optimizer.init(nothing)
    for g, expected in zip(noise, together, strict=True):
        increment, state = optimizer.update({"a": g[:2], "b": (g[2],)}, state, nothing)
        np.testing.assert_allclose(increment["a"], expected[:2], rtol=1e-13)
        np.testing.assert_allclose(increment["b"][0], expected[2], rtol=1e-13)


# -------------------------------------------------------------------- convergence


def parabola(x: Tree) -> Tree:
    """Gradient of a quadratic with curvatures 1, 10 and 3 and minimum (1, -2), 3."""
    return {
        "a": np.array([1.0, 10.0]) * (x["a"] - np.array([1.0, -2.0])),
        "b": 3.0 * (x["b"] - 3.0),
    }


def rosenbrock(x: np.ndarray) -> np.ndarray:
    """Gradient of (1 - a)^2 + 100 (b - a^2)^2: a curved valley, minimum (1, 1)."""
    a, b = x
    return np.array([-2.0 * (1.0 - a) - 400.0 * a * (b - a**2), 200.0 * (b - a**2)])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_parabola(case: Case) -> None:
    x = minimise(case.on_parabola, parabola, {"a": np.zeros(2), "b": np.zeros(())}, 500)
    np.testing.assert_allclose(x["a"], [1.0, -2.0], atol=1e-9)
    np.testing.assert_allclose(x["b"], 3.0, atol=1e-9)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_rosenbrock(case: Case) -> None:
    x = minimise(case.on_rosenbrock, rosenbrock, np.array([-1.2, 1.0]), case.steps)
    np.testing.assert_allclose(x, 1.0, atol=case.accuracy)


# ------------------------------------------------------------------------ engines


def fold(optimizer: Optimizer, x: Tree, state: Tree, noise: np.ndarray) -> Tree:
    """Noisy descent on a parabola, scanned; returns x, state and the path of ``a``."""

    def step(carry: tuple[Tree, Tree], xi: np.ndarray) -> tuple[tuple[Tree, Tree], Tree]:
        x, state = carry
        gradient = {"a": x["a"] - 1.0 + xi[:2], "b": 3.0 * (x["b"] - 3.0) + xi[2]}
        x, state = optimizer.update(gradient, state, x)
        return (x, state), x["a"]

    (x, state), path = current().scan(step, (x, state), noise)
    return x, state, path


def start_and_fold(optimizer: Optimizer, x: Tree, noise: np.ndarray) -> Tree:
    return fold(optimizer, x, optimizer.init(x), noise)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_scanned_by_an_engine_in_two_blocks(engine: Engine, optimizer: Optimizer) -> None:
    """Against a plain Python loop on NumPy; the state survives between the blocks."""
    noise = np.random.default_rng(3).normal(size=(40, 3))
    x = {"a": np.zeros(2), "b": np.zeros(())}
    block = engine.compile(fold, static=(0,))
    between, state, first = block(optimizer, x, optimizer.init(x), noise[:20])
    _, _, second = block(optimizer, between, state, noise[20:])
    path, state = [], optimizer.init(x)
    for xi in noise:
        gradient = {"a": x["a"] - 1.0 + xi[:2], "b": 3.0 * (x["b"] - 3.0) + xi[2]}
        x, state = optimizer.update(gradient, state, x)
        path.append(x["a"])
    np.testing.assert_allclose(np.concatenate([first, second]), path, rtol=1e-12, atol=1e-12)


def test_schedule_and_state_made_inside_an_engine(engine: Engine) -> None:
    optimizer = Adam(ConstantThenDecay(0.1, 0.001, hold=5, steps=15))
    noise = np.random.default_rng(4).normal(size=(20, 3))
    x = {"a": np.zeros(2), "b": np.zeros(())}
    inside = engine.compile(start_and_fold, static=(0,))(optimizer, x, noise)
    outside = engine.compile(fold, static=(0,))(optimizer, x, optimizer.init(x), noise)
    np.testing.assert_allclose(inside[2], outside[2], rtol=1e-12)
    np.testing.assert_allclose(np.diff(inside[2][15:], axis=0), 0.0, atol=0.003)


def test_whole_number_parameters_get_a_float_state() -> None:
    state = Adam(0.1).init({"x": np.array([1, 2])})
    assert {state["m"]["x"].dtype, state["v"]["x"].dtype, state["t"].dtype} == {np.dtype(float)}


# ---------------------------------------------------------------------- bad input

BAD = [
    ("step_size", lambda: SGD(0.0)),
    ("step_size", lambda: SGD(np.array(0.1))),  # type: ignore[arg-type] # cannot be hashed
    ("step_size", lambda: Momentum(-0.1)),
    ("decay", lambda: Momentum(0.1, decay=1.0)),
    ("step_size", lambda: Adagrad("fast")),  # type: ignore[arg-type]
    ("epsilon", lambda: Adagrad(0.1, epsilon=0.0)),
    ("step_size", lambda: WindowedAdagrad(float("nan"))),
    ("window", lambda: WindowedAdagrad(window=0)),
    ("window", lambda: WindowedAdagrad(window=2.5)),  # type: ignore[arg-type]
    ("epsilon", lambda: WindowedAdagrad(epsilon=-1.0)),
    ("step_size", lambda: RMSProp(float("inf"))),
    ("decay", lambda: RMSProp(0.1, decay=-0.1)),
    ("epsilon", lambda: RMSProp(0.1, epsilon=0.0)),
    ("step_size", lambda: Adam(None)),  # type: ignore[arg-type]
    ("beta1", lambda: Adam(0.1, beta1=1.0)),
    ("beta2", lambda: Adam(0.1, beta2=1.5)),
    ("epsilon", lambda: Adam(0.1, epsilon=0.0)),
    ("eta", lambda: AdviSequence(0.0)),
    ("initial_distance", lambda: DoWG(0.0)),
    ("per", lambda: DoWG(per="leaf")),
]


@pytest.mark.parametrize(("argument", "make"), BAD)
def test_bad_settings_are_named(argument: str, make: Callable) -> None:
    with pytest.raises(ViLabError, match=f"^{argument}: (must|'leaf' is none of) "):
        make()


def test_a_sequence_without_eta_does_not_step() -> None:
    with pytest.raises(ValueError, match=r"^eta: is None"):
        increments(AdviSequence(), GRADIENTS)


def test_a_gradient_of_another_shape_of_tree_is_refused() -> None:
    optimizer = Adam(0.1)
    with pytest.raises(ValueError, match=r"^trees: "):
        optimizer.update({"b": np.ones(2)}, optimizer.init({"a": np.ones(2)}), {"b": np.ones(2)})
