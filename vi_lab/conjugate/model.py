r"""Conjugate models: what CAVI and stochastic CAVI ask of a model.

The data are rows :math:`x_1, \dots, x_N`. The latents are *global* ones
:math:`\beta = (\beta_1, \dots, \beta_J)`, in J blocks, and perhaps *local* ones
:math:`z_n`, one for each row (the component that made it). The variational family is

.. math:: q(\beta, z) = \prod_j q(\beta_j \mid \lambda_j) \prod_n q(z_n),

and if each :math:`p(\beta_j \mid \text{everything else})` is of an exponential family,
then the best :math:`q(\beta_j)`, the other factors standing still, is a member of that
family, with natural parameters

.. math:: \hat\lambda_j = \E_{q(\text{all but } \beta_j)}[\eta_j(x, z, \beta_{-j})]
          = \text{prior} + \sum_n \text{(expected sufficient statistics of row } n).

So a model has to answer three questions, and one method answers each:

* `ConjugateModel.statistics`: the sums over rows. They are additive: statistics of blocks
  of rows add up to those of all rows, and those of B rows, times N/B, estimate them. Local
  factors live here only: they are set to *their* optimum given the global parameters,
  counted into the sums, and forgotten;
* `ConjugateModel.optimum`: :math:`\hat\lambda_j` from the statistics and the other blocks;
* `ConjugateModel.elbo`: the ELBO in nats, all constants included, from the statistics and
  the parameters.

`natural_step` moves each block in turn to
:math:`\lambda_j \leftarrow (1 - \rho)\lambda_j + \rho\hat\lambda_j`. The natural gradient
of the ELBO in :math:`\lambda_j` is :math:`\hat\lambda_j - \lambda_j` (Hoffman, Blei, Wang
and Paisley 2013, section 2.3), so this is a natural-gradient step of size rho. CAVI is
rho = 1 on all rows; stochastic CAVI is a falling rho on B rows, times N/B.

Why the ELBO never falls: a CAVI sweep of a model with local latents first computes the
statistics (a coordinate step in all q(z_n)), then takes each block's step *with these
statistics held*; the ELBO of parameters and statistics, ``elbo(params, statistics)``,
belongs to the local factors from which the statistics were computed, so it can be asked
for after any half-step, and every half-step is an exact maximisation of it.

Shapes: parameters may carry leading axes, such as one for restarts, (R, ...): every method
takes and returns them, and ``elbo`` then has the shape (R,).

**To write your own**, put a subclass of `ConjugateModel` into a file of this folder, and its
name into `vi_lab/conjugate/__init__.py`; `cavi`, `svi` and `ConjugateFit` know nothing of
particular models. Counts with an unknown rate, :math:`x_n \sim \text{Poisson}(\lambda)` and
:math:`\lambda \sim \text{Gamma}(a, b)`, have one block and no local latents:

>>> import numpy as np
>>> from dataclasses import dataclass
>>> from scipy.special import gammaln
>>> from vi_lab.conjugate import ConjugateModel
>>> from vi_lab.conjugate.factors import gamma_kl, gamma_mean_log
>>> from vi_lab.conjugate.model import finite_rows, no_covariates, only_method
>>> @dataclass(frozen=True, eq=False)
... class PoissonModel(ConjugateModel):
...     shape: float = 1.0
...     rate: float = 1.0
...
...     @property
...     def blocks(self):
...         return ("rate",)
...
...     def check(self, rows):
...         return finite_rows(rows, 1)
...
...     def prepare(self, rows, num_rows):
...         return self  # nothing is to be set from the data
...
...     def init(self, rows, rng, *, starts=1, method=None):
...         only_method(method, "prior")
...         ones = np.ones(starts)
...         return {"rate": {"shape": self.shape * ones, "rate": self.rate * ones}}
...
...     def statistics(self, params, rows):
...         factorials = gammaln(rows + 1.0).sum()  # log x!, the rows' own term
...         return {"count": len(rows), "sum": rows.sum(), "log_factorials": factorials}
...
...     def optimum(self, block, params, statistics):
...         shape = self.shape + statistics["sum"]
...         return {"shape": shape, "rate": self.rate + statistics["count"]}
...
...     def elbo(self, params, statistics):
...         shape, rate = params["rate"]["shape"], params["rate"]["rate"]
...         log_likelihood = (
...             statistics["sum"] * gamma_mean_log(shape, rate)
...             - statistics["count"] * shape / rate
...             - statistics["log_factorials"]
...         )
...         return log_likelihood - gamma_kl(shape, rate, self.shape, self.rate)
...
...     def sample(self, params, num_draws, rng):
...         q = params["rate"]
...         return {"rate": rng.gamma(q["shape"], 1.0 / q["rate"], num_draws)}
...
...     def predictive(self, params, num_draws, rng, covariates=None):
...         no_covariates(covariates)
...         return rng.poisson(self.sample(params, num_draws, rng)["rate"])

With one block q is the posterior, Gamma(1 + 14, 1 + 5), and the ELBO the log evidence:

>>> from vi_lab import cavi
>>> fit = cavi(PoissonModel(), [3, 1, 4, 1, 5], progress=False)
>>> {name: float(value) for name, value in fit.params["rate"].items()}
{'shape': 15.0, 'rate': 6.0}
>>> exact = gammaln(15) - 15 * np.log(6) - gammaln([4, 2, 5, 2, 6]).sum()
>>> bool(abs(fit.elbo - exact) < 1e-12)
True
>>> from vi_lab import svi
>>> whole = svi(PoissonModel(), [3, 1, 4, 1, 5], batch=5, step_size=1.0, steps=1, progress=False)
>>> bool(abs(whole.elbo - exact) < 1e-12)
True

What holds of every model is tested in ``tests/conjugate/test_conjugate_models.py``: add yours to
its list.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as onp

from vi_lab.arrays import refuse_masked
from vi_lab.checks import check_instance, check_name, check_positive, shown
from vi_lab.engine import Array
from vi_lab.engine.trees import tree_map
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.model.data import refuse_large

Params = dict[str, dict[str, Array]]
"""Block -> name -> natural parameters: of a Gamma factor ``{"shape", "rate"}``, of a Normal
one ``{"precision_mean", "precision"}``, of a Dirichlet one ``{"concentration"}``. Anything
that is linear in the natural parameters will do, since blending is linear."""

Statistics = dict[str, Array]
"""Name -> a sum over rows. ``"count"`` is among them: how many rows were added up."""

STATISTICS = "sums over rows by name, as model.statistics(params, rows) returns them"


@dataclass(frozen=True, eq=False)
class ConjugateModel(ABC):
    """A conjugate model; its fields are the hyper-parameters of its priors.

    A subclass is a frozen dataclass that checks its hyper-parameters in ``__post_init__``.

    Attributes
    ----------
    has_local_latents : do the statistics depend on the parameters? If not, `cavi` computes
        them once and not in every sweep
    has_rows : False for a model without data, for which the rows are None
    """

    has_local_latents: ClassVar[bool] = False
    has_rows: ClassVar[bool] = True

    @property
    @abstractmethod
    def blocks(self) -> tuple[str, ...]:
        """Names of q's global factors, in the order of their coordinate updates."""

    @abstractmethod
    def check(self, rows: Any) -> onp.ndarray:
        """``rows`` as an array of floats, whose first axis is that of the rows.

        Called on every block of rows that is read, before anything is computed from it.

        Raises
        ------
        ValueError
            if they are empty, not finite, or of the wrong shape.
        """

    @abstractmethod
    def prepare(self, rows: onp.ndarray, num_rows: int) -> Self:
        """The model after a first look at its data; called once by `cavi` and `svi`.

        ``rows`` are checked: all of them, or a sample if they do not fit in memory;
        ``num_rows`` is N. Here hyper-parameters that were left None are set from the
        data, and the origin is chosen about which sums of squares are taken, lest they
        lose all their digits where the data are far from 0. What is set already stays.

        Raises
        ------
        ValueError
            if the model cannot be fitted to so few rows.
        """

    @abstractmethod
    def init(
        self,
        rows: onp.ndarray,
        rng: onp.random.Generator,
        *,
        starts: int = 1,
        method: str | None = None,
    ) -> Params:
        """Parameters to start from, each with a leading axis of ``starts``.

        ``rows`` are those that `prepare` saw. ``method`` names a way of starting, where
        the model has several; None is its default.

        Raises
        ------
        ValueError
            for a method that the model does not know.
        """

    @abstractmethod
    def statistics(self, params: Params, rows: onp.ndarray) -> Statistics:
        """Expected sufficient statistics under q of ``rows``, summed over them.

        With local latents the optimal q(z_n) are computed from ``params``, and the
        rows' own terms of the ELBO, those that no other statistic determines (the entropy
        of q(z_n)), are summed into a statistic of their own. Everything is additive over
        rows, ``"count"`` included. Statistics that depend on ``params`` carry their leading
        axes, others need not.
        """

    @abstractmethod
    def optimum(self, block: str, params: Params, statistics: Statistics) -> dict[str, Array]:
        """Natural parameters of the best factor ``block``: prior plus statistics.

        The other blocks of ``params`` stand still; its own are not looked at.
        """

    @abstractmethod
    def elbo(self, params: Params, statistics: Statistics) -> Array:
        """The ELBO in nats, with all constants; a number for each of the leading axes."""

    @abstractmethod
    def sample(
        self, params: Params, num_draws: int, rng: onp.random.Generator
    ) -> dict[str, onp.ndarray]:
        """Draws of the global latents from q: name -> ``(num_draws, *shape)``.

        ``params`` without leading axes; in the units of the data.
        """

    @abstractmethod
    def predictive(
        self,
        params: Params,
        num_draws: int,
        rng: onp.random.Generator,
        covariates: Array | None = None,
    ) -> onp.ndarray:
        """A new observation from each of ``num_draws`` draws of q: ``(num_draws, *row shape)``.

        A regression takes ``covariates`` (M, P) and returns (num_draws, M); a model without
        covariates refuses them.
        """


def check_params(model: ConjugateModel, params: Any) -> None:
    """Refuse what are no parameters of the blocks of ``model``.

    Raises
    ------
    TypeError, ValueError
    """
    check_instance("params", params, Mapping, "parameters by block, as in fit.params")
    if set(params) != set(model.blocks):
        raise ArgumentError(
            f"params: has the blocks {sorted(params, key=str)}, but the model "
            f"{sorted(model.blocks)}; give the params of a fit of this model"
        )
    for block, values in params.items():
        check_instance(f"params[{block!r}]", values, Mapping, "its parameters by name")


def finite_rows(rows: Any, *dims: int) -> onp.ndarray:
    """``rows`` as an array of floats with ``dims`` axes: what most models' ``check`` begins with.

    ``dims`` are 1, 2 or both.

    Raises
    ------
    TypeError, ValueError
        if there are none, if they have other axes, are masked or no real numbers, or if some
        are NaN, infinite, or integers beyond int64.
    """
    refuse_masked("rows", rows)
    if rows is None:
        raise ArgumentTypeError("rows: are None; give the data")
    try:
        array = onp.asarray(rows)
        array = array.astype(float) if array.dtype == object else array
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"rows: must be numbers, not {shown(rows)}") from error
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(
            f"rows: must be numbers, and real, not {array.dtype} values; of complex ones give "
            "both parts, as columns"
        )
    refuse_large("rows", array)
    array = array.astype(float, copy=False)
    if array.ndim not in dims:
        wanted = " or ".join("(N,)" if axes == 1 else "(N, D)" for axes in dims)
        raise ArgumentError(f"rows: must have the shape {wanted}, not {array.shape}")
    if array.size == 0:
        raise ArgumentError(f"rows: are empty (shape {array.shape}); give at least one row")
    if not onp.isfinite(array).all():
        bad = int(onp.argmax(~onp.isfinite(array).reshape(len(array), -1).all(axis=1)))
        raise ArgumentError(
            f"rows: row {bad} is not finite ({array[bad]}); drop it, or model what is missing"
        )
    return array


def only_method(method: str | None, name: str) -> None:
    """Refuse any ``init`` method but the one that a model has.

    Raises
    ------
    ValueError
    """
    if method is not None:
        check_name("init", method, [name])


def no_covariates(covariates: Array | None) -> None:
    """Refuse covariates, for a model that has none.

    Raises
    ------
    ValueError
    """
    if covariates is not None:
        raise ArgumentError("covariates: this model has none; leave them out")


def add_statistics(first: Statistics, second: Statistics) -> Statistics:
    """Statistics of two blocks of rows taken together."""
    check_instance("first", first, Mapping, STATISTICS)
    check_instance("second", second, Mapping, STATISTICS)
    if first.keys() != second.keys():
        raise ArgumentError(
            f"second: has the statistics {sorted(second, key=str)}, but the first "
            f"{sorted(first, key=str)}; give those of one model"
        )
    added: Statistics = tree_map(lambda a, b: a + b, first, second)
    return added


def scale_statistics(statistics: Statistics, factor: float) -> Statistics:
    """Statistics of B rows times N/B: an unbiased estimate of those of all N.

    Leave the factor out, and every posterior is that of B rows: too wide by sqrt(N/B).
    """
    scaled: Statistics = tree_map(lambda value: factor * value, statistics)
    return scaled


def half_steps(
    model: ConjugateModel, params: Params, statistics: Statistics, rho: float = 1.0
) -> Iterator[tuple[str, Params]]:
    """The steps of each block in turn: yields the block's name and the parameters after it."""
    for block in model.blocks:
        best = model.optimum(block, params, statistics)
        if rho != 1.0:  # where it is 1, what was there before is not even rounded in
            best = tree_map(lambda old, new: (1.0 - rho) * old + rho * new, params[block], best)
        params = {**params, block: best}
        yield block, params


def natural_step(
    model: ConjugateModel, params: Params, statistics: Statistics, rho: float = 1.0
) -> Params:
    r"""One pass over the blocks: :math:`\lambda \leftarrow (1-\rho)\lambda + \rho\hat\lambda`.

    rho = 1 is a sweep of coordinate ascent; smaller steps make stochastic CAVI (Hoffman et
    al. 2013, equation 26). Later blocks see the steps of earlier ones.
    """
    check_instance("model", model, ConjugateModel, "a conjugate model")
    check_params(model, params)
    check_instance("statistics", statistics, Mapping, STATISTICS)
    check_positive("rho", rho)
    for _, after in half_steps(model, params, statistics, rho):
        params = after
    return params
