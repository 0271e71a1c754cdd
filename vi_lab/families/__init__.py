r"""Variational families: Gaussians on R^D, as location and scale.

.. math:: z = \mu + L \epsilon, \qquad \epsilon \sim \mathcal N(0, I),
   \qquad q(z) = \mathcal N(z \mid \mu, L L^\top).

The families differ in the scale L alone:

* mean field: :math:`L = \mathrm{diag}(\sigma)`, D scales;
* full rank: :math:`L = \mathrm{diag}(\sigma)\, T` with T lower triangular and ones
  on its diagonal. The diagonal of L is positive, and the entries of T are free of
  units: a step of a given size means the same for a latent in grams or tonnes;
* low rank: :math:`L = \mathrm{diag}(\sigma)\, [I, W]` with W (D, r), for D in the
  thousands (`vi_lab.families.low_rank`).

Parameters are a dictionary: ``loc`` (D,), ``log_scale`` (D,) = log sigma and, for
full rank, ``lower`` (D, D), of which only the part below the diagonal counts; for low
rank, ``factors`` (D, r).

See Kucukelbir et al. (2017), "Automatic differentiation variational inference",
Journal of Machine Learning Research 18, section 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as onp

from vi_lab.families.base import LocationScaleGaussian, Params
from vi_lab.families.low_rank import LowRankGaussian
from vi_lab.families.triangular import FullRankGaussian, MeanFieldGaussian, TriangularGaussian

__all__ = [
    "FAMILIES",
    "FullRankGaussian",
    "LocationScaleGaussian",
    "LowRankGaussian",
    "MeanFieldGaussian",
    "Params",
    "TriangularGaussian",
    "family_from_record",
    "family_record",
    "get_family",
]

FAMILIES: dict[str, LocationScaleGaussian] = {
    "mean_field": MeanFieldGaussian(),
    "full_rank": FullRankGaussian(),
    "low_rank": LowRankGaussian(),
}


def get_family(family: str | LocationScaleGaussian) -> LocationScaleGaussian:
    """A family by name, or the family itself.

    Raises
    ------
    ValueError
        for an unknown name.
    """
    if isinstance(family, LocationScaleGaussian):
        return family
    if family not in FAMILIES:
        raise ValueError(f"family: {family!r} is none of {sorted(FAMILIES)}; choose one of these")
    return FAMILIES[family]


def family_record(family: LocationScaleGaussian) -> dict[str, Any]:
    """A family as a name and its settings, to be stored: {"name": "low_rank", "rank": 10}.

    Raises
    ------
    ValueError
        for a family that has no name in `FAMILIES`.
    """
    for name, known in FAMILIES.items():
        if type(known) is type(family):
            return {"name": name, **asdict(family)}  # type: ignore[call-overload] # a dataclass
    raise ValueError(
        f"family: {family!r} is none of {sorted(FAMILIES)}, so it cannot be found again by name"
    )


def family_from_record(record: Mapping[str, Any]) -> LocationScaleGaussian:
    """The family that `family_record` was given; the values may be arrays of NumPy."""
    settings = {name: onp.asarray(value).item() for name, value in record.items()}
    family: LocationScaleGaussian = replace(
        get_family(settings.pop("name")),  # type: ignore[type-var] # a dataclass
        **settings,
    )
    return family
