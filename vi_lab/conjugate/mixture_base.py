r"""What mixtures share: responsibilities, their sums, and how to start.

A mixture of K components gives row n a label :math:`z_n`. If the log joint density of row
and label is linear in features :math:`f(x)` of the row,

.. math:: \E_q[\log p(x_n, z_n = k)] = c_k' f(x_n), \qquad
          f(x) = (1,\ x,\ x_i x_j \text{ for } i \le j),

then the optimal q of a label is (Bishop 2006, equation 10.49)

.. math:: r_{nk} = q(z_n = k) = \frac{\exp(c_k' f(x_n))}{\sum_j \exp(c_j' f(x_n))},

the *responsibilities*, and all that the components need of the rows is
:math:`\sum_n r_{nk} f(x_n)`. So a sweep is two products of matrices and a softmax between
them: :math:`C F`, of coefficients (R K, F) and features (F, B), for all K components of all R
starts at once, and :math:`r F'`. Blocks of B rows are as long as the processor's cache
likes. Subtracting the largest exponent first, as in log-sum-exp, changes nothing but
keeps a row that is far from every component from 0/0.

The rows' own term of the ELBO, the entropy of q(z_n), is
:math:`\log\sum_j e^{a_j} - \sum_k r_{nk} a_k` with the shifted exponents
:math:`a_k \le 0`: a sum of terms that are not negative, so it keeps its digits.

Features are taken about the model's ``origin``, the mean of the data.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as onp

from vi_lab.arrays import as_finite
from vi_lab.checks import check_name, check_whole
from vi_lab.conjugate.model import ConjugateModel, Params, Statistics, check_params, finite_rows
from vi_lab.conjugate.seeding import METHODS, seed_labels
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError

BLOCK_ELEMENTS = 2**16  # exponents in a block: 512 kB, so that a few such arrays stay in cache
LEAST_ROWS = 16  # in a block, however many starts there are
SEEDING_ROWS = 10_000  # enough to start from


@dataclass(frozen=True, eq=False)
class Mixture(ConjugateModel):
    """A mixture of ``components`` components whose labels are summed out row by row."""

    has_local_latents: ClassVar[bool] = True

    components: int

    def __post_init__(self) -> None:
        check_whole("components", self.components, least=1)

    # ------------------------------------------------------- what a mixture has to say
    @property
    @abstractmethod
    def center(self) -> onp.ndarray:
        """The origin of the features, (D,); known once the model is prepared."""

    @abstractmethod
    def coefficients(self, params: Params) -> onp.ndarray:
        """c_k of the expected log joint density of a row and its label, (..., K, F)."""

    @abstractmethod
    def named(self, sums: onp.ndarray) -> Statistics:
        """The statistics by name that ``sums`` of the features, (..., K, F), amount to."""

    @abstractmethod
    def means(self, params: Params) -> onp.ndarray:
        """E_q of the means of the components, ``(..., K, *row shape)``."""

    # ------------------------------------------------------------------------ rows
    def check(self, rows: Any) -> onp.ndarray:
        return finite_rows(rows, 1, 2)

    def check_number(self, num_rows: int) -> None:
        """Refuse more components than rows: they could not be told apart."""
        if num_rows < self.components:
            raise ArgumentError(
                f"components: {self.components} are more than the {num_rows} rows; ask for fewer"
            )

    # -------------------------------------------------------------------- local step
    def statistics(self, params: Params, rows: onp.ndarray) -> Statistics:
        c = self.coefficients(params)
        *lead, K, F = c.shape
        c = c.reshape(-1, F)
        starts = len(c) // K
        sums, entropy = onp.zeros_like(c), onp.zeros(starts)
        for features in self._feature_blocks(rows, len(c)):
            a = (c @ features).reshape(starts, K, -1)
            a -= a.max(axis=1, keepdims=True)
            r = onp.exp(a)
            total = r.sum(axis=1, keepdims=True)
            r /= total
            sums += r.reshape(len(c), -1) @ features.T
            entropy += onp.log(total).sum(axis=(1, 2)) - onp.einsum("rkb,rkb->r", r, a)
        return {
            "count": onp.array(float(len(rows))),
            "entropy": entropy.reshape(lead),
            **self.named(sums.reshape(*lead, K, F)),
        }

    def responsibilities(self, params: Params, rows: Array) -> onp.ndarray:
        """q(z_n = k) of ``rows``, (..., N, K), given the global parameters of a fitted model."""
        check_params(self, params)
        features = self._features(self.check(rows))
        a = self.coefficients(params) @ features
        r = onp.exp(a - a.max(axis=-2, keepdims=True))
        return onp.asarray(onp.swapaxes(r / r.sum(axis=-2, keepdims=True), -1, -2))

    # ------------------------------------------------------------------------ starts
    def init(
        self,
        rows: onp.ndarray,
        rng: onp.random.Generator,
        *,
        starts: int = 1,
        method: str | None = None,
    ) -> Params:
        """Each row goes to the nearest of K seeds; the parameters follow from that.

        ``method`` is ``"kmeans++"`` (the default) or ``"random"``, rows drawn with equal
        probability; see `vi_lab.conjugate.seeding`.
        """
        method = METHODS[0] if method is None else method
        check_name("init", method, METHODS)
        if len(rows) > SEEDING_ROWS:
            rows = rows[rng.choice(len(rows), SEEDING_ROWS, replace=False)]
        labels = seed_labels(rows.reshape(len(rows), -1), self.components, starts, rng, method)
        features = self._features(rows)
        sums = onp.empty((starts, self.components, len(features)))
        for k in range(self.components):
            sums[:, k] = (labels == k) @ features.T
        return self._from_sums(sums)

    def from_responsibilities(self, rows: Array, responsibilities: Array) -> Params:
        """The parameters that are optimal for given ``responsibilities``, (..., N, K).

        A start of one's own, for ``init=`` of `cavi` or `svi` (without leading axes). The
        model must be a prepared one: ``model.prepare(rows, len(rows))``.

        Raises
        ------
        ValueError
            if ``responsibilities`` have another shape.
        """
        rows, r = self.check(rows), as_finite("responsibilities", responsibilities)
        if r.shape[-2:] != (len(rows), self.components):
            raise ArgumentError(
                f"responsibilities: must have the shape (..., {len(rows)}, {self.components}), "
                f"not {r.shape}"
            )
        return self._from_sums(onp.swapaxes(r, -1, -2) @ self._features(rows).T)

    def _from_sums(self, sums: onp.ndarray) -> Params:
        statistics = self.named(sums)
        return {block: self.optimum(block, {}, statistics) for block in self.blocks}

    # ---------------------------------------------------------------------- features
    def _features(self, rows: onp.ndarray) -> onp.ndarray:
        """1, x_i, and x_i x_j for i <= j, about the origin: (F, N)."""
        x = (rows.reshape(len(rows), -1) - self.center).T
        D = len(x)
        i, j = onp.triu_indices(D)
        features = onp.empty((1 + D + len(i), x.shape[1]))
        features[0] = 1.0
        features[1 : 1 + D] = x
        onp.multiply(x[i], x[j], out=features[1 + D :])
        return features

    def _feature_blocks(self, rows: onp.ndarray, width: int) -> Iterator[onp.ndarray]:
        size = max(LEAST_ROWS, BLOCK_ELEMENTS // width)
        for start in range(0, len(rows), size):
            yield self._features(rows[start : start + size])


def seen(origin: Array | None) -> onp.ndarray:
    """The ``origin`` of a model that has been prepared, (D,).

    Raises
    ------
    ValueError
        if the model has not: its origin is None.
    """
    if origin is None:
        raise ArgumentError(
            "model: has not seen its data; use fit.model, or model.prepare(rows, len(rows))"
        )
    return onp.atleast_1d(origin)


def pack(constant: Array, linear: Array, quadratic: Array) -> onp.ndarray:
    """Coefficients (..., F) of constant + linear' x + x' quadratic x, the last symmetric."""
    i, j = onp.triu_indices(linear.shape[-1])
    twice = onp.where(i == j, 1.0, 2.0)
    return onp.concatenate([constant[..., None], linear, twice * quadratic[..., i, j]], axis=-1)


def unpack(sums: onp.ndarray) -> tuple[onp.ndarray, onp.ndarray, onp.ndarray]:
    """Sums (...), (..., D) and (..., D, D) of 1, x and x x' from those of features, (..., F)."""
    F = sums.shape[-1]
    D = round(((8 * F + 1) ** 0.5 - 3) / 2)  # F = (D + 1)(D + 2)/2
    i, j = onp.triu_indices(D)
    place = onp.empty((D, D), dtype=int)
    place[i, j] = place[j, i] = onp.arange(1 + D, F)
    return sums[..., 0], sums[..., 1 : 1 + D], sums[..., place]
