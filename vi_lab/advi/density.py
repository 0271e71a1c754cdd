"""The log density at many draws at once: values, gradients, and how many were taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as onp

from vi_lab.advi.local import Local, by_replicate, look
from vi_lab.engine import Engine
from vi_lab.families import Chart
from vi_lab.model import LogDensity
from vi_lab.trust.density import values_and_gradients

NUMBERS_AT_ONCE = 2**20  # of the draws in one call: 8 MB
DRAWS_AT_ONCE = 1024


class Density:
    """log p~ with its gradient, in calls of one shape so that it compiles once."""

    def __init__(
        self, structure: LogDensity, data: Mapping[str, onp.ndarray], engine: Engine, dim: int
    ) -> None:
        self._structure, self._data, self._engine = structure, data, engine
        self._run = engine.compile(values_and_gradients, static=(0,))
        self._share = 1.0  # of the rows
        self._size = max(1, min(DRAWS_AT_ONCE, NUMBERS_AT_ONCE // dim))
        self._cost = 0.0

    @property
    def gradients(self) -> int:
        """How many were taken, of all rows."""
        return round(self._cost)

    @gradients.setter
    def gradients(self, count: int) -> None:
        self._cost = float(count)

    def __call__(self, z: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray]:
        """log p~ (S,) and its gradients (S, D) at ``z`` (S, D); what is not finite stays so."""
        num, dim = z.shape
        self._cost += num * self._share
        values, gradients = onp.empty(num), onp.empty((num, dim))
        buffer = onp.zeros((self._size, dim))
        with onp.errstate(all="ignore"):
            for start in range(0, num, self._size):
                here = slice(start, min(start + self._size, num))
                n = here.stop - start
                buffer[:n] = z[here]
                found = self._run(self._structure, buffer, n, self._data)
                values[here], gradients[here] = found[0][:n], found[1][:n]
        return values, gradients

    def looks(self, charts: Sequence[Chart], eps: onp.ndarray) -> list[Local | None]:
        """The ELBO about each of ``charts`` on the draws ``eps``; None where it is not finite."""
        values, gradients = self(onp.concatenate([chart.draw(eps) for chart in charts]))
        found: list[Local | None] = []
        for k, chart in enumerate(charts):
            here = slice(k * len(eps), (k + 1) * len(eps))
            finite = onp.isfinite(values[here]).all() and onp.isfinite(gradients[here]).all()
            with onp.errstate(all="ignore"):
                found.append(look(chart, eps, values[here], gradients[here]) if finite else None)
        return found

    def fresh_slopes(self, chart: Chart, known: Local, eps: onp.ndarray) -> onp.ndarray:
        """The ELBO's slope (R, P) from each replicate of draws that nobody has seen.

        What is ``known`` of the gradients, their line, is a control variate where the slope of that
        line is the known slope.
        """
        gradients = self(chart.draw(eps))[1]
        by_coordinate = chart.scales == "diagonal" and known.line.slope is not None
        if not (known.line.full or by_coordinate):
            return chart.slopes(by_replicate(eps), by_replicate(gradients)) + chart.entropy_slope
        rest = gradients - known.line.at(eps)
        return known.slope + chart.slopes(by_replicate(eps), by_replicate(rest))
