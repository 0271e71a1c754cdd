"""Diagnostics of draws on bare arrays: whether chains mixed, and what their draws are worth.

Draws have the axes (chains, draws, ...); a result has the axes that remain. Draws that are none,
or not finite, are refused; of so few that an estimate needs more, it is NaN. The estimators
are ArviZ's (`arviz_stats`), which implements Vehtari, Gelman, Simpson, Carpenter and Bürkner
(2021), "Rank-normalization, folding, and localization: an improved R-hat"; :func:`hdi` is
written here, because variational fits need it too and should not wait for ArviZ to be
imported.
"""

from __future__ import annotations

from typing import Any

import numpy as onp

from vi_lab.arrays import as_real
from vi_lab.checks import check_probability
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError

CHAINS = ("chains", "draws")


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
    energies = _finite(energy, axes=CHAINS, what="energy")
    if energies.shape[1] < 2:
        return onp.full(len(energies), onp.nan)
    return onp.asarray(_array_stats().bfmi(energies, chain_axis=0, draw_axis=1))


def hdi(draws: Array, prob: float = 0.95) -> onp.ndarray:
    """The shortest interval that holds a fraction ``prob`` of ``draws`` (S, ...): (..., 2).

    Raises
    ------
    TypeError, ValueError
        if ``prob`` is not between 0 and 1, or the draws are none or not finite.
    """
    check_probability("prob", prob)
    ordered = onp.sort(_finite(draws, axes=("draws",)), axis=0)
    inside = int(prob * len(ordered))
    widths = ordered[inside:] - ordered[: len(ordered) - inside]
    lower = onp.argmin(widths, axis=0)[None]
    ends = [onp.take_along_axis(ordered, lower + shift, axis=0)[0] for shift in (0, inside)]
    return onp.stack(ends, axis=-1)


def _by_chain(name: str, draws: Array, **options: Any) -> onp.ndarray:
    array = _finite(draws, axes=CHAINS)
    estimate = getattr(_array_stats(), name)
    with onp.errstate(invalid="ignore", divide="ignore"):  # constant draws: R-hat is 0/0, NaN
        return onp.asarray(estimate(array, chain_axis=0, draw_axis=1, **options))


def _finite(draws: Array, axes: tuple[str, ...], what: str = "draws") -> onp.ndarray:
    """``draws`` as finite floats whose first axes are ``axes``; at least one."""
    array = onp.asarray(as_real(f"{what}:", draws), dtype=float)
    if array.ndim < len(axes) or array.size == 0:
        raise ArgumentError(
            f"{what}: must have the axes ({', '.join(axes)}, ...) and at least one value, but "
            f"their shape is {array.shape}"
        )
    bad = int((~onp.isfinite(array)).sum())
    if bad:
        raise ArgumentError(
            f"{what}: {bad} of {array.size} values are infinite or NaN, of which nothing can be "
            "estimated; leave out the quantity that they are of"
        )
    return array


def _array_stats() -> Any:
    from arviz_stats.base.array import array_stats  # imports scipy.stats, which takes a second

    return array_stats
