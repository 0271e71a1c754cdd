"""Conjugate models, and CAVI and stochastic CAVI on them."""

from vi_lab.conjugate.cavi import SweepCallback, cavi
from vi_lab.conjugate.gaussian import GaussianTarget
from vi_lab.conjugate.labels import match_labels, order_labels, relabel
from vi_lab.conjugate.mixture import GaussianMixture
from vi_lab.conjugate.mixture_known import KnownVarianceMixture
from vi_lab.conjugate.model import (
    ConjugateModel,
    add_statistics,
    half_steps,
    natural_step,
    scale_statistics,
)
from vi_lab.conjugate.normal import NormalModel
from vi_lab.conjugate.regression import LinearRegression
from vi_lab.conjugate.result import ConjugateFit
from vi_lab.conjugate.svi import StepCallback, svi

__all__ = [
    "ConjugateFit",
    "ConjugateModel",
    "GaussianMixture",
    "GaussianTarget",
    "KnownVarianceMixture",
    "LinearRegression",
    "NormalModel",
    "StepCallback",
    "SweepCallback",
    "add_statistics",
    "cavi",
    "half_steps",
    "match_labels",
    "natural_step",
    "order_labels",
    "relabel",
    "scale_statistics",
    "svi",
]
