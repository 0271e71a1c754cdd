r"""Linear regression with unknown noise, and automatic relevance determination.

A row is :math:`(x_{n1}, \dots, x_{nP}, y_n)`; write X for the covariates, (N, P). With
:math:`A = \mathrm{diag}(\alpha)`,

.. math:: y \mid w, \tau \sim \mathcal N(Xw, \tau^{-1} I), \qquad
   w \mid \tau \sim \mathcal N(m_0, (\tau A)^{-1}), \qquad
   \tau \sim \mathrm{Gamma}(a_0, b_0).

If alpha is fixed the posterior is Normal-Gamma and the evidence is known (Bishop 2006,
exercises 3.12 and 3.23): with :math:`A_N = A + X^\top X` and :math:`a_N = a_0 + N/2`,

.. math:: m_N &= A_N^{-1}(A m_0 + X^\top y), \qquad
   b_N = b_0 + \tfrac12\big[\|y - Xm_N\|^2 + (m_N - m_0)^\top A (m_N - m_0)\big], \\
   \log p(y) &= \log\frac{\Gamma(a_N)}{\Gamma(a_0)} + a_0\log b_0 - a_N\log b_N
        + \tfrac12\log\frac{|A|}{|A_N|} - \tfrac N2\log 2\pi.

Or :math:`\alpha_d \sim \mathrm{Gamma}(c_0, d_0)`, unknown: coefficients that the data do
not need have a large alpha, and are shrunk to their prior mean (MacKay 1994; Drugowitsch
2013, "Variational Bayesian inference for linear and logistic regression", whose prior this
is; his q keeps w and tau together).

The factorised :math:`q(w)\,q(\tau)\,\prod_d q(\alpha_d)`, with w normal of precision
:math:`\Lambda` and mean m, and Gammas, has the coordinate optima

.. math:: \Lambda &= \E[\tau](\E[A] + X^\top X), \qquad
          \Lambda m = \E[\tau](\E[A] m_0 + X^\top y), \\
   q(\tau) &= \mathrm{Gamma}\big(a_0 + \tfrac{N + P}2,\;
          b_0 + \tfrac12\E[\|y - Xw\|^2 + (w - m_0)^\top A(w - m_0)]\big), \\
   q(\alpha_d) &= \mathrm{Gamma}\big(c_0 + \tfrac12,\;
          d_0 + \tfrac12\E[\tau]\E[(w_d - m_{0d})^2]\big).

Sums lose digits where the data are far from 0 or collinear: of :math:`\|y\|^2` with y near
1e8 and noise near 1 no digit is left for the noise, and of :math:`X^\top X` none for a
direction that X hardly has. So they are taken in a *frame*: :math:`w = o + Tu`, with o the
least squares solution and T such that the columns of :math:`XT` are orthonormal, or nearly
0 (a singular value decomposition, after columns are brought to one length), on the rows
that the model sees first. q(w) is stored as the normal q(u).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as onp

import vi_lab.numpy as np
from vi_lab.arrays import as_finite
from vi_lab.checks import check_positive
from vi_lab.conjugate.factors import (
    gamma_kl,
    gamma_mean_log,
    normal_gamma_evidence,
)
from vi_lab.conjugate.frame import Frame, checked_frame, frame_of
from vi_lab.conjugate.model import (
    ConjugateModel,
    Params,
    Statistics,
    check_params,
    finite_rows,
    only_method,
)
from vi_lab.distributions import Gamma
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError


class CoefficientsGamma(NamedTuple):
    """A distribution: w | tau ~ Normal(mean, covariance / tau), tau ~ Gamma(shape, rate)."""

    mean: onp.ndarray
    covariance: onp.ndarray
    shape: float
    rate: float


@dataclass(frozen=True, eq=False)
class LinearRegression(ConjugateModel):
    """y ~ Normal(X w, 1/tau); rows are (N, P + 1), the response y in the last column.

    There is no intercept but a column of ones.

    Attributes
    ----------
    mean : m_0, a number or (P,)
    precision : alpha, the prior precision of each coefficient over tau, a number or (P,); or
        a `Gamma` prior on them: automatic relevance determination
    shape, rate : a_0 and b_0 of the Gamma prior on tau, whose mean is a_0/b_0
    frame : the coordinates in which sums are taken and q(w) is stored; None: from the rows,
        or from a sample of them

    The defaults are for data on a scale near 1.

    Raises
    ------
    TypeError, ValueError
        for a precision, shape or rate that is not positive, or a mean that is not finite.
    """

    mean: Array = 0.0
    precision: Array | Gamma = 1.0
    shape: float = 1.0
    rate: float = 1.0
    frame: Frame | None = None

    def __post_init__(self) -> None:
        check_positive("shape", self.shape)
        check_positive("rate", self.rate)
        as_finite("mean", self.mean)
        if not isinstance(self.precision, Gamma):
            precision = as_finite("precision", self.precision)
            if not (precision > 0.0).all():
                raise ArgumentError(f"precision: must be positive, not {self.precision!r}")
        if self.frame is not None:
            object.__setattr__(self, "frame", checked_frame(self.frame))

    @property
    def blocks(self) -> tuple[str, ...]:
        return ("w", "tau", "alpha") if isinstance(self.precision, Gamma) else ("w", "tau")

    def check(self, rows: Array) -> onp.ndarray:
        rows = finite_rows(rows, 2)
        if rows.shape[1] < 2:
            raise ArgumentError("rows: need a covariate at least, and the response as last column")
        return rows

    def prepare(self, rows: onp.ndarray, num_rows: int) -> Self:
        dim = rows.shape[1] - 1
        for name in ("mean", "precision"):
            value = getattr(self, name)
            if not isinstance(value, Gamma) and onp.shape(value) not in {(), (dim,)}:
                raise ArgumentError(
                    f"{name}: has the shape {onp.shape(value)}, but there are {dim} covariates"
                )
        if self.frame is None:
            return replace(self, frame=frame_of(rows))
        if self.frame.origin.shape != (dim,):
            raise ArgumentError(f"frame: is not for {dim} coefficients; leave it out")
        return self

    def init(
        self,
        rows: onp.ndarray,
        rng: onp.random.Generator,
        *,
        starts: int = 1,
        method: str | None = None,
    ) -> Params:
        """The first start is the prior; the others draw precisions log-normally around it."""
        only_method(method, "prior")
        dim = rows.shape[1] - 1
        scatter = rng.standard_normal((starts, 1 + dim))
        scatter[0] = 0.0
        shape = onp.full(starts, float(self.shape))
        rate = self.rate * onp.exp(scatter[:, 0])
        params = {"tau": {"shape": shape, "rate": rate}}
        if isinstance(self.precision, Gamma):
            alpha_shape = onp.full((starts, dim), float(self.precision.concentration))
            alpha_rate = self.precision.rate * onp.exp(scatter[:, 1:])
            params["alpha"] = {"shape": alpha_shape, "rate": alpha_rate}
        nothing = self.statistics(params, rows[:0])
        return {"w": self.optimum("w", params, nothing), **params}

    def statistics(self, params: Params, rows: onp.ndarray) -> Statistics:
        frame = self._frame(rows.shape[1] - 1)
        covariates = rows[:, :-1] @ frame.basis
        residuals = rows[:, -1] - rows[:, :-1] @ frame.origin
        return {
            "count": onp.array(float(len(rows))),
            "xx": covariates.T @ covariates,
            "xr": covariates.T @ residuals,
            "rr": residuals @ residuals,
        }

    def optimum(self, block: str, params: Params, statistics: Statistics) -> dict[str, Array]:
        dim = len(statistics["xr"])
        if block == "w":
            tau = _gamma_mean(params["tau"])[..., None]
            alpha = self._alpha(params, dim)
            origin, basis = self._frame(dim)
            prior = (basis.T * alpha[..., None, :]) @ basis
            prior_mean = (alpha * (self.mean - origin)) @ basis
            return {
                "precision_mean": tau * (prior_mean + statistics["xr"]),
                "precision": tau[..., None] * (prior + statistics["xx"]),
            }
        errors, shrinkage = self._expected_squares(params, statistics)
        if block == "tau":
            penalty = onp.sum(self._alpha(params, dim) * shrinkage, axis=-1)
            rate = self.rate + 0.5 * (errors + penalty)
            shape = self.shape + 0.5 * (statistics["count"] + dim)
            return {"shape": shape * onp.ones_like(rate), "rate": rate}
        rate = self.precision.rate + 0.5 * _gamma_mean(params["tau"])[..., None] * shrinkage
        return {"shape": (self.precision.concentration + 0.5) * onp.ones_like(rate), "rate": rate}

    def elbo(self, params: Params, statistics: Statistics) -> Array:
        dim = len(statistics["xr"])
        tau = params["tau"]
        log_tau = gamma_mean_log(tau["shape"], tau["rate"])
        errors, shrinkage = self._expected_squares(params, statistics)
        alpha = self._alpha(params, dim)
        squares = errors + np.sum(alpha * shrinkage, axis=-1)
        if isinstance(self.precision, Gamma):
            prior = self.precision
            shape, rate = params["alpha"]["shape"], params["alpha"]["rate"]
            log_alpha = np.sum(gamma_mean_log(shape, rate), axis=-1)
            kl_alpha = np.sum(gamma_kl(shape, rate, prior.concentration, prior.rate), axis=-1)
        else:
            log_alpha = float(onp.sum(onp.log(alpha)))
            kl_alpha = 0.0
        # E[log p(y | w, tau) + log p(w | tau, alpha)]: N + P normal densities
        normals = 0.5 * (
            (statistics["count"] + dim) * (log_tau - LOG_TWO_PI)
            + log_alpha
            - _gamma_mean(tau) * squares
        )
        log_det = _moments(params["w"])[2] - 2.0 * float(
            onp.linalg.slogdet(self._frame(dim).basis)[1]
        )
        entropy_w = 0.5 * (dim * (LOG_TWO_PI + 1.0) - log_det)
        kl_tau = gamma_kl(tau["shape"], tau["rate"], self.shape, self.rate)
        return normals + entropy_w - kl_tau - kl_alpha

    def sample(
        self, params: Params, num_draws: int, rng: onp.random.Generator
    ) -> dict[str, onp.ndarray]:
        mean, covariance, _ = _moments(params["w"])
        frame = self._frame(len(mean))
        u = mean + rng.standard_normal((num_draws, len(mean))) @ _root(covariance).T
        draws = {"w": frame.origin + u @ frame.basis.T}
        for block in self.blocks[1:]:
            shape, rate = params[block]["shape"], params[block]["rate"]
            draws[block] = rng.standard_gamma(shape, (num_draws, *shape.shape)) / rate
        return draws

    def predictive(
        self,
        params: Params,
        num_draws: int,
        rng: onp.random.Generator,
        covariates: Array | None = None,
    ) -> onp.ndarray:
        draws = self.sample(params, num_draws, rng)
        dim = draws["w"].shape[1]
        if covariates is None:
            raise ArgumentError(
                f"covariates: say with an array (M, {dim}) where the response is to be predicted"
            )
        where = as_finite("covariates", covariates)
        if where.ndim != 2 or where.shape[1] != dim:
            raise ArgumentError(f"covariates: must have the shape (M, {dim}), not {where.shape}")
        noise = rng.standard_normal((num_draws, len(where))) / onp.sqrt(draws["tau"])[:, None]
        return onp.asarray(draws["w"] @ where.T + noise)

    def moments(self, params: Params) -> tuple[onp.ndarray, onp.ndarray]:
        """Mean (..., P) and covariance (..., P, P) of w under q."""
        check_params(self, params)
        mean, covariance, _ = _moments(params["w"])
        frame = self._frame(mean.shape[-1])
        return frame.origin + mean @ frame.basis.T, frame.basis @ covariance @ frame.basis.T

    def posterior(self, rows: Array) -> CoefficientsGamma:
        """The exact posterior for a fixed ``precision``: m_N, A_N, a_N and b_N above.

        Raises
        ------
        ValueError
            with a Gamma prior on the precisions, for which no closed form is known.
        """
        exact, _ = self._solve(rows)
        return exact

    def log_evidence(self, rows: Array) -> float:
        """The log evidence log p(y) in nats, exactly, for a fixed ``precision``.

        Raises
        ------
        ValueError
            with a Gamma prior on the precisions.
        """
        exact, log_det = self._solve(rows)
        log_det_prior = float(onp.sum(onp.log(self._alpha({}, len(exact.mean)))))
        return normal_gamma_evidence(
            prior=(self.shape, self.rate),
            posterior=(exact.shape, exact.rate),
            log_shrinkage=log_det_prior - log_det,
            num_rows=len(rows),
        )

    def _solve(self, rows: Array) -> tuple[CoefficientsGamma, float]:
        """The exact posterior, and log |A_N|."""
        if isinstance(self.precision, Gamma):
            raise ArgumentError(
                "precision: posterior and evidence are known only for fixed precisions"
            )
        rows = self.check(rows)
        dim = rows.shape[1] - 1
        frame = frame_of(rows)
        model = replace(self, frame=frame)
        sums = model.statistics({}, rows)
        alpha = self._alpha({}, dim)
        # As if tau were known to be 1: the posterior of w given tau, but for a factor tau
        unit_tau = {"tau": {"shape": onp.ones(()), "rate": onp.ones(())}}
        natural = model.optimum("w", unit_tau, sums)
        u, covariance, log_det = _moments(natural)
        errors = sums["rr"] + u @ (sums["xx"] @ u - 2.0 * sums["xr"])
        from_prior = frame.origin - self.mean + frame.basis @ u
        exact = CoefficientsGamma(
            mean=frame.origin + frame.basis @ u,
            covariance=frame.basis @ covariance @ frame.basis.T,
            shape=self.shape + 0.5 * len(rows),
            rate=float(self.rate + 0.5 * (errors + alpha @ from_prior**2)),
        )
        return exact, float(log_det - 2.0 * onp.linalg.slogdet(frame.basis)[1])

    def _frame(self, dim: int) -> Frame:
        return Frame(onp.zeros(dim), onp.eye(dim)) if self.frame is None else self.frame

    def _alpha(self, params: Params, dim: int) -> Array:
        """The expected prior precisions E[alpha], (..., P)."""
        if isinstance(self.precision, Gamma):
            return _gamma_mean(params["alpha"])
        return onp.broadcast_to(onp.asarray(self.precision, dtype=float), dim)

    def _expected_squares(self, params: Params, statistics: Statistics) -> tuple[Array, Array]:
        """E||y - Xw||^2, (...), and E[(w_d - m_0d)^2], (..., P), under q(w)."""
        mean, covariance, _ = _moments(params["w"])
        frame = self._frame(mean.shape[-1])
        xx, xr = statistics["xx"], statistics["xr"]
        at_mean = statistics["rr"] + np.sum(mean * (mean @ xx - 2.0 * xr), axis=-1)
        errors = at_mean + np.sum(xx * covariance, axis=(-2, -1))
        from_prior = frame.origin - self.mean + mean @ frame.basis.T
        variances = np.sum((frame.basis @ covariance) * frame.basis, axis=-1)
        return errors, from_prior**2 + variances


def _gamma_mean(factor: dict[str, Array]) -> Array:
    return factor["shape"] / factor["rate"]


def _moments(factor: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Mean (..., P), covariance (..., P, P) and log |precision| of the normal q(u).

    The precision is brought to a unit diagonal first: in a frame its entries may differ by
    many orders of magnitude, and that is all that is wrong with it.
    """
    precision = factor["precision"]
    scale = np.sqrt(np.diagonal(precision, axis1=-1, axis2=-2))
    outer = scale[..., :, None] * scale[..., None, :]
    inverse = np.linalg.inv(precision / outer)
    mean = np.sum(inverse * (factor["precision_mean"] / scale)[..., None, :], axis=-1) / scale
    log_det = np.linalg.slogdet(precision / outer)[1] + 2.0 * np.sum(np.log(scale), axis=-1)
    return mean, inverse / outer, log_det


def _root(covariance: onp.ndarray) -> onp.ndarray:
    """A matrix L with L L' = ``covariance``, whose entries may differ as in `_moments`."""
    scale = onp.sqrt(onp.diagonal(covariance))
    return scale[:, None] * onp.linalg.cholesky(covariance / onp.outer(scale, scale))
