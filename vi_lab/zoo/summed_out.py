r"""Models with discrete unknowns, summed out of the density.

Gradients need continuous latents. A label that takes a few values can be summed over
instead, in logarithms, and :math:`\log \sum_k e^{a_k}` is `logsumexp`.

**A mixture** of two normals has a label for each row, independent of the others:

.. math:: \log p(y_i) = \log \bigl( \theta\, N(y_i \mid \mu_1, \sigma_1)
          + (1 - \theta)\, N(y_i \mid \mu_2, \sigma_2) \bigr).

**A hidden Markov model** has a chain of states :math:`k_1, \ldots, k_T`. The forward
recursion sums over :math:`k_{t-1}` one step after another, a loop of length T. It is a
product of matrices, :math:`a_T^\top = a_1^\top A_2 A_3 \cdots A_T` with

.. math:: (A_t)_{jk} = \Pr(k_t = k \mid k_{t-1} = j)\; p(y_t \mid k),

and a product of matrices may be bracketed in any way: multiplying neighbours in pairs,
then the products in pairs, takes :math:`\log_2 T` steps, each one operation on arrays.
"""

from __future__ import annotations

from typing import Any

import vi_lab.numpy as np
import vi_lab.scipy as sp
from vi_lab.distributions import Beta, Dirichlet, Flat, HalfNormal, Normal
from vi_lab.engine import Array
from vi_lab.transforms.supports import Ordered, PositiveOrdered
from vi_lab.zoo.entry import ZooEntry, from_posteriordb


def two_normals(m: Any, y: Array) -> None:
    """Two normal components; ``theta`` is the weight of the one with the smaller mean."""
    mu = m.sample("mu", Flat(Ordered()), shape=(2,))
    m.factor("prior of mu", Normal(0.0, 2.0).log_prob(mu))
    sigma = m.sample("sigma", HalfNormal(2.0), shape=(2,))
    theta = m.sample("theta", Beta(5.0, 5.0))
    first = np.log(theta) + Normal(mu[0], sigma[0]).log_prob(y)
    second = np.log1p(-theta) + Normal(mu[1], sigma[1]).log_prob(y)
    m.factor("y", np.logaddexp(first, second))


def gaussian_mixture() -> ZooEntry:
    """1,000 simulated values from two normals."""
    return from_posteriordb(
        "gaussian_mixture",
        "low_dim_gauss_mix-low_dim_gauss_mix",
        two_normals,
        lambda data: {"y": data["y"]},
    )


def hidden_markov(m: Any, y: Array) -> None:
    """Two states with normal emissions of sd 1; either may be the first, with weight 1."""
    theta1 = m.sample("theta1", Dirichlet([1.0, 1.0]))  # from the first state, to each
    theta2 = m.sample("theta2", Dirichlet([1.0, 1.0]))
    mu = m.sample("mu", Flat(PositiveOrdered()), shape=(2,))
    m.factor("prior of mu", Normal([3.0, 10.0], 1.0).log_prob(mu))
    log_emission = Normal(mu, 1.0).log_prob(y[:, None])  # (T, 2)
    log_transition = np.log(np.stack([theta1, theta2]))  # (2, 2), from row to column
    log_steps = log_transition + log_emission[1:, None, :]  # (T - 1, 2, 2)
    m.factor("y", sp.logsumexp(log_emission[0][:, None] + log_matrix_product(log_steps)))


def hmm() -> ZooEntry:
    """100 simulated values from a hidden Markov model with two states."""
    return from_posteriordb(
        "hmm", "hmm_example-hmm_example", hidden_markov, lambda data: {"y": data["y"]}
    )


def log_matrix_product(log_matrices: Array) -> Array:
    """log(A_1 A_2 ... A_T), entry by entry, from the logarithms of all A_t, (T, K, K)."""
    while (length := len(log_matrices)) > 1:
        even = 2 * (length // 2)
        # (A B)_ik = sum_j A_ij B_jk, for all pairs at once; j is axis 2 of (pairs, i, j, k)
        left, right = log_matrices[0:even:2, :, :, None], log_matrices[1:even:2, None, :, :]
        products = sp.logsumexp(left + right, axis=2)
        odd = length > even  # the last has no partner yet
        log_matrices = np.concatenate([products, log_matrices[even:]]) if odd else products
    return log_matrices[0]
