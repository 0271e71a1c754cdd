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

`LocationScaleGaussian` says how to write another.

See Kucukelbir et al. (2017), "Automatic differentiation variational inference",
Journal of Machine Learning Research 18, section 2.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass, replace
from typing import Any

import numpy as onp

from vi_lab.checks import choose
from vi_lab.errors import ArgumentError
from vi_lab.families.base import Family, LocationScaleGaussian, Params
from vi_lab.families.charts import Chart, NaturalChart, chart_of
from vi_lab.families.low_rank import LowRankGaussian
from vi_lab.families.triangular import FullRankGaussian, MeanFieldGaussian, TriangularGaussian

__all__ = [
    "FAMILIES",
    "Chart",
    "Family",
    "FullRankGaussian",
    "LocationScaleGaussian",
    "LowRankGaussian",
    "MeanFieldGaussian",
    "NaturalChart",
    "Params",
    "TriangularGaussian",
    "as_searched",
    "chart_of",
    "family_from_record",
    "family_record",
    "get_family",
]

FAMILIES: dict[str, Family] = {
    "mean_field": MeanFieldGaussian(),
    "full_rank": FullRankGaussian(),
    "low_rank": LowRankGaussian(),
}

METHODS = ("init", "transform", "log_density", "entropy", "tangent", "retract")


def get_family(family: str | Family) -> Family:
    """A family by its name in `FAMILIES`, or the family itself.

    Raises
    ------
    ValueError
        for an unknown name, or what is no family.
    """
    return choose("family", family, FAMILIES, METHODS)


def as_searched(family: Family, dim: int) -> Family:
    """The family in which the best q of ``family`` is looked for: one as rich, that moves better.

    A low rank that holds every covariance is full rank, whose curvature is known.
    """
    full = isinstance(family, LowRankGaussian) and family.is_full(dim)
    return FullRankGaussian() if full else family


def family_record(family: Family) -> dict[str, Any]:
    """A family as a name and its settings, to be stored: {"name": "low_rank", "rank": 10}.

    One that has no name in `FAMILIES` goes by that of its class; a setting that is no number,
    text or array of them goes by its repr.
    """
    names = [name for name, known in FAMILIES.items() if type(known) is type(family)]
    settings: dict[str, Any] = asdict(family) if is_dataclass(family) else {}
    plain = {k: v if onp.asarray(v).dtype != object else repr(v) for k, v in settings.items()}
    return {**plain, "name": names[0] if names else type(family).__name__}


def family_from_record(record: Mapping[str, Any], family: Family | None = None) -> Family:
    """The family that `family_record` was given; the values may be arrays of NumPy.

    One that has no name in `FAMILIES` has to be given as ``family``.

    Raises
    ------
    ValueError
        if it is not given, or is another one.
    """
    found = {name: onp.asarray(value).tolist() for name, value in record.items()}
    name = found["name"]
    if family is None:
        if name not in FAMILIES:
            raise ArgumentError(
                f"family: is {name}, none of {sorted(FAMILIES)}; give it as family="
            )
        settings = {key: value for key, value in found.items() if key != "name"}
        return replace(FAMILIES[name], **settings)  # type: ignore[type-var] # a dataclass
    given = {key: onp.asarray(value).tolist() for key, value in family_record(family).items()}
    if given != found:
        raise ArgumentError(f"family: was {found}, but {given} is given")
    return family
