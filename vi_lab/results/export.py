"""Results in ArviZ's form, for its plots and for model comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as onp

from vi_lab.engine import Array
from vi_lab.errors import MissingPackageError


def to_arviz(
    *,
    posterior: Mapping[str, Array],
    observed: Mapping[str, Array],
    sample_stats: Mapping[str, Array] | None = None,
) -> Any:
    """A result as an ``xarray.DataTree`` with ArviZ's groups; empty ones are left out.

    ``posterior`` and ``sample_stats`` have the axes (chains, draws, ...), called "chain" and
    "draw", or "chain_" and "draw_" where a variable has that name: tell ArviZ's functions so,
    ``sample_dims=["chain", "draw_"]``.

    Raises
    ------
    ImportError
        if arviz-base, which is optional, is not installed.
    """
    try:
        from arviz_base import from_dict  # optional: it brings xarray and pandas
    except ImportError:
        raise MissingPackageError(
            "to_arviz needs arviz-base, which is not installed here; "
            "install it with: pip install arviz-base"
        ) from None
    groups = {"posterior": posterior, "sample_stats": sample_stats, "observed_data": observed}
    arrays = {
        group: {name: onp.asarray(value) for name, value in values.items()}
        for group, values in groups.items()
        if values
    }
    return from_dict(arrays, **_other_dims(arrays))


def _other_dims(arrays: Mapping[str, Mapping[str, onp.ndarray]]) -> dict[str, Any]:
    """Names of axes, as arguments of ArviZ, where the usual ones are those of variables.

    A variable called as an axis is would be lost: xarray makes it the labels of that axis.
    Then it is the axis that has another name, with an underscore behind.
    """
    taken = {name for values in arrays.values() for name in values}

    def free(dim: str) -> str:
        return free(f"{dim}_") if dim in taken else dim

    dims = {}
    for group, values in arrays.items():
        for name, value in values.items():
            own_axes = value.ndim - (0 if group == "observed_data" else 2)
            usual = [f"{name}_dim_{axis}" for axis in range(own_axes)]
            if taken.intersection(usual):
                dims[name] = [free(dim) for dim in usual]
    sample_dims = ["chain", "draw"]
    others: dict[str, Any] = {"dims": dims} if dims else {}
    if taken.intersection(sample_dims):
        others["sample_dims"] = [free(dim) for dim in sample_dims]
    return others
