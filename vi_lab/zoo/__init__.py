"""Models that tests, benchmarks and chapters share, with what is known about each.

A function for each model returns a `ZooEntry`: the program and its data, and answers
to compare a fit with, exact ones or those of a long, checked MCMC run.

>>> from vi_lab import zoo
>>> zoo.wells().model()
Model logistic_regression: 2 latents on R^3
  alpha ()  Real()
  beta (2,)  Real()
observed: switched (3020,)
>>> zoo.wells().reference["beta[0]"].mean
-0.899574755

====================================== ===============================================
`notebook_gaussian`                    mean and sd of normal data: the book's first
`correlated_gaussian`                  two correlated normals, no data: its second
`eight_schools_centered`               normal means with a common, uncertain spread
`eight_schools_noncentered`            the same, standardised
`radon_centered`                       regression with 85 varying intercepts
`radon_noncentered`                    the same, standardised
`irt_2pl`                              answers of 100 persons to 20 items, 144 latents
`kidiq_interaction`                    linear regression, correlations of 0.99
`sblrc`                                linear regression, predictors in the hundreds
`wells`                                logistic regression, 3,020 rows
`ark`                                  autoregression of order 5
`dugongs`                              a growth curve
`garch`                                volatility; a bound depends on another latent
`gp_pois_regr`                         counts with a Gaussian process as log rate
`hmm`                                  hidden Markov model, states summed out
`gaussian_mixture`                     two normal components, labels summed out
====================================== ===============================================
"""

from collections.abc import Callable

from vi_lab.zoo.entry import Accuracy, CheckPoint, Exact, Reference, ZooEntry
from vi_lab.zoo.hierarchical import (
    eight_schools_centered,
    eight_schools_noncentered,
    irt_2pl,
    radon_centered,
    radon_noncentered,
)
from vi_lab.zoo.nonlinear import dugongs, garch, gp_pois_regr
from vi_lab.zoo.notebook import correlated_gaussian, notebook_gaussian
from vi_lab.zoo.regressions import ark, kidiq_interaction, sblrc, wells
from vi_lab.zoo.summed_out import gaussian_mixture, hmm

ALL: tuple[Callable[[], ZooEntry], ...] = (
    notebook_gaussian,
    correlated_gaussian,
    eight_schools_centered,
    eight_schools_noncentered,
    radon_centered,
    radon_noncentered,
    irt_2pl,
    kidiq_interaction,
    sblrc,
    wells,
    ark,
    dugongs,
    garch,
    gp_pois_regr,
    hmm,
    gaussian_mixture,
)

__all__ = [
    "ALL",
    "Accuracy",
    "CheckPoint",
    "Exact",
    "Reference",
    "ZooEntry",
    "ark",
    "correlated_gaussian",
    "dugongs",
    "eight_schools_centered",
    "eight_schools_noncentered",
    "garch",
    "gaussian_mixture",
    "gp_pois_regr",
    "hmm",
    "irt_2pl",
    "kidiq_interaction",
    "notebook_gaussian",
    "radon_centered",
    "radon_noncentered",
    "sblrc",
    "wells",
]
