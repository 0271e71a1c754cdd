"""Distributions: log densities, supports and draws. See `vi_lab.distributions.base`."""

from vi_lab.distributions.base import Continuous, Distribution
from vi_lab.distributions.bounded import Beta, Uniform
from vi_lab.distributions.correlation import LKJCholesky
from vi_lab.distributions.discrete import Bernoulli, Binomial, Categorical, Poisson
from vi_lab.distributions.improper import Flat
from vi_lab.distributions.location_scale import Cauchy, Laplace, Logistic, Normal, StudentT
from vi_lab.distributions.multivariate import Dirichlet, MultivariateNormal
from vi_lab.distributions.positive import (
    Exponential,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    LogNormal,
)
from vi_lab.distributions.truncated import Truncated

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "Cauchy",
    "Continuous",
    "Dirichlet",
    "Distribution",
    "Exponential",
    "Flat",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "LKJCholesky",
    "Laplace",
    "LogNormal",
    "Logistic",
    "MultivariateNormal",
    "Normal",
    "Poisson",
    "StudentT",
    "Truncated",
    "Uniform",
]
