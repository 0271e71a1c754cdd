r"""Transforms: bijectors from the real line, or R^n, onto a support.

A latent x that lives on a support is written as x = T(z) with z unconstrained, and
its density in z is

.. math:: \log p(z) = \log p(T(z)) + \log |\det J_T(z)|.

Hence three functions each: `forward` T, `inverse` T^-1, and `log_abs_det_jacobian`
as a function of z. The definitions are those of Stan's reference manual, chapter
"Constraint Transforms", so that log densities in z can be compared with Stan's (who
calls T the *inverse* transform). A class is named for its map, or, if the map has
no name of its own, for its support with ``Transform`` behind. With the logistic
function s(z) = 1 / (1 + e^-z):

============================== ======================================== ===============
class                          x = T(z)                                 support
============================== ======================================== ===============
`Identity`                     z                                        real
`Exp`                          e^z                                      x > 0
`Softplus`                     log(1 + e^z)                             x > 0
`LowerBound`                   a + e^z                                  x > a
`UpperBound`                   b - e^z                                  x < b
`IntervalTransform`            a + (b - a) s(z)                         a < x < b
`OrderedTransform`             x_1 = z_1, x_k = x_{k-1} + e^{z_k}       ordered
`PositiveOrderedTransform`     x_1 = e^{z_1}, x_k = x_{k-1} + e^{z_k}   0 < ordered
`StickBreaking`                stick breaking, R^{K-1} -> R^K           simplex
`CorrelationCholeskyTransform` partial correlations, R^{K(K-1)/2}       L, unit rows
`CovarianceCholeskyTransform`  exp of the diagonal, R^{K(K+1)/2}        L, diagonal > 0
============================== ======================================== ===============

`to_support` finds the transform of a support.

Every function takes batches ``(..., *event)``, and runs on both engines and as plain
NumPy. Up to ``z = 700`` neither x, nor the log determinant, nor a derivative of
theirs is NaN or infinite; beyond 709.78, e^z overflows. On the other side x never rounds
onto a bound: where T(z) is too near to be told from it, x is the nearest number that is
safely inside, and `log_slack` has the logarithm of the true distance, which is what a prior
such as the beta is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.transforms import supports
from vi_lab.transforms.base import OntoSupport, Transform
from vi_lab.transforms.matrices import CorrelationCholeskyTransform, CovarianceCholeskyTransform
from vi_lab.transforms.scalars import (
    Exp,
    Identity,
    IntervalTransform,
    LowerBound,
    Softplus,
    UpperBound,
)
from vi_lab.transforms.vectors import OrderedTransform, PositiveOrderedTransform, StickBreaking

__all__ = [
    "TRANSFORMS",
    "CorrelationCholeskyTransform",
    "CovarianceCholeskyTransform",
    "Exp",
    "Identity",
    "IntervalTransform",
    "LowerBound",
    "OntoSupport",
    "OrderedTransform",
    "PositiveOrderedTransform",
    "Softplus",
    "StickBreaking",
    "Transform",
    "UpperBound",
    "to_support",
]


def to_support(support: supports.Support) -> OntoSupport:
    """The transform from unconstrained space onto ``support``.

    Raises
    ------
    ValueError
        if the support is discrete: a discrete latent must be summed out.
    TypeError
        if no transform is known.
    """
    make = TRANSFORMS.get(type(support))
    if make is not None:
        return make(support)
    if getattr(support, "is_discrete", False):
        raise ArgumentError(
            f"support: {support} is discrete, and no transform from the real line reaches it; "
            "marginalise the discrete latent: sum it out of the log density"
        )
    raise ArgumentTypeError(
        f"support: no transform onto {support!r} is known; use one of vi_lab.transforms.supports"
    )


TRANSFORMS: dict[type, Callable[[Any], OntoSupport]] = {
    supports.Real: lambda _: Identity(),
    supports.RealVector: lambda _: Identity(event_ndim=1),
    supports.Positive: lambda _: Exp(),
    supports.NonNegative: lambda _: Exp(),
    supports.GreaterThan: lambda support: LowerBound(support.lower),
    supports.LessThan: lambda support: UpperBound(support.upper),
    supports.Interval: lambda support: IntervalTransform(support.lower, support.upper),
    supports.Simplex: lambda _: StickBreaking(),
    supports.Ordered: lambda _: OrderedTransform(),
    supports.PositiveOrdered: lambda _: PositiveOrderedTransform(),
    supports.CorrelationCholesky: lambda _: CorrelationCholeskyTransform(),
    supports.CovarianceCholesky: lambda _: CovarianceCholeskyTransform(),
}
"""Support -> its transform, made from the support as its bounds are the transform's."""
