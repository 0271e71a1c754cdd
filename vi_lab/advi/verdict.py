r"""The verdict, on whether q is what the search believes it to be.

The draws of the search say how far from the best q they have led (`vi_lab.advi.local.Local.gap`).
That is one witness, and it has seen only its own draws. Others are asked before a fit has
"converged":

* *fresh draws* (`first_order`): what a step would still gain. With :math:`s_r` the slope from
  replicate r of draws that the search has not seen, and H the inverse curvature,
  :math:`\frac12 s_r^\top H s_t` for :math:`r \ne t` is free of bias: the noises of two replicates
  have nothing to do with each other. What the search knows of the gradients (their line) is the
  control variate;
* *beyond the draws* (`beyond`): along axes of q, outside the outermost draw, gradients are compared
  with the line. What they would change in the slope, weighed by the normal density there, is a step
  of so many nats: a cliff or a tail that no draw has met;
* *far away*: if a search did not come to rest, whether the ELBO goes on rising a thousand and a
  million times as far (`rises_for_ever`); if it did, whether there is a direction along which it
  does not fall as far away (`level_for_ever`). Then there is no optimum.
"""

from __future__ import annotations

import numpy as onp

from vi_lab.advi.climb import RUNAWAY, Climb, collapsed
from vi_lab.advi.density import Density
from vi_lab.advi.local import FLAT, Curvature, products
from vi_lab.families import Chart
from vi_lab.model import Posterior

MOST_AXES = 16  # that are looked along
REACH = 2.8  # how far beyond the outermost draw, in standard deviations
FEWEST_POINTS, MOST_POINTS = 4, 28  # on the way: more draws can afford more, and miss less
FARTHER = (1e3, 1e6)  # times as far
SHARPER = 3.0  # q is, for its distance, where it is looked for an ELBO that still rises
WIDER = 1.1  # times as wide after more draws: it grows
FAR = 100.0  # in units of z: far from where starts are


def first_order(c: Climb, density: Density, eps: onp.ndarray) -> tuple[float, float]:
    """Nats that a step would gain, on fresh draws: an estimate without bias, and its error."""
    known = c.known
    slopes = density.fresh_slopes(c.at, known, eps)
    K = products(slopes, known.solver(c.memory))
    R = len(K)
    gain = 0.5 * (K.sum() - onp.trace(K)) / (R * (R - 1))
    centred = K - K.mean(axis=0) - K.mean(axis=1)[:, None] + K.mean()
    apart = ((centred**2).sum() - (onp.diag(centred) ** 2).sum()) / (R * (R - 1))
    cross = onp.abs(onp.diag(centred)).mean() * max(float(K.mean()), 0.0)
    return float(gain), float((0.5 * apart / R**2 + cross / R) ** 0.5)


def beyond(c: Climb, density: Density, num: int) -> float:
    """Nats that log p~ farther out than ``num`` draws reach would change, along the worst axis."""
    from scipy.special import ndtri  # slow to import

    known = c.known
    if known.line.slope is None:
        return 0.0
    dim = known.line.slope.shape[0]
    axes = onp.unique(onp.linspace(0, dim - 1, min(dim, MOST_AXES)).astype(int))
    points = min(max(FEWEST_POINTS, num // (2 * len(axes))), MOST_POINTS)
    spacing = REACH / points
    t = -ndtri(1.0 / num) + spacing * (onp.arange(points) + 0.5)
    t = onp.append(t, -t)
    weight = spacing * onp.exp(-0.5 * t**2) / (2.0 * onp.pi) ** 0.5
    eps = onp.zeros((len(axes), len(t), dim))
    eps[onp.arange(len(axes))[:, None], onp.arange(len(t)), axes[:, None]] = t
    values, gradients = density(c.at.draw(eps.reshape(-1, dim)))
    if not (onp.isfinite(values).all() and onp.isfinite(gradients).all()):
        return onp.inf
    rest = gradients.reshape(*eps.shape[:2], -1) - known.line.at(eps)
    changes = len(t) * c.at.slopes(eps, weight[:, None] * rest)
    solve = known.solver(c.memory)
    return float(max(0.5 * change @ solve(change) for change in changes))


def rises_for_ever(density: Density, before: Chart, now: Chart, eps: onp.ndarray) -> bool:
    """Whether the ELBO goes on rising if what grew between two sets of draws goes on growing."""
    grew = _grown(before, now)
    if not grew.any():
        return False
    charts = [
        now.stretched(onp.where(grew, farther, 1.0), onp.where(grew, wider, 1.0))
        for farther, wider in ((1.0, 1.0), *((f, f / SHARPER) for f in FARTHER))
    ]
    eps = eps[:, : now.loc.size]  # the charts are Gaussians with square scales
    values = density(onp.concatenate([chart.draw(eps) for chart in charts]))[0]
    elbos = values.reshape(len(charts), -1).mean(axis=1) + [chart.entropy for chart in charts]
    return bool(elbos[0] < elbos[1] < elbos[2])


def level_for_ever(c: Climb, density: Density, eps: onp.ndarray, tolerance: float) -> onp.ndarray:
    """Coordinates (D,) along which the mean of q may go as far as it likes, for nothing.

    A direction without curvature is followed both ways, a thousand and a million standard
    deviations. If log p~ is the same there, but for the tolerance, no place is the best.
    """
    curvature, at = c.known.curvature, c.at
    if not isinstance(curvature, Curvature) or curvature.vectors is None:
        return onp.zeros(at.loc.size, bool)
    along = curvature.vectors[:, onp.abs(curvature.w) <= FLAT]
    found = onp.zeros(at.loc.size, bool)
    if not along.size:
        return found
    here = density(at.draw(eps))[0].mean()
    for v in along.T[:MOST_AXES]:
        shift = at.draw(v[None])[0] - at.loc
        far = [sign * f for f in FARTHER for sign in (1.0, -1.0)]
        falls = [abs(density(at.draw(eps) + f * shift)[0].mean() - here) for f in far]
        if max(falls) <= tolerance:
            found |= onp.abs(v) > 0.5 * onp.abs(v).max()
    return found


def runaways(model: Posterior, before: Chart, now: Chart, level: onp.ndarray) -> tuple[str, ...]:
    """Names of the latents that run away, the farthest at least, or may as well (``level``)."""
    if level.any():
        return tuple(name for name, part in model.slices.items() if level[part].any())
    far = onp.maximum(onp.abs(now.loc), now.sd)
    if far.max() < RUNAWAY**0.5:
        gone = _grown(before, now)
    else:
        gone = far >= min(RUNAWAY**0.5, far.max())
    gone = gone | collapsed(now)
    return tuple(name for name, part in model.slices.items() if gone[part].any())


def _grown(before: Chart, now: Chart) -> onp.ndarray:
    """Coordinates in which q is far from where starts are, or grows (D,)."""
    far = onp.maximum(now.sd, onp.abs(now.loc)) > FAR
    return onp.asarray((now.sd > WIDER * before.sd) | far)
