r"""Mean field in many dimensions: curvature by Hessian-vector products, never as a matrix.

Write log p~ as its Taylor quadratic at an anchor m, with gradient g and Hessian H there, plus a
rest. Of the quadratic everything is known without draws, and the diagonal of H takes D products,
once. Only the *rest* is averaged over draws, a few dozen of them: with :math:`\rho = \nabla
\log\tilde p(z) - g - H(z - m)`,

.. math:: a = \sigma \bigl(g + H(\mu - m) + \bar\rho\bigr), \qquad
   A_{dd} = -\sigma_d^2 H_{dd} - \sigma_d\, \overline{\epsilon_d \rho_d} .

For Gaussian posteriors rho = 0, and nothing is left to average. Newton's step for the mean solves
:math:`(-\sigma H \sigma + R)\,\delta = a` by conjugate gradients, where the diagonal matrix R
makes the diagonal that of A; where these meet a direction without curvature they stop with what
they have. Memory and time a step are linear in D.

Quadratic control variates for reparameterisation gradients are those of Miller, Foti, D'Amour and
Adams (2017), there at the mean of q.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as onp

from vi_lab.advi.density import Density
from vi_lab.advi.local import FLAT, Line, Local, Plain, by_replicate
from vi_lab.families import Chart

LEAST_BEND = 0.05  # of a scale's curvature in q's units, where its step is taken
CG_STEPS, CG_PRECISION = 200, 1e-3

Product = Callable[[onp.ndarray], onp.ndarray]


class ExpandedDensity(Density):
    """log p~ as a Taylor quadratic about ``anchor`` (D,), and a rest."""

    def expand(self, anchor: onp.ndarray) -> None:
        """Take ``anchor``, and D products for the diagonal of H there."""
        self.anchor = anchor
        self._gradient = self(anchor[None])[1][0]
        self._product = self.engine.hessian_vector_product(self.structure.log_density)(
            anchor, self.data
        )
        unit = onp.zeros(anchor.size)
        self._diagonal = onp.empty(anchor.size)
        for d in range(anchor.size):
            unit[d] = 1.0
            self._diagonal[d] = self.product(unit)[d]
            unit[d] = 0.0

    def product(self, v: onp.ndarray) -> onp.ndarray:
        """H v (D,), which costs as much as two gradients."""
        self.cost += 2.0
        return onp.asarray(self._product(v))

    def looks(self, charts: Sequence[Chart], eps: onp.ndarray) -> list[Local | None]:
        return [self._look(chart, eps) for chart in charts]

    def fresh_slopes(self, chart: Chart, known: Local, eps: onp.ndarray) -> onp.ndarray:
        gradients = self(chart.draw(eps))[1]
        drift, bends = self._bends(chart, eps)
        rest = gradients - self._gradient - drift - bends
        return self._known_slope(chart, drift) + chart.slopes(by_replicate(eps), by_replicate(rest))

    def _bends(self, chart: Chart, eps: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        """H (mu - m) (D,), and H sigma eps (S, D) for draws of which half are minus the others."""
        half = eps[: len(eps) // 2]
        bends = onp.stack([self.product(chart.sd * e) for e in half])
        return self.product(chart.loc - self.anchor), onp.concatenate([bends, -bends])

    def _known_slope(self, chart: Chart, drift: onp.ndarray) -> onp.ndarray:
        """What the quadratic and the entropy have of the slope."""
        of_loc = chart.sd * (self._gradient + drift)
        return onp.append(of_loc, 1.0 + chart.sd**2 * self._diagonal)

    def _look(self, chart: Chart, eps: onp.ndarray) -> Local | None:
        z = chart.draw(eps)
        values, gradients = self(z)
        if not (onp.isfinite(values).all() and onp.isfinite(gradients).all()):
            return None
        drift, bends = self._bends(chart, eps)
        away, moved = z - self.anchor, chart.loc - self.anchor
        quadratic = away @ self._gradient + 0.5 * (away * (drift + bends)).sum(axis=1)
        expected = (
            self._gradient @ moved + 0.5 * moved @ drift + 0.5 * (chart.sd**2) @ self._diagonal
        )
        rest = gradients - self._gradient - drift - bends
        slope = self._known_slope(chart, drift) + chart.slopes(eps[None], rest[None])[0]
        beyond_line = rest - Line.of(eps, rest, dense=False).at(eps)
        errors = chart.slopes(by_replicate(eps), by_replicate(beyond_line))
        return Local(
            elbo=float((values - quadratic).mean() + expected + chart.entropy),
            slope=slope,
            errors=errors - errors.mean(axis=0),
            curvature=self._curvature(chart, slope),
            line=Line.of(eps, gradients, dense=False),
        )

    def _curvature(self, chart: Chart, slope: onp.ndarray) -> ProductCurvature:
        scales = onp.maximum(1.0 - slope[chart.loc.size :], LEAST_BEND)
        rest = scales + chart.sd**2 * self._diagonal

        def apply(v: onp.ndarray) -> onp.ndarray:
            return -chart.sd * self.product(chart.sd * v) + rest * v

        return ProductCurvature(apply, scales)


@dataclass(frozen=True, eq=False)
class ProductCurvature:
    """As `Curvature`, of a mean-field q: A by its products, and its diagonal ``scales`` (D,)."""

    apply: Product
    scales: onp.ndarray

    @property
    def lowest(self) -> float:
        return float(self.scales.min())

    def floored(self) -> ProductCurvature:
        return self

    def solve(self, slope: onp.ndarray) -> onp.ndarray:
        """Newton's tangent (P,) for ``slope`` (P,)."""
        dim = self.scales.size
        delta = conjugate_gradients(self.apply, slope[:dim], self.scales)
        return onp.append(delta, slope[dim:] / (2.0 * self.scales))

    def trusted(self, slope: onp.ndarray, trust: float) -> Plain:
        """Newton's step, or as much of it as has a divergence of ``trust``."""
        dim = self.scales.size
        log_v = -onp.log(self.scales)
        delta = conjugate_gradients(self.apply, slope[:dim], self.scales)
        divergence = 0.5 * float(delta @ delta + (onp.exp(log_v) - 1.0 - log_v).sum())
        share = min(1.0, (trust / max(divergence, 1e-300)) ** 0.5)
        gain = share * (1.0 - 0.5 * share) * float(slope[:dim] @ delta + 0.5 * slope[dim:] @ log_v)
        return Plain(share * onp.append(delta, 0.5 * log_v), share**2 * divergence, gain)


def conjugate_gradients(apply: Product, b: onp.ndarray, diagonal: onp.ndarray) -> onp.ndarray:
    """apply^-1 b with a diagonal preconditioner, to 0.1%; cut short where there is no curvature."""
    x, r = onp.zeros_like(b), b.copy()
    z = r / diagonal
    p, rz = z.copy(), float(r @ z)
    enough = CG_PRECISION**2 * rz
    for _ in range(CG_STEPS):
        if rz <= enough:
            break
        Ap = apply(p)
        curvature = float(p @ Ap)
        if curvature <= FLAT * float(p @ (diagonal * p)):
            return x if x.any() else p
        x, r = x + (rz / curvature) * p, r - (rz / curvature) * Ap
        z = r / diagonal
        rz, before = float(r @ z), rz
        p = z + (rz / before) * p
    return x
