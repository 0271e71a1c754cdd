"""Gradients of the ELBO: estimators, and the base draws that they are computed from."""

from vi_lab.gradients.base_draws import (
    BASE_DRAWS,
    Antithetic,
    BaseDraws,
    Independent,
    Sobol,
    get_base_draws,
)
from vi_lab.gradients.estimators import (
    ESTIMATORS,
    Estimator,
    Reparameterised,
    ScoreFunction,
    StickingTheLanding,
    check_base_draws,
    get_estimator,
)

__all__ = [
    "BASE_DRAWS",
    "ESTIMATORS",
    "Antithetic",
    "BaseDraws",
    "Estimator",
    "Independent",
    "Reparameterised",
    "ScoreFunction",
    "Sobol",
    "StickingTheLanding",
    "check_base_draws",
    "get_base_draws",
    "get_estimator",
]
