r"""Hamiltonian dynamics: the energy of a draw with a momentum, and the leapfrog.

A draw z in R^D gets a momentum p ~ N(0, M). Their joint density is exp(-H), with

.. math:: H(z, p) = -\log \tilde p(z) + \tfrac12 p^\top M^{-1} p,

potential plus kinetic energy. Hamilton's equations, dz/dt = M^-1 p and
dp/dt = grad log p~(z), keep H and volume, and run backwards if p changes sign. The
leapfrog integrator replaces them by steps of size eps, shears that keep volume and
reversibility exactly and H to order eps^2.

M is diagonal here and is given by its inverse, which should be near the posterior
variances of z.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import vi_lab.numpy as np
from vi_lab.engine import Array


class Point(NamedTuple):
    """z (D,) with what the leapfrog needs to know of it, so that nothing is computed twice."""

    z: Array
    log_density: Array
    gradient: Array


@dataclass(frozen=True)
class Hamiltonian:
    """A log density with a metric.

    ``log_density_and_gradient`` maps z (D,) to (log p~(z), its gradient (D,));
    ``inverse_mass_matrix`` is the diagonal of M^-1, of shape (D,).
    """

    log_density_and_gradient: Callable[[Array], tuple[Array, Array]]
    inverse_mass_matrix: Array

    def point(self, z: Array) -> Point:
        """``z`` with its log density and gradient."""
        return Point(z, *self.log_density_and_gradient(z))

    def momentum(self, normal: Array) -> Array:
        """p ~ N(0, M) from standard normal numbers (D,)."""
        return normal / np.sqrt(self.inverse_mass_matrix)

    def velocity(self, momentum: Array) -> Array:
        """dz/dt = M^-1 p."""
        return self.inverse_mass_matrix * momentum

    def energy(self, point: Point, momentum: Array) -> Array:
        """H(z, p), in nats."""
        return 0.5 * np.sum(momentum * self.velocity(momentum)) - point.log_density

    def leapfrog(self, point: Point, momentum: Array, step_size: Array) -> tuple[Point, Array]:
        """One step of size eps: half a kick, a drift, half a kick; one new gradient.

        A negative ``step_size`` runs time backwards. Hoffman and Gelman (2014),
        function Leapfrog of Algorithm 1.
        """
        half = 0.5 * step_size
        momentum = momentum + half * point.gradient
        point = self.point(point.z + step_size * self.velocity(momentum))
        return point, momentum + half * point.gradient
