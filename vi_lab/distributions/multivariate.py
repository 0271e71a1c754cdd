"""Distributions of vectors: a point of the simplex, a normal vector."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.arrays import is_constant
from vi_lab.distributions.base import (
    FINITE,
    POSITIVE,
    Distribution,
    Rule,
    check,
    check_one_of,
)
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.transforms.supports import LogSlack, RealVector, Simplex, Support

LOG_TWO_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class Dirichlet(Distribution):
    r"""The Dirichlet distribution with parameter a = ``concentration``, (..., K).

    .. math:: \log p(x) = \log\Gamma(\textstyle\sum_k a_k) - \sum_k \log\Gamma(a_k)
              + \sum_k (a_k - 1) \log x_k

    a density with respect to the first K - 1 coordinates.

    Raises
    ------
    TypeError, ValueError
        if a constant ``concentration`` is not positive, or a number instead of a vector.
    """

    concentration: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"concentration": POSITIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        if onp.ndim(self.concentration) == 0:
            raise ArgumentError(
                "concentration: Dirichlet needs a vector; give one entry for each category"
            )

    @property
    def support(self) -> Support:
        return Simplex()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return onp.shape(self.concentration)[:-1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        return onp.shape(self.concentration)[-1:]

    def log_prob_in_support(self, x: Array) -> Array:
        return self._normalised(sp.xlogy(self.concentration - 1.0, x))

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        return self._normalised((self.concentration - 1.0) * log_slack().lower)

    def _normalised(self, logarithms: Array) -> Array:
        """The log density from (a_k - 1) log x_k."""
        a = self.concentration
        log_normaliser = np.sum(sp.gammaln(a), axis=-1) - sp.gammaln(np.sum(a, axis=-1))
        return np.sum(logarithms, axis=-1) - log_normaliser

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        """Stick breaking: x_k is a Beta(a_k, a_{k+1} + ... + a_K) share of what is left.

        Normalised gamma draws would be 0/0 for small concentrations.
        """
        a = onp.asarray(self.concentration, dtype=float)
        left, parts = onp.ones(size), []
        for k in range(a.shape[-1] - 1):
            share = rng.beta(a[..., k], a[..., k + 1 :].sum(axis=-1), size)
            parts.append(left * share)
            left = left * (1.0 - share)
        return onp.stack([*parts, left], axis=-1)


@dataclass(frozen=True, eq=False)
class MultivariateNormal(Distribution):
    r"""The normal distribution of a vector; give ``covariance`` or its Cholesky factor.

    With :math:`\Sigma = L L^\top` (D, D), L = ``scale_tril``, and mean ``loc`` (..., D),

    .. math:: \log p(x) = -\tfrac12 \lVert L^{-1} (x - \text{loc}) \rVert^2
              - \sum_i \log L_{ii} - \tfrac{D}{2} \log 2\pi.

    A constant matrix is factorised and inverted when the record is made, in plain
    NumPy, and log_prob is then one matrix product. In a model whose matrix never
    changes, make the record outside the program, so that this happens once.

    Raises
    ------
    TypeError, ValueError
        unless exactly one matrix is given, square and fitting ``loc``; if a constant
        ``covariance`` is not symmetric and positive definite, or a constant
        ``scale_tril`` not lower triangular with a positive diagonal.
    """

    loc: Array
    covariance: Array = None
    scale_tril: Array = None
    _lower: Array = field(init=False, repr=False)
    _inverse: Array | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check(self, "loc", FINITE)
        name = check_one_of(self, {"covariance": FINITE, "scale_tril": FINITE})
        matrix = getattr(self, name)
        shape, dim = onp.shape(matrix), onp.shape(self.loc)[-1:]
        if not dim or shape != dim + dim:
            raise ArgumentError(
                f"{name}: MultivariateNormal needs a vector loc (..., D) and one square matrix "
                f"(D, D), not {onp.shape(self.loc)} and {shape}; make their sizes agree"
            )
        lower = _factor(matrix) if name == "covariance" else matrix
        if is_constant(lower):
            _check_lower(lower)
        object.__setattr__(self, "_lower", lower)
        object.__setattr__(self, "_inverse", _inverse(lower) if is_constant(lower) else None)

    @property
    def support(self) -> Support:
        return RealVector()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return onp.shape(self.loc)[:-1]

    @property
    def event_shape(self) -> tuple[int, ...]:
        return onp.shape(self.loc)[-1:]

    def log_prob_in_support(self, x: Array) -> Array:
        (dim,) = self.event_shape
        residual = x - self.loc
        if self._inverse is not None:
            log_det = onp.sum(onp.log(onp.diagonal(self._lower)))
            y = np.matmul(residual, self._inverse.T)
        else:
            log_det = np.sum(np.log(np.diag(self._lower)))
            y = _solve(self._lower, residual)
        return (-0.5 * dim * LOG_TWO_PI - log_det) - 0.5 * np.sum(np.square(y), axis=-1)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        noise = rng.standard_normal(size + self.event_shape)
        return self.loc + noise @ self._lower.T


def _factor(covariance: Array) -> Array:
    """The Cholesky factor; of a constant, in plain NumPy and checked."""
    if not is_constant(covariance):
        return np.linalg.cholesky(covariance)
    if not onp.allclose(covariance, covariance.T, rtol=1e-10, atol=0.0):
        raise ArgumentError(
            "covariance: MultivariateNormal's covariance must be symmetric; "
            "pass 0.5 * (covariance + covariance.T) if it is so up to rounding"
        )
    try:
        return onp.linalg.cholesky(covariance)
    except onp.linalg.LinAlgError:
        smallest = onp.linalg.eigvalsh(covariance)[0]
        raise ArgumentError(
            "covariance: MultivariateNormal's covariance must be positive definite, but its "
            f"smallest eigenvalue is {smallest:.3g}; add a small number to the diagonal"
        ) from None


def _check_lower(lower: onp.ndarray) -> None:
    if onp.any(onp.triu(lower, 1)) or not onp.all(onp.diagonal(lower) > 0):
        raise ArgumentError(
            "scale_tril: MultivariateNormal's scale_tril must be lower triangular with a "
            "positive diagonal; pass numpy.linalg.cholesky of the covariance"
        )


def _inverse(lower: onp.ndarray) -> onp.ndarray:
    from scipy.linalg import solve_triangular  # SciPy only where a function needs it

    return solve_triangular(lower, onp.eye(len(lower)), lower=True)


def _solve(lower: Array, residual: Array) -> Array:
    """inv(L) r for every row r of ``residual`` (..., D)."""
    if onp.ndim(residual) == 1:
        return sp.solve_triangular(lower, residual)
    shape = onp.shape(residual)
    rows = np.reshape(residual, (-1, shape[-1]))
    return np.reshape(sp.solve_triangular(lower, rows.T).T, shape)
