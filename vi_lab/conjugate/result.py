"""`ConjugateFit`: what CAVI or stochastic CAVI found."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as onp

from vi_lab.checks import check_seed, check_whole
from vi_lab.conjugate.model import ConjugateModel, Params
from vi_lab.engine import Array
from vi_lab.engine.trees import tree_map
from vi_lab.results.summary import Summary, summarise

SUMMARY_DRAWS = 10_000


@dataclass(frozen=True, eq=False)
class ConjugateFit:
    """A fitted q, the best of ``R`` starts (R = 1 for `svi`).

    Attributes
    ----------
    algorithm : "CAVI" or "SVI"
    model : the model as it was fitted (`ConjugateModel.prepare` filled in what was None)
    start_params : parameters of each start's q, with a leading axis (R,)
    start_elbos : ELBO in nats, (R, T): after each sweep of `cavi`, at each evaluation of `svi`;
        NaN for the sweeps that a start no longer took part in
    seen : rows read by one start up to then, (T,)
    converged : did it stop because the ELBO had settled?
    verdict : why it stopped, in words
    seed : the seed it was given
    interrupted : True if Ctrl-C ended it
    seconds : wall time
    """

    algorithm: str
    model: ConjugateModel
    start_params: Params = field(repr=False)
    start_elbos: onp.ndarray = field(repr=False)
    seen: onp.ndarray = field(repr=False)
    converged: bool
    verdict: str
    seed: int
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def best(self) -> int:
        """Which start ended with the highest ELBO."""
        return int(onp.argmax(final_elbos(self.start_elbos)))

    @property
    def params(self) -> Params:
        """Natural parameters of the best start's q: block -> name -> array."""
        best = self.best
        picked: Params = tree_map(lambda value: value[best], self.start_params)
        return picked

    @property
    def elbos(self) -> onp.ndarray:
        """The best start's ELBO in nats, by sweep or by evaluation."""
        trace = self.start_elbos[self.best]
        return trace[~onp.isnan(trace)]

    @property
    def elbo(self) -> float:
        """The ELBO in nats that was reached; NaN if it was interrupted before the first."""
        return float(final_elbos(self.start_elbos)[self.best])

    @property
    def rows_seen(self) -> onp.ndarray:
        """Rows read up to each of `elbos`; those read for evaluation alone do not count.

        Of a model without local latents `cavi` reads each row once, whatever the sweeps.
        """
        return self.seen[: len(self.elbos)]

    def sample(self, num_draws: int = 1_000, *, seed: int) -> dict[str, onp.ndarray]:
        """Draws of the global latents from q, by name, ``(num_draws, *shape)``."""
        check_whole("num_draws", num_draws, least=1)
        check_seed("seed", seed)
        return self.model.sample(self.params, num_draws, onp.random.default_rng(seed))

    def summary(self, num_draws: int = SUMMARY_DRAWS, *, seed: int = 0) -> Summary:
        """Mean, sd, Monte Carlo standard error and 95% HDI from draws of q, and the verdict."""
        return summarise(self.sample(num_draws, seed=seed), notes=(self.verdict,))

    def posterior_predictive(
        self, num_draws: int = 1_000, *, seed: int, covariates: Array | None = None
    ) -> onp.ndarray:
        """A new observation from each of ``num_draws`` draws of q, ``(num_draws, *row shape)``.

        For a regression, one at each row of ``covariates`` (M, P): ``(num_draws, M)``.

        Raises
        ------
        ValueError
            if the model needs covariates, or has none.
        """
        check_whole("num_draws", num_draws, least=1)
        check_seed("seed", seed)
        rng = onp.random.default_rng(seed)
        return self.model.predictive(self.params, num_draws, rng, covariates)

    def __repr__(self) -> str:
        name = type(self.model).__name__
        return (
            f"ConjugateFit({self.algorithm} of {name}, ELBO {self.elbo:.6g} nats; {self.verdict})"
        )


def final_elbos(start_elbos: onp.ndarray) -> onp.ndarray:
    """The last ELBO of each start, (R,), from traces (R, T) that end in NaN; NaN if T = 0."""
    if start_elbos.shape[1] == 0:
        return onp.full(len(start_elbos), onp.nan)
    last = (~onp.isnan(start_elbos)).sum(axis=1) - 1
    return onp.asarray(start_elbos[onp.arange(len(start_elbos)), last])
