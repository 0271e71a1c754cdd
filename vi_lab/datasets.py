"""Shipped data: read from the package, never downloaded. Provenance: ``data/README.md``.

The book's first data set is not even stored. The course notebook that the book
rebuilds drew 100 standard normal numbers without a seed, so they are lost; but its
model sees data only through their number, mean and variance, which its printed
results pin down. Any numbers with those three give the same posterior.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

import numpy as onp

POSTERIORDB = (
    "arK-arK",
    "eight_schools-eight_schools_noncentered",
    "hmm_example-hmm_example",
    "kidiq-kidscore_interaction",
    "low_dim_gauss_mix-low_dim_gauss_mix",
    "wells_data-wells_dist100ars_model",
)
"""The posteriors of posteriordb that are shipped, by the names they have there."""


def notebook_gaussian() -> onp.ndarray:
    """The data of the notebook's first model: 100 values, unitless.

    Standard normal draws of a fixed seed, shifted and scaled to mean 0.1363257 and
    population standard deviation 0.9810319 (``x.std()``, with divisor 100).
    """
    draws = onp.random.default_rng(2018).standard_normal(100)
    return 0.1363257 + 0.9810319 * (draws - draws.mean()) / draws.std()


def posteriordb(name: str) -> dict[str, Any]:
    """One posterior of posteriordb: its data, its model in words, and reference answers.

    The fields are described in ``vi_lab/data/README.md``; `vi_lab.zoo` has the
    models, and the answers by the names that this library gives to them.

    Raises
    ------
    ValueError
        if it is none of `POSTERIORDB`.
    """
    if name not in POSTERIORDB:
        raise ValueError(
            f"name: no posterior {name!r} is shipped; choose one of {', '.join(POSTERIORDB)}"
        )
    text = resources.files("vi_lab").joinpath("data", f"{name}.json").read_text("utf-8")
    posterior: dict[str, Any] = json.loads(text)
    return posterior
