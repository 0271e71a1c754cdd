"""Results in ArviZ's form, for its plots and for model comparison."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
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
    """A result as the object that the ArviZ installed here reads; empty groups are left out.

    That is an ``xarray.DataTree``, or with ArviZ before 1.0, which is what pip installs on
    Python 3.11, its own ``InferenceData``.

    ``posterior`` and ``sample_stats`` have the axes (chains, draws, ...), called "chain" and
    "draw", or "chain_" and "draw_" where a variable has that name: tell ArviZ's functions so,
    ``sample_dims=["chain", "draw_"]`` (before 1.0 they cannot be told).

    Raises
    ------
    ImportError
        if ArviZ, which is optional, is not installed.
    """
    groups = {"posterior": posterior, "sample_stats": sample_stats, "observed_data": observed}
    arrays = {
        group: {name: onp.asarray(value) for name, value in values.items()}
        for group, values in groups.items()
        if values
    }
    sample_dims, dims = _axes(arrays)
    if _before_trees():
        return _inference_data(arrays, sample_dims, dims)
    try:
        from arviz_base import from_dict  # optional: it brings xarray and pandas
    except ImportError:
        raise MissingPackageError(
            "to_arviz needs ArviZ, which is not installed here; install it with: pip install arviz "
            "(its part arviz-base will do)"
        ) from None
    return from_dict(arrays, sample_dims=sample_dims, dims=dims)


def _before_trees() -> bool:
    """Whether the ArviZ installed here is older than 1.0, and so reads no tree."""
    return find_spec("arviz") is not None and version("arviz").startswith("0.")


def _inference_data(
    arrays: Mapping[str, Mapping[str, onp.ndarray]], sample_dims: list[str], dims: dict[str, Any]
) -> Any:
    """The same for ArviZ before 1.0, whose functions look for the labels of chains and draws."""
    from arviz import InferenceData
    from xarray import Dataset

    datasets = {}
    for group, values in arrays.items():
        first = [] if group == "observed_data" else sample_dims
        shape = next(iter(values.values())).shape
        datasets[group] = Dataset(
            {name: ([*first, *dims[name]], value) for name, value in values.items()},
            {dim: onp.arange(length) for dim, length in zip(first, shape, strict=False)},
        )
    return InferenceData(**datasets)


def _axes(
    arrays: Mapping[str, Mapping[str, onp.ndarray]],
) -> tuple[list[str], dict[str, list[str]]]:
    """Names of the axes of chains and draws, and of each variable's own.

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
            dims[name] = [free(f"{name}_dim_{axis}") for axis in range(own_axes)]
    return [free("chain"), free("draw")], dims
