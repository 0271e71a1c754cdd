"""`linear_response`: the covariance that a fit's means imply, where its own is too narrow.

The sds of a mean-field q are those of each latent with the others held fixed: too small by
``sqrt(1 - R^2)``. How its *means* answer to a small tilt of the posterior knows better
(`vi_lab.trust.response`), and for a Gaussian posterior it is exact. It repairs sds, not means:
ask `Fit.check` first whether those are right.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as onp

from vi_lab import engine as engines
from vi_lab.checks import check_held, check_instance, check_seed, check_whole
from vi_lab.errors import ArgumentError
from vi_lab.families import TriangularGaussian
from vi_lab.results.fit import MOMENT_DRAWS, Fit
from vi_lab.results.summary import Summary, flatten_draws, summarise
from vi_lab.trust import Density, pairs, respond

ROUGH = 0.05  # of an sd: an error that is worth a word


@dataclass(frozen=True, eq=False)
class LinearResponse:
    """N(mean of q, covariance by linear response), on R^D, and in the model's units.

    Attributes
    ----------
    fit : whose q it is
    covariance : of z, (D, D)
    error : standard errors of the sds of z as a fraction of these, (D,): of the fixed draws. That
        the posterior is no Gaussian is not in them
    gradients : of the log density that it took
    seconds : wall time
    """

    fit: Fit
    covariance: onp.ndarray = field(repr=False)
    error: onp.ndarray = field(repr=False)
    gradients: int
    seconds: float

    def sample_unconstrained(self, num_draws: int, *, seed: int) -> onp.ndarray:
        """Draws of z, (num_draws, D)."""
        dim = len(self.covariance)
        check_whole("num_draws", num_draws, least=1)
        check_held("num_draws", num_draws, dim)
        check_seed("seed", seed)
        eps = onp.random.default_rng(seed).standard_normal((num_draws, dim))
        return onp.asarray(self.fit.params["loc"]) + eps @ self._root.T

    def sample(self, num_draws: int = 1_000, *, seed: int) -> dict[str, onp.ndarray]:
        """Draws on the constrained scale, by name, ``(num_draws, *shape)``."""
        z = self.sample_unconstrained(num_draws, seed=seed)
        return dict(self.fit.model.constrain(z, engine=self.fit.engine))

    @cached_property
    def std(self) -> dict[str, onp.ndarray]:
        """Standard deviations on the constrained scale, by how q's means of its scalars respond.

        To a tilt of z that of a scalar h responds by E[dh/dz]' Cov[z], where E[dh/dz] is the slope
        of h over draws of q (Stein's identity). Where the map from z is bent, as of a scale whose
        logarithm is little known, the sds of `sample` are larger, and worse: there a normal's tail
        is taken for the posterior's.
        """
        fit, dim = self.fit, len(self.covariance)
        eps = pairs(onp.random.default_rng(fit.seed), MOMENT_DRAWS, fit.family.base_dim(dim))
        z = onp.asarray(fit.family.transform(fit.params, eps))
        units = onp.asarray(fit.family.std(fit.params))
        white = (z - onp.asarray(fit.params["loc"])) / units
        covariance = self.covariance / onp.outer(units, units)
        found = {}
        for name, values in fit.model.constrain(z, engine=fit.engine).items():
            flat = values.reshape(len(z), -1)
            slope = onp.linalg.lstsq(white, flat - flat.mean(axis=0), rcond=None)[0]
            variance = (slope * (covariance @ slope)).sum(axis=0)
            found[name] = onp.sqrt(onp.maximum(variance, 0.0)).reshape(values.shape[1:])
        return found

    def summary(self, num_draws: int = MOMENT_DRAWS, *, seed: int = 0) -> Summary:
        """As `Fit.summary`, but that sds are those of `std`; intervals are those of draws.

        Below stands how far its fixed draws can be relied upon.
        """
        table = summarise(self.sample(num_draws, seed=seed), notes=(str(self),))
        sds = flatten_draws({name: sd[None] for name, sd in self.std.items()}, leading=1)[1][0]
        return replace(table, columns={**table.columns, "sd": sds})

    def to_arviz(self, num_draws: int = 1_000, *, seed: int = 0) -> Any:
        """Posterior and observed data as ArviZ's tree: groups with one chain."""
        from vi_lab.results.export import to_arviz  # ArviZ is optional and slow to import

        draws = {name: v[None] for name, v in self.sample(num_draws, seed=seed).items()}
        return to_arviz(posterior=draws, observed=self.fit.model.observed)

    def __str__(self) -> str:
        worst = float(self.error.max())
        advice = "; take more draws" if worst > ROUGH else ""
        return (
            f"Linear response: sds on the unconstrained scale to {worst:.1%} (Monte Carlo error"
            f"{advice}), means as they were; {self.gradients:,} gradients."
        )

    @cached_property
    def _root(self) -> onp.ndarray:
        """A square root of the covariance."""
        w, V = onp.linalg.eigh(self.covariance)
        return onp.asarray(V * onp.sqrt(onp.maximum(w, 0.0)))


def linear_response(fit: Fit, *, draws: int = 64, seed: int = 0) -> LinearResponse:
    """The covariance that the means of a mean-field or full-rank fit imply.

    Parameters
    ----------
    fit : of family "mean_field" or "full_rank", that has found its optimum
    draws : of q, fixed, over which curvature is averaged, in 8 replicates; their error falls as
        one over the root of their number
    seed : of these draws

    Raises
    ------
    TypeError, ValueError
        for a bad argument, another family, a model whose rows do not fit in memory, or a q at which
        the ELBO has no maximum.

    Examples
    --------
    Correlations of 0.95, which mean field takes for narrowness:

    >>> import vi_lab as vl, vi_lab.numpy as np
    >>> def density(z):
    ...     return -0.5 * (z[0] ** 2 + z[1] ** 2 - 1.9 * z[0] * z[1]) / (1 - 0.95**2)
    >>> fit = vl.advi(vl.Target(density, dim=2), seed=1, progress=False)
    >>> fit.unconstrained_std["z"].round(2)
    array([0.31, 0.31])
    >>> vl.linear_response(fit).covariance.round(4)
    array([[1.  , 0.95],
           [0.95, 1.  ]])
    """
    check_instance("fit", fit, Fit, "what vi_lab.advi returned")
    check_whole("draws", draws, least=1)
    check_seed("seed", seed)
    dim = int(fit.model.dim)
    check_held("draws", draws, dim)
    check_held("fit", dim, dim)
    if not isinstance(fit.family, TriangularGaussian):
        raise ArgumentError(
            f"fit: of family {type(fit.family).__name__} has no linear response here; fit with "
            "family='mean_field' or 'full_rank'"
        )
    began = time.perf_counter()
    density = Density.of(fit.model, engines.get(fit.engine))
    found = respond(density, fit.family, fit.params, draws, seed)
    seconds = time.perf_counter() - began
    return LinearResponse(fit, found.covariance, found.error, found.gradients, seconds)
