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

    ``posterior`` and ``sample_stats`` have the axes (chains, draws, ...).

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
    return from_dict(
        {
            group: {name: onp.asarray(value) for name, value in values.items()}
            for group, values in groups.items()
            if values
        }
    )
