"""One row of the table of distributions, and two SciPy twins that SciPy lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as onp

from vi_lab.transforms.supports import Real

INF = onp.inf


@dataclass(frozen=True, eq=False)  # hashable by identity: results are remembered
class Case:
    """A distribution, its SciPy twin, and where to compare the two.

    ``inside`` are values inside the support, ``edge`` values on its boundary or outside.
    The parameters in ``fixed`` are neither differentiated nor made into a batch, those in
    ``unbatched`` not made into a batch.
    """

    name: str
    make: Callable[..., Any]
    parameters: Mapping[str, Any]
    reference: Callable[..., Any]
    inside: Any
    edge: Any
    fixed: tuple[str, ...] = ()
    unbatched: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.name

    @property
    def discrete(self) -> bool:
        return hasattr(self.reference(**self.parameters), "pmf")

    @property
    def event_ndim(self) -> int:
        return onp.ndim(self.inside) - 1

    @property
    def free(self) -> dict[str, Any]:
        """The parameters to be differentiated."""
        return {k: v for k, v in self.parameters.items() if k not in self.fixed}

    @property
    def scalable(self) -> tuple[str, ...]:
        """The parameters that may be scaled, and so made into a batch."""
        return tuple(k for k in self.parameters if k not in self.fixed + self.unbatched)

    def build(self, factor: Any = 1.0) -> Any:
        """Our distribution, its scalable parameters times ``factor``: one, or one a row."""
        return self.make(**self.scaled(factor))

    def rebuild(self, free: Mapping[str, Any]) -> Any:
        """Our distribution with other (traced) values of its free parameters."""
        return self.make(**{**self.parameters, **free})

    def scaled(self, factor: Any) -> dict[str, Any]:
        rows = onp.ndim(factor)  # of a batch, in front of each parameter's own axes
        return {
            name: (onp.multiply.outer(factor, value) if rows else factor * value)
            if name in self.scalable
            else value
            for name, value in self.parameters.items()
        }

    @property
    def outside(self) -> Any:
        """The points of ``edge`` outside the support, where log_prob looks out for them."""
        support = self.build().support
        if isinstance(support, Real):  # defined everywhere: nothing is looked at
            return self.edge[:0]
        return self.edge[~support.contains(self.edge)]

    def log_prob(self, x: Any, factor: float = 1.0) -> Any:
        """SciPy's answer."""
        twin = self.reference(**self.scaled(factor))
        return (twin.logpmf if self.discrete else twin.logpdf)(x)


@dataclass(frozen=True)
class Conditional:
    """A SciPy distribution given that it lies between two bounds: tails as they come."""

    parent: Any
    lower: float
    upper: float

    @property
    def _mass(self) -> float:
        d = self.parent
        if d.cdf(self.lower) > 0.5:
            return d.sf(self.lower) - d.sf(self.upper)
        return d.cdf(self.upper) - d.cdf(self.lower)

    def logpdf(self, x: Any) -> Any:
        inside = (x >= self.lower) & (x <= self.upper)
        return onp.where(inside, self.parent.logpdf(x) - onp.log(self._mass), -INF)

    def cdf(self, x: Any) -> Any:
        d, x = self.parent, onp.clip(x, self.lower, self.upper)
        if d.cdf(self.lower) > 0.5:
            return (d.sf(self.lower) - d.sf(x)) / self._mass
        return (d.cdf(x) - d.cdf(self.lower)) / self._mass


@dataclass(frozen=True)
class RowWise:
    """A SciPy distribution that refuses batches: asked row by row."""

    twin: Any

    def logpdf(self, x: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        return onp.array([self.twin.logpdf(row) for row in rows]).reshape(x.shape[:-1])
