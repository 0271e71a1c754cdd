"""The log density at many draws at once: values, gradients, and how many were taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as onp

from vi_lab import trust
from vi_lab.advi.local import Local, by_replicate, look
from vi_lab.families import Chart


class Density(trust.Density):
    """log p~ with its gradient, and what draws of a q say of the ELBO about it."""

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
