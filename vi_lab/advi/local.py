r"""The posterior as q sees it, and the best step for that.

Write z = mu + L epsilon for a draw of q, and u = L' grad log p~(z) for its gradient in q's own
units. Two averages over the draws say all that a Gaussian can know of the posterior,

.. math:: a = E[u], \qquad A = -E[\epsilon u^\top] = L^\top E_q[-\nabla^2 \log\tilde p]\, L

(the second by Stein's identity: no second derivative is taken), and q is the best of its family
where a = 0 and A = I: all of A in full rank, its diagonal in mean field. As q sees it, log p~ is
:math:`a^\top\epsilon - \frac12 \epsilon^\top A \epsilon`, and a step moves q to the best of its
family for *that*, held back by its divergence KL(new || old) from where it is:

.. math:: (I + \tau A)\,\delta = \tau a, \qquad V^{-1} = (I + \tau A) / (1 + \tau),

with mu + L delta the new mean and L V L' the new covariance; mean field takes the diagonal of A in
V. With tau infinite this is Newton's step, exact for Gaussian posteriors from anywhere; tau is as
large as the divergence may be (`Curvature.trusted`). Gaussian variational fits by averaged
gradients and curvatures are Opper and Archambeau's (2009); moving to the best q for a fitted
Gaussian under a divergence is also what batch and match does (Cai et al. 2024).

The draws are in pairs :math:`\pm\epsilon`, each coordinate is stratified, and their second moments
are I exactly. So a and A are those of the least-squares line of u on epsilon: exact for
Gaussian posteriors, and otherwise as noisy as what of u is *not* linear. How noisy, R
independent replicates of the draws say: with :math:`s_r` the slope of the ELBO from the r-th one,
beyond the line, about their mean, H the inverse of its curvature and :math:`K_{rt} = s_r^\top H
s_t`,

.. math:: \text{noise} = \frac{\operatorname{tr} K}{2R(R-1)}, \qquad
   \text{spread} = \frac1R \Bigl(\tfrac12 \overline{K_{rt}^2}\Bigr)^{1/2} \; (r \ne t), \qquad
   \text{gain} = \tfrac12 s^\top H s

are what the best q for these draws is expected to lack of the best q, in nats, the standard
deviation of that, and what is left to gain on these draws. The noise is on the high side, 1.8 to
3.5 times on three posteriors of the tests: the second moments of a replicate are not I exactly, so
that what of u is quadratic in epsilon is noise in it, where in all draws together it cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as onp

from vi_lab.families import Chart

REPLICATES = 8  # at most
MULTIPLE = 2 * REPLICATES  # of which a search's numbers of draws are
DRAWS_A_DIMENSION = 4  # for a line through the gradients: twice as many as it takes
FLAT = 1e-9  # a curvature in q's units that counts as none
ROUGH = 1.0  # nats: noise is of no interest while there is more to gain
LONGEST = 40.0  # of log tau
GRID = 48  # of log tau, laid three times, each in a gap of the one before

Solve = Callable[[onp.ndarray], onp.ndarray]
Pairs = list[tuple[onp.ndarray, onp.ndarray]]
"""Tangents taken, and how the slope changed."""


# ------------------------------------------------------------------------------ draws


def stratified_pairs(rng: onp.random.Generator, num: int, dim: int) -> onp.ndarray:
    r"""Draws (num, dim): pairs :math:`\pm\epsilon`, the second half minus the first.

    Each replicate, a part of the pairs, has one draw of every coordinate in each of equally likely
    strata; then all of them together are made to have variances 1 exactly, and covariances 0 too if
    there are more pairs than dimensions.
    """
    half, n = _stratified(rng, num, dim), num // 2
    if n > dim:
        root = onp.linalg.cholesky(half.T @ half / n)
        half = onp.linalg.solve(root, half.T).T
    else:
        half = half / onp.sqrt(onp.mean(half**2, axis=0))
    return onp.concatenate([half, -half])


def fresh_pairs(rng: onp.random.Generator, num: int, dim: int) -> onp.ndarray:
    """The same with moments as they come: replicates have nothing to do with each other."""
    half = _stratified(rng, num, dim)
    return onp.concatenate([half, -half])


def _stratified(rng: onp.random.Generator, num: int, dim: int) -> onp.ndarray:
    """Half of ``num`` draws."""
    n = num // 2
    parts = replicates(num)
    strata = onp.broadcast_to(onp.arange(n // parts)[:, None], (parts, n // parts, dim))
    cells = rng.permuted(strata, axis=1).reshape(n, dim)
    return _normal_quantile((cells + rng.random((n, dim))) / (n // parts))


def replicates(num: int) -> int:
    """Into how many equal parts ``num`` / 2 pairs are divided, at most 8."""
    return max(parts for parts in range(1, REPLICATES + 1) if num // 2 % parts == 0)


def enough(base_dim: int, least: int) -> int:
    """Draws for a line through gradients, and at least so many."""
    return -(-max(least, DRAWS_A_DIMENSION * (base_dim + 2)) // MULTIPLE) * MULTIPLE


def by_replicate(draws: onp.ndarray) -> onp.ndarray:
    """``draws`` (S, D) as (R, M, D); both of a pair are in one replicate."""
    num, dim = draws.shape
    parts = replicates(num)
    split = draws.reshape(2, parts, num // 2 // parts, dim).transpose(1, 0, 2, 3)
    return split.reshape(parts, -1, dim)


def _normal_quantile(p: onp.ndarray) -> onp.ndarray:
    from scipy.special import ndtri  # slow to import

    return onp.asarray(ndtri(p))


# ------------------------------------------------------------------------------ curvature


class Known(Protocol):
    """What is known of the ELBO's curvature in a tangent."""

    @property
    def lowest(self) -> float:
        """The smallest curvature."""

    def floored(self) -> Known:
        """The same, as if nothing were flatter than `FLAT`."""

    def solve(self, slope: onp.ndarray) -> onp.ndarray:
        """Newton's tangent (P,) for ``slope`` (P,)."""

    def trusted(self, slope: onp.ndarray, trust: float) -> Step | Plain:
        """The longest step whose divergence is at most ``trust`` nats."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """A as a matrix, or its diagonal.

    Attributes
    ----------
    w : eigenvalues of A (D,), or its diagonal if that is all that is known
    vectors : its eigenvectors (D, D), or None
    scales : curvatures of the scales (D,): the diagonal of A for mean field, ``w`` for full rank
    full : scales are a matrix in the tangent
    """

    w: onp.ndarray
    vectors: onp.ndarray | None
    scales: onp.ndarray
    full: bool

    @property
    def lowest(self) -> float:
        return float(min(self.w.min(), self.scales.min()))

    def floored(self) -> Curvature:
        """The same, as if nothing were flatter than `FLAT`."""
        return replace(self, w=onp.maximum(self.w, FLAT), scales=onp.maximum(self.scales, FLAT))

    def solve(self, slope: onp.ndarray) -> onp.ndarray:
        """Newton's tangent (P,) for ``slope`` (P,)."""
        dim = self.w.size
        delta, V = self._back(self._along(slope[:dim]) / self.w), self.vectors
        if V is None or not self.full:
            return onp.append(delta, slope[dim:] / (2.0 * self.scales))
        inner = V.T @ slope[dim:].reshape(dim, dim) @ V
        return onp.append(delta, (V @ (inner / (self.w[:, None] + self.w)) @ V.T).ravel())

    def trusted(self, slope: onp.ndarray, trust: float) -> Step:
        """The longest step whose divergence is at most ``trust`` nats."""
        a = self._along(slope[: self.w.size])
        if self.lowest > FLAT:
            newton = self._step(a, onp.inf)
            if newton.divergence <= trust:
                return newton
        low, high = -LONGEST, LONGEST
        if self.lowest < 0.0:
            high = min(high, -onp.log(-self.lowest) - FLAT)
        for _ in range(3):
            grid = onp.linspace(low, high, GRID)
            fits = int((self._divergences(a, onp.exp(grid)) <= trust).sum())
            low, high = grid[max(fits, 1) - 1], grid[min(max(fits, 1), GRID - 1)]
        return self._step(a, onp.exp(low))

    def _divergences(self, a: onp.ndarray, taus: onp.ndarray) -> onp.ndarray:
        """KL(new || old), increasing with tau, for ``taus`` (K,)."""
        inverse = 1.0 / taus[:, None]
        d, v = a / (inverse + self.w), (inverse + 1.0) / (inverse + self.scales)
        return onp.asarray(0.5 * ((d**2).sum(axis=1) + (v - 1.0 - onp.log(v)).sum(axis=1)))

    def _step(self, a: onp.ndarray, tau: float) -> Step:
        d = a / (1.0 / tau + self.w)
        v = (1.0 / tau + 1.0) / (1.0 / tau + self.scales)
        log_v = onp.log(v)
        divergence = 0.5 * (d @ d + (v - 1.0 - log_v).sum())
        gain = a @ d - 0.5 * (d * self.w) @ d - 0.5 * (self.scales * (v - 1.0) - log_v).sum()
        return Step(self, d, 0.5 * log_v, float(divergence), float(gain))

    def tangent(self, d: onp.ndarray, log_root: onp.ndarray) -> onp.ndarray:
        """The tangent (P,) of a step along the eigenvectors."""
        V = self.vectors
        if V is None or not self.full:
            return onp.append(self._back(d), log_root)
        return onp.append(self._back(d), ((V * log_root) @ V.T).ravel())

    def _along(self, x: onp.ndarray) -> onp.ndarray:
        return x if self.vectors is None else self.vectors.T @ x

    def _back(self, x: onp.ndarray) -> onp.ndarray:
        return x if self.vectors is None else self.vectors @ x


@dataclass(frozen=True, eq=False)
class Step:
    """A step, the nats by which it diverges, and those that it should gain."""

    curvature: Curvature
    d: onp.ndarray
    log_root: onp.ndarray
    divergence: float
    gain: float

    @property
    def tangent(self) -> onp.ndarray:
        return self.curvature.tangent(self.d, self.log_root)


class Unknown:
    """Of a family whose curvature nothing is known of: as if it were 1 in every direction."""

    lowest: float = 1.0

    def floored(self) -> Unknown:
        return self

    def solve(self, slope: onp.ndarray) -> onp.ndarray:
        """The slope itself."""
        return slope

    def trusted(self, slope: onp.ndarray, trust: float) -> Plain:
        """Along ``slope``, to a distance whose square is at most 2 ``trust``."""
        square = float(slope @ slope)
        share = min(1.0, (2.0 * trust / max(square, 1e-300)) ** 0.5)
        return Plain(share * slope, 0.5 * share**2 * square, share * (1.0 - 0.5 * share) * square)


@dataclass(frozen=True, eq=False)
class Plain:
    """As `Step`, of a tangent that is known at once."""

    tangent: onp.ndarray
    divergence: float
    gain: float


# ------------------------------------------------------------------------------ a look


@dataclass(frozen=True, eq=False)
class Line:
    """The least-squares line of gradients (.., D) on epsilon: ``mean`` (D,), ``slope`` (B, D).

    ``slope`` (D,) if epsilon and gradient are compared coordinate by coordinate; None if not at
    all.
    """

    mean: onp.ndarray
    slope: onp.ndarray | None

    @property
    def full(self) -> bool:
        """Whether every gradient is compared with every epsilon."""
        return self.slope is not None and self.slope.ndim == 2

    @classmethod
    def of(cls, eps: onp.ndarray, gradients: onp.ndarray, *, dense: bool = True) -> Line:
        """The line through draws whose second moments are I; ``dense`` if it may be D x D."""
        num, base_dim = eps.shape
        if dense and num > 2 * base_dim:
            slope = eps.T @ gradients / num
        else:
            slope = (eps * gradients).mean(axis=0) if eps.shape == gradients.shape else None
        return cls(gradients.mean(axis=0), slope)

    def at(self, eps: onp.ndarray) -> onp.ndarray:
        """Its gradients (..., D) at ``eps`` (..., B)."""
        if self.slope is None:
            return onp.broadcast_to(self.mean, (*eps.shape[:-1], self.mean.size))
        return self.mean + (eps @ self.slope if self.full else eps * self.slope)


@dataclass(frozen=True, eq=False)
class Local:
    """The ELBO about q on some draws.

    Attributes
    ----------
    elbo : in nats, up to the constant that log p~ may lack
    slope : in the tangent, (P,)
    errors : of it by replicate (R, P), beyond the line
    curvature : what is known of it by itself
    line : of the gradients
    gain, noise, spread : nats: see the module
    """

    elbo: float
    slope: onp.ndarray
    errors: onp.ndarray
    curvature: Known
    line: Line
    gain: float = onp.inf
    noise: float = onp.inf
    spread: float = onp.inf

    @property
    def gap(self) -> float:
        """Nats that q is believed to lack: noise, twice its spread, and what is left to gain."""
        return self.noise + 2.0 * self.spread + self.gain

    def weighed(self, memory: Pairs) -> Local:
        """The same with gain, noise and spread, by the curvature known here and from ``memory``."""
        solve = self.solver(memory)
        gain = float(0.5 * self.slope @ solve(self.slope))
        if gain > ROUGH or len(self.errors) < 2:
            return replace(self, gain=gain)
        K = products(self.errors, solve)
        R = len(K)
        apart = (K**2).sum() - (onp.diag(K) ** 2).sum()
        noise = 0.5 * onp.trace(K) / (R * (R - 1))
        spread = (0.5 * apart / (R * (R - 1))) ** 0.5 / R
        return replace(self, gain=gain, noise=float(noise), spread=float(spread))

    def solver(self, memory: Pairs) -> Solve:
        """The inverse of the curvature."""
        if self.curvature.lowest <= FLAT:  # a large gain, whatever it is
            return self.curvature.floored().solve
        return lambda slope: two_loops(memory, slope, self.curvature.solve)


def look(
    chart: Chart, eps: onp.ndarray, values: onp.ndarray, gradients: onp.ndarray
) -> Local | None:
    """The ELBO about ``chart`` on the draws ``eps`` (S, B); None if it is not finite."""
    elbo = float(values.mean() + chart.entropy)
    line = Line.of(eps, gradients)
    slope = chart.slopes(eps[None], gradients[None])[0] + chart.entropy_slope
    if not (onp.isfinite(elbo) and onp.isfinite(slope).all()):
        return None
    parts = chart.slopes(by_replicate(eps), by_replicate(gradients - line.at(eps)))
    dim, pairs = chart.loc.size, len(eps) // 2
    if line.full:
        parts[:, dim:] *= (pairs / max(pairs - dim, 1)) ** 0.5  # the line has taken D of the pairs
    curvature = curvature_of(chart, slope, line)
    if curvature is None:
        return None
    return Local(elbo, slope, parts - parts.mean(axis=0), curvature, line)


def curvature_of(chart: Chart, slope: onp.ndarray, line: Line) -> Known | None:
    """What the gradients' line says of it; None if it is not finite."""
    dim = chart.loc.size
    if chart.scales == "unknown":
        return Unknown()
    if line.slope is None or line.slope.ndim == 1:
        diagonal = 1.0 - slope[dim:]
        return Curvature(diagonal, None, diagonal, full=False)
    A = -chart.white(line.slope)
    try:
        w, V = onp.linalg.eigh(0.5 * (A + A.T))
    except onp.linalg.LinAlgError:
        return None
    full = chart.scales == "full"
    return Curvature(w, V, w if full else onp.diag(A).copy(), full)


def two_loops(memory: Pairs, slope: onp.ndarray, solve: Solve) -> onp.ndarray:
    """L-BFGS (Nocedal 1980): ``solve``, corrected by the pairs in ``memory``."""
    v, weights = slope, []
    for s, y in reversed(memory):
        weights.append((s @ v) / (s @ y))
        v = v - weights[-1] * y
    v = solve(v)
    for (s, y), weight in zip(memory, reversed(weights), strict=True):
        v = v + (weight - (y @ v) / (s @ y)) * s
    return v


def products(slopes: onp.ndarray, solve: Solve) -> onp.ndarray:
    """K (R, R) of the ``slopes`` (R, P)."""
    return onp.asarray(slopes @ onp.stack([solve(slope) for slope in slopes]).T)
