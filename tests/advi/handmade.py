"""Log densities whose gradients are written down: for tests of the search without an engine."""

from collections.abc import Callable

import numpy as onp
import scipy.optimize

from vi_lab.advi.density import Density
from vi_lab.families.base import entropy_of

Function = Callable[[onp.ndarray], tuple[onp.ndarray, onp.ndarray]]


class Handmade(Density):
    """``function``, of z (S, D), is log p~ (S,) and its gradients (S, D)."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.share, self.cost = 1.0, 0.0

    def __call__(self, z: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        self.cost += len(z) * self.share
        with onp.errstate(all="ignore"):
            return self.function(z)


def gaussian(precision: onp.ndarray, mean: onp.ndarray) -> Function:
    """log N(mean, precision^-1), but for its constant."""

    def function(z: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        gradients = -(z - mean) @ precision
        return 0.5 * ((z - mean) * gradients).sum(axis=1), gradients

    return function


def skewed(z: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
    """sum(z - e^z): a logarithm of Gamma(1) in each coordinate, of which the best q is known."""
    return (z - onp.exp(z)).sum(axis=1), 1.0 - onp.exp(z)


def gaussian_elbo(precision, mean, loc, covariance) -> float:
    """Of N(loc, covariance) on `gaussian`."""
    away = loc - mean
    expected = -0.5 * (onp.trace(precision @ covariance) + away @ precision @ away)
    return float(expected + entropy_of(0.5 * onp.linalg.slogdet(covariance)[1], len(loc)))


def skewed_elbo(loc, covariance) -> float:
    """Of N(loc, covariance) on `skewed`: E[z - e^z] = m - e^(m + v/2)."""
    expected = (loc - onp.exp(loc + 0.5 * onp.diag(covariance))).sum()
    return float(expected + entropy_of(0.5 * onp.linalg.slogdet(covariance)[1], len(loc)))


def covariance(chart) -> onp.ndarray:
    """Of a mean-field or full-rank chart, (D, D)."""
    if chart.scales == "diagonal":
        return onp.diag(chart.sd**2)
    return chart.scale @ chart.scale.T


def divergence(new, old) -> float:
    """KL(new || old) of two charts, in closed form."""
    inverse = onp.linalg.inv(covariance(old))
    ratio = inverse @ covariance(new)
    away = new.loc - old.loc
    log_det = onp.linalg.slogdet(ratio)[1]
    return 0.5 * float(onp.trace(ratio) + away @ inverse @ away - len(away) - log_det)


NODES, WEIGHTS = onp.polynomial.hermite_e.hermegauss(80)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def heavy(z):
    """A product of Student's t with 5 degrees of freedom."""
    return -3.0 * onp.log1p(z**2 / 5.0).sum(axis=1), -6.0 * z / (5.0 + z**2)


def heavy_elbo(loc, covariance):
    """Of a mean-field q, by quadrature."""
    sd = onp.diag(covariance) ** 0.5
    z = loc[:, None] + sd[:, None] * NODES
    expected = -3.0 * (onp.log1p(z**2 / 5.0) @ WEIGHTS).sum()
    return expected + onp.log(sd).sum() + 0.5 * len(loc) * (1.0 + onp.log(2.0 * onp.pi))


BEST_HEAVY = scipy.optimize.minimize_scalar(
    lambda sd: -heavy_elbo(onp.zeros(1), onp.array([[sd**2]])), bounds=(0.5, 2.0), method="bounded"
).x
