r"""Natural coordinates: steps that mean the same for every posterior.

A step of 0.05 in a location is a crawl if the posterior is wide and a leap if it is
narrow. Measured in the standard deviations of q itself it is a statement about
distributions. So a tangent (a gradient, a direction, an increment) is expressed in
coordinates in which the Fisher information of q is the identity, up to a constant
factor for the scale, and a plain step in them is a step along the natural gradient
(Amari 1998):

==================  ========================================  ===========================
coordinates         tangent of the gradient                   the step d leads to
==================  ========================================  ===========================
`Diagonal`          loc: :math:`\sigma \nabla_\mu`,           :math:`\mu + \sigma d_\mu`,
                    log_scale: :math:`\tfrac12\nabla_\omega`  :math:`\omega + d_\omega`
`Triangular`        loc: :math:`L^\top \nabla_\mu`,           :math:`\mu + L d_\mu`,
                    scale: :math:`\Phi(L^\top \nabla_L)`      :math:`L\,\exp_\triangle(d_L)`
`Referred`          loc: :math:`R^\top \nabla_\mu`,           :math:`\mu + R d_\mu`,
                    log_scale: :math:`\tfrac12\nabla_\omega`  :math:`\omega + d_\omega`
==================  ========================================  ===========================

Phi takes the lower triangle and halves its diagonal; :math:`\exp_\triangle` takes a
lower triangle D to itself off the diagonal and to exp(D_ii) on it, so that the
diagonal of L stays positive. `Referred` measures the locations of a mean-field q by
the scale R of a correlated Gaussian near the posterior: where a narrow ridge makes
sigma a poor unit, R is a good one.

With `Triangular` the descent is invariant: if the posterior's coordinates are changed by
:math:`z \to A z + b` with A lower triangular (other units, a regression of each on those
before it), the same draws give the same steps. How narrow its ridges are is no issue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.families import FullRankGaussian, LocationScaleGaussian, Params
from vi_lab.gradients.control_variate import Reference


class Coordinates(Protocol):
    """How tangents of q's parameters are measured."""

    def zero(self, params: Params) -> Tree:
        """The zero tangent at ``params``."""

    def tangent(self, params: Params, gradient: Params, reference: Reference) -> Tree:
        """The gradient with respect to ``params`` in these coordinates."""

    def retract(self, params: Params, step: Tree, reference: Reference) -> Params:
        """The parameters that the tangent ``step`` leads to from ``params``."""


@dataclass(frozen=True)
class Diagonal:
    """Locations in units of sigma; log sigma; whatever else there is, as it is."""

    def zero(self, params: Params) -> Tree:
        return tree_map(lambda x: onp.zeros(onp.shape(x)), params)

    def tangent(self, params: Params, gradient: Params, reference: Reference) -> Tree:
        sigma = np.exp(params["log_scale"])
        return {
            **gradient,
            "loc": sigma * gradient["loc"],
            "log_scale": 0.5 * gradient["log_scale"],
        }

    def retract(self, params: Params, step: Tree, reference: Reference) -> Params:
        moved = {name: value + step[name] for name, value in params.items()}
        moved["loc"] = params["loc"] + np.exp(params["log_scale"]) * step["loc"]
        return moved


@dataclass(frozen=True)
class Referred:
    """Locations in units of a reference Gaussian's scale R; log sigma."""

    def zero(self, params: Params) -> Tree:
        return tree_map(lambda x: onp.zeros(onp.shape(x)), params)

    def tangent(self, params: Params, gradient: Params, reference: Reference) -> Tree:
        return {
            "loc": np.dot(reference["scale"].T, gradient["loc"]),
            "log_scale": 0.5 * gradient["log_scale"],
        }

    def retract(self, params: Params, step: Tree, reference: Reference) -> Params:
        return {
            "loc": params["loc"] + np.dot(reference["scale"], step["loc"]),
            "log_scale": params["log_scale"] + step["log_scale"],
        }


@dataclass(frozen=True)
class Triangular:
    r"""Locations in units of L; L itself by what multiplies it from the right.

    The family's parameters are sigma and T, with L = diag(sigma) T. By the chain rule
    the gradient with respect to L is G with

    .. math:: G_{ij} = \nabla_{T_{ij}} / \sigma_i \; (i > j), \qquad
       G_{ii} = \bigl(\nabla_{\omega_i} - \textstyle\sum_{j<i} L_{ij} G_{ij}\bigr)
       / \sigma_i .
    """

    def zero(self, params: Params) -> Tree:
        dim = onp.shape(params["loc"])[0]
        return {"loc": onp.zeros(dim), "scale": onp.zeros((dim, dim))}

    def tangent(self, params: Params, gradient: Params, reference: Reference) -> Tree:
        sigma, scale = _sigma_and_scale(params)
        below = np.tril(gradient["lower"], -1) / sigma[:, None]
        on = (gradient["log_scale"] - np.sum(np.tril(scale, -1) * below, axis=1)) / sigma
        triangle = np.tril(np.dot(scale.T, below + np.diag(on)))
        return {
            "loc": np.dot(scale.T, gradient["loc"]),
            "scale": triangle - 0.5 * np.diag(np.diag(triangle)),
        }

    def retract(self, params: Params, step: Tree, reference: Reference) -> Params:
        sigma, scale = _sigma_and_scale(params)
        on = np.diag(step["scale"])
        moved = np.dot(scale, np.tril(step["scale"], -1) + np.diag(np.exp(on)))
        return {
            "loc": params["loc"] + np.dot(scale, step["loc"]),
            "log_scale": params["log_scale"] + on,
            "lower": np.tril(moved, -1) / (sigma * np.exp(on))[:, None],
        }


def coordinates_of(family: LocationScaleGaussian) -> Coordinates:
    """The coordinates in which ``family`` is best measured by itself."""
    return Triangular() if isinstance(family, FullRankGaussian) else Diagonal()


def _sigma_and_scale(params: Params) -> tuple[Array, Array]:
    """sigma (D,) and L = diag(sigma) T (D, D)."""
    sigma = np.exp(params["log_scale"])
    unit = np.tril(params["lower"], -1) + np.diag(np.ones(np.shape(sigma)))
    return sigma, sigma[:, None] * unit
