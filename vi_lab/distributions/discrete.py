r"""Distributions of counts and categories; ``log_prob`` is the log probability.

A probability p may be given as ``probs`` or as its logit, ``logits``. From a logit l
both logarithms are exact at any size,

.. math:: \log p = \log \sigma(l), \qquad \log (1-p) = \log \sigma(-l), \qquad
          \sigma(l) = 1 / (1 + e^{-l}),

while :math:`\log(1 - p)` from a p that was rounded to 1 is minus infinity: prefer
``logits`` in a regression.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.arrays import is_constant
from vi_lab.distributions.base import (
    COUNT,
    FINITE,
    NON_NEGATIVE,
    PROBABILITY,
    Distribution,
    Rule,
    check,
    check_one_of,
)
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.transforms.supports import Boolean, IntegerInterval, NonNegativeInteger, Support

PROBS_OR_LOGITS: Mapping[str, Rule] = {"probs": PROBABILITY, "logits": FINITE}


@dataclass(frozen=True, eq=False)
class Bernoulli(Distribution):
    """1 with probability ``probs``, else 0; give ``probs`` or ``logits``.

    Raises
    ------
    TypeError, ValueError
        unless exactly one is given, or if a constant one is no probability (logit).
    """

    probs: Array = None
    logits: Array = None

    def __post_init__(self) -> None:
        check_one_of(self, PROBS_OR_LOGITS)

    @property
    def support(self) -> Support:
        return Boolean()

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return onp.shape(self.probs if self.logits is None else self.logits)

    def log_prob_in_support(self, x: Array) -> Array:
        if self.logits is None:
            return sp.xlogy(x, self.probs) + sp.xlog1py(1.0 - x, -self.probs)
        # The sign that x gives the logit is no operation on the tape when x is data.
        return sp.log_expit((2.0 * x - 1.0) * self.logits)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.binomial(1, _probability(self), size)


@dataclass(frozen=True, eq=False)
class Binomial(Distribution):
    r"""Successes among ``total_count`` trials; give ``probs`` or ``logits`` of one success.

    .. math:: \log p(k) = \log \tbinom{n}{k} + k \log p + (n-k) \log(1-p)

    Raises
    ------
    TypeError, ValueError
        unless exactly one of ``probs`` and ``logits`` is given, or if a constant
        argument is no count, probability or logit.
    """

    total_count: Array
    probs: Array = None
    logits: Array = None

    def __post_init__(self) -> None:
        check(self, "total_count", COUNT)
        check_one_of(self, PROBS_OR_LOGITS)

    @property
    def support(self) -> Support:
        return IntegerInterval(0, self.total_count)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        name = "probs" if self.logits is None else "logits"
        shapes = {n: onp.shape(getattr(self, n)) for n in ("total_count", name)}
        return self._broadcast(shapes)

    def log_prob_in_support(self, x: Array) -> Array:
        rest = self.total_count - x
        log_ways = sp.gammaln(self.total_count + 1.0) - (
            sp.gammaln(x + 1.0) + sp.gammaln(rest + 1.0)
        )
        if self.logits is None:
            return log_ways + sp.xlogy(x, self.probs) + sp.xlog1py(rest, -self.probs)
        return log_ways + x * sp.log_expit(self.logits) + rest * sp.log_expit(-self.logits)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        n = onp.asarray(self.total_count).astype(int)
        return rng.binomial(n, _probability(self), size)


@dataclass(frozen=True, eq=False)
class Poisson(Distribution):
    r"""The Poisson distribution, :math:`\log p(k) = k \log r - r - \log k!`, r = ``rate``.

    Raises
    ------
    TypeError, ValueError
        if a constant ``rate`` is negative or not finite; 0 is allowed (no exposure).
    """

    rate: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"rate": NON_NEGATIVE}

    @property
    def support(self) -> Support:
        return NonNegativeInteger()

    def log_prob_in_support(self, x: Array) -> Array:
        return sp.xlogy(x, self.rate) - self.rate - sp.gammaln(x + 1.0)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        return rng.poisson(self.rate, size)


@dataclass(frozen=True, eq=False)
class Categorical(Distribution):
    """One of the categories 0, ..., K - 1; give ``probs`` or ``logits``, (..., K).

    ``logits`` are log probabilities up to a constant.

    Raises
    ------
    TypeError, ValueError
        unless exactly one is given with an axis of categories, or if constant
        ``probs`` are no probabilities or do not sum to 1 (within 1e-8).
    """

    probs: Array = None
    logits: Array = None
    _weights: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        name = check_one_of(self, PROBS_OR_LOGITS)
        weights = getattr(self, name)
        object.__setattr__(self, "_weights", weights)
        if onp.ndim(weights) == 0:
            raise ArgumentError(f"{name}: Categorical needs an axis of categories; give (..., K)")
        if name == "probs" and is_constant(weights):
            total = weights.sum(axis=-1)
            if not onp.all(onp.abs(total - 1.0) <= 1e-8):
                raise ArgumentError(
                    f"probs: Categorical's probs must sum to 1 along the last axis, not to "
                    f"{total}; divide them by probs.sum(axis=-1, keepdims=True)"
                )

    @property
    def support(self) -> Support:
        return IntegerInterval(0, onp.shape(self._weights)[-1] - 1)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        return onp.shape(self._weights)[:-1]

    def log_prob_in_support(self, x: Array) -> Array:
        categories = onp.arange(onp.shape(self._weights)[-1])
        chosen = np.expand_dims(x, -1) == categories  # (..., K)
        # Choose first, then take the log: a category of probability 0 that was not
        # observed must leave the gradient alone.
        weight = np.sum(np.where(chosen, self._weights, 0.0), axis=-1)
        if self.logits is None:
            return sp.xlogy(1.0, weight)  # log, silent at 0
        return weight - sp.logsumexp(self.logits, axis=-1)

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        probs = self.probs
        if probs is None:
            probs = onp.exp(self.logits - sp.logsumexp(self.logits, axis=-1, keepdims=True))
        uniform = rng.random(size)
        return onp.sum(uniform[..., None] >= onp.cumsum(probs, axis=-1)[..., :-1], axis=-1)


def _probability(distribution: Bernoulli | Binomial) -> Any:
    if distribution.logits is None:
        return distribution.probs
    return sp.expit(distribution.logits)
