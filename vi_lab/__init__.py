"""vi_lab: variational inference to read, to run and to build on.

State a model as a program, then fit it:

>>> import vi_lab as vl
>>> def gaussian(m, x):
...     mu = m.sample("mu", vl.Normal(0.0, 1.0))
...     sd = m.sample("sd", vl.HalfNormal(1.0))
...     m.observe("x", vl.Normal(mu, sd), x)
>>> model = vl.Model(gaussian, x=[0.2, -1.1, 0.7])
>>> fit = vl.advi(model, seed=1, progress=False)  # stops by itself
>>> fit.convergence.converged
True
>>> sorted(fit.sample(100, seed=2))
['mu', 'sd']

Heavy modules (plots, the sampler, the zoo) load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vi_lab.advi import Callback, advi
from vi_lab.conjugate import ConjugateFit, cavi, svi
from vi_lab.distributions import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Cauchy,
    Dirichlet,
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    InverseGamma,
    Laplace,
    LKJCholesky,
    Logistic,
    LogNormal,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Truncated,
    Uniform,
)
from vi_lab.engine import use
from vi_lab.engine.recursion import scan
from vi_lab.errors import ConvergenceWarning, NonFiniteError, ViLabError
from vi_lab.families import FullRankGaussian, LowRankGaussian, MeanFieldGaussian
from vi_lab.model import Minibatch, Model, Target, posterior_predictive, prior_predictive
from vi_lab.nuts import NutsResult, nuts
from vi_lab.results import (
    Check,
    Convergence,
    Fit,
    LinearResponse,
    Stage,
    Summary,
    linear_response,
)

if TYPE_CHECKING:
    import vi_lab.conjugate as conjugate  # noqa: PLR0402
    import vi_lab.datasets as datasets  # noqa: PLR0402 - `from vi_lab import` would ask this file
    import vi_lab.plots as plots  # noqa: PLR0402
    import vi_lab.zoo as zoo  # noqa: PLR0402

__version__ = "0.1.0"

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Callback",
    "Categorical",
    "Cauchy",
    "Check",
    "ConjugateFit",
    "Convergence",
    "ConvergenceWarning",
    "Dirichlet",
    "Exponential",
    "Fit",
    "Flat",
    "FullRankGaussian",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "LKJCholesky",
    "Laplace",
    "LinearResponse",
    "LogNormal",
    "Logistic",
    "LowRankGaussian",
    "MeanFieldGaussian",
    "Minibatch",
    "Model",
    "MultivariateNormal",
    "NonFiniteError",
    "Normal",
    "NutsResult",
    "Poisson",
    "Stage",
    "StudentT",
    "Summary",
    "Target",
    "Truncated",
    "Uniform",
    "ViLabError",
    "advi",
    "cavi",
    "conjugate",
    "datasets",
    "linear_response",
    "nuts",
    "plots",
    "posterior_predictive",
    "prior_predictive",
    "scan",
    "svi",
    "use",
    "zoo",
]

_ON_FIRST_USE = ("datasets", "plots", "zoo")


def __getattr__(name: str) -> Any:
    if name in _ON_FIRST_USE:
        return importlib.import_module(f"vi_lab.{name}")
    raise AttributeError(f"module 'vi_lab' has no attribute {name!r}")
