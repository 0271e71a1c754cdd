r"""When to stop: what a window of iterates says about its own mean, in nats.

At a constant step size the iterates of a stochastic descent settle into a noise about
the optimum, and their mean :math:`\bar\lambda` is a better answer than any of them. How good?
Cut the window into two, four and eight batches. Where the ELBO F is concave, the mean
of the batch means :math:`\lambda_1, \dots, \lambda_m` beats them, and by how much is known:

.. math:: \frac{1}{m-1}\Bigl[F(\bar\lambda) - \frac1m \sum_{j=1}^m F(\lambda_j)\Bigr]
   \approx \tfrac12 \operatorname{tr}\bigl(-F''\, \operatorname{Cov}(\bar\lambda)\bigr),

for m independent batches: the right-hand side is the ELBO that the mean itself is
expected to lose to Monte Carlo noise. So the *noise* of a window costs a few evaluations
of the ELBO: no Hessian, no autocorrelation time, and it is in nats, the unit in which
the loss is counted, whatever constant the ELBO contains. All evaluations use the same
draws, whose noise largely cancels.

* **Settled?** The estimates from 2 and from 8 batches agree if the batches are
  independent. Iterates that still travel spread long batches most: then the first is
  the larger, and the second half of the window beats the first.
* **Bias.** At step size gamma the iterates settle a distance of order gamma beside the
  optimum. The *distance* between the means of two windows, the second at half the
  step size, is measured by the same Jensen gap,
  :math:`4 [F(\frac{a+b}2) - \frac12 F(a) - \frac12 F(b)] \approx \frac12 (a-b)^\top(-F'')(a-b)`;
  noise explains a part, the sum of the two windows' noises, and the rest is bias.

The *gap* is noise plus bias, and a fit stops where a settled window's gap is below the
tolerance. Both are sums over all directions in which q can err, so that in many
dimensions luck averages out; in two or three it does not, and an estimate there has an
error of its own size. The more windows are looked at, the sooner one is lucky. But the noise
of a mean halves when its window is doubled: in the gap, noise counts as no less than
half that of a settled window before, so that two have to be lucky. A relative change of a
large constant is never looked at.

The scheme (stages of halved step sizes, means of settled iterates, a stop in units of
distributions) follows Welandawe, Andersen, Vehtari and Huggins, "A framework for
improving the reliability of black-box variational inference" (2024); theirs measures
iterates by R-hat and by their Monte Carlo standard error, parameter by parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as onp

from vi_lab.advi.deterministic import balanced_draws
from vi_lab.engine import Array, Engine, Tree, current
from vi_lab.engine.trees import tree_map
from vi_lab.families import Family, Params
from vi_lab.model import LogDensity, Posterior

BATCHES = 8

# A window travels still if one of these is exceeded:
FAR = 1.0  # nats between its halves: an ELBO that differs so much is not yet a quadratic
UNLIKE = 3.0  # times the estimate from 8 batches by that from 2, of independent batches: 5%
SIGMAS = 3.0  # standard errors: a gain of the second half below them may be luck of the draws
# ... and times its noise, which a half loses twice over, by luck: two halves may differ by less
# than two such losses.
GAIN = 4.0
NEGLIGIBLE = 0.25  # of the tolerance: a smaller gain would not change the answer

HALVED = 0.5  # what is left of the noise when a window is doubled

FEWEST_DRAWS, MOST_DRAWS = 64, 512  # with more than 2 D, quadratic log densities cost no noise


@dataclass(frozen=True)
class Window:
    """What is known about the mean of a window.

    Attributes
    ----------
    mean : the mean of the iterates
    elbo : its ELBO on the fixed draws, in nats: to be compared, not reported
    noise : nats it loses to Monte Carlo noise, estimated from this window alone
    bias : nats that noise does not explain of its distance from the window before;
        infinite for the first window
    gap : how many nats the mean is believed to be from the optimum: noise, or half
        that of the window before if more, plus bias
    settled : False while the iterates still travel
    """

    mean: Params
    elbo: float
    noise: float
    bias: float
    gap: float
    settled: bool


@dataclass(frozen=True)
class Judge:
    """Looks at windows of one fit, always on the same draws.

    Attributes
    ----------
    eps : base draws (M, D)
    rows : for a model with minibatches, a batch of rows for each draw (M, B, ...)
    data : the other data
    """

    structure: LogDensity
    family: Family
    engine: Engine
    eps: onp.ndarray
    rows: dict[str, onp.ndarray]
    data: Mapping[str, onp.ndarray]

    def look(self, batches: list[Params], tolerance: float, before: Window | None) -> Window:
        """The window whose batch means are ``batches``, after the window ``before``."""
        mean = _mean(batches)
        previous = mean if before is None else before.mean
        points = [
            mean,
            *(_mean(batches[i : i + 4]) for i in (0, 4)),
            *(_mean(batches[i : i + 2]) for i in (0, 2, 4, 6)),
            *batches,
            previous,
            _mean([mean, previous]),
        ]
        elbos = self.elbos(points)
        top, first, second, previous_elbo, middle = elbos[:, [0, 1, 2, 15, 16]].mean(axis=0)
        by_two, by_four, by_eight = (
            abs(top - elbos[:, part].mean()) / (m - 1)
            for m, part in ((2, slice(1, 3)), (4, slice(3, 7)), (8, slice(7, 15)))
        )
        noise = float(max(by_two, by_four, by_eight))
        gained = second - first - SIGMAS * _standard_error(elbos[:, 2] - elbos[:, 1])
        travels = (
            by_two > FAR
            or by_two > UNLIKE * by_eight
            or gained > GAIN * by_eight + NEGLIGIBLE * tolerance
        )
        if before is None:
            bias = onp.inf
        else:
            distance = 4.0 * abs(middle - 0.5 * (top + previous_elbo))
            bias = max(0.0, distance - noise - before.noise)
        expected = HALVED * before.noise if before is not None and before.settled else 0.0
        return Window(
            mean=mean,
            elbo=float(top),
            noise=noise,
            bias=float(bias),
            gap=float(max(noise, expected) + bias),
            settled=noise < tolerance or not travels,
        )

    def elbos(self, points: list[Params]) -> onp.ndarray:
        """log p~(z) + H[q] by draw and point, (M, P)."""
        z = onp.stack([self.family.transform(point, self.eps) for point in points], axis=1)
        entropies = onp.array([float(self.family.entropy(point)) for point in points])
        evaluate = self.engine.compile(log_densities, static=(0,))
        values: onp.ndarray = evaluate(self.structure, z, self.rows, self.data)
        return values + entropies


def judge(model: Posterior, family: Family, engine: Engine, seed: int) -> Judge:
    """A judge whose draws, and batches of rows if the model has some, come from ``seed``."""
    rng = onp.random.default_rng(seed)
    source = None if model.minibatch is None else model.minibatches(rng)
    dim = family.base_dim(model.dim)
    eps = balanced_draws(rng, min(max(FEWEST_DRAWS, 2 * (dim + 2)), MOST_DRAWS), dim)
    rows = {} if source is None else source.take(len(eps))
    return Judge(model.structure, family, engine, eps, rows, model.shared_data)


def log_densities(
    structure: LogDensity, z: Array, rows: dict[str, Array], data: dict[str, Array]
) -> Array:
    """log p~(z) of shape (M, P), for ``z`` (M, P, D); each m has its own batch of ``rows``."""

    def at_draw(state: Tree, inputs: Tree) -> tuple[Tree, Array]:
        z, rows = inputs
        return state, current().vmap(lambda z: structure.log_density(z, {**data, **rows}))(z)

    values: Array = current().scan(at_draw, onp.zeros(()), (z, rows))[1]
    return values


def _mean(points: list[Params]) -> Params:
    return tree_map(lambda *values: onp.mean(values, axis=0), *points)


def _standard_error(values: onp.ndarray) -> float:
    """Of the mean of values at draws z and, after all of them, -z (`balanced_draws`)."""
    pairs = values.reshape(2, -1).mean(axis=0)
    return float(pairs.std(ddof=1) / len(pairs) ** 0.5)
