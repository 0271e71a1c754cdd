r"""`GaussianMixture`: normal components with unknown weights, means and covariances.

.. math::
    \pi &\sim \text{Dirichlet}(\alpha_0, \dots, \alpha_0), \\
    \Lambda_k &\sim \text{Wishart}(\nu_0, W_0), \qquad
    \mu_k \given \Lambda_k \sim N(m_0, (\kappa_0 \Lambda_k)^{-1}), \\
    z_n \given \pi &\sim \text{Categorical}(\pi), \qquad
    x_n \given z_n = k \sim N(\mu_k, \Lambda_k^{-1}),

Bishop (2006), section 10.2. The approximation
:math:`q(\pi)\prod_k q(\mu_k, \Lambda_k)\prod_n q(z_n)` assumes that labels and parameters are
independent, and nothing else: that the global factors are a Dirichlet and K Normal-Wishart
distributions (for univariate rows Normal-Gamma ones) follows. With the counts
:math:`N_k = \sum_n r_{nk}` and the sums :math:`\sum_n r_{nk} x_n` and
:math:`\sum_n r_{nk} x_n x_n'`,

.. math:: \alpha_k = \alpha_0 + N_k, \quad \kappa_k = \kappa_0 + N_k, \quad
    \nu_k = \nu_0 + N_k, \quad h_k = h_0 + \sum_n r_{nk} x_n, \quad
    S_k = S_0 + \sum_n r_{nk} x_n x_n',

in the natural parameters of `vi_lab.conjugate.mixture_wishart`. With K = 1 there is nothing to
approximate: q is the posterior, and the ELBO the log evidence.

The model is the same for every order of its components, so its posterior has K! copies of
every mode, and q takes one of them: an ELBO falls short of the log evidence by about
log K! for this reason alone, if the modes are apart.

**Default priors** are weak, and move with the data (Fraley and Raftery 2007, section 3): the
means around the mean of the data as if it had been seen 0.01 times, and covariances of about
the data's variances (without correlations) over :math:`K^{2/D}`, so that K components tile the
data. A column without variance gets 1 in its place. They suffice for clustering. *To compare
numbers of components, state priors:* an ELBO is a property of the data and of the priors.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as onp

import vi_lab.numpy as np
from vi_lab.arrays import as_finite
from vi_lab.checks import check_positive
from vi_lab.conjugate.mixture_base import Mixture, pack, seen, unpack
from vi_lab.conjugate.mixture_wishart import (
    Naturals,
    dirichlet_bound,
    dirichlet_expectations,
    expectations,
    mean_and_inverse_scale,
    normal_wishart_bound,
    to_naturals,
)
from vi_lab.conjugate.model import Params, Statistics, check_params, no_covariates
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class GaussianMixture(Mixture):
    r"""A mixture of K normal components for rows (N,) or (N, D).

    Parameters of q, R being the leading axes: ``weights``: ``concentration`` (R, K);
    ``components``: ``degrees_of_freedom`` and ``pseudo_count`` (R, K), ``pseudo_sum`` (R, K, D)
    and ``pseudo_scatter`` (R, K, D, D), taken about ``origin``.

    Attributes
    ----------
    components : K
    concentration : :math:`\alpha_0`; 1 is uniform on the weights, small values favour
        few large components
    mean : :math:`m_0`, a number or (D,); None: the mean of the data
    mean_precision : :math:`\kappa_0`, in rows
    degrees_of_freedom : :math:`\nu_0 > D - 1`; None: D + 2
    scatter : :math:`W_0^{-1}`, a variance or (D, D), in the data's units squared: the prior
        mean of a component's covariance is :math:`W_0^{-1} / (\nu_0 - D - 1)`; None: see the
        module
    origin : about which squares are taken; set by `prepare`

    Raises
    ------
    TypeError, ValueError
        if a hyper-parameter is out of range, or does not fit the rows.
    """

    concentration: float = 1.0
    mean: Array | None = None
    mean_precision: float = 0.01
    degrees_of_freedom: float | None = None
    scatter: Array | None = None
    origin: Array | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("concentration", self.concentration)
        check_positive("mean_precision", self.mean_precision)
        if self.degrees_of_freedom is not None:
            check_positive("degrees_of_freedom", self.degrees_of_freedom)
        if self.mean is not None:
            _row("mean", self.mean)
        if self.scatter is not None:
            _check_scatter(as_finite("scatter", self.scatter))
        if self.origin is not None:
            object.__setattr__(self, "origin", _row("origin", self.origin))

    @property
    def blocks(self) -> tuple[str, ...]:
        return ("weights", "components")

    # ------------------------------------------------------------------- the data
    def check(self, rows: Any) -> onp.ndarray:
        array = super().check(rows)
        if self.origin is not None and array.shape[1:] != self.origin.shape:
            raise ArgumentError(
                f"rows: have the shape {array.shape}, but the model was prepared for rows of "
                f"the shape {self.origin.shape}"
            )
        return array

    def prepare(self, rows: onp.ndarray, num_rows: int) -> Self:
        self.check_number(num_rows)
        shape = rows.shape[1:]
        D = math.prod(shape)
        nu = D + 2.0 if self.degrees_of_freedom is None else self.degrees_of_freedom
        if nu <= D - 1:
            raise ArgumentError(
                f"degrees_of_freedom: must be more than D - 1 = {D - 1} for rows of {D} columns, "
                f"not {nu}"
            )
        center = rows.mean(axis=0)
        return dataclasses.replace(
            self,
            mean=center if self.mean is None else _fit_shape("mean", self.mean, shape),
            degrees_of_freedom=nu,
            scatter=(
                self._default_scatter(rows)
                if self.scatter is None
                else _fit_shape("scatter", self.scatter, shape + shape)
            ),
            origin=center if self.origin is None else self.origin,
        )

    def _default_scatter(self, rows: onp.ndarray) -> onp.ndarray:
        variances = onp.atleast_1d(rows.var(axis=0))
        variances = onp.where(variances > 0.0, variances, 1.0)
        scatter = onp.diag(variances) / self.components ** (2.0 / len(variances))
        return scatter if rows.ndim > 1 else scatter[0, 0]

    @property
    def center(self) -> onp.ndarray:
        return seen(self.origin)

    @property
    def prior(self) -> Naturals:
        """Natural parameters of the prior of one component."""
        D = len(self.center)
        return to_naturals(
            onp.asarray(self.degrees_of_freedom),
            onp.asarray(self.mean_precision),
            onp.reshape(onp.asarray(self.mean), D) - self.center,
            onp.reshape(onp.asarray(self.scatter), (D, D)),
        )

    # ---------------------------------------------------------------- coordinate steps
    def coefficients(self, params: Params) -> onp.ndarray:
        mean = expectations(params["components"])
        log_weights = dirichlet_expectations(params["weights"]["concentration"])
        D = mean["pseudo_sum"].shape[-1]
        constant = mean["degrees_of_freedom"] + mean["pseudo_count"] - 0.5 * D * LOG_TWO_PI
        return pack(log_weights + constant, mean["pseudo_sum"], mean["pseudo_scatter"])

    def named(self, sums: onp.ndarray) -> Statistics:
        counts, totals, squares = unpack(sums)
        return {"counts": counts, "sums": totals, "squares": squares}

    def optimum(self, block: str, params: Params, statistics: Statistics) -> dict[str, Array]:
        if block == "weights":
            return {"concentration": self.concentration + statistics["counts"]}
        added = _component_statistics(statistics)
        return {name: prior + added[name] for name, prior in self.prior.items()}

    def elbo(self, params: Params, statistics: Statistics) -> Array:
        q, alpha = params["components"], params["weights"]["concentration"]
        components = normal_wishart_bound(q, self.prior, _component_statistics(statistics))
        prior_alpha = self.concentration * onp.ones(self.components)
        weights = dirichlet_bound(alpha, prior_alpha, statistics["counts"])
        D = len(self.center)
        constant = -0.5 * D * LOG_TWO_PI * statistics["count"]
        return np.sum(components, axis=-1) + weights + statistics["entropy"] + constant

    # ------------------------------------------------------------------------- answers
    def means(self, params: Params) -> onp.ndarray:
        check_params(self, params)
        m, _ = mean_and_inverse_scale(params["components"])
        return onp.asarray(self._like_rows(m + self.center))

    def estimates(self, params: Params) -> dict[str, onp.ndarray]:
        """Point estimates: E[weights] (..., K), E[mean], and E[precision]^-1 as covariance.

        ``mean`` is ``(..., K, *row shape)``, and ``covariance`` is
        ``(..., K, *row shape, *row shape)``: for univariate rows (..., K), a variance.
        """
        check_params(self, params)
        alpha, q = params["weights"]["concentration"], params["components"]
        _, inverse_scale = mean_and_inverse_scale(q)
        covariance = inverse_scale / q["degrees_of_freedom"][..., None, None]
        return {
            "weights": alpha / alpha.sum(axis=-1, keepdims=True),
            "mean": self.means(params),
            "covariance": self._like_rows(covariance, axes=2),
        }

    def sample(
        self, params: Params, num_draws: int, rng: onp.random.Generator
    ) -> dict[str, onp.ndarray]:
        r"""Draws of ``weights`` (S, K), ``mean`` and ``covariance``, as `estimates` shapes them.

        Components stand in the order that q has them in.

        Wishart draws by Bartlett's decomposition: with :math:`W = LL'`, A lower triangular,
        :math:`A_{ii}^2 \sim \chi^2_{\nu - i + 1}` and standard normal below the diagonal,
        :math:`\Lambda = LAA'L'`.
        """
        weights = rng.dirichlet(params["weights"]["concentration"], size=num_draws)
        q = params["components"]
        m, inverse_scale = mean_and_inverse_scale(q)
        D = m.shape[-1]
        below = onp.tril(rng.standard_normal((num_draws, *inverse_scale.shape)), -1)
        degrees = q["degrees_of_freedom"][:, None] - onp.arange(D)
        diagonal = onp.sqrt(rng.chisquare(degrees, size=(num_draws, *degrees.shape)))
        A = below + diagonal[..., None] * onp.eye(D)
        # W^-1 = CC', so L = C'^-1 is a square root of W, though an upper triangular one.
        C = onp.linalg.cholesky(inverse_scale)
        root = C @ onp.swapaxes(onp.linalg.inv(A), -1, -2)  # covariance = root root'
        noise = rng.standard_normal((num_draws, *m.shape))
        scaled = noise / onp.sqrt(q["pseudo_count"])[:, None]
        mean = m + (root @ scaled[..., None])[..., 0] + self.center
        covariance = root @ onp.swapaxes(root, -1, -2)
        return {
            "weights": weights,
            "mean": self._like_rows(mean),
            "covariance": self._like_rows(covariance, axes=2),
        }

    def predictive(
        self,
        params: Params,
        num_draws: int,
        rng: onp.random.Generator,
        covariates: Array | None = None,
    ) -> onp.ndarray:
        no_covariates(covariates)
        draws = self.sample(params, num_draws, rng)
        D = len(self.center)
        label = (rng.random((num_draws, 1)) > onp.cumsum(draws["weights"], axis=1)[:, :-1]).sum(1)
        rows = onp.arange(num_draws)
        mean = draws["mean"].reshape(num_draws, -1, D)[rows, label]
        covariance = draws["covariance"].reshape(num_draws, -1, D, D)[rows, label]
        noise = rng.standard_normal((num_draws, D, 1))
        x = mean + (onp.linalg.cholesky(covariance) @ noise)[..., 0]
        return self._like_rows(x)

    def _like_rows(self, array: onp.ndarray, axes: int = 1) -> onp.ndarray:
        """Drop the last ``axes`` axes, of length 1, where rows are plain numbers."""
        univariate = onp.asarray(self.origin).ndim == 0
        return array.reshape(array.shape[:-axes]) if univariate else array


def _component_statistics(statistics: Statistics) -> Naturals:
    return {
        "degrees_of_freedom": statistics["counts"],
        "pseudo_count": statistics["counts"],
        "pseudo_sum": statistics["sums"],
        "pseudo_scatter": statistics["squares"],
    }


def _row(name: str, value: Any) -> onp.ndarray:
    """A point among the rows: a finite number or (D,)."""
    array = as_finite(name, value)
    if array.ndim > 1 or array.size == 0:
        raise ArgumentError(f"{name}: must be a number or have the shape (D,), not {array.shape}")
    return array


def _check_scatter(scatter: onp.ndarray) -> None:
    matrix = onp.atleast_2d(scatter)
    square = scatter.ndim in (0, 2) and matrix.shape[0] == matrix.shape[1] > 0
    if (
        not square
        or not onp.allclose(matrix, matrix.T, rtol=1e-10, atol=0.0)
        or onp.linalg.eigvalsh(matrix)[0] <= 0.0
    ):
        raise ArgumentError(
            f"scatter: must be a positive variance or a symmetric, positive definite matrix "
            f"(D, D), not {scatter}"
        )


def _fit_shape(name: str, value: Array, shape: tuple[int, ...]) -> onp.ndarray:
    array = onp.asarray(value, dtype=float)
    if array.shape != shape:
        raise ArgumentError(
            f"{name}: must have the shape {shape} for these rows, not {array.shape}"
        )
    return array
