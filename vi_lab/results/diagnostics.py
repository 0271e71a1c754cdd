"""Diagnostics of draws on bare arrays: whether chains mixed, and what their draws are worth.

Draws have the axes (chains, draws, ...); a result has the axes that remain. The
estimators are ArviZ's (`arviz_stats`), which implements Vehtari, Gelman, Simpson,
Carpenter and Bürkner (2021), "Rank-normalization, folding, and localization: an
improved R-hat"; :func:`hdi` is written here, because variational fits need it too and
should not wait for ArviZ to be imported.
"""

from __future__ import annotations

from typing import Any

import numpy as onp

from vi_lab.engine import Array
from vi_lab.errors import ArgumentError


def rhat(draws: Array) -> onp.ndarray:
    """Rank-normalised split R-hat: near 1 if the chains agree; NaN for a single chain.

    Vehtari et al. (2021), section 4: the larger of the bulk's and the folded (scale)
    version. Ask for less than 1.01.
    """
    return _by_chain("rhat", draws)


def ess_bulk(draws: Array) -> onp.ndarray:
    """Effective sample size for the location: how many independent draws are worth as much."""
    return _by_chain("ess", draws, method="bulk")


def ess_tail(draws: Array) -> onp.ndarray:
    """Effective sample size for the 5% and 95% quantiles, the smaller of the two."""
    return _by_chain("ess", draws, method="tail", prob=(0.05, 0.95))


def mcse(draws: Array) -> onp.ndarray:
    """Monte Carlo standard error of the mean, from the effective sample size."""
    return _by_chain("mcse", draws, method="mean")


def bfmi(energy: Array) -> onp.ndarray:
    """E-BFMI of each chain, from energies of shape (chains, draws): ask for more than 0.3.

    The variance of energy steps over the variance of energies: small if fresh momenta
    change the energy too little to explore its tails. Betancourt (2016), "Diagnosing
    suboptimal cotangent disintegrations in Hamiltonian Monte Carlo".
    """
    energy = onp.asarray(energy, dtype=float)
    return onp.asarray(_array_stats().bfmi(energy, chain_axis=0, draw_axis=1))


def hdi(draws: Array, prob: float = 0.95) -> onp.ndarray:
    """The shortest interval that holds a fraction ``prob`` of ``draws`` (S, ...): (..., 2).

    Raises
    ------
    ValueError
        if ``prob`` is not between 0 and 1.
    """
    if not 0.0 < prob < 1.0:
        raise ArgumentError(f"prob: must be between 0 and 1, not {prob!r}")
    ordered = onp.sort(onp.asarray(draws, dtype=float), axis=0)
    inside = int(prob * len(ordered))
    widths = ordered[inside:] - ordered[: len(ordered) - inside]
    lower = onp.argmin(widths, axis=0)[None]
    ends = [onp.take_along_axis(ordered, lower + shift, axis=0)[0] for shift in (0, inside)]
    return onp.stack(ends, axis=-1)


def _by_chain(name: str, draws: Array, **options: Any) -> onp.ndarray:
    draws = onp.asarray(draws, dtype=float)
    estimate = getattr(_array_stats(), name)
    with onp.errstate(invalid="ignore", divide="ignore"):  # constant draws: R-hat is 0/0, NaN
        return onp.asarray(estimate(draws, chain_axis=0, draw_axis=1, **options))


def _array_stats() -> Any:
    from arviz_stats.base.array import array_stats  # imports scipy.stats, which takes a second

    return array_stats
