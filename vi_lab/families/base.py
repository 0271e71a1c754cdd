"""What every Gaussian family has: location, scale, a density and a way in from a simpler one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array

Params = dict[str, Any]
LOG_TWO_PI = float(onp.log(2.0 * onp.pi))


class LocationScaleGaussian(ABC):
    """q(z) = N(z | mu, L L'), z = mu + L eps; a subclass says what L is.

    L is (D, `base_dim`). Subclasses are frozen dataclasses, so that equal families
    are equal and hash equally, and a compiled fit is found again.
    """

    def base_dim(self, dim: int) -> int:
        """How many standard normals make one draw of z in R^dim: the columns of L."""
        return dim

    @abstractmethod
    def init(self, loc: Array, scale: float) -> Params:
        """Parameters of a q with mean ``loc`` (D,) and all standard deviations ``scale``."""

    @abstractmethod
    def init_from(self, params: Params) -> Params:
        """The same q, or the nearest there is, from the parameters of a simpler family.

        Raises
        ------
        ValueError
            if ``params`` are those of a richer family.
        """

    @abstractmethod
    def scale_times(self, params: Params, eps: Array) -> Array:
        """L eps (..., D), for ``eps`` (..., base_dim)."""

    @abstractmethod
    def log_density(self, params: Params, z: Array) -> Array:
        """log q(z) of shape (...), for ``z`` (D,) or (S, D)."""

    @abstractmethod
    def log_density_and_score(self, params: Params, eps: Array) -> tuple[Array, Array]:
        """log q(z) of shape (...) and its gradient in z (..., D), at z = mu + L eps."""

    @abstractmethod
    def entropy(self, params: Params) -> Array:
        """H[q], in nats."""

    @abstractmethod
    def covariance(self, params: Params) -> onp.ndarray:
        """L L', (D, D)."""

    @abstractmethod
    def std(self, params: Params) -> onp.ndarray:
        """Marginal standard deviations of z, (D,)."""

    def transform(self, params: Params, eps: Array) -> Array:
        """z = mu + L eps (..., D), for ``eps`` (..., base_dim)."""
        return params["loc"] + self.scale_times(params, eps)

    def log_density_at(self, params: Params, eps: Array) -> Array:
        """log q(mu + L eps) of shape (...), for ``eps`` (..., base_dim)."""
        return self.log_density(params, self.transform(params, eps))


def entropy_of(log_det_scale: Array, dim: int) -> Array:
    """H = log det(L L') / 2 + D/2 (1 + log 2 pi), in nats."""
    return log_det_scale + 0.5 * dim * (1.0 + LOG_TWO_PI)


def log_normal(quadratic: Array, log_det_scale: Array, dim: int) -> Array:
    """-quadratic / 2 - log det(L L') / 2 - D/2 log 2 pi."""
    return -0.5 * quadratic - log_det_scale - 0.5 * dim * LOG_TWO_PI


def dimension(params: Params) -> int:
    """D."""
    return int(np.shape(params["loc"])[0])


def refuse(params: Params, name: str, simpler: str) -> None:
    """Say that a family cannot start from the parameters of a richer one."""
    raise ValueError(
        f"params: {sorted(params)} are not those of a simpler family than {name}; "
        f"give the parameters of {simpler}"
    )
