"""What a search climbs: the log density as it is, expanded about an anchor, or of some rows."""

from __future__ import annotations

import numpy as onp

from vi_lab.advi.climb import Climb
from vi_lab.advi.density import Density
from vi_lab.advi.expansion import ExpandedDensity
from vi_lab.advi.verdict import first_order
from vi_lab.engine import Engine
from vi_lab.families import Family, MeanFieldGaussian
from vi_lab.model import Posterior
from vi_lab.results.checkpoint import Snapshot

DENSE_DIM = 512  # mean field beyond it takes no D x D matrices: they cost more than they save
FAR = 0.5  # standard deviations of q from the anchor of an expansion


class Objective:
    """The log density as it is: nothing about it changes during a search.

    Attributes
    ----------
    density : what is climbed now
    lack : nats that q is believed to lack because not all of the density was seen
    """

    lack: float = 0.0

    def __init__(self, model: Posterior, engine: Engine) -> None:
        self.density = Density(model.structure, model.data, engine, model.dim)

    @property
    def seen(self) -> bool:
        """Whether all of it is climbed, and not some rows."""
        return True

    def prepare(self, best: Climb) -> None:
        """Be ready for a stage that begins where ``best`` is."""

    def again(self, best: Climb, tolerance: float) -> bool:
        """Whether ``best``, which has settled, showed the density to be another than it thought.

        Then it is to be climbed again, on the same draws.
        """
        return False

    def fresh(self, num: int) -> int:
        """How many draws the verdict is to be heard on, where ``num`` would be right for most."""
        return num

    def first_order(self, best: Climb, eps: onp.ndarray) -> tuple[float, float]:
        """Nats that a step would gain on what has not been seen, and the standard error."""
        return first_order(best, self.density, eps)

    def more(self) -> bool:
        """Whether there was more of the density to be taken in than draws, and now is."""
        return False

    def snapshot(self) -> Snapshot:
        """What is to be kept of it."""
        return {}

    def restore(self, saved: Snapshot) -> None:
        """Go back to where a snapshot was taken."""


class Expanded(Objective):
    """The log density expanded about where a stage begins (`vi_lab.advi.expansion`)."""

    def __init__(self, model: Posterior, engine: Engine) -> None:
        super().__init__(model, engine)
        self._of = model, engine
        self._anchor: onp.ndarray | None = None

    def prepare(self, best: Climb) -> None:
        anchor, at = self._anchor, best.at
        if anchor is None or onp.abs((at.loc - anchor) / at.sd).max() > FAR:
            self._expand(at.loc)

    def _expand(self, anchor: onp.ndarray) -> None:
        model, engine = self._of
        expanded = ExpandedDensity(model.structure, model.data, engine, model.dim)
        expanded.cost = self.density.cost
        expanded.expand(anchor)
        self.density, self._anchor = expanded, anchor

    def snapshot(self) -> Snapshot:
        return {} if self._anchor is None else {"anchor": self._anchor}

    def restore(self, saved: Snapshot) -> None:
        if "anchor" in saved:
            self._expand(saved["anchor"])


def expands(family: Family, dim: int) -> bool:
    """Whether curvature is to come by products, never as a matrix."""
    return family == MeanFieldGaussian() and dim > DENSE_DIM
