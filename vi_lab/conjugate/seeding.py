r"""Where a mixture starts: K seeds among the rows, and each row with the nearest seed.

The objective has many local optima, and which one is reached is decided here. Seeds drawn
with equal probability often fall into one cluster twice and into another never.
*K-means++* (Arthur and Vassilvitskii 2007) draws the first seed so, and each further one
with a probability proportional to the squared distance from the nearest seed so far: far
rows are likely, crowded ones are not.

Distances are in units of each column's standard deviation.
"""

from __future__ import annotations

import numpy as onp

METHODS = ("kmeans++", "random")

CHUNK_ELEMENTS = 2**20  # numbers held at a time


def seed_labels(
    rows: onp.ndarray, components: int, starts: int, rng: onp.random.Generator, method: str
) -> onp.ndarray:
    """For each of ``starts``, the seed (0 to K - 1) nearest to each of ``rows`` (N, D): (R, N).

    ``method`` is one of `METHODS`.
    """
    sd = rows.std(axis=0)
    scaled = (rows - rows.mean(axis=0)) / onp.where(sd > 0.0, sd, 1.0)
    size = max(1, CHUNK_ELEMENTS // scaled.size)
    return onp.concatenate(
        [
            _seed(scaled, components, min(size, starts - done), rng, method)
            for done in range(0, starts, size)
        ]
    )


def _seed(
    rows: onp.ndarray, components: int, starts: int, rng: onp.random.Generator, method: str
) -> onp.ndarray:
    nearest = onp.full((starts, len(rows)), onp.inf)
    labels = onp.zeros((starts, len(rows)), dtype=int)
    for k in range(components):
        seeds = rows[_draw(nearest, k > 0 and method == "kmeans++", rng)]  # (R, D)
        squares = ((rows[None] - seeds[:, None]) ** 2).sum(axis=-1)
        labels[squares < nearest] = k
        nearest = onp.minimum(nearest, squares)
    return labels


def _draw(nearest: onp.ndarray, by_distance: bool, rng: onp.random.Generator) -> onp.ndarray:
    """An index for each start: with equal probability, or proportional to ``nearest`` (R, N)."""
    starts, num_rows = nearest.shape
    uniform = rng.integers(num_rows, size=(starts,))
    if not by_distance:
        return uniform
    cumulated = onp.cumsum(nearest, axis=1)
    total = cumulated[:, -1:]
    drawn = onp.count_nonzero(cumulated <= rng.random((starts, 1)) * total, axis=1)
    # Where every row lies on a seed (duplicates), there is nothing to choose by.
    return onp.asarray(onp.where(total[:, 0] > 0.0, onp.minimum(drawn, num_rows - 1), uniform))
