r"""Regressions: linear, logistic, and of a series on its own past.

Predictors are raw, neither centred nor scaled, as in the originals: that is what makes
their posteriors correlated, and mean-field fits too narrow.
"""

from __future__ import annotations

from typing import Any

import numpy as onp

from vi_lab.distributions import Bernoulli, Flat, HalfCauchy, HalfNormal, Normal
from vi_lab.engine import Array
from vi_lab.zoo.entry import ZooEntry, from_posteriordb


def linear_regression(m: Any, predictors: Array, kid_score: Array) -> None:
    """kid_score ~ N(predictors @ beta, sigma); ``predictors`` (434, 4), ``kid_score`` (434,)."""
    beta = m.sample("beta", Flat(), shape=predictors.shape[1:])
    sigma = m.sample("sigma", HalfCauchy(2.5))
    m.observe("kid_score", Normal(predictors @ beta, sigma), kid_score)


def kidiq_interaction() -> ZooEntry:
    """Test scores of 434 children by their mothers' IQ and schooling, with interaction.

    The predictors are 1, mom_hs (1 if the mother finished high school), mom_iq and
    their product. Correlations in the posterior reach 0.99.
    """

    def prepare(data: dict) -> dict:
        mom_hs, mom_iq = data["mom_hs"], data["mom_iq"]
        return {
            "predictors": onp.stack(
                [onp.ones(mom_iq.shape), mom_hs, mom_iq, mom_hs * mom_iq], axis=1
            ),
            "kid_score": data["kid_score"].astype(float),
        }

    return from_posteriordb(
        "kidiq_interaction", "kidiq-kidscore_interaction", linear_regression, prepare
    )


def regression_with_priors(m: Any, predictors: Array, y: Array) -> None:
    """y ~ N(predictors @ beta, sigma), with proper priors; ``predictors`` are (100, 5)."""
    beta = m.sample("beta", Normal(0.0, 10.0), shape=predictors.shape[1:])
    sigma = m.sample("sigma", HalfNormal(10.0))
    m.observe("y", Normal(predictors @ beta, sigma), y)


def sblrc() -> ZooEntry:
    """Regression on five simulated predictors in the hundreds, equally correlated."""
    return from_posteriordb(
        "sblrc",
        "sblrc-blr",
        regression_with_priors,
        lambda data: {"predictors": data["X"], "y": data["y"]},
    )


def logistic_regression(m: Any, predictors: Array, switched: Array) -> None:
    """logit Pr(switched) = alpha + predictors @ beta; ``predictors`` (3020, 2)."""
    alpha = m.sample("alpha", Flat())
    beta = m.sample("beta", Flat(), shape=predictors.shape[1:])
    m.observe("switched", Bernoulli(logits=alpha + predictors @ beta), switched)


def wells() -> ZooEntry:
    """Whether a household of Araihazar, Bangladesh, switched to another well.

    The predictors are the distance to the nearest safe well, in units of 100 m, and
    the arsenic in its own, in units of 100 micrograms a litre.
    """

    def prepare(data: dict) -> dict:
        return {
            "predictors": onp.stack([data["dist"] / 100.0, data["arsenic"]], axis=1),
            "switched": data["switched"],
        }

    return from_posteriordb(
        "wells", "wells_data-wells_dist100ars_model", logistic_regression, prepare
    )


def autoregression(m: Any, past: Array, y: Array) -> None:
    r"""y_t ~ N(alpha + sum_k beta_k y_{t-k}, sigma), given the first K values.

    ``y`` (T - K,) holds the values after those, and ``past`` (T - K, K) in its row for
    y_t the K values before it, the latest first.
    """
    alpha = m.sample("alpha", Normal(0.0, 10.0))
    beta = m.sample("beta", Normal(0.0, 10.0), shape=past.shape[1:])
    sigma = m.sample("sigma", HalfCauchy(2.5))
    m.observe("y", Normal(alpha + past @ beta, sigma), y)


def ark() -> ZooEntry:
    """Autoregression of order K = 5 on a simulated series of length T = 200."""

    def prepare(data: dict) -> dict:
        y, order = data["y"], int(data["K"])
        past = onp.stack([y[order - k : len(y) - k] for k in range(1, order + 1)], axis=1)
        return {"past": past, "y": y[order:]}

    return from_posteriordb("ark", "arK-arK", autoregression, prepare)
