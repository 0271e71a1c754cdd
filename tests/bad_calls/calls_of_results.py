"""Bad calls of what comes out: fits, tables, files, pictures, diagnostics; and of shared data."""

from dataclasses import replace

import matplotlib
import numpy as onp
from bad_call import Call
from wrong_values import (
    DRAWS,
    FINITE,
    FINITE_NUMBERS,
    INF,
    MAPPING,
    NAME,
    NAN,
    NUMBERS,
    OBJECT,
    POSITIVE,
    PROBABILITY,
    ROWS,
    SEED,
    TO_READ,
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
from vi_lab import conjugate, plots
from vi_lab.conjugate import GaussianMixture, GaussianTarget, LinearRegression, NormalModel
from vi_lab.results import diagnostics

matplotlib.use("Agg")

X = onp.array([0.5, -1.0, 2.0, 0.1, 0.7, 1.3])
TARGET = vl.Target(lambda z: -0.5 * np.sum(z**2, axis=-1), dim=2)
FIT = vl.Fit(
    model=TARGET,
    family=vl.MeanFieldGaussian(),
    params={"loc": onp.zeros(2), "log_scale": onp.zeros(2)},
    losses=onp.arange(100.0),
    engine="autograd",
    seed=1,
)
CHAINS = vl.NutsResult(
    model=TARGET,
    z=onp.random.default_rng(1).standard_normal((2, 50, 2)),
    **dict.fromkeys(("log_density", "acceptance", "energy"), onp.ones((2, 50))),
    **dict.fromkeys(("n_leapfrog", "depth"), onp.ones((2, 50), int)),
    diverging=onp.zeros((2, 50), bool),
    step_size=onp.ones(2),
    inverse_mass_matrix=onp.ones((2, 2)),
    max_depth=10,
    engine="autograd",
    seed=1,
)
NORMAL = vl.cavi(NormalModel(), X, progress=False)
LINE = vl.cavi(LinearRegression(), onp.column_stack([onp.ones(6), X]), progress=False)
MIXTURE = vl.cavi(GaussianMixture(2), X, progress=False)
KNOWN = vl.cavi(conjugate.KnownVarianceMixture(2), X, progress=False)
GAUSSIAN = vl.cavi(GaussianTarget([0.0, 1.0], onp.eye(2)), progress=False)
SUMMARY = FIT.summary(100)
LOW_RANK = replace(
    FIT,
    family=vl.LowRankGaussian(1),
    params={"loc": onp.zeros(2), "log_scale": onp.zeros(2), "factors": onp.ones((2, 1))},
)
RESPONSE = vl.linear_response(FIT)

SAMPLED = {"num_draws": DRAWS, "seed": SEED}
PARAMS = MAPPING + kinds(NORMAL) + values({}, {"nu": {}})


def of_params(fit: vl.ConjugateFit, method: str) -> Call:
    no_numbers = kinds(dict.fromkeys(fit.params, 3))
    return Call(getattr(fit.model, method), {"params": fit.params}, {"params": PARAMS + no_numbers})


FITS = {
    "Fit.sample": Call(FIT.sample, {"seed": 1}, SAMPLED),
    "Fit.sample_unconstrained": Call(
        FIT.sample_unconstrained, {"num_draws": 10, "seed": 1}, SAMPLED
    ),
    "Fit.summary": Call(FIT.summary, {}, SAMPLED),
    "Fit.elbo": Call(
        FIT.elbo,
        {},
        {"num_draws": optional(whole(2)) + values(10**12), "seed": SEED},
    ),
    "Fit.to_arviz": Call(FIT.to_arviz, {}, SAMPLED),
    "Fit.save": Call(FIT.save, {"path": "fit.npz"}, {"path": TO_WRITE}),
    "Fit.load": Call(
        vl.Fit.load,
        {"path": __file__, "model": TARGET},
        {
            "path": TO_READ + values(__file__),
            "model": [*OBJECT, *kinds(vl.Target)],
            "family": values("unknown") + optional(but(OBJECT, str)),
        },
    ),
    "Fit.check": Call(
        FIT.check,
        {"chains": 8, "transitions": 4},
        {
            "chains": whole(8) + values(10**12),
            "transitions": whole(4) + values(10**12),
            "seed": SEED,
        },
        {"transitions": "transitions|chains"},
    ),
    "linear_response": Call(
        vl.linear_response,
        {"fit": FIT},
        {
            "fit": [*OBJECT, *kinds(CHAINS, vl.Fit), *values(LOW_RANK)],
            "draws": whole(1) + values(10**12),
            "seed": SEED,
        },
    ),
    "LinearResponse.sample": Call(RESPONSE.sample, {"seed": 1}, SAMPLED),
    "LinearResponse.sample_unconstrained": Call(
        RESPONSE.sample_unconstrained, {"num_draws": 10, "seed": 1}, SAMPLED
    ),
    "LinearResponse.summary": Call(RESPONSE.summary, {}, SAMPLED),
    "LinearResponse.to_arviz": Call(RESPONSE.to_arviz, {}, SAMPLED),
    "NutsResult.summary": Call(CHAINS.summary, {}, {"prob": PROBABILITY}),
    "NutsResult.save": Call(CHAINS.save, {"path": "fit.npz"}, {"path": TO_WRITE}),
    "NutsResult.load": Call(
        vl.NutsResult.load,
        {"path": __file__, "model": TARGET},
        {"path": TO_READ + values(__file__), "model": [*OBJECT, *kinds(vl.Target)]},
    ),
    "ConjugateFit.sample": Call(NORMAL.sample, {"seed": 1}, SAMPLED),
    "ConjugateFit.summary": Call(NORMAL.summary, {}, SAMPLED),
    "ConjugateFit.posterior_predictive": Call(
        LINE.posterior_predictive,
        {"seed": 1, "covariates": onp.ones((1, 1))},
        {
            **SAMPLED,
            "covariates": optional(FINITE_NUMBERS) + values(None, 1.0, [1.0], onp.ones((2, 3))),
        },
    ),
    "ConjugateFit.posterior_predictive without covariates": Call(
        NORMAL.posterior_predictive, {"seed": 1}, {"covariates": values([1.0], "a", 3)}
    ),
    "ConjugateFit.save": Call(NORMAL.save, {"path": "fit.npz"}, {"path": TO_WRITE}),
    "ConjugateFit.load": Call(
        vl.ConjugateFit.load,
        {"path": __file__, "model": NormalModel()},
        {"path": TO_READ + values(__file__), "model": [*OBJECT, *kinds(NormalModel, TARGET)]},
    ),
    "Summary.__getitem__": Call(
        lambda key: SUMMARY[key],
        {"key": "sd"},
        {"key": kinds(3, None, [], ("z[0]", "sd", "sd"), (3, "sd"), ("z[0]", 3), Thing())},
    ),
    "Summary.select": Call(
        lambda names: SUMMARY.select(*names),
        {"names": ("z",)},
        {"names": kinds((3,), (None,), (["z"],), (Thing(),)) + values((), ("unknown",), ("",))},
    ),
}

# --------------------------------------------------------------------- conjugate models
ROW = NUMBERS + values(NAN, [INF], onp.zeros((2, 2)), [])
CONJUGATE = {
    "NormalModel": Call(
        NormalModel,
        {},
        {
            "mean": FINITE,
            "strength": POSITIVE,
            "shape": POSITIVE,
            "rate": POSITIVE,
            "origin": optional(FINITE),
        },
    ),
    "LinearRegression": Call(
        LinearRegression,
        {},
        {
            "mean": FINITE_NUMBERS,
            "precision": FINITE_NUMBERS + values(0.0, -1.0, [1.0, -1.0]) + kinds(vl.Normal(0, 1)),
            "shape": POSITIVE,
            "rate": POSITIVE,
            "frame": [
                *kinds("a", 3, [], {}, True, Thing(), (1,), (X, "a"), (None, None)),
                *values((1.0, 1.0), (X, X), ([NAN], [[1.0]]), ([1.0], [[0.0]])),
            ],
        },
    ),
    "GaussianMixture": Call(
        GaussianMixture,
        {"components": 2},
        {
            "components": whole(1),
            "concentration": POSITIVE,
            "mean": optional(ROW),
            "mean_precision": POSITIVE,
            "degrees_of_freedom": optional(POSITIVE),
            "scatter": optional(NUMBERS) + values(NAN, 0.0, -1.0, [1.0], [], onp.ones((2, 3))),
            "origin": optional(ROW),
        },
    ),
    "KnownVarianceMixture": Call(
        conjugate.KnownVarianceMixture,
        {"components": 2},
        {
            "components": whole(1),
            "sd": POSITIVE,
            "prior_mean": FINITE,
            "prior_sd": POSITIVE,
            "origin": optional(FINITE),
        },
    ),
    "GaussianTarget": Call(
        GaussianTarget,
        {"mean": [0.0, 1.0], "precision": onp.eye(2)},
        {
            "mean": FINITE_NUMBERS + values(1.0, [], onp.zeros((2, 2))),
            "precision": FINITE_NUMBERS + values(1.0, onp.eye(3), -onp.eye(2), onp.zeros((2, 2))),
        },
        {"mean": "mean|precision"},
    ),
    "NormalModel.moments": of_params(NORMAL, "moments"),
    "LinearRegression.moments": of_params(LINE, "moments"),
    "GaussianTarget.moments": of_params(GAUSSIAN, "moments"),
    "GaussianMixture.means": of_params(MIXTURE, "means"),
    "GaussianMixture.estimates": of_params(MIXTURE, "estimates"),
    "KnownVarianceMixture.means": of_params(KNOWN, "means"),
    "GaussianTarget.natural": Call(
        GAUSSIAN.model.natural,
        {"mean": [0.0, 0.0], "variance": [1.0, 1.0]},
        {
            "mean": FINITE_NUMBERS + values(1.0, X),
            "variance": FINITE_NUMBERS + values(0.0, [1.0, -1.0], X + 2.0),
        },
    ),
    "NormalModel.posterior": Call(NormalModel().posterior, {"rows": X}, {"rows": ROWS}),
    "NormalModel.log_evidence": Call(NormalModel().log_evidence, {"rows": X}, {"rows": ROWS}),
    "LinearRegression.posterior": Call(
        LinearRegression().posterior, {"rows": X[:, None]}, {"rows": ROWS + values(X)}
    ),
    "LinearRegression.log_evidence": Call(
        LinearRegression().log_evidence, {"rows": X[:, None]}, {"rows": ROWS + values(X)}
    ),
    "Mixture.responsibilities": Call(
        MIXTURE.model.responsibilities,
        {"params": MIXTURE.params, "rows": X},
        {"params": PARAMS, "rows": ROWS + values(onp.ones((2, 2)))},
    ),
    "Mixture.from_responsibilities": Call(
        MIXTURE.model.from_responsibilities,
        {"rows": X, "responsibilities": onp.full((6, 2), 0.5)},
        {"rows": ROWS, "responsibilities": FINITE_NUMBERS + values(1.0, onp.ones((6, 3)))},
    ),
    "conjugate.natural_step": Call(
        conjugate.natural_step,
        {"model": NORMAL.model, "params": NORMAL.params, "statistics": {}},
        {"model": OBJECT, "params": PARAMS, "statistics": MAPPING, "rho": POSITIVE},
    ),
    "conjugate.add_statistics": Call(
        conjugate.add_statistics,
        {"first": {"count": 1.0}, "second": {"count": 2.0}},
        {"first": MAPPING, "second": MAPPING + values({}, {"sum": 1.0})},
    ),
    "conjugate.order_labels": Call(
        conjugate.order_labels, {"values": X}, {"values": FINITE_NUMBERS + values(1.0)}
    ),
    "conjugate.match_labels": Call(
        conjugate.match_labels,
        {"means": X, "reference": X},
        {"means": FINITE_NUMBERS + values(1.0, X[:2]), "reference": FINITE_NUMBERS + values(1.0)},
        {"means": "means|reference"},
    ),
    "conjugate.relabel": Call(
        conjugate.relabel,
        {"arrays": {"a": X[:2]}, "order": [1, 0]},
        {
            "arrays": MAPPING + kinds({"a": "b"}, {"a": None}),
            "order": NUMBERS + values(1, [0.5, 0.0], [0, 0], [1, 2], [0, 1, 2]),
        },
    ),
}

# ------------------------------------------------------------- diagnostics and pictures
TABLE = NUMBERS + values(1.0, [], onp.full((2, 5), NAN), onp.ones(3))
RESULT = [*kinds(None, 3, "a", [], Thing(), TARGET, vl.Fit), *kinds({"a": "b"}, {3: X})]
RESULT += values({}, {"a": 1.0}, {"a": []}, {"a": X, "b": X[:2]}, {"a": [NAN, 1.0]})
NAMES = kinds(3, [3], {}, (None,), Thing()) + values([], "unknown", "", ["z", "unknown"])
AXES = kinds(3, "a", [3], {}, True, Thing())
TOOLS = {
    **{
        f"results.{name}": Call(
            getattr(diagnostics, name), {"draws": onp.ones((2, 5))}, {"draws": TABLE}
        )
        for name in ("rhat", "ess_bulk", "ess_tail", "mcse")
    },
    "results.bfmi": Call(diagnostics.bfmi, {"energy": onp.ones((2, 5))}, {"energy": TABLE}),
    "results.hdi": Call(
        diagnostics.hdi,
        {"draws": X},
        {"draws": FINITE_NUMBERS + values(1.0, []), "prob": PROBABILITY},
    ),
    "plots.elbo": Call(
        plots.elbo,
        {"fit": FIT},
        {"fit": [*OBJECT, *kinds(CHAINS, vl.Fit)], "every": whole(1) + values(1_000), "ax": AXES},
    ),
    "plots.trace": Call(
        plots.trace,
        {"result": FIT},
        {"result": RESULT, "names": NAMES, "axes": AXES, "seed": SEED},
        {"result": "result|a"},
    ),
    "plots.compare": Call(
        plots.compare,
        {"ADVI": FIT},
        {"ADVI": RESULT, "names": NAMES, "axes": AXES, "seed": SEED},
        {"ADVI": "ADVI|a|results"},
    ),
    "plots.replicated": Call(
        plots.replicated,
        {"data": X, "replicated": onp.ones((10, 6))},
        {
            "data": FINITE_NUMBERS + values(1.0, [], X[:2]),
            "replicated": FINITE_NUMBERS + values(1.0, X, onp.ones((2, 3))),
            "columns": kinds("a", 3, [0.5], {}, [None]) + values([], [6], [-1]),
            "ax": AXES,
        },
        {"data": "data|replicated"},
    ),
    "plots.scatter": Call(
        plots.scatter,
        {"result": FIT, "x": "z[0]", "y": "z[1]"},
        {
            "result": RESULT,
            "x": kinds(3, None, ["z[0]"]) + values("", "z", "unknown"),
            "y": kinds(3, None, ["z[0]"]) + values("", "z", "unknown"),
            "ax": AXES,
            "seed": SEED,
        },
        {"result": "result|a|x"},
    ),
    "datasets.radon": Call(vl.datasets.radon, {}, {"where": NAME + values("USA")}),
    "datasets.posteriordb": Call(vl.datasets.posteriordb, {"name": "hmm"}, {"name": NAME}),
    "zoo.correlated_gaussian": Call(
        vl.zoo.correlated_gaussian, {}, {"rho": FINITE + values(1.0, -1.0, 2)}
    ),
    "ZooEntry.accuracy": Call(
        vl.zoo.wells().accuracy,
        {"draws": {"alpha": X, "beta": onp.ones((6, 2))}},
        {"draws": MAPPING + values({}, {"alpha": X}, {"alpha": 1.0}) + kinds({"alpha": "a"})},
    ),
    "use": Call(vl.use, {"name": "autograd"}, {"name": NAME}, {"name": "engine"}),
    "engine.get": Call(
        vl.engine.get, {"name": "autograd"}, {"name": optional(NAME)}, {"name": "engine"}
    ),
    "engine.load": Call(vl.engine.load, {"name": "autograd"}, {"name": NAME}, {"name": "engine"}),
}

CALLS = FITS | CONJUGATE | TOOLS
