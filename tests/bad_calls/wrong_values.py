"""What may be given where something else is asked for, by kind of parameter.

Each list holds values of the wrong kind (to be refused with a TypeError) and wrong values of
the right kind (a ValueError), as `vi_lab.errors` tells them apart.
"""

from typing import Any, NamedTuple

import numpy as onp

from vi_lab.errors import ArgumentError, ArgumentTypeError, MissingFileError, ViLabError

NAN, INF = float("nan"), float("inf")


class Wrong(NamedTuple):
    """A value, and the error that it is to be refused with."""

    value: Any
    error: type[ViLabError]


def kinds(*values: Any) -> list[Wrong]:
    return [Wrong(value, ArgumentTypeError) for value in values]


def values(*values: Any) -> list[Wrong]:
    return [Wrong(value, ArgumentError) for value in values]


def optional(wrong: list[Wrong]) -> list[Wrong]:
    """Where None is right."""
    return [each for each in wrong if each.value is not None]


def but(wrong: list[Wrong], *kinds: type) -> list[Wrong]:
    """Where such objects are right, or mean something else."""
    return [each for each in wrong if type(each.value) not in kinds]


class Thing:
    def __repr__(self) -> str:
        return "Thing()"


# ------------------------------------------------------------------------- numbers
NO_NUMBER = kinds("3", "", None, True, [3], (1, 2), {}, 1j, Thing(), int, onp.array([1.0, 2.0]))


def whole(least: int) -> list[Wrong]:
    return values(least - 1, -(10**30), 1.5, float(least), NAN, INF, 10**30) + NO_NUMBER


POSITIVE = values(0, 0.0, -1, -0.5, NAN, INF, -INF, 10**400) + NO_NUMBER
NOT_NEGATIVE = values(-1, -1e-9, NAN, INF, 10**400) + NO_NUMBER
FINITE = values(NAN, INF, -INF, 10**400) + NO_NUMBER
PROBABILITY = values(0, 1, 0.0, 1.0, -0.1, 2, NAN, INF, 10**400) + NO_NUMBER
DECAY = values(1, 1.0, -0.1, NAN, INF) + NO_NUMBER
SEED = values(-1, 1.5, 2.0, NAN, 2**63, 10**30) + NO_NUMBER + kinds(onp.random.default_rng(1))
DRAWS = whole(1) + values(10**12, 10**15)
STEP_SIZE = POSITIVE + values(lambda t: -1.0, lambda t: NAN, lambda t: 1.0 / 0.0, lambda: 0.1)
STEP_SIZE = [each for each in STEP_SIZE if each.value is not int]  # a schedule, int(t) = t
STEP_SIZE += values(lambda t: "slow")

# ---------------------------------------------------------- switches, names, functions
SWITCH = kinds(0, 1, None, "x", "", NAN, [], onp.array([True]))
NAME = values("unknown", "", "Autograd ") + kinds(3, 0, None, [], {}, True, onp.array(["jax"]))
FUNCTION = kinds(3, 0, None, "f", [], {}, True)
GENERATOR = kinds(3, 0, None, "rng", [], onp.random, onp.random.default_rng)
OBJECT = kinds(None, 3, "mean_field", [], {}, Thing(), Thing, True, onp.zeros(2))

# --------------------------------------------------------------------------- arrays
NO_ARRAY = kinds("a", None, {}, Thing(), 1j, [1, "a"], onp.array(["a", "b"]), onp.array([1j]))
NUMBERS = NO_ARRAY + values(onp.ma.masked_array([1.0, 2.0], [True, False]))
FINITE_NUMBERS = NUMBERS + values([NAN], [1.0, INF])
PARAMETER = NUMBERS + values(NAN, [1.0, NAN])
SCALE = PARAMETER + values(0.0, -1.0, INF, [1.0, -1.0])
POINT = NUMBERS + values([], onp.zeros(7), onp.zeros((2, 7)))
SHAPE = kinds(None, "3", [None], {}, 1j) + values(-1, 2.5, (2, -1), 10**15)
ROWS = NO_ARRAY + values([], [NAN], [INF], onp.zeros((2, 2, 2)), onp.full(3, 2**63, onp.uint64))
ROWS += values(onp.ma.masked_array([1.0, 2.0], [True, False]))
MAPPING = kinds(None, 3, "a", [], (1,), onp.zeros(2), Thing())

# ---------------------------------------------------------------------------- files
NO_PATH = kinds(None, 3, 0, [], {}, True, Thing()) + values("", ".", "a\0b")
TO_WRITE = NO_PATH + values("/nowhere/at/all/fit.npz")
TO_READ = [*NO_PATH, Wrong("/nowhere/at/all/fit.npz", MissingFileError)]
