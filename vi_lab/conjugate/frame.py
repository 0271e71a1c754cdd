"""The frame of a regression: the coordinates in which its sums lose no digits.

`vi_lab.conjugate.regression` says why.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as onp

from vi_lab.arrays import as_finite
from vi_lab.checks import shown
from vi_lab.errors import ArgumentError, ArgumentTypeError

FRAME_ROWS = 2**16  # enough to choose a frame by


class Frame(NamedTuple):
    """Coordinates u of the coefficients: w = origin + basis u, (P,) and (P, P)."""

    origin: onp.ndarray
    basis: onp.ndarray


def checked_frame(frame: Any) -> Frame:
    """``frame``, or the pair that is one: finite numbers (P,) and (P, P)."""
    if not isinstance(frame, tuple) or len(frame) != 2:
        raise ArgumentTypeError(
            f"frame: must be a Frame(origin, basis), as in fit.model.frame, not {shown(frame)}"
        )
    origin, basis = as_finite("frame", frame[0]), as_finite("frame", frame[1])
    square = origin.ndim == 1 and basis.shape == 2 * origin.shape
    if not square or onp.linalg.slogdet(basis)[0] == 0.0:
        raise ArgumentError(
            f"frame: must have an origin (P,) and an invertible basis (P, P), but their shapes are "
            f"{origin.shape} and {basis.shape}; leave it out, and one is found"
        )
    return Frame(origin, basis)


def frame_of(rows: onp.ndarray) -> Frame:
    """The frame in which the covariates of ``rows`` are orthonormal, or nearly 0."""
    thinned = rows[:: 1 + len(rows) // FRAME_ROWS]
    covariates, response = thinned[:, :-1], thinned[:, -1]
    length = onp.sqrt((covariates**2).sum(axis=0))
    length[length == 0.0] = 1.0
    left, values, right = onp.linalg.svd(
        covariates / length, full_matrices=len(thinned) < covariates.shape[1]
    )
    rank = int((values > len(thinned) * onp.finfo(float).eps * values[0]).sum())
    basis = right.T / length[:, None]
    basis[:, :rank] /= values[:rank]
    return Frame(origin=basis[:, :rank] @ (left[:, :rank].T @ response), basis=basis)
