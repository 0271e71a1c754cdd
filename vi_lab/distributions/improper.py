"""The flat "distribution": a constant density, which need not integrate to anything."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as onp

from vi_lab.distributions.base import Distribution
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.transforms.supports import Real, Support

REAL_LINE = Real()


@dataclass(frozen=True, eq=False)
class Flat(Distribution):
    """The improper density 1 on ``support``: log density 0 inside, -inf outside.

    On a bounded support it is still not normalised: an `Interval` of length 2 has mass
    2. Its batch shape is that of the support's bounds. A support of vectors or matrices
    does not know their size: give it with ``m.sample(..., shape=)``.

    Raises
    ------
    TypeError
        if ``support`` is no support.

    Examples
    --------
    >>> from vi_lab.distributions import Flat
    >>> from vi_lab.transforms.supports import Positive
    >>> Flat(Positive()).log_prob([2.0, -1.0])
    array([  0., -inf])
    """

    support: Support = REAL_LINE  # a field where others compute it

    def __post_init__(self) -> None:
        support: Any = self.support
        if isinstance(support, type) or not hasattr(support, "contains"):
            raise ArgumentTypeError(
                f"support: Flat needs a support such as vi_lab.transforms.supports.Positive() or "
                f"Interval(0.0, 1.0), not {support!r}"
            )

    @property
    def batch_shape(self) -> tuple[int, ...]:
        names = [bound.name for bound in fields(self.support)]  # type: ignore[arg-type]
        return self._broadcast({name: onp.shape(getattr(self.support, name)) for name in names})

    def log_prob_in_support(self, x: Array) -> Array:
        shape = onp.shape(x)
        values = onp.broadcast_shapes(
            shape[: len(shape) - self.support.event_ndim], self.batch_shape
        )
        return onp.zeros(values) if values else 0.0

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        """Refuse: there is no probability measure to draw from.

        Raises
        ------
        ValueError
            always.
        """
        raise ArgumentError(
            f"distribution: {self!r} is improper and cannot be drawn from; give a proper prior "
            "such as Normal(0, 10) to simulate the model"
        )
