"""Gradients of the ELBO: estimators, and the base draws that they are computed from."""

from vi_lab.gradients.base_draws import Antithetic, BaseDraws, Independent, Sobol
from vi_lab.gradients.estimators import (
    ESTIMATORS,
    Estimator,
    Reparameterised,
    ScoreFunction,
    StickingTheLanding,
    get_estimator,
)

__all__ = [
    "ESTIMATORS",
    "Antithetic",
    "BaseDraws",
    "Estimator",
    "Independent",
    "Reparameterised",
    "ScoreFunction",
    "Sobol",
    "StickingTheLanding",
    "get_estimator",
]
