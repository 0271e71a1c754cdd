"""What a family of q is to a fit, and what all Gaussian families share."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol

import numpy as onp

import vi_lab.numpy as np
from vi_lab.distributions.multivariate import LOG_TWO_PI
from vi_lab.engine import Array, Tree
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError

if TYPE_CHECKING:
    from vi_lab.families.charts import Chart

Params = dict[str, Any]


class Family(Protocol):
    """A set of distributions q on R^D, each given by a dictionary of parameters.

    To write your own, see `LocationScaleGaussian`, which is most of one.
    """

    def base_dim(self, dim: int) -> int:
        """How many standard normals make one draw of z in R^dim."""

    @abstractmethod
    def init(self, loc: Array, scale: float) -> Params:
        """Parameters of a q with mean ``loc`` (D,) and all standard deviations ``scale``."""

    @abstractmethod
    def init_from(self, params: Params) -> Params:
        """The same q, or the nearest there is, from own parameters or a simpler family's.

        Raises
        ------
        ValueError
            if ``params`` are those of a richer family.
        """

    @abstractmethod
    def transform(self, params: Params, eps: Array) -> Array:
        """A draw z (..., D) of q, made of standard normals ``eps`` (..., base_dim)."""

    @abstractmethod
    def log_density(self, params: Params, z: Array) -> Array:
        """log q(z) of shape (...), for ``z`` (D,) or (S, D)."""

    @abstractmethod
    def log_density_at(self, params: Params, eps: Array) -> Array:
        """log q(z) of shape (...), at z = transform(params, eps)."""

    @abstractmethod
    def log_density_and_score(self, params: Params, eps: Array) -> tuple[Array, Array]:
        """log q(z) of shape (...) and its gradient in z (..., D), at z = transform(params, eps)."""

    @abstractmethod
    def entropy(self, params: Params) -> Array:
        """H[q], in nats."""

    @abstractmethod
    def covariance(self, params: Params) -> onp.ndarray:
        """Of z, (D, D)."""

    @abstractmethod
    def std(self, params: Params) -> onp.ndarray:
        """Marginal standard deviations of z, (D,)."""

    # ------------------------------------------------------------ how a fit moves in it
    @abstractmethod
    def num_parameters(self, dim: int) -> int:
        """Numbers that make a q on R^dim."""

    @abstractmethod
    def default_draws(self, dim: int) -> int:
        """Base draws a step, with an optimiser of the user's choice."""

    @abstractmethod
    def chart(self, params: Params) -> Chart | None:
        """The q of ``params`` as a search moves it (`vi_lab.families.charts`).

        None if ``retract`` is all that is known of that.
        """

    @abstractmethod
    def zero_tangent(self, params: Params) -> Tree:
        """The zero tangent at ``params``, in natural coordinates."""

    @abstractmethod
    def tangent(self, params: Params, gradient: Params) -> Tree:
        """The gradient with respect to ``params``, in natural coordinates."""

    @abstractmethod
    def retract(self, params: Params, step: Tree) -> Params:
        """The parameters that the tangent ``step`` leads to from ``params``."""


class LocationScaleGaussian(Family):
    r"""q(z) = N(z | mu, L L'), z = mu + L eps; a subclass says what L is.

    **To write your own**: a frozen dataclass (equal families are equal and hash equally,
    so that a compiled fit is found again) with parameters ``loc`` (D,) = mu, ``log_scale``,
    an array of any shape that broadcasts against (D,), and any others, and with

    * ``init(loc, scale) -> params`` for ``loc`` (D,), a number ``scale``;
    * ``scale_times(params, eps)`` = L eps (..., D), for ``eps`` (..., base_dim);
    * ``log_density(params, z)`` (...), for ``z`` (D,) or (S, D);
    * ``log_density_and_score(params, eps)``: that and its gradient in z at z = mu + L eps,
      (...) and (..., D), for ``eps`` (base_dim,) or (S, base_dim);
    * ``entropy(params)``, a scalar; ``covariance(params)`` (D, D).

    Arithmetic is that of `vi_lab.numpy`. If L is not square, ``base_dim(dim)`` says how many
    columns it has. If parameters of simpler families can be made use of, ``init_from`` does.
    The natural coordinates here (`vi_lab.optimizers.natural_gradient`) are those of a q whose
    scales are exp(log_scale): :math:`u_\mu = \sigma \nabla_\mu`, and :math:`u_\omega =
    \frac{n}{2D}\nabla_\omega` for n entries of ``log_scale``, each of which D / n coordinates
    share; what other parameters there are is taken as it is. If you know better, override
    ``zero_tangent``, ``tangent`` and ``retract``.

    Examples
    --------
    One scale for all coordinates:

    >>> from dataclasses import dataclass
    >>> import numpy
    >>> import vi_lab as vl, vi_lab.numpy as np
    >>> from vi_lab.families import LocationScaleGaussian
    >>> from vi_lab.families.base import entropy_of, log_normal
    >>> @dataclass(frozen=True)
    ... class OneScale(LocationScaleGaussian):
    ...     def init(self, loc, scale):
    ...         return {"loc": numpy.array(loc), "log_scale": numpy.log(scale)}
    ...     def scale_times(self, params, eps):
    ...         return np.exp(params["log_scale"]) * eps
    ...     def log_density(self, params, z):
    ...         y = (z - params["loc"]) / np.exp(params["log_scale"])
    ...         dim = z.shape[-1]
    ...         return log_normal(np.sum(y**2, axis=-1), dim * params["log_scale"], dim)
    ...     def log_density_and_score(self, params, eps):
    ...         log_q = self.log_density(params, self.transform(params, eps))
    ...         return log_q, -eps / np.exp(params["log_scale"])
    ...     def entropy(self, params):
    ...         dim = params["loc"].shape[0]
    ...         return entropy_of(dim * params["log_scale"], dim)
    ...     def covariance(self, params):
    ...         return numpy.exp(2.0 * params["log_scale"]) * numpy.eye(params["loc"].size)
    >>> sds = numpy.array([0.5, 1.0, 2.0])
    >>> target = vl.Target(lambda z: -0.5 * np.sum((z / sds) ** 2, axis=-1), dim=3)
    >>> fit = vl.advi(target, OneScale(), seed=1, progress=False)
    >>> fit.convergence.converged
    True
    >>> best = numpy.mean(sds**-2.0) ** -0.5  # of the ELBO: -sum(1 / sds^2) s^2 / 2 + D log s
    >>> bool(abs(numpy.exp(fit.params["log_scale"]) / best - 1.0) < 0.01)
    True
    """

    @abstractmethod
    def scale_times(self, params: Params, eps: Array) -> Array:
        """L eps (..., D), for ``eps`` (..., base_dim)."""

    def base_dim(self, dim: int) -> int:
        """The columns of L."""
        return dim

    def init_from(self, params: Params) -> Params:
        """Own parameters as they are; a mean-field q with its scales averaged if need be."""
        loc = onp.array(params["loc"], dtype=float)
        own = {name: onp.shape(value) for name, value in self.init(loc, 1.0).items()}
        if own == {name: onp.shape(value) for name, value in params.items()}:
            return {name: onp.array(value, dtype=float) for name, value in params.items()}
        check_mean_field(params, type(self).__name__)
        return self.init(loc, float(onp.exp(onp.mean(params["log_scale"]))))

    def transform(self, params: Params, eps: Array) -> Array:
        """z = mu + L eps (..., D), for ``eps`` (..., base_dim)."""
        return params["loc"] + self.scale_times(params, eps)

    def log_density_at(self, params: Params, eps: Array) -> Array:
        return self.log_density(params, self.transform(params, eps))

    def std(self, params: Params) -> onp.ndarray:
        return onp.sqrt(onp.diag(self.covariance(params)))

    def num_parameters(self, dim: int) -> int:
        return sum(int(onp.size(value)) for value in self.init(onp.zeros(dim), 1.0).values())

    def default_draws(self, dim: int) -> int:
        return 1

    def chart(self, params: Params) -> Chart | None:
        return None

    def zero_tangent(self, params: Params) -> Tree:
        return tree_map(lambda x: onp.zeros(onp.shape(x)), params)

    def tangent(self, params: Params, gradient: Params) -> Tree:
        omega = params["log_scale"]
        weight = 0.5 * float(onp.prod(onp.shape(omega))) / dimension(params)
        return {
            **gradient,
            "loc": np.exp(omega) * gradient["loc"],
            "log_scale": weight * gradient["log_scale"],
        }

    def retract(self, params: Params, step: Tree) -> Params:
        moved = {name: value + step[name] for name, value in params.items()}
        moved["loc"] = params["loc"] + np.exp(params["log_scale"]) * step["loc"]
        return moved


def entropy_of(log_det_scale: Array, dim: int) -> Array:
    """H = log det(L L') / 2 + D/2 (1 + log 2 pi), in nats."""
    return log_det_scale + 0.5 * dim * (1.0 + LOG_TWO_PI)


def log_normal(quadratic: Array, log_det_scale: Array, dim: int) -> Array:
    """-quadratic / 2 - log det(L L') / 2 - D/2 log 2 pi."""
    return -0.5 * quadratic - log_det_scale - 0.5 * dim * LOG_TWO_PI


def dimension(params: Params) -> int:
    """D."""
    return int(np.shape(params["loc"])[0])


def check_mean_field(params: Params, name: str) -> None:
    """Refuse to start the family ``name`` from parameters that are not a mean-field q's.

    Raises
    ------
    ValueError
    """
    if params.keys() != {"loc", "log_scale"}:
        raise ArgumentError(
            f"params: {sorted(params)} are not those of a simpler family than {name}; "
            "give the parameters of a mean_field fit"
        )
