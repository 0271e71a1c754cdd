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

from vi_lab.checks import check_name

POSTERIORDB = (
    "arK-arK",
    "dugongs_data-dugongs_model",
    "eight_schools-eight_schools_centered",
    "eight_schools-eight_schools_noncentered",
    "garch-garch11",
    "gp_pois_regr-gp_pois_regr",
    "hmm_example-hmm_example",
    "irt_2pl-irt_2pl",
    "kidiq-kidscore_interaction",
    "low_dim_gauss_mix-low_dim_gauss_mix",
    "radon_mn-radon_hierarchical_intercept_centered",
    "radon_mn-radon_hierarchical_intercept_noncentered",
    "sblrc-blr",
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


TABLES = ("faithful", "galaxies", "michelson", "radon_mn", "radon_us", "wells")


def michelson() -> dict[str, onp.ndarray]:
    """Michelson's 100 measurements of 1879: ``experiment``, ``run``, ``speed`` (km/s in air)."""
    return _table("michelson")


def faithful() -> dict[str, onp.ndarray]:
    """272 eruptions of Old Faithful: ``eruptions`` and ``waiting``, both in minutes."""
    return _table("faithful")


def galaxies() -> dict[str, onp.ndarray]:
    """82 galaxies of the Corona Borealis region: ``velocity`` in km/s.

    Row 78 reads 26690, as in Roeder (1990), not the 26960 of the R package MASS.
    """
    return _table("galaxies")


def wells() -> dict[str, onp.ndarray]:
    """3,020 households in Bangladesh, and whether each switched to another, safer well.

    ``switched`` and ``assoc`` (0/1: a member of a community association), ``dist`` (m to
    the nearest safe well), ``arsenic`` (100 micrograms a litre), ``educ`` (years).
    """
    return _table("wells")


def radon(where: str = "minnesota") -> dict[str, onp.ndarray]:
    """Radon in homes: 919 in 85 counties of Minnesota, or 12,573 in 386 of the US.

    ``log_radon`` (log pCi/L), ``floor`` (0 basement, 1 ground floor; "us" has 2, 3 and 9,
    missing, as well), ``log_uranium`` (of the county, log ppm), ``county`` (0, 1, ...).

    Raises
    ------
    TypeError, ValueError
        if ``where`` is neither "minnesota" nor "us".
    """
    files = {"minnesota": "radon_mn", "us": "radon_us"}
    check_name("where", where, sorted(files))
    table = _table(files[where])
    return {
        "log_radon": table["log_radon"],
        "floor": table["floor_measure"],
        "log_uranium": table["log_uppm"],
        "county": table["county_idx"] - 1,
    }


def flights() -> dict[str, onp.ndarray]:
    """Every domestic flight out of New York City in 2013 that arrived: 327,346 rows.

    ``arr_delay``, ``dep_delay``, ``air_time`` (min), ``distance`` (miles), ``month``,
    ``day``, ``hour`` (of the scheduled departure), and the codes 0, 1, ... ``carrier``
    (16), ``origin`` (3), ``dest`` (104), whose names are in ``carrier_names``,
    ``origin_names`` and ``dest_names``. Integers are as small as they can be: make
    them floats before you compute.
    """
    with (
        resources.files("vi_lab").joinpath("data", "flights.npz").open("rb") as file,
        onp.load(file) as archive,
    ):
        return dict(archive)


def posteriordb(name: str) -> dict[str, Any]:
    """One posterior of posteriordb: its data, its model in words, and reference answers.

    The fields are described in ``vi_lab/data/README.md``; `vi_lab.zoo` has the
    models, and the answers by the names that this library gives to them.

    Raises
    ------
    TypeError, ValueError
        if it is none of `POSTERIORDB`.
    """
    check_name("name", name, POSTERIORDB)
    text = resources.files("vi_lab").joinpath("data", f"{name}.json").read_text("utf-8")
    posterior: dict[str, Any] = json.loads(text)
    return posterior


def _table(name: str) -> dict[str, onp.ndarray]:
    """The columns of a shipped CSV file: integers where all are whole, else floats."""
    text = resources.files("vi_lab").joinpath("data", f"{name}.csv").read_text("utf-8")
    header, *rows = text.split()
    columns = zip(*(row.split(",") for row in rows), strict=True)
    return {
        column: onp.array(values, dtype=int if all(v.isdigit() for v in values) else float)
        for column, values in zip(header.split(","), columns, strict=True)
    }
