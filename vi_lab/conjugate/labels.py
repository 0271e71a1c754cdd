r"""Names for the components of a mixture, which have none.

A mixture is the same for every order of its components, so "the mean of component 1" is
nothing before an order is chosen, and the components of two fits, or of two draws of a
sampler that visits all modes, do not correspond. Two ways out: *order* components by some
number, such as the first coordinate of their mean; or *match* them to a reference, by the
permutation with the least sum of squared distances (an assignment problem).

An order is an array of indices (..., K): ``order[..., j]`` says which component comes to
place j. `relabel` applies it to parameters of q and to draws alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as onp

from vi_lab.arrays import as_finite, as_real
from vi_lab.checks import check_instance, shown
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError


def order_labels(values: Array) -> onp.ndarray:
    """The order of components in which their ``values`` (..., K) rise.

    Raises
    ------
    TypeError, ValueError
        if they are not finite numbers with an axis of components.
    """
    values = as_finite("values", values)
    if values.ndim == 0:
        raise ArgumentError("values: must have an axis of components, (..., K)")
    return onp.argsort(values, axis=-1, kind="stable")


def match_labels(means: Array, reference: Array) -> onp.ndarray:
    """The order of components that brings ``means`` (..., K, D) nearest to ``reference`` (K, D).

    Univariate means are (..., K), and their reference (K,).

    Raises
    ------
    ValueError
        if the shapes do not fit.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    means, reference = as_finite("means", means), as_finite("reference", reference)
    if reference.ndim not in (1, 2) or means.shape[-reference.ndim :] != reference.shape:
        raise ArgumentError(
            f"reference: must have the shape of the last axes of means {means.shape}, (K,) or "
            f"(K, D), not {reference.shape}"
        )
    if reference.ndim == 1:
        means, reference = means[..., None], reference[:, None]
    costs = ((means[..., None, :, :] - reference[:, None, :]) ** 2).sum(axis=-1)
    *lead, K, _ = costs.shape  # (..., place, component)
    orders = [linear_sum_assignment(cost)[1] for cost in costs.reshape(-1, K, K)]
    return onp.array(orders).reshape(*lead, K)


def relabel(arrays: Mapping[str, Any], order: Array) -> dict[str, Any]:
    """Draws or parameters with their components put into the given ``order`` (..., K).

    ``arrays`` is a dictionary, nested or not.

    Each array has the axes of ``order`` first: parameters of q (..., K, ...) with an order for
    each start, or draws (S, K, ...) with one for each draw. An order (K,) is for arrays whose
    first axis is that of the components; for the same order in all draws, broadcast it:
    ``numpy.broadcast_to(order, (S, K))``.

    Raises
    ------
    ValueError
        if an array does not begin with the axes of ``order``.
    """
    check_instance("arrays", arrays, Mapping, "draws or parameters by name")
    as_real("order:", order)
    order = onp.asarray(order)
    if order.ndim == 0 or order.dtype.kind not in "iu":
        raise ArgumentError(
            f"order: must be indices (..., K), not {shown(order)}; order_labels finds them"
        )
    if not (onp.sort(order, axis=-1) == onp.arange(order.shape[-1])).all():
        raise ArgumentError(
            f"order: must have each of 0, ..., {order.shape[-1] - 1} once along its last axis, not "
            f"{shown(order)}; order_labels finds such"
        )

    def reordered(array: Array) -> onp.ndarray:
        array = onp.asarray(as_real("arrays:", array))
        if array.shape[: order.ndim] != order.shape:
            raise ArgumentError(
                f"order: has the shape {order.shape}, but an array has {array.shape}, which "
                "does not begin with it"
            )
        index = order.reshape(*order.shape, *(1,) * (array.ndim - order.ndim))
        return onp.take_along_axis(array, index, axis=order.ndim - 1)

    tree: Tree = dict(arrays)
    relabelled: dict[str, Any] = tree_map(reordered, tree)
    return relabelled
