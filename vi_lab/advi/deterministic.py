r"""Deterministic ADVI: fix the draws, then minimise like any other function.

With base draws :math:`\epsilon_1, \dots, \epsilon_S` held fixed,

.. math:: \hat F(\mu, \omega) = -\frac1S \sum_s \log\tilde p(\mu + e^\omega \epsilon_s)
          - H[q]

is a smooth function of the parameters: it has second derivatives, a trust region
finds its minimum in a few Newton steps, and "converged" is a statement about a
gradient. The price is an error from the draws, which does not fall with more steps
(Giordano, Ingram and Broderick 2023, "Black box variational inference with a
deterministic objective").

Two refinements make 30 draws go far. They come in pairs :math:`\pm\epsilon` and are
rescaled to have unit second moments exactly, with zero cross moments if there are
more pairs than dimensions: the average over draws is then exact for every quadratic (and,
by symmetry, cubic) log density, so Gaussian posteriors are fitted without error.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as onp

from vi_lab.advi.blocks import Run
from vi_lab.advi.settings import Settings
from vi_lab.engine import Array, current
from vi_lab.errors import ArgumentError, ConvergenceWarning
from vi_lab.families import MeanFieldGaussian, Params
from vi_lab.gradients.estimators import Reparameterised
from vi_lab.model import LogDensity
from vi_lab.progress import progress_bar

NEWTON_TOLERANCE = 1e-3  # of a standard deviation of q, and of its logarithm
MAX_ROUNDS = 20
ITERATIONS_PER_ROUND = 200
FIRST_GRADIENT_TOLERANCE = 1e-3  # nats a standard deviation; ten times less each round


@dataclass(frozen=True)
class FixedDrawsLoss:
    """The loss in the coordinates x = ((mu - loc) / scale, omega), of length 2D."""

    structure: LogDensity

    def __call__(
        self, x: Array, eps: Array, loc: Array, scale: Array, data: dict[str, Array]
    ) -> Array:
        params = to_params(x, loc, scale)
        return Reparameterised().negative_elbo(
            self.structure, MeanFieldGaussian(), params, eps, data
        )


def to_params(x: Array, loc: Array, scale: Array) -> Params:
    """Mean-field parameters (mu, omega) from x."""
    dim = loc.shape[0]
    return {"loc": loc + scale * x[:dim], "log_scale": x[dim:]}


def balanced_draws(rng: onp.random.Generator, num_draws: int, dim: int) -> onp.ndarray:
    """Standard normal draws (num_draws, dim) in pairs, with exact second moments.

    Means are zero, variances one; with more pairs than dimensions, covariances are
    zero too.

    Raises
    ------
    ValueError
        if ``num_draws`` is odd.
    """
    if num_draws % 2:
        raise ArgumentError(f"draws: must be even, for they come in pairs, not {num_draws}")
    half: onp.ndarray = rng.standard_normal((num_draws // 2, dim))
    if half.shape[0] > dim:
        root = onp.linalg.cholesky(half.T @ half / half.shape[0])
        half = onp.linalg.solve(root, half.T).T
    else:
        half = half / onp.sqrt(onp.mean(half**2, axis=0))
    return onp.concatenate([half, -half])


def run_deterministic(settings: Settings, params: Params, rng: onp.random.Generator) -> Run:
    """Minimise the fixed-draw loss from ``params`` by trust-region Newton steps.

    Each round measures locations in the standard deviations of q found so far, so
    that the trust region is round; rounds go on until a full Newton step would move
    no location by 0.001 of its standard deviation and change no standard deviation
    by 0.1%. Ctrl-C returns the best so far. A minimum that is not reached is warned
    of (`ConvergenceWarning`).
    """
    from scipy.optimize import minimize  # 0.5 s, and only this method needs it

    model, engine = settings.model, settings.engine
    eps = balanced_draws(rng, settings.draws, model.dim)
    loss = FixedDrawsLoss(model.structure)
    value_and_grad = engine.compile(_value_and_grad, static=(0,))
    loc, scale = params["loc"], onp.exp(params["log_scale"])
    x = onp.concatenate([onp.zeros(model.dim), params["log_scale"]])
    losses = [float(value_and_grad(loss, x, eps, loc, scale, model.data)[0])]
    interrupted = converged = False
    with progress_bar(None, "deterministic ADVI", settings.progress) as bar:

        def after_step(intermediate_result: Any) -> None:
            nonlocal x
            x = intermediate_result.x
            losses.append(float(intermediate_result.fun))
            bar.update()
            bar.set_postfix(loss=f"{losses[-1]:.6g}")

        try:
            for round_ in range(MAX_ROUNDS):
                rest = (eps, loc, scale, model.data)
                product = _remember(engine.hessian_vector_product(loss), *rest)
                tolerance = FIRST_GRADIENT_TOLERANCE * 10.0**-round_
                with onp.errstate(all="ignore"):  # SciPy divides by a gain that may be zero
                    minimize(
                        _finite(value_and_grad, loss, rest),
                        x,
                        jac=True,
                        hessp=product,
                        method="trust-ncg",
                        callback=after_step,
                        options={"gtol": tolerance, "maxiter": ITERATIONS_PER_ROUND},
                    )
                gradient = value_and_grad(loss, x, *rest)[1]
                step = _newton_step(lambda v: product(x, v), gradient)  # noqa: B023
                new = to_params(x, loc, scale)
                step[: model.dim] *= scale / onp.exp(new["log_scale"])
                loc, scale = new["loc"], onp.exp(new["log_scale"])
                x = onp.concatenate([onp.zeros(model.dim), new["log_scale"]])
                converged = bool(onp.abs(step).max() < NEWTON_TOLERANCE)
                if converged:
                    break
        except KeyboardInterrupt:
            interrupted = True
    if not (converged or interrupted):
        warnings.warn(
            f"deterministic ADVI: no minimum after {len(losses) - 1} Newton steps (the next would "
            f"still move {onp.abs(step).max():.2g} standard deviations); the fixed-draw objective "
            "may be unbounded: use more draws, or method='stochastic'",
            ConvergenceWarning,
            stacklevel=4,
        )
    return Run(
        params=to_params(x, loc, scale),
        losses=onp.array(losses),
        interrupted=interrupted,
    )


def _value_and_grad(loss: FixedDrawsLoss, x: Array, *rest: Any) -> tuple[Array, Array]:
    value_and_grad: tuple[Array, Array] = current().value_and_grad(loss)(x, *rest)
    return value_and_grad


def _finite(value_and_grad: Callable, loss: FixedDrawsLoss, rest: tuple) -> Callable:
    """The loss for SciPy: where it is not finite it is +inf, and the region shrinks."""

    def evaluate(x: onp.ndarray) -> tuple[float, onp.ndarray]:
        value, gradient = value_and_grad(loss, x, *rest)
        if onp.isfinite(value) and onp.isfinite(gradient).all():
            return float(value), gradient
        return onp.inf, onp.zeros_like(x)

    return evaluate


def _remember(at: Callable, *rest: Any) -> Callable[[onp.ndarray, onp.ndarray], onp.ndarray]:
    """``(x, v) -> H(x) v``: what depends on x alone is done once for each x."""
    last: dict[bytes, Callable] = {}

    def product(x: onp.ndarray, v: onp.ndarray) -> onp.ndarray:
        key = x.tobytes()
        if key not in last:
            last.clear()
            last[key] = at(x, *rest)
        result: onp.ndarray = last[key](v)
        return result

    return product


def _newton_step(product: Callable, gradient: onp.ndarray) -> onp.ndarray:
    """-H^-1 g by conjugate gradients: how far the minimum of the local quadratic is."""
    from scipy.sparse.linalg import LinearOperator, cg

    size = gradient.size
    hessian = LinearOperator((size, size), matvec=product, dtype=float)
    with onp.errstate(all="ignore"):  # without curvature the step is infinite, and says so
        step, _ = cg(hessian, -gradient, rtol=1e-2, maxiter=10 * size)
    return onp.nan_to_num(onp.asarray(step), nan=onp.inf)
