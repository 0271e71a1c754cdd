r"""What importance weights say of q: log w = log p~(z) - log q(z), for draws z of q.

If q is the posterior they are constant. Three numbers say how far from it they are:

* k-hat, the shape of the generalised Pareto distribution that fits the largest of S weights. Means
  under them can be relied upon while it is below :math:`\min(1 - 1 / \log_{10} S, 0.7)` (Vehtari,
  Simpson, Gelman, Yao and Gabry 2024, "Pareto smoothed importance sampling", section 3.2.4; as a
  diagnostic of variational fits, Yao, Vehtari, Simpson and Gelman 2018, "Yes, but did it work?",
  section 3). It says nothing where weights hardly vary;
* the standard deviation of log w: for a q nearly right its square is twice KL(q || p);
* the effective sample size :math:`(\sum w)^2 / \sum w^2` of the S draws.

None of them sees what no draw has met: another mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as onp


@dataclass(frozen=True)
class Weights:
    """What the weights of draws of q say.

    Attributes
    ----------
    khat : the Pareto shape of the largest weights
    threshold : below which it is to be, for so many draws
    sd : of log w, in nats
    ess : effective sample size
    draws : S
    """

    khat: float
    threshold: float
    sd: float
    ess: float
    draws: int

    def __str__(self) -> str:
        side = "below" if self.khat < self.threshold else "NOT below"
        return (
            f"Weights: k-hat {self.khat:.2f}, {side} {self.threshold:.2f}; sd of log w "
            f"{self.sd:.2g}; {self.draws:,} draws are worth {self.ess:,.0f}."
        )


def weigh(log_weights: onp.ndarray) -> Weights:
    """What ``log_weights`` (S,) say; infinitely bad where they are not finite."""
    num = len(log_weights)
    threshold = min(1.0 - 1.0 / float(onp.log10(num)), 0.7)
    if not onp.isfinite(log_weights).all():
        return Weights(onp.inf, threshold, onp.inf, 0.0, num)
    sd = float(log_weights.std(ddof=1))
    w = onp.exp(log_weights - log_weights.max())
    ess = float(w.sum() ** 2 / (w**2).sum())
    return Weights(_khat(log_weights), threshold, sd, ess, num)


def _khat(log_weights: onp.ndarray) -> float:
    """By ArviZ, whose function takes the logarithms of what is to be inverted: -log w.

    Minus infinity, the lightest of tails, where it finds none: all large weights are the same.
    """
    from arviz_stats.base.array import array_stats  # imports scipy.stats, which takes a second

    smoothed: Any = array_stats
    with onp.errstate(all="ignore"):
        try:
            return float(smoothed.psislw(-log_weights)[1])
        except ValueError:
            return -onp.inf
