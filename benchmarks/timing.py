"""Timing two contestants fairly: interleaved runs, medians, ratios of neighbours.

A shared machine drifts: other work comes and goes, the processor warms up. So the
contestants take turns, A B, B A, A B, ..., and a ratio is that of two measurements of
one round, which saw nearly the same machine. The median round is reported, with the
least and the greatest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Measure = Callable[[], float]
"""Takes one measurement and returns it, in the unit of its row."""


@dataclass(frozen=True)
class Spread:
    """The least, the median and the greatest of some measurements."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(min(values), median(values), max(values))


@dataclass(frozen=True)
class Target:
    """A bound on a row's median: at least (or at most) ``bound``."""

    bound: float
    at_most: bool = False

    def is_met_by(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'<=' if self.at_most else '>='} {self.bound:,g}"


def interleave(
    contestants: Mapping[str, Measure],
    runs: int,
    report: Callable[[str, float], None] = lambda name, value: None,
) -> dict[str, list[float]]:
    """``runs`` measurements of each contestant, in rounds that alternate in direction.

    ``report`` is called after each measurement. Contestants must be warm: nothing is
    thrown away.

    Raises
    ------
    ValueError
        if ``runs`` is not positive.
    """
    if runs < 1:
        raise ValueError(f"runs: must be at least 1, not {runs}")
    values: dict[str, list[float]] = {name: [] for name in contestants}
    order = list(contestants)
    for _ in range(runs):
        for name in order:
            values[name].append(contestants[name]())
            report(name, values[name][-1])
        order.reverse()
    return values


def round_ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Ours over theirs, round by round."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]
