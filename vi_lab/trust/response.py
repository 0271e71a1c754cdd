r"""Linear response: how the means of q move if the posterior is tilted.

Under :math:`\tilde p(z)\, e^{t^\top z}` the posterior mean of z moves as :math:`d E[z] / dt =
\operatorname{Cov}[z]`. So does the mean of the best q, as far as it can follow: with F the negative
ELBO in coordinates x of q, H its Hessian, and B = d mu / dx,

.. math:: \frac{d\mu}{dt} = B H^{-1} B^\top

(Giordano, Broderick and Jordan 2018, "Covariances, robustness, and variational Bayes", theorem 2
and equation 14; with F of fixed draws, Giordano, Ingram and Broderick 2024, "Black box variational
inference with a deterministic objective", equation 10). The scales of a mean-field q leave
correlations out, but its means follow them: for a Gaussian posterior this is its covariance,
exactly.

H is never made: each column of the covariance is a solution of H x = B' e by conjugate gradients
(Hestenes and Stiefel 1952, with a preconditioner), whose products are derivatives of a derivative.
F is an average over replicates of draws, in pairs, each with its own Hessian H_r; to first order
the variance of a scalar, x' H x, has from each the error :math:`x^\top (H_r - H)\, x`, and that is
what says how far the draws can be relied upon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_leaves, tree_of
from vi_lab.errors import ArgumentError
from vi_lab.families import Params, TriangularGaussian
from vi_lab.model import LogDensity
from vi_lab.trust.curvature import bent, draws_for_line, pairs, white
from vi_lab.trust.density import Density

REPLICATES = 8
PRECISION = 1e-4  # of a residual, in the norm of the preconditioner
MOST_STEPS = 500

Product = Callable[[onp.ndarray], onp.ndarray]


@dataclass(frozen=True, eq=False)
class Response:
    """How the means of q answer to tilts.

    Attributes
    ----------
    covariance : of z, (D, D)
    error : standard errors of the standard deviations of z, as a fraction of these, (D,)
    gradients : of the log density that it took; a product counts as two
    """

    covariance: onp.ndarray
    error: onp.ndarray
    gradients: int


@dataclass(frozen=True)
class FixedDraws:
    """The negative ELBO of fixed draws in tangents of a family: compared by what it computes."""

    structure: LogDensity
    family: TriangularGaussian

    def __call__(self, x: Array, params: Params, eps: Array, data: dict[str, Array]) -> Array:
        """In nats, at the tangent ``x`` (P,) from ``params``, on ``eps`` (S, D)."""
        step = _tree_like(self.family.zero_tangent(params), x)
        moved = self.family.retract(params, step)
        z = self.family.transform(moved, eps)
        elbo = np.mean(self.structure.log_density_batch(z, data)) + self.family.entropy(moved)
        return -elbo


def respond(
    density: Density, family: TriangularGaussian, params: Params, draws: int, seed: int
) -> Response:
    """The covariance by linear response at the q of ``params``.

    ``draws`` in all replicates together, rounded up.

    Raises
    ------
    ValueError
        if the ELBO has no maximum there.
    """
    rng = onp.random.default_rng(seed)
    loc = onp.asarray(params["loc"])
    dim, each = loc.size, 2 * -(-draws // (2 * REPLICATES))
    sets = [pairs(rng, each, dim) for _ in range(REPLICATES)]
    zero = onp.zeros(sum(onp.size(leaf) for leaf in tree_leaves(family.zero_tangent(params))))
    make = density.engine.hessian_vector_product(FixedDraws(density.structure, family))
    products = [make(zero, params, eps, density.data) for eps in sets]

    def of_each(x: onp.ndarray) -> onp.ndarray:
        density.cost += 2.0 * each * REPLICATES
        return onp.stack([product(x) for product in products])  # (R, P)

    began = density.gradients
    scale = onp.asarray(family.scale_tril(params))  # d mu / d x, of the first D of x
    solve_roughly = _preconditioner(density, family, params, scale, rng)
    covariance, error = onp.empty((dim, dim)), onp.empty(dim)
    for i in range(dim):
        tilt = onp.zeros(zero.size)
        tilt[:dim] = scale[i]
        x = conjugate_gradients(lambda v: of_each(v).mean(axis=0), tilt, solve_roughly)
        covariance[i] = scale @ x[:dim]
        parts = of_each(x) @ x
        error[i] = 0.5 * parts.std(ddof=1) / REPLICATES**0.5 / parts.mean()
    covariance = 0.5 * (covariance + covariance.T)
    return Response(covariance, error, density.gradients - began)


def _preconditioner(
    density: Density,
    family: TriangularGaussian,
    params: Params,
    scale: onp.ndarray,
    rng: onp.random.Generator,
) -> Product:
    """About the inverse of the Hessian: in the means that of the curvature that q sees."""
    dim = len(scale)
    eps = pairs(rng, draws_for_line(dim, 0), dim)
    z = onp.asarray(family.transform(params, eps))
    shape = bent(white(family, params), z, density(z)[1]).scale
    root = onp.linalg.solve(scale, onp.diag(shape) if shape.ndim == 1 else shape)

    def solve_roughly(x: onp.ndarray) -> onp.ndarray:
        return onp.append(root @ (root.T @ x[:dim]), 0.5 * x[dim:])

    return solve_roughly


def conjugate_gradients(product: Product, b: onp.ndarray, precondition: Product) -> onp.ndarray:
    """x with H x = b, for ``product`` (v) = H v and ``precondition`` (v) about H^-1 v.

    Raises
    ------
    ValueError
        if H is seen not to be positive definite, or steps run out.
    """
    x, r = onp.zeros(b.size), b.copy()
    y = precondition(r)
    p, rho = y, float(r @ y)
    enough = PRECISION**2 * rho
    for _ in range(MOST_STEPS):
        h = product(p)
        bend = float(p @ h)
        if not onp.isfinite(bend):
            raise ArgumentError(
                "fit: second derivatives of the log density are not finite at a draw of q, so that "
                "there is no linear response; try family='full_rank', or vl.nuts(model)"
            )
        if bend <= 0.0:
            raise ArgumentError(
                "fit: the ELBO has no maximum where it ended, so nothing can be said of how its "
                "means respond; fit on until it has converged, or give more draws here"
            )
        x, r = x + rho / bend * p, r - rho / bend * h
        y = precondition(r)
        before, rho = rho, float(r @ y)
        if rho <= enough:
            return x
        p = y + rho / before * p
    raise ArgumentError(
        f"fit: {MOST_STEPS} conjugate gradient steps did not solve for its response; rescale the "
        "latents to similar sizes, or fit with family='full_rank'"
    )


def _tree_like(tree: Tree, flat: Array) -> Tree:
    """The entries of ``flat`` (P,) in the shapes of ``tree``."""
    leaves, start = [], 0
    for leaf in tree_leaves(tree):
        size = int(onp.size(leaf))
        leaves.append(np.reshape(flat[start : start + size], onp.shape(leaf)))
        start += size
    return tree_of(leaves, tree)
