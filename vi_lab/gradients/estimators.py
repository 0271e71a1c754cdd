r"""Objectives: the negative ELBO as a function of parameters and base draws.

.. math:: \mathrm{ELBO}(\lambda) = E_{q_\lambda}[\log \tilde p(z)] + H[q_\lambda]
   = E_{q_\lambda}[\log \tilde p(z) - \log q_\lambda(z)]

Its gradient cannot simply be taken inside, because q itself depends on lambda. Two ways
round that:

* *reparameterise*: :math:`z = \mu + L\epsilon`, and :math:`\epsilon` does not depend
  on :math:`\lambda`. `Reparameterised` and `StickingTheLanding` follow the gradient
  of log p~ through z;
* *score function*: :math:`\nabla_\lambda E_q[f] = E_q[f\, \nabla_\lambda \log q]` for
  any f, differentiable or not. `ScoreFunction`.

All are unbiased for the ELBO *and* its gradient; they differ in their noise. Base
draws are an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import vi_lab.numpy as np
from vi_lab.checks import check_name, choose
from vi_lab.engine import Array, current
from vi_lab.errors import ArgumentError
from vi_lab.families import Family, Params
from vi_lab.gradients.base_draws import BaseDraws
from vi_lab.model import LogDensity

ENTROPIES = ("closed_form", "monte_carlo")


class Estimator(Protocol):
    """A Monte Carlo estimate of the negative ELBO whose gradient is unbiased.

    **To write your own**: a frozen dataclass with ``negative_elbo(structure, family, params,
    eps, data)``, a scalar in nats. It is differentiated in ``params``, so what is to be held
    constant goes through ``vi_lab.engine.current().stop_gradient``. Given are

    * ``structure.log_density_batch(z, data)``: log p~ (S,), for ``z`` (S, D);
    * ``family``, with the methods of `vi_lab.families.Family`, and its parameters;
    * ``eps`` (S, base_dim): standard normals, of which ``family.transform`` makes draws z.

    If draws have to be independent within a step, set the class variable
    ``compares_draws = True``: others are then refused.

    Examples
    --------
    The plain estimator, `Reparameterised`, in one line:

    >>> from dataclasses import dataclass
    >>> import vi_lab as vl, vi_lab.numpy as np
    >>> @dataclass(frozen=True)
    ... class Pathwise:
    ...     def negative_elbo(self, structure, family, params, eps, data):
    ...         z = family.transform(params, eps)
    ...         mean = np.mean(structure.log_density_batch(z, data))
    ...         return -(mean + family.entropy(params))
    >>> target = vl.Target(lambda z: -0.5 * np.sum(z**2, axis=-1), dim=2)
    >>> common = {"steps": 100, "optimizer": "adam", "progress": False}
    >>> own = vl.advi(target, estimator=Pathwise(), **common)
    >>> theirs = vl.advi(target, estimator="reparameterised", **common)
    >>> bool((abs(own.losses - theirs.losses) < 1e-12).all())
    True
    """

    def negative_elbo(
        self,
        structure: LogDensity,
        family: Family,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        """-ELBO in nats, a scalar, from base draws ``eps`` (S, base_dim)."""


@dataclass(frozen=True)
class Reparameterised:
    r"""-ELBO with a closed-form or a sampled entropy, all of it differentiated.

    "closed_form" is -mean_s log p~(z_s) - H[q], the objective of Kucukelbir et al.
    (2017). Its gradient is noisy even where q is the posterior itself.

    "monte_carlo" is -mean_s [log p~(z_s) - log q(z_s)]. Its *value* is free of noise
    where q is the posterior. Its gradient is the same as that of the closed form, draw
    by draw, for mean field and full rank: there :math:`\log q(\mu + L\epsilon) =
    -|\epsilon|^2/2 - \log\det L + c`, in which nothing random depends on lambda. For
    low rank it is not.

    Parameters
    ----------
    entropy : "closed_form" or "monte_carlo"

    Raises
    ------
    TypeError, ValueError
    """

    entropy: str = "closed_form"

    def __post_init__(self) -> None:
        check_name("entropy", self.entropy, ENTROPIES)

    def negative_elbo(
        self,
        structure: LogDensity,
        family: Family,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        eps = without_axis_of_one(eps)
        z = family.transform(params, eps)
        if self.entropy == "closed_form":
            entropy = family.entropy(params)
        else:
            entropy = -np.mean(family.log_density_at(params, eps))
        return -(mean_log_density(structure, z, data) + entropy)


@dataclass(frozen=True)
class StickingTheLanding:
    """-ELBO with a sampled entropy, log q's own parameters held constant.

    -mean_s [log p~(z_s) - log q(z_s; stop(lambda))]: the gradient sees lambda only
    through z. The term left out, the score of q, has expectation zero, so the
    gradient stays unbiased, and it is zero *for every draw* where q is the posterior.

    With lambda held constant, every family knows grad_z log q(z) at its own draws
    (-L^-T eps, if L is square), which needs no differentiation: the loss is that of a
    function of z with this gradient.

    Roeder, Wu and Duvenaud (2017), "Sticking the landing".
    """

    def negative_elbo(
        self,
        structure: LogDensity,
        family: Family,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        num_draws, eps = eps.shape[0], without_axis_of_one(eps)
        z = family.transform(params, eps)
        log_q, score = family.log_density_and_score(current().stop_gradient(params), eps)
        path = np.sum(z * (score / num_draws))
        # path counts for its gradient alone; its value may be huge, so it goes first.
        nothing = path - current().stop_gradient(path)
        return nothing + (np.mean(log_q) - mean_log_density(structure, z, data))


@dataclass(frozen=True)
class ScoreFunction:
    r"""The gradient that needs no gradient of p (black-box VI; REINFORCE).

    .. math:: \nabla_\lambda \mathrm{ELBO} = E_q[\nabla_\lambda \log q_\lambda(z)\,
       (f(z) - b)], \qquad f(z) = \log \tilde p(z) - \log q_\lambda(z),

    for any b that does not depend on z: the score has mean zero (Ranganath, Gerrish and
    Blei 2014, "Black box variational inference", equation 3 with b = 0). Without a b
    the noise is of the size of f, constant included. Here b, the control variate, is for
    each draw the mean of f over the *other* draws of the step (Kool, van Hoof and Welling
    2019, "Buy 4 REINFORCE samples, get a baseline for free!"): unbiased, unlike a
    coefficient fitted to the same draws, and a constant added to log p~ changes nothing.

    It requires two draws a step or more, and draws that are *independent* within the
    step: for antithetic or Sobol draws the others know something of z, and the gradient
    would be biased (`check_base_draws` refuses them). log p~ need not be differentiable
    in z.
    """

    compares_draws: ClassVar[bool] = True

    def negative_elbo(
        self,
        structure: LogDensity,
        family: Family,
        params: Params,
        eps: Array,
        data: dict[str, Array],
    ) -> Array:
        num_draws = eps.shape[0]
        _check_enough_draws(num_draws)
        stop = current().stop_gradient
        z = family.transform(stop(params), eps)
        log_q = family.log_density(params, z)
        f = structure.log_density_batch(z, data) - stop(log_q)
        # f_s - mean of the others = S / (S - 1) (f_s - mean of all)
        above_baseline = (f - np.mean(f)) * (num_draws / (num_draws - 1.0))
        surrogate = np.mean(log_q * above_baseline)
        return -(np.mean(f) + (surrogate - stop(surrogate)))


def check_base_draws(estimator: Estimator, base_draws: BaseDraws, draws: int) -> None:
    """Refuse base draws, ``draws`` a step, that ``estimator`` cannot use.

    Raises
    ------
    TypeError, ValueError
    """
    if not getattr(estimator, "compares_draws", False):
        return
    _check_enough_draws(draws)
    if not base_draws.independent:
        raise ArgumentError(
            f"base_draws: {base_draws!r} are not independent within a step, which biases "
            f"{type(estimator).__name__}; use Independent(), or another estimator"
        )


def _check_enough_draws(draws: int) -> None:
    if draws < 2:
        raise ArgumentError(
            f"draws: ScoreFunction compares each draw with the others of its step, so it needs 2 "
            f"or more, not {draws}"
        )


def without_axis_of_one(eps: Array) -> Array:
    """A single base draw (1, D) as (D,): it needs no map over draws, nor a mean."""
    return eps[0] if eps.shape[0] == 1 else eps


def mean_log_density(structure: LogDensity, z: Array, data: dict[str, Array]) -> Array:
    """mean_s log p~(z_s) for ``z`` (S, D), or log p~(z) for a single ``z`` (D,)."""
    if z.ndim == 1:
        return structure.log_density(z, data)
    return np.mean(structure.log_density_batch(z, data))


ESTIMATORS: dict[str, Estimator] = {
    "reparameterised": Reparameterised(),
    "score_function": ScoreFunction(),
    "sticking_the_landing": StickingTheLanding(),
}


def get_estimator(estimator: str | Estimator) -> Estimator:
    """An estimator by its name in `ESTIMATORS`, or the estimator itself.

    Raises
    ------
    TypeError, ValueError
        for an unknown name, or what is no estimator.
    """
    return choose("estimator", estimator, ESTIMATORS, ("negative_elbo",))
