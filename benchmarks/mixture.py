"""Mixture CAVI beside scikit-learn's: same priors, same start, same optimum.

`tests/conjugate/test_mixture.py` shows that both take the same sweeps; here they are timed.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from benchmarks.timing import Measure
from vi_lab.conjugate import cavi
from vi_lab.conjugate.mixture import GaussianMixture

ROWS, COLUMNS, COMPONENTS = 100_000, 2, 8
SWEEPS = 10


def scikit_learn(model: GaussianMixture, responsibilities: Any, sweeps: int) -> Any:
    """`BayesianGaussianMixture` with the priors of a prepared ``model`` and its start.

    It takes no responsibilities to start from, so the method that makes them is replaced.
    ``reg_covar``, which its posterior lacks in theory, is 0, and only ``sweeps`` end it.
    """
    from sklearn.mixture import BayesianGaussianMixture

    class Started(BayesianGaussianMixture):
        def _initialize_parameters(self, X: Any, *_: Any, **__: Any) -> None:
            self._initialize(X, responsibilities)

    return Started(
        n_components=model.components,
        covariance_type="full",
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=model.concentration,
        mean_prior=model.mean,
        mean_precision_prior=model.mean_precision,
        degrees_of_freedom_prior=model.degrees_of_freedom,
        covariance_prior=model.scatter,
        reg_covar=0.0,
        max_iter=sweeps,
        tol=0.0,
    )


def data() -> tuple[Any, Any]:
    """Rows in eight overlapping clusters, and random responsibilities to start from."""
    rng = np.random.default_rng(1)
    centres = 3.0 * rng.standard_normal((COMPONENTS, COLUMNS))
    rows = centres[rng.integers(COMPONENTS, size=ROWS)] + rng.standard_normal((ROWS, COLUMNS))
    return rows, rng.dirichlet(np.ones(COMPONENTS), size=ROWS)


def cavi_against_scikit_learn() -> tuple[Measure, Measure]:
    """Sweeps a second of the whole call, preparation and the returned ELBO included."""
    rows, responsibilities = data()
    model = GaussianMixture(COMPONENTS).prepare(rows, ROWS)
    start = model.from_responsibilities(rows, responsibilities)

    def ours() -> float:
        began = time.perf_counter()
        fit = cavi(model, rows, init=start, max_sweeps=SWEEPS, rtol=0.0, atol=0.0, progress=False)
        assert len(fit.elbos) == SWEEPS
        return SWEEPS / (time.perf_counter() - began)

    def theirs() -> float:
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that ten sweeps are not enough to converge
            fit = scikit_learn(model, responsibilities, SWEEPS).fit(rows)
        assert fit.n_iter_ == SWEEPS
        return SWEEPS / (time.perf_counter() - began)

    ours()
    theirs()
    return ours, theirs
