r"""Charts: q as a search moves it, in tangents, which are flat vectors measured in q itself.

A search for the best q (`vi_lab.advi.search`) asks four things of where it is: draws z of base
draws epsilon, what gradients of log p~ at them say of the ELBO's slope, the entropy's slope, and
the q that a tangent leads to. For Gaussians N(mu, L L') a tangent is :math:`(\delta, T)`,

.. math:: \mu \to \mu + L \delta, \qquad L \to L \exp(T),

with T diagonal for mean field, and any symmetric matrix for full rank. With :math:`u = L^\top
\nabla\log\tilde p(z)` the slope of :math:`E_q[\log\tilde p]` is :math:`E[u]` in delta and
:math:`E[\epsilon u^\top]`, its diagonal or its symmetric part, in T; that of the entropy is 0
and 1, or I. Of L here any square root of the covariance will do: a search keeps its own, so that
the ELBO of fixed draws is one smooth function all the way.

Any other family moves as its ``retract`` says, and its slopes are taken by the engine
(`NaturalChart`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array, Engine, Tree, current
from vi_lab.engine.trees import tree_leaves, tree_map, tree_of
from vi_lab.errors import UnsupportedError
from vi_lab.families.base import Family, Params, entropy_of

DRAWS_AT_ONCE = 64  # of a natural chart


class Chart(Protocol):
    """A q, and how it moves."""

    scales: ClassVar[str]
    """Which part of A = -E[eps u'] is its scales' curvature: "diagonal", "full" or "unknown"."""

    @property
    def loc(self) -> onp.ndarray:
        """The mean of z, (D,)."""

    @property
    def sd(self) -> onp.ndarray:
        """Standard deviations of z, (D,)."""

    @property
    def base_dim(self) -> int:
        """How many standard normals make one draw."""

    @property
    def entropy(self) -> float:
        """H[q], in nats."""

    @property
    def entropy_slope(self) -> onp.ndarray:
        """Of the entropy, (P,)."""

    def draw(self, eps: onp.ndarray) -> onp.ndarray:
        """z (S, D), for ``eps`` (S, base_dim)."""

    def white(self, gradients: onp.ndarray) -> onp.ndarray:
        """u = L' g (S, D), for ``gradients`` g (S, D): of charts whose scales are known."""

    def slopes(self, eps: onp.ndarray, gradients: onp.ndarray) -> onp.ndarray:
        """Of E log p~ (R, P), from R sets of M draws (R, M, base_dim) with gradients (R, M, D)."""

    def moved(self, tangent: onp.ndarray) -> Chart:
        """Where a tangent (P,) leads to."""

    def stretched(self, loc: onp.ndarray, sd: onp.ndarray) -> Chart:
        """A q whose mean and standard deviations are these times (D,) those of this one."""

    def params(self) -> Params:
        """The parameters of the family."""

    def arrays(self) -> dict[str, onp.ndarray]:
        """What it is made of, to be stored; `chart_of` makes it again."""


@dataclass(frozen=True, eq=False)
class MeanFieldChart:
    """N(loc, diag(sd^2))."""

    loc: onp.ndarray
    sd: onp.ndarray
    scales: ClassVar[str] = "diagonal"

    @property
    def base_dim(self) -> int:
        return self.loc.size

    @property
    def entropy(self) -> float:
        return float(entropy_of(onp.log(self.sd).sum(), self.loc.size))

    @property
    def entropy_slope(self) -> onp.ndarray:
        return onp.append(onp.zeros(self.loc.size), onp.ones(self.loc.size))

    def draw(self, eps: onp.ndarray) -> onp.ndarray:
        return self.loc + eps * self.sd

    def white(self, gradients: onp.ndarray) -> onp.ndarray:
        return gradients * self.sd

    def slopes(self, eps: onp.ndarray, gradients: onp.ndarray) -> onp.ndarray:
        u = self.white(gradients)
        return onp.concatenate([u.mean(axis=1), (eps * u).mean(axis=1)], axis=1)

    def moved(self, tangent: onp.ndarray) -> MeanFieldChart:
        delta, log_scale = tangent[: self.loc.size], tangent[self.loc.size :]
        return MeanFieldChart(self.loc + self.sd * delta, self.sd * onp.exp(log_scale))

    def stretched(self, loc: onp.ndarray, sd: onp.ndarray) -> MeanFieldChart:
        return MeanFieldChart(loc * self.loc, sd * self.sd)

    def params(self) -> Params:
        return {"loc": self.loc, "log_scale": onp.log(self.sd)}

    def arrays(self) -> dict[str, onp.ndarray]:
        return {"loc": self.loc, "sd": self.sd}


@dataclass(frozen=True, eq=False)
class FullRankChart:
    """N(loc, scale scale'), for ``scale`` (D, D) with a positive determinant."""

    loc: onp.ndarray
    scale: onp.ndarray
    scales: ClassVar[str] = "full"

    @property
    def base_dim(self) -> int:
        return self.loc.size

    @cached_property
    def sd(self) -> onp.ndarray:
        return onp.sqrt((self.scale**2).sum(axis=1))

    @cached_property
    def entropy(self) -> float:
        return float(entropy_of(onp.linalg.slogdet(self.scale)[1], self.loc.size))

    @property
    def entropy_slope(self) -> onp.ndarray:
        return onp.append(onp.zeros(self.loc.size), onp.eye(self.loc.size).ravel())

    def draw(self, eps: onp.ndarray) -> onp.ndarray:
        return self.loc + eps @ self.scale.T

    def white(self, gradients: onp.ndarray) -> onp.ndarray:
        return gradients @ self.scale

    def slopes(self, eps: onp.ndarray, gradients: onp.ndarray) -> onp.ndarray:
        u = self.white(gradients)
        product = eps.transpose(0, 2, 1) @ u / eps.shape[1]
        scales = 0.5 * (product + product.transpose(0, 2, 1))
        return onp.concatenate([u.mean(axis=1), scales.reshape(len(eps), -1)], axis=1)

    def moved(self, tangent: onp.ndarray) -> FullRankChart:
        dim = self.loc.size
        w, V = onp.linalg.eigh(tangent[dim:].reshape(dim, dim))
        root = (V * onp.exp(w)) @ V.T
        return FullRankChart(self.loc + self.scale @ tangent[:dim], self.scale @ root)

    def stretched(self, loc: onp.ndarray, sd: onp.ndarray) -> FullRankChart:
        return FullRankChart(loc * self.loc, sd[:, None] * self.scale)

    def params(self) -> Params:
        # L L' = R' R for the triangle R of L' = Q R: no covariance, whose digits would be half.
        triangle = onp.asarray(onp.linalg.qr(self.scale.T, mode="r")).T
        triangle = triangle * onp.sign(onp.diag(triangle))
        sigma = onp.diag(triangle)
        lower = onp.tril(triangle / sigma[:, None], -1)
        return {"loc": self.loc, "log_scale": onp.log(sigma), "lower": lower}

    def arrays(self) -> dict[str, onp.ndarray]:
        return {"loc": self.loc, "scale": self.scale}


@dataclass(frozen=True, eq=False)
class NaturalChart:
    """Any family, moved by its own ``retract``."""

    family: Family
    engine: Engine
    at: Params
    scales: ClassVar[str] = "unknown"

    @property
    def base_dim(self) -> int:
        return self.family.base_dim(self.loc.size)

    @property
    def loc(self) -> onp.ndarray:
        return onp.asarray(self.at["loc"])

    @cached_property
    def sd(self) -> onp.ndarray:
        return onp.asarray(self.family.std(self.at))

    @cached_property
    def entropy(self) -> float:
        return float(self.family.entropy(self.at))

    @cached_property
    def entropy_slope(self) -> onp.ndarray:
        return self._slope(onp.zeros((1, self.base_dim)), onp.zeros((1, self.loc.size)), 1.0)

    def draw(self, eps: onp.ndarray) -> onp.ndarray:
        return onp.asarray(self.family.transform(self.at, eps))

    def white(self, gradients: onp.ndarray) -> onp.ndarray:
        raise UnsupportedError("gradients: of a natural chart the scales are not known")

    def slopes(self, eps: onp.ndarray, gradients: onp.ndarray) -> onp.ndarray:
        return onp.stack([self._mean_slope(*one) for one in zip(eps, gradients, strict=True)])

    def moved(self, tangent: onp.ndarray) -> NaturalChart:
        step = _tree_like(self.family.zero_tangent(self.at), tangent)
        at = {name: onp.asarray(v) for name, v in self.family.retract(self.at, step).items()}
        return NaturalChart(self.family, self.engine, at)

    def stretched(self, loc: onp.ndarray, sd: onp.ndarray) -> MeanFieldChart:
        """The correlations are left out."""
        return MeanFieldChart(loc * self.loc, sd * self.sd)

    def params(self) -> Params:
        return self.at

    def arrays(self) -> dict[str, onp.ndarray]:
        return self.at

    def _mean_slope(self, eps: onp.ndarray, gradients: onp.ndarray) -> onp.ndarray:
        """Of mean(gradients z), for ``eps`` (M, base_dim): in calls of one shape."""
        parts = [slice(start, start + DRAWS_AT_ONCE) for start in range(0, len(eps), DRAWS_AT_ONCE)]
        return onp.sum(
            [self._slope(eps[part], gradients[part] / len(eps), 0.0) for part in parts], axis=0
        )

    def _slope(self, eps: onp.ndarray, gradients: onp.ndarray, weight: float) -> onp.ndarray:
        """Of sum(gradients z) + weight H[q], for at most `DRAWS_AT_ONCE` draws."""
        padding = ((0, DRAWS_AT_ONCE - len(eps)), (0, 0))
        slope = self.engine.compile(natural_slope, static=(0,))(
            self.family,
            self.at,
            onp.pad(eps, padding),
            onp.pad(gradients, padding),
            onp.float64(weight),
        )
        # In the order of the zero tangent: an engine may hand dictionaries back in another.
        zero = self.family.zero_tangent(self.at)
        ordered = tree_map(lambda _, leaf: leaf, zero, slope)
        return onp.concatenate([leaf.ravel() for leaf in tree_leaves(ordered)])


def chart_of(scales: str, arrays: dict[str, onp.ndarray], family: Family, engine: Engine) -> Chart:
    """The chart with these ``scales`` and `Chart.arrays`."""
    if scales == "diagonal":
        return MeanFieldChart(**arrays)
    return FullRankChart(**arrays) if scales == "full" else NaturalChart(family, engine, arrays)


def natural_slope(
    family: Family, params: Params, eps: Array, gradients: Array, weight: Array
) -> Tree:
    """Of sum(gradients z) + weight H[q] in the step of ``retract``, at no step."""

    def objective(step: Tree) -> Array:
        moved = family.retract(params, step)
        along = np.sum(gradients * family.transform(moved, eps))
        return along + weight * family.entropy(moved)

    slope: Tree = current().value_and_grad(objective)(family.zero_tangent(params))[1]
    return slope


def _tree_like(tree: Tree, flat: onp.ndarray) -> Tree:
    """The entries of ``flat`` in the shapes of ``tree``."""
    leaves, start = [], 0
    for leaf in tree_leaves(tree):
        size = int(onp.size(leaf))
        leaves.append(flat[start : start + size].reshape(onp.shape(leaf)))
        start += size
    return tree_of(leaves, tree)
