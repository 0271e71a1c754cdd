r"""Rows in their millions: a subsample, tilted so that its gradient is that of all.

With n of N rows, whose terms count N/n times, and a tilt c about an anchor m,

.. math:: \log\tilde p_n(z) + c^\top (z - m), \qquad
   c = \nabla\log\tilde p(m) - \nabla\log\tilde p_n(m),

has the gradient of all rows at m, and nearly everywhere: what is left is a difference of
curvatures times the width of q, small twice. (It is the surrogate likelihood of Jordan, Lee and
Yang 2019, and for all draws at once what an anchor is to stochastic gradients.) The search climbs
it as it climbs any density. Then a pass over all rows moves the anchor to where that ended, and it
climbs again, until that moves q no more. At the end *all* rows are asked, at a few draws of q,
what a step would still gain. If that is too much, or anchors do not draw near each other, four
times as many rows are taken: a column that is rarely other than zero asks for that.

All N rows are read in order, once an anchor and once for the verdict: memory maps and streams are
read at their best.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as onp

from vi_lab.advi.climb import Climb
from vi_lab.advi.density import Density
from vi_lab.advi.objective import Objective
from vi_lab.advi.verdict import first_order
from vi_lab.engine import Engine
from vi_lab.model import Posterior
from vi_lab.results.checkpoint import Snapshot

FEWEST_ROWS, ROWS_A_DIMENSION = 2_048, 100
MORE = 4  # times as many rows, where others disagree
FEW_DRAWS = 16  # of which the verdict takes the gradients of all rows
CONTRACTION = 0.25  # of the nats by which two anchors differ: what the next may differ by
NEGLIGIBLE = 0.1  # of the tolerance: what a move between two anchors may be worth
MOST_BYTES = 2**28  # of rows at a time


class TiltedDensity(Density):
    """log p~ of some rows, tilted: its gradient at ``anchor`` (D,) is that of all."""

    def __init__(self, model: Posterior, engine: Engine, rows: Mapping[str, onp.ndarray]) -> None:
        super().__init__(model.structure, {**model.shared_data, **rows}, engine, model.dim)
        self.share = len(next(iter(rows.values()))) / model.num_rows
        self.anchor = self.tilt = onp.zeros(model.dim)

    def retilt(self, anchor: onp.ndarray, gradient: onp.ndarray) -> None:
        """Have the ``gradient`` (D,) of all rows at ``anchor``."""
        self.anchor, self.tilt = anchor, onp.zeros(anchor.size)
        self.tilt = gradient - self(anchor[None])[1][0]

    def __call__(self, z: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        values, gradients = super().__call__(z)
        return values + (z - self.anchor) @ self.tilt, gradients + self.tilt


class AllRows(Density):
    """log p~ of all rows, a block at a time."""

    def __init__(self, model: Posterior, engine: Engine) -> None:
        super().__init__(model.structure, {}, engine, model.dim)
        self._model = model

    def __call__(self, z: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        values, gradients = onp.zeros(len(z)), onp.zeros(z.shape)
        for block, share in self._model.blocks():
            self.data, self.share = block, share
            part = super().__call__(z)
            values, gradients = values + share * part[0], gradients + share * part[1]
        return values, gradients


class SomeRows(Objective):
    """The log density of a subsample of rows, with passes over all of them."""

    density: TiltedDensity

    def __init__(self, model: Posterior, engine: Engine, rng: onp.random.Generator) -> None:
        self._model, self._engine = model, engine
        self._batches = model.minibatches(rng)
        self._size = model.minibatch.size if model.minibatch else 1
        self._num = max(FEWEST_ROWS, ROWS_A_DIMENSION * model.dim)
        self._passes, self._settled, self._moved = 0, False, onp.inf
        self.lack = onp.inf  # until all rows are asked
        self._gradient = onp.zeros(model.dim)
        self._take()

    def prepare(self, best: Climb) -> None:
        self.lack = onp.inf

    def again(self, best: Climb, tolerance: float) -> bool:
        if self._settled or self.seen:
            return False
        away = (best.at.loc - self.density.anchor) / best.at.sd
        moved, before = 0.5 * float(away @ away), self._moved
        if self._passes:
            self._settled, self._moved = moved < NEGLIGIBLE * tolerance, moved
        if self._settled:
            return False
        self._pass_over_all(best.at.loc)
        # Where anchors do not draw near, the rows are too few to know the curvature.
        return moved < CONTRACTION * before or self.more()

    def fresh(self, num: int) -> int:
        return num if self.seen else FEW_DRAWS

    def first_order(self, best: Climb, eps: onp.ndarray) -> tuple[float, float]:
        """On all rows, at a few draws."""
        whole = AllRows(self._model, self._engine)
        gain, error = first_order(best, whole, eps)
        self.density.cost += whole.cost
        self.lack = 0.0 if self.seen else max(gain, 0.0) + error
        return gain, error

    def more(self) -> bool:
        num = min(MORE * self._num, self._model.num_rows)
        if self.seen or num * self._bytes > MOST_BYTES:
            return False
        self._num, self._moved = num, onp.inf
        anchor, cost = self.density.anchor, self.density.cost
        self._take()
        self.density.cost = cost
        if self._passes:
            self.density.retilt(anchor, self._gradient)
        self._settled = False
        return True

    def snapshot(self) -> Snapshot:
        density = self.density
        return {
            "rows": self._state,
            "num": self._num,
            "passes": self._passes,
            "settled": self._settled,
            "moved": self._moved,
            "gradient": self._gradient,
            "anchor": density.anchor,
            "tilt": density.tilt,
            "next": self._batches.state(),
        }

    def restore(self, saved: Snapshot) -> None:
        self._num, self._passes = int(saved["num"]), int(saved["passes"])
        self._settled, self._gradient = bool(saved["settled"]), saved["gradient"]
        self._moved = float(saved["moved"])
        self._batches.restore({name: int(value) for name, value in saved["rows"].items()})
        self._take()
        self._batches.restore({name: int(value) for name, value in saved["next"].items()})
        self.density.anchor, self.density.tilt = saved["anchor"], saved["tilt"]

    @property
    def seen(self) -> bool:
        return self._num == self._model.num_rows

    @property
    def _bytes(self) -> int:
        """Of one row."""
        return max(1, self._batches.bytes_per_step // self._size)

    def _take(self) -> None:
        """A new subsample."""
        self._state = self._batches.state()
        self.density = TiltedDensity(self._model, self._engine, self._next_rows())

    def _next_rows(self) -> dict[str, onp.ndarray]:
        """``num`` rows that come next in a random order, or as many whole batches; or all."""
        if self.seen:
            rows = self._model.data.keys() - self._model.shared_data.keys()
            return {name: self._model.data[name] for name in rows}
        batches = self._batches.take(-(-self._num // self._size))
        return {name: rows.reshape(-1, *rows.shape[2:]) for name, rows in batches.items()}

    def _pass_over_all(self, z: onp.ndarray) -> None:
        """Take the gradient of all rows at ``z`` (D,), and tilt the subsample to it."""
        whole = AllRows(self._model, self._engine)
        (self._gradient,) = whole(z[None])[1]
        self._passes += 1
        self.density.cost += whole.cost
        self.density.retilt(z, self._gradient)


def needs_rows(model: Posterior) -> bool:
    """Whether a subsample is worth it: all rows are more than a few of them."""
    return model.num_rows > 2 * max(FEWEST_ROWS, ROWS_A_DIMENSION * model.dim)
