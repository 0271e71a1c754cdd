"""Bad calls of what models and fits are made of: distributions, transforms, optimisers."""

from collections.abc import Callable
from typing import Any

import numpy as onp
from bad_call import Call
from wrong_values import (
    DECAY,
    FUNCTION,
    GENERATOR,
    INF,
    NAME,
    NAN,
    NUMBERS,
    OBJECT,
    PARAMETER,
    POSITIVE,
    SCALE,
    SHAPE,
    STEP_SIZE,
    SWITCH,
    Thing,
    but,
    kinds,
    optional,
    values,
    whole,
)

import vi_lab as vl
import vi_lab.numpy as np
from vi_lab import families, gradients, optimizers, transforms
from vi_lab.optimizers import schedules
from vi_lab.transforms import supports

NORMAL = vl.Normal(0.0, 1.0)
LOC = PARAMETER + values(INF, -INF, [0.0, INF])
PROBABILITIES = PARAMETER + values(-0.1, 1.1, INF, [0.5, 2.0])
COUNTS = PARAMETER + values(-1, 1.5, INF)
BOUNDS = NUMBERS + values(NAN, INF, -INF, [1.0, NAN])
NOT_SPD = optional(NUMBERS) + values(1.0, onp.zeros((2, 2)), -onp.eye(2), onp.ones((2, 3)))


DISTRIBUTIONS = {
    "Bernoulli": Call(
        vl.Bernoulli,
        {"probs": 0.5},
        {"probs": optional(PROBABILITIES), "logits": values(0.0)},
        {"probs": "probs|Bernoulli", "logits": "Bernoulli"},
    ),
    "Beta": Call(vl.Beta, {"alpha": 1.0, "beta": 1.0}, {"alpha": SCALE, "beta": SCALE}),
    "Binomial": Call(
        vl.Binomial,
        {"total_count": 3, "probs": 0.5},
        {"total_count": COUNTS, "probs": optional(PROBABILITIES), "logits": values(0.0)},
        {"probs": "probs|Binomial", "logits": "Binomial"},
    ),
    "Categorical": Call(
        vl.Categorical,
        {"probs": [0.5, 0.5]},
        {"probs": optional(PROBABILITIES) + values(1.0, [0.5, 0.6]), "logits": values([0.0, 0.0])},
        {"probs": "probs|Categorical", "logits": "Categorical"},
    ),
    "Cauchy": Call(vl.Cauchy, {"loc": 0.0, "scale": 1.0}, {"loc": LOC, "scale": SCALE}),
    "Dirichlet": Call(
        vl.Dirichlet, {"concentration": [1.0, 1.0]}, {"concentration": SCALE + values(1.0)}
    ),
    "Exponential": Call(vl.Exponential, {"rate": 1.0}, {"rate": SCALE}),
    "Flat": Call(vl.Flat, {}, {"support": [*OBJECT, *kinds(supports.Positive, NORMAL)]}),
    "Gamma": Call(
        vl.Gamma, {"concentration": 1.0, "rate": 1.0}, {"concentration": SCALE, "rate": SCALE}
    ),
    "HalfCauchy": Call(vl.HalfCauchy, {"scale": 1.0}, {"scale": SCALE}),
    "HalfNormal": Call(vl.HalfNormal, {"scale": 1.0}, {"scale": SCALE}),
    "InverseGamma": Call(
        vl.InverseGamma,
        {"concentration": 1.0, "scale": 1.0},
        {"concentration": SCALE, "scale": SCALE},
    ),
    "LKJCholesky": Call(
        vl.LKJCholesky,
        {"dim": 2, "concentration": 1.0},
        {"dim": whole(2) + values(10**9), "concentration": SCALE},
    ),
    "Laplace": Call(vl.Laplace, {"loc": 0.0, "scale": 1.0}, {"loc": LOC, "scale": SCALE}),
    "LogNormal": Call(vl.LogNormal, {"loc": 0.0, "scale": 1.0}, {"loc": LOC, "scale": SCALE}),
    "Logistic": Call(vl.Logistic, {"loc": 0.0, "scale": 1.0}, {"loc": LOC, "scale": SCALE}),
    "MultivariateNormal": Call(
        vl.MultivariateNormal,
        {"loc": [0.0, 0.0], "covariance": onp.eye(2)},
        {
            "loc": LOC + values(1.0),
            "covariance": NOT_SPD + values([[1.0, 2.0], [2.0, 1.0]]),
            "scale_tril": values(onp.eye(2)),
        },
        {
            "loc": "loc|covariance",
            "covariance": "covariance|MultivariateNormal",
            "scale_tril": "MultivariateNormal",
        },
    ),
    "Normal": Call(vl.Normal, {"loc": 0.0, "scale": 1.0}, {"loc": LOC, "scale": SCALE}),
    "Poisson": Call(
        vl.Poisson, {"rate": 1.0}, {"rate": PARAMETER + values(-1.0, INF, [1.0, -1.0])}
    ),
    "StudentT": Call(vl.StudentT, {"df": 3.0}, {"df": SCALE, "loc": LOC, "scale": SCALE}),
    "Truncated": Call(
        vl.Truncated,
        {"distribution": NORMAL, "lower": 0.0, "upper": 1.0},
        {
            "distribution": [*OBJECT, *kinds(vl.Normal, vl.Poisson(1.0), vl.Truncated(NORMAL))],
            "lower": PARAMETER + values(1.0, 2.0, INF),
            "upper": PARAMETER + values(0.0, -1.0, -INF),
        },
        {"lower": "lower(, upper)?", "upper": "(lower, )?upper"},
    ),
    "Truncated beside its support": Call(
        vl.Truncated,
        {"distribution": vl.Beta(1.0, 1.0)},
        {"lower": values(1.0, 2.0), "upper": values(0.0, -1.0)},
        {"lower": "lower, upper", "upper": "lower, upper"},
    ),
    "Uniform": Call(
        vl.Uniform,
        {"lower": 0.0, "upper": 1.0},
        {"lower": LOC + values(1.0, 2.0), "upper": LOC + values(0.0, -1.0)},
        {"lower": "lower(, upper)?", "upper": "(lower, )?upper"},
    ),
    "Distribution.sample": Call(
        NORMAL.sample,
        {"rng": onp.random.default_rng(1)},
        {"rng": GENERATOR, "shape": SHAPE},
    ),
    "Distribution.log_prob": Call(
        vl.Normal(onp.zeros(3), 1.0).log_prob,
        {"x": onp.zeros(3)},
        {"x": NUMBERS + values(onp.zeros(4))},
    ),
}


# ------------------------------------------------------------------ in a program
def in_a_program(call: Callable[..., None]) -> Callable[..., Any]:
    """``call(m, **arguments)`` as a line of a program, of which a model is made."""

    def model(**arguments: Any) -> Any:
        def program(m: Any) -> None:
            m.sample("mu", NORMAL)
            call(m, **arguments)

        return vl.Model(program)

    return model


NAMES = kinds(3, None, [], True, Thing()) + values("", "mu")
QUANTITY = but(NUMBERS, onp.ma.MaskedArray)
PROGRAMS = {
    "Handler.sample": Call(
        in_a_program(lambda m, **arguments: m.sample(**arguments)),
        {"name": "a", "distribution": NORMAL},
        {
            "name": NAMES,
            "distribution": [*OBJECT, *kinds(vl.Normal), *values(vl.Poisson(1.0))],
            "shape": optional(SHAPE),
        },
        {"distribution": r"(sample|latent)[( ]'a'\)?", "shape": "latent 'a'"},
    ),
    "Handler.observe": Call(
        in_a_program(lambda m, **arguments: m.observe(**arguments)),
        {"name": "a", "distribution": NORMAL, "value": 1.0},
        {
            "name": NAMES,
            "distribution": [*OBJECT, *kinds(vl.Normal)],
            "value": QUANTITY + values(NAN, INF),
        },
        {"distribution": r"observe\('a'\)", "value": "observation 'a'"},
    ),
    "Handler.deterministic": Call(
        in_a_program(lambda m, **arguments: m.deterministic(**arguments)),
        {"name": "a", "value": 1.0},
        {"name": NAMES, "value": QUANTITY},
        {"value": "deterministic 'a'"},
    ),
    "Handler.factor": Call(
        in_a_program(lambda m, **arguments: m.factor(**arguments)),
        {"name": "a", "value": 1.0},
        {"name": NAMES, "value": QUANTITY},
        {"value": "factor 'a'"},
    ),
}


def line(m: Any, x: Any) -> None:
    m.observe("x", vl.Normal(m.sample("mu", NORMAL), 1.0), x)


X = onp.array([0.5, -1.0, 2.0, 0.1])


def model_of(program: Any, minibatch: Any, **data: Any) -> vl.Model:
    return vl.Model(program, minibatch=minibatch, **data)


def model_of_blocks(blocks: Any) -> vl.Model:
    return vl.Model(line, minibatch=vl.Minibatch(("x",), 2, blocks=blocks, num_rows=4))


BLOCKS = kinds(lambda: None, lambda: 3, lambda: "x", lambda epoch: [], lambda: [{"x": ["a"]}])
BLOCKS += values(list, lambda: iter([]), lambda: [{"y": X}], lambda: [X], lambda: [None])
BLOCKS += values(
    lambda: [{"x": X[:2]}, {"x": onp.ones((2, 2))}],
    lambda: [{"x": X[:2]}, {"y": X[:2]}],
    lambda: [{"x": onp.array([1, 2])}, {"x": X[:2]}],
    lambda: [{"x": X[:2]}],
    lambda: [{"x": []}],
    lambda: [{"x": [NAN, 1.0]}],
)

MODELS = {
    "Model": Call(
        model_of,
        {"program": line, "minibatch": vl.Minibatch(("x",), 2), "x": X},
        {
            "program": [*FUNCTION, *kinds(lambda: None, lambda m: None, lambda m, y: None)],
            "minibatch": optional(OBJECT) + kinds(vl.Minibatch) + values(vl.Minibatch(("y",), 2)),
            "x": values("a", None, 3, onp.ones(1), [NAN, 1.0], onp.full(3, 2**63, onp.uint64)),
        },
        {"program": "program", "x": "data 'x'|minibatch"},
    ),
    "Model of data": Call(
        model_of,
        {"program": line, "minibatch": None, "x": X},
        {"x": NUMBERS + values(NAN, [NAN], [], onp.full(3, 2**63, onp.uint64), INF)},
        {"x": "data 'x'|observation 'x'"},
    ),
    "Minibatch": Call(
        vl.Minibatch,
        {"rows": ("x",), "size": 2},
        {
            "rows": kinds("x", None, 3, {}, [3], (None,)) + values([], (), ("x", "x")),
            "size": whole(1),
            "blocks": optional(FUNCTION) + values(lambda: [{"x": X}]) + kinds(lambda n: []),
            "num_rows": optional(whole(1)) + values(4),
        },
        {"blocks": "blocks|num_rows"},
    ),
    "Minibatch of blocks": Call(
        model_of_blocks, {"blocks": lambda: [{"x": X}]}, {"blocks": BLOCKS}, {"blocks": ".*"}
    ),
    "Target": Call(
        vl.Target,
        {"density": lambda z: -0.5 * np.sum(z**2, axis=-1), "dim": 2},
        {
            "density": [
                *FUNCTION,
                *values(lambda: 1.0, lambda z: "a", lambda z: None, lambda z: z, lambda z: 1 / 0),
            ],
            "dim": whole(1) + values(10**12),
            "name": kinds(3, None, [], True) + values(""),
        },
    ),
}

# --------------------------------------------------------------- transforms, supports
TRANSFORMS = {
    "Identity": Call(transforms.Identity, {}, {"event_ndim": whole(0)}),
    "IntervalTransform": Call(
        transforms.IntervalTransform,
        {"lower": 0.0, "upper": 1.0},
        {"lower": BOUNDS + values(1.0), "upper": BOUNDS + values(0.0)},
        {"lower": "lower(, upper)?", "upper": "(lower, )?upper"},
    ),
    "LowerBound": Call(transforms.LowerBound, {"lower": 0.0}, {"lower": BOUNDS}),
    "UpperBound": Call(transforms.UpperBound, {"upper": 0.0}, {"upper": BOUNDS}),
    "transforms.to_support": Call(
        transforms.to_support,
        {"support": supports.Real()},
        {"support": [*OBJECT, *kinds(supports.Real, NORMAL), *values(supports.Boolean())]},
    ),
    "GreaterThan": Call(supports.GreaterThan, {"lower": 0.0}, {"lower": BOUNDS}),
    "LessThan": Call(supports.LessThan, {"upper": 0.0}, {"upper": BOUNDS}),
    "Interval": Call(
        supports.Interval,
        {"lower": 0.0, "upper": 1.0},
        {"lower": BOUNDS + values(1.0), "upper": BOUNDS + values(0.0)},
        {"lower": "lower(, upper)?", "upper": "(lower, )?upper"},
    ),
    "IntegerInterval": Call(
        supports.IntegerInterval,
        {"lower": 0, "upper": 1},
        {"lower": BOUNDS + values(2), "upper": BOUNDS + values(-1)},
        {"lower": "lower(, upper)?", "upper": "(lower, )?upper"},
    ),
}

# ------------------------------------------------------- families, optimisers, gradients
ONE_OF = values("unknown", "") + but(OBJECT, str)
OPTIMISERS = {
    "LowRankGaussian": Call(vl.LowRankGaussian, {}, {"rank": whole(1)}),
    "families.get_family": Call(families.get_family, {"family": "mean_field"}, {"family": ONE_OF}),
    "optimizers.get_optimizer": Call(
        optimizers.get_optimizer, {"optimizer": "adam"}, {"optimizer": ONE_OF}
    ),
    "gradients.get_estimator": Call(
        gradients.get_estimator, {"estimator": "score_function"}, {"estimator": ONE_OF}
    ),
    "gradients.get_base_draws": Call(
        gradients.get_base_draws, {"base_draws": "sobol"}, {"base_draws": ONE_OF}
    ),
    "SGD": Call(optimizers.SGD, {"step_size": 0.1}, {"step_size": STEP_SIZE}),
    "Momentum": Call(
        optimizers.Momentum, {"step_size": 0.1}, {"step_size": STEP_SIZE, "decay": DECAY}
    ),
    "Adagrad": Call(
        optimizers.Adagrad, {"step_size": 0.1}, {"step_size": STEP_SIZE, "epsilon": POSITIVE}
    ),
    "WindowedAdagrad": Call(
        optimizers.WindowedAdagrad,
        {},
        {"step_size": STEP_SIZE, "window": whole(1), "epsilon": POSITIVE},
    ),
    "RMSProp": Call(
        optimizers.RMSProp,
        {"step_size": 0.1},
        {"step_size": STEP_SIZE, "decay": DECAY, "epsilon": POSITIVE},
    ),
    "Adam": Call(
        optimizers.Adam,
        {"step_size": 0.1},
        {"step_size": STEP_SIZE, "beta1": DECAY, "beta2": DECAY, "epsilon": POSITIVE},
    ),
    "AdviSequence": Call(
        optimizers.AdviSequence, {}, {"eta": optional(POSITIVE), "lagged": SWITCH}
    ),
    "DoWG": Call(optimizers.DoWG, {}, {"initial_distance": POSITIVE, "per": NAME}),
    "Clipped": Call(
        optimizers.Clipped,
        {"optimizer": optimizers.Adam(0.1), "norm": 1.0},
        {"optimizer": [*OBJECT, *kinds(optimizers.Adam)], "norm": POSITIVE},
    ),
    "NaturalGradient": Call(
        optimizers.NaturalGradient,
        {"coordinates": vl.MeanFieldGaussian()},
        {
            "coordinates": [*OBJECT, *kinds(vl.MeanFieldGaussian)],
            "step_size": POSITIVE,
            "beta2": DECAY,
            "shared": SWITCH,
        },
    ),
    "TailAverage": Call(optimizers.TailAverage, {"start": 1}, {"start": whole(0)}),
    "RobbinsMonro": Call(
        optimizers.RobbinsMonro,
        {"initial": 1.0, "delay": 0.0, "forgetting": 0.7},
        {
            "initial": POSITIVE,
            "delay": values(-1, NAN, INF, 10**400) + kinds("3", None, True, [1.0], {}, 1j),
            "forgetting": POSITIVE + values(0.5, 1.1, 0.4),
        },
    ),
    "ConstantThenDecay": Call(
        optimizers.ConstantThenDecay,
        {"initial": 1.0, "final": 0.1, "hold": 10, "steps": 20},
        {
            "initial": POSITIVE + values(0.01),
            "final": POSITIVE + values(2.0),
            "hold": whole(0) + values(20, 30),
            "steps": whole(1) + values(10, 5),
        },
        {"initial": "initial|final", "hold": "hold|steps", "steps": "steps|hold"},
    ),
    "optimizers.robbins_monro_conditions": Call(
        schedules.robbins_monro_conditions,
        {"step_size": 0.1},
        {"step_size": [each for each in POSITIVE if each.value is not int]},
    ),
    "Reparameterised": Call(gradients.Reparameterised, {}, {"entropy": NAME}),
}

CALLS = DISTRIBUTIONS | PROGRAMS | MODELS | TRANSFORMS | OPTIMISERS
