"""Bad calls of what fits: `advi`, `nuts`, `cavi`, `svi`, and of what tells them what to fit."""

from collections.abc import Iterator
from typing import Any

import numpy as onp
from bad_call import Call
from wrong_values import (
    DRAWS,
    FUNCTION,
    GENERATOR,
    MAPPING,
    NAME,
    NOT_NEGATIVE,
    OBJECT,
    POINT,
    PROBABILITY,
    ROWS,
    SEED,
    STEP_SIZE,
    SWITCH,
    TO_WRITE,
    Thing,
    but,
    kinds,
    optional,
    values,
    whole,
)

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab.conjugate import GaussianMixture, GaussianTarget, NormalModel
from vi_lab.gradients import Independent, Reparameterised
from vi_lab.optimizers import Adam, TailAverage

begun: list[str] = []  # what was computed: by a bad call, nothing


def program(m: Any, x: Any) -> None:
    begun.append("program")
    m.observe("x", vl.Normal(m.sample("mu", vl.Normal(0.0, 1.0)), 1.0), x)


def density(z: Any) -> Any:
    begun.append("density")
    return -0.5 * np.sum(z**2, axis=-1)


class Watched(NormalModel):
    """A conjugate model that notes that its rows are worked on."""

    def statistics(self, params: Any, rows: Any) -> Any:
        begun.append("statistics")
        return super().statistics(params, rows)


X = onp.array([0.5, -1.0, 2.0, 0.1])
MODEL = vl.Model(program, x=X)
IN_BATCHES = vl.Model(program, minibatch=vl.Minibatch(rows=("x",), size=2), x=X)
TARGET = vl.Target(density, dim=2)
NORMAL = Watched()
OTHER_FIT = vl.cavi(GaussianMixture(2), X, progress=False, max_sweeps=1)
FIT = vl.advi(TARGET, optimizer="adam", steps=1, progress=False)  # on another space than MODEL's

ENGINE = optional(NAME)
CALLBACK = optional(FUNCTION) + kinds(lambda: None, lambda steps: None, lambda a, b, c, d: None)
START = kinds(3, Thing(), [1.0], True, onp.zeros(2))
DICTIONARIES = values({}, {"nu": 1.0}, {3: 1.0}, {"mu": 1.0, "x": 2.0})
FAMILY = values("unknown", "Mean_Field") + but(OBJECT, str) + kinds(vl.MeanFieldGaussian)


def again() -> Iterator[onp.ndarray]:
    return USED_UP


USED_UP = iter([X, X])
BLOCKS = kinds(lambda: None, lambda: 3, lambda: "rows", lambda epoch: [X], lambda: ["a"], 3j)
BLOCKS += values(again, list, lambda: [[]], lambda: [X, onp.array([1.0, float("nan")])])

STREAMS = values(lambda: [X, onp.ones((2, 2))])

CALLS = {
    "advi": Call(
        vl.advi,
        {"model": MODEL, "progress": False},
        {
            "model": [*OBJECT, *kinds(program, vl.Model)],
            "family": FAMILY,
            "method": NAME,
            "steps": optional(whole(1)),
            "draws": optional(DRAWS),
            "base_draws": values("independent", Independent(), "unknown", 3, Thing()),
            "estimator": values("reparameterised", Reparameterised(), "unknown", 3, Thing()),
            "optimizer": values("unknown") + optional(but(OBJECT, str)) + kinds(Adam),
            "average": values(TailAverage(3), "unknown", 3, Thing()),
            "init": START + DICTIONARIES + values("unknown", "", FIT),
            "starts": optional(whole(1)),
            "seed": SEED,
            "engine": ENGINE,
            "progress": SWITCH,
            "callback": CALLBACK,
            "checkpoint": optional(TO_WRITE),
        },
    ),
    "advi with an optimizer": Call(
        vl.advi,
        {"model": MODEL, "progress": False, "optimizer": "adam"},
        {
            "steps": optional(whole(1)),
            "draws": optional(DRAWS),
            "base_draws": values("unknown") + optional(but(OBJECT, str)) + kinds(Independent),
            "estimator": values("unknown") + optional(but(OBJECT, str)),
            "average": optional(OBJECT) + kinds(TailAverage),
            "starts": optional(whole(1)),
        },
    ),
    "nuts": Call(
        vl.nuts,
        {"model": MODEL, "progress": False},
        {
            "model": [*OBJECT, *kinds(program, vl.Model)],
            "chains": whole(1) + values(10**12),
            "tune": whole(1),
            "draws": DRAWS,
            "seed": SEED,
            "target_accept": PROBABILITY,
            "max_depth": whole(1) + values(1_000),
            "init": kinds(Thing(), "prior", [None], FIT) + DICTIONARIES + values([1.0, 2.0, 3.0]),
            "engine": ENGINE,
            "progress": SWITCH,
            "checkpoint": optional(TO_WRITE),
        },
    ),
    "cavi": Call(
        vl.cavi,
        {"model": NORMAL, "rows": X, "progress": False},
        {
            "model": [*OBJECT, *kinds(MODEL, NormalModel)],
            "rows": [
                *but(ROWS, type(None)),
                *BLOCKS,
                *kinds(3, iter([X])),
                *values(None),
                *STREAMS,
            ],
            "starts": whole(1) + values(10**12),
            "init": but(START, bool) + DICTIONARIES + values("unknown", "") + kinds(True, FIT),
            "max_sweeps": whole(1),
            "rtol": NOT_NEGATIVE,
            "atol": NOT_NEGATIVE,
            "seed": SEED,
            "progress": SWITCH,
            "callback": CALLBACK,
            "checkpoint": optional(TO_WRITE),
        },
    ),
    "cavi of a mixture": Call(
        vl.cavi,
        {"model": GaussianMixture(2), "rows": X, "progress": False},
        {
            "rows": optional(ROWS) + values(None, X[:1]),
            "init": DICTIONARIES + values("unknown", "", "prior"),
            "starts": values(10**12),
        },
        {"rows": "rows|components"},
    ),
    "cavi of a target": Call(
        vl.cavi,
        {"model": GaussianTarget([0.0], [[1.0]]), "progress": False},
        {"rows": values(X, "a", [])},
    ),
    "svi": Call(
        vl.svi,
        {"model": NORMAL, "rows": X, "batch": 2, "progress": False},
        {
            "model": [*OBJECT, *kinds(MODEL, NormalModel)],
            "rows": [*but(ROWS, type(None)), *kinds(None), *values(3, iter([X]), lambda: [X])],
            "batch": whole(1) + values(5),
            "step_size": STEP_SIZE + values(1.5),
            "steps": optional(whole(1)),
            "epochs": optional(whole(1)),
            "num_rows": optional(whole(1)) + values(4),
            "init": START + DICTIONARIES + values("unknown", "") + kinds(FIT),
            "evaluate_on": optional(ROWS),
            "evaluate_every": optional(whole(1)),
            "rtol": NOT_NEGATIVE,
            "atol": NOT_NEGATIVE,
            "patience": whole(2),
            "seed": SEED,
            "progress": SWITCH,
            "callback": CALLBACK,
            "checkpoint": optional(TO_WRITE),
        },
        {"rows": "rows|num_rows"},
    ),
    "scan": Call(
        vl.scan,
        {"step": lambda state, row: (state + row, state), "state": 0.0, "inputs": X},
        {
            "step": [
                *FUNCTION,
                *kinds(
                    lambda state: state, lambda state, row: state, lambda state, row: [state] * 2
                ),
                *values(lambda state, row: (state + X, row), lambda state, row: (state > 0.0, row)),
            ],
            "state": kinds(None, "a", 1j, Thing(), [0.0, "a"]) + values({}, (), 0, [0, 0]),
            "inputs": kinds(None, 3, "a", [1.0], {}, Thing(), onp.float64(1.0), X.astype(str))
            + values(X[:0], (X, X[1:])),
        },
        {"state": "state|step"},
    ),
    "prior_predictive": Call(
        vl.prior_predictive,
        {"model": MODEL, "seed": 1},
        {
            "model": [*OBJECT, *kinds(program, TARGET, vl.Model)],
            "num_draws": DRAWS,
            "seed": SEED,
            "progress": SWITCH,
        },
    ),
    "posterior_predictive": Call(
        vl.posterior_predictive,
        {"model": MODEL, "draws": {"mu": X}, "seed": 1},
        {
            "model": [*OBJECT, *kinds(program, TARGET, vl.Model)],
            "draws": [
                *MAPPING,
                *values({}, {"nu": X}, {"mu": 1.0}),
                *kinds({"mu": "a"}, {"mu": None}, {"mu": ["a", "b"]}),
            ],
            "seed": SEED,
            "progress": SWITCH,
        },
    ),
    # ------------------------------------------------------------------- models
    "Model.log_density": Call(MODEL.log_density, {"z": [0.0]}, {"z": POINT, "engine": ENGINE}),
    "Model.constrain": Call(MODEL.constrain, {"z": [0.0]}, {"z": POINT, "engine": ENGINE}),
    "Model.terms": Call(MODEL.terms, {"z": [0.0]}, {"z": POINT + values(onp.zeros((2, 1)))}),
    "Model.log_joint": Call(
        MODEL.log_joint,
        {"values": {"mu": 0.0}},
        {"values": MAPPING + DICTIONARIES + kinds({"mu": "a"}, {"mu": None}, {"mu": 1j})},
        {"values": "values|mu"},
    ),
    "Model.unconstrain": Call(
        MODEL.unconstrain,
        {"values": {"mu": 0.0}},
        {"values": MAPPING + DICTIONARIES + values({"mu": float("inf")}) + kinds({"mu": "a"})},
        {"values": "values|mu"},
    ),
    "Model.minibatches": Call(
        IN_BATCHES.minibatches, {"rng": onp.random.default_rng(1)}, {"rng": GENERATOR}
    ),
    "Target.log_density": Call(TARGET.log_density, {"z": X[:2]}, {"z": POINT, "engine": ENGINE}),
    "Target.constrain": Call(TARGET.constrain, {"z": X[:2]}, {"z": POINT, "engine": ENGINE}),
    "Target.terms": Call(TARGET.terms, {"z": X[:2]}, {"z": POINT + values(onp.zeros((2, 2)))}),
    "Target.unconstrain": Call(
        TARGET.unconstrain,
        {"values": {"z": X[:2]}},
        {"values": MAPPING + DICTIONARIES + kinds({"z": "a"}) + values({"z": X})},
        {"values": "values|z"},
    ),
    "Target.minibatches": Call(
        TARGET.minibatches, {"rng": onp.random.default_rng(1)}, {"rng": GENERATOR}
    ),
    "Batches.take": Call(
        IN_BATCHES.minibatches(onp.random.default_rng(1)).take,
        {"length": 1},
        {
            "length": whole(0) + values(10**12),
            "out": optional(MAPPING) + values({}, {"x": onp.zeros(2)}, {"y": onp.zeros((1, 2))}),
        },
    ),
    "Batches.empty": Call(
        IN_BATCHES.minibatches(onp.random.default_rng(1)).empty,
        {"length": 1},
        {"length": whole(0) + values(10**12)},
    ),
    "Batches.restore": Call(
        IN_BATCHES.minibatches(onp.random.default_rng(1)).restore,
        {"state": {"key": 1, "position": 0}},
        {
            "state": [
                *MAPPING,
                *values({}, {"key": 1}, {"key": -1, "position": 0}, {"key": 1, "position": -1}),
                *kinds({"key": "a", "position": 0}, {"key": 1, "position": None}),
            ]
        },
        {"state": "state|key"},
    ),
}
