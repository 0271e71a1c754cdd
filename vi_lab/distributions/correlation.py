r"""The LKJ distribution of correlation matrices, through their Cholesky factors.

Lewandowski, Kurowicka and Joe (2009) give a correlation matrix :math:`R = L L^\top`
(K, K) the density :math:`p(R) \propto \det(R)^{\eta - 1}`: uniform for
:math:`\eta = 1`, near the identity for large :math:`\eta`. As a density of the entries
below the diagonal of L, with the Jacobian :math:`\prod_k L_{kk}^{K-k}` of
:math:`L \mapsto R`,

.. math:: p(L) = \frac1Z \prod_{k=2}^K L_{kk}^{K - k + 2\eta - 2}.

**The rows are independent.** Row k is a point v of the unit ball in
:math:`\mathbb R^{k-1}` with density proportional to :math:`(1 - |v|^2)^{c_k - 1}`,
:math:`c_k = \eta + (K-k)/2`, beside :math:`L_{kk} = \sqrt{1 - |v|^2}`. In polar
coordinates its direction is uniform and
:math:`|v|^2 \sim \text{Beta}(\tfrac{k-1}2, c_k)`, which is how draws are made (the
"onion" of Ghosh and Henderson 2003), and which gives the constant

.. math:: \log Z = \sum_{k=2}^K \Bigl[\tfrac{k-1}2 \log \pi + \log\Gamma(c_k)
          - \log\Gamma\bigl(c_k + \tfrac{k-1}2\bigr)\Bigr],
          \qquad c_k + \tfrac{k-1}2 = \eta + \tfrac{K-1}2.

Each correlation then has a Beta(:math:`\eta + K/2 - 1, \eta + K/2 - 1`) distribution
stretched to [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as onp

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.checks import check_held, check_whole
from vi_lab.distributions.base import POSITIVE, Distribution, Rule
from vi_lab.engine import Array
from vi_lab.transforms.supports import CorrelationCholesky, LogSlack, Support

LOG_PI = math.log(math.pi)


@dataclass(frozen=True, eq=False)
class LKJCholesky(Distribution):
    """Cholesky factors L (``dim``, ``dim``) of LKJ correlation matrices.

    ``dim`` is K >= 2 and ``concentration`` is eta > 0: 1 makes all correlation
    matrices equally likely.

    Raises
    ------
    TypeError, ValueError
        if ``dim`` is not an integer of at least 2, or a constant ``concentration`` is
        not positive.
    """

    dim: int
    concentration: Array
    constraints: ClassVar[Mapping[str, Rule]] = {"concentration": POSITIVE}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("dim", self.dim, least=2)
        check_held("dim", self.dim, self.dim)
        object.__setattr__(self, "dim", int(self.dim))

    @property
    def support(self) -> Support:
        return CorrelationCholesky()

    @property
    def event_shape(self) -> tuple[int, ...]:
        return (self.dim, self.dim)

    def log_prob_in_support(self, x: Array) -> Array:
        k = onp.arange(1, self.dim)
        return self._at(np.log(x[..., k, k]))

    def log_prob_of_latent(self, x: Array, log_slack: Callable[[], LogSlack]) -> Array:
        return self._at(log_slack().lower[..., 1:])

    def _at(self, log_diagonal: Array) -> Array:
        """The log density from log L_kk, k = 2, ..., K."""
        K, k, c = self._rows(self.concentration)
        log_z = np.sum(0.5 * (k - 1) * LOG_PI + sp.gammaln(c), axis=-1) - (K - 1) * sp.gammaln(
            self.concentration + 0.5 * (K - 1)
        )
        return np.sum((2.0 * c - 2.0) * log_diagonal, axis=-1) - log_z

    def draw(self, rng: onp.random.Generator, size: tuple[int, ...]) -> Any:
        K, _, c = self._rows(onp.asarray(self.concentration))
        draws = onp.zeros((*size, K, K))
        draws[..., 0, 0] = 1.0
        for k in range(2, K + 1):
            square = rng.beta(0.5 * (k - 1), c[..., k - 2], size)
            direction = rng.standard_normal((*size, k - 1))
            direction /= onp.linalg.norm(direction, axis=-1, keepdims=True)
            draws[..., k - 1, : k - 1] = onp.sqrt(square)[..., None] * direction
            draws[..., k - 1, k - 1] = onp.sqrt(1.0 - square)
        return draws

    def _rows(self, eta: Array) -> tuple[int, onp.ndarray, Array]:
        """K; k = 2, ..., K; and c_k, of shape (..., K - 1)."""
        K = self.dim
        k = onp.arange(2, K + 1)
        return K, k, np.expand_dims(eta, -1) + 0.5 * (K - k)
