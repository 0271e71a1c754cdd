"""`ConjugateFit`: what CAVI or stochastic CAVI found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.checks import check_held, check_instance, check_seed, check_whole
from vi_lab.conjugate.model import ConjugateModel, Params
from vi_lab.engine import Array
from vi_lab.engine.trees import tree_leaves, tree_map
from vi_lab.errors import ArgumentError
from vi_lab.results.storage import flat, load_fields, part, save_arrays
from vi_lab.results.summary import Summary, summarise

SUMMARY_DRAWS = 10_000
SAVED = (
    "algorithm",
    "start_elbos",
    "seen",
    "converged",
    "verdict",
    "seed",
    "interrupted",
    "seconds",
)


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
        self._check_draws(num_draws, seed)
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
        TypeError, ValueError
            if the model needs covariates, or has none.
        """
        self._check_draws(num_draws, seed)
        rng = onp.random.default_rng(seed)
        return self.model.predictive(self.params, num_draws, rng, covariates)

    # ------------------------------------------------------------- in and out
    def save(self, path: str | Path) -> None:
        """Write q, and the numbers that the model is made of, to a NumPy archive."""
        plain = {name: getattr(self, name) for name in SAVED}
        parts = {"start_params": self.start_params, "model": record_of(self.model)}
        save_arrays(path, **plain, **flat(parts))

    @classmethod
    def load(cls, path: str | Path, model: ConjugateModel) -> ConjugateFit:
        """A saved fit of ``model``: as it was given to the fit, or as ``fit.model``.

        Raises
        ------
        FileNotFoundError
        TypeError, ValueError
            if ``model`` is another one than was fitted, or the file is damaged or holds something
            else.
        """
        check_instance("model", model, ConjugateModel, "the conjugate model of the fit")
        saved = load_fields(path, needed=(*SAVED, "model.class"))
        model = completed(model, part(saved, "model"), f"the fit in {path}")
        params: Params = {}
        for name, value in part(saved, "start_params").items():
            block, _, leaf = name.rpartition(".")
            params.setdefault(block, {})[leaf] = value
        if params.keys() != set(model.blocks):
            raise ArgumentError(
                f"path: {path} holds the blocks {sorted(params)}, but the model has "
                f"{sorted(model.blocks)}; give the file of a fit of this model"
            )
        return cls(model=model, start_params=params, **{name: saved[name] for name in SAVED})

    def _check_draws(self, num_draws: Any, seed: Any) -> None:
        check_whole("num_draws", num_draws, least=1)
        numbers = sum(onp.size(leaf) for leaf in tree_leaves(self.params))
        check_held("num_draws", num_draws, numbers)
        check_seed("seed", seed)

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


# --------------------------------------------------------- what a model was fitted with
def record_of(model: ConjugateModel) -> dict[str, Any]:
    """A model as its class and its hyper-parameters, to be stored; None leaves no trace.

    Hyper-parameters are arrays, dictionaries of them (a distribution, by parameter; a tuple, by
    place), or the repr of anything else.
    """
    settings = {each.name: getattr(model, each.name) for each in fields(model)}
    stated = {name: _plain(value) for name, value in settings.items() if value is not None}
    return {"class": type(model).__name__, **stated}


def completed(model: ConjugateModel, record: Mapping[str, Any], whose: str) -> ConjugateModel:
    """``model`` with what it leaves open, None, as in the flat ``record`` of a fitted one.

    Raises
    ------
    ValueError
        if it states something else.
    """
    if type(model).__name__ != record["class"]:
        raise ArgumentError(
            f"model: is a {type(model).__name__}, but that of {whose} a {record['class']}; give "
            "that one, as it was given to the fit or as fit.model"
        )
    stated = flat(record_of(model))
    left_open = {each.name for each in fields(model) if getattr(model, each.name) is None}
    theirs = {key: v for key, v in record.items() if key.partition(".")[0] not in left_open}
    unlike = {
        key
        for key in stated.keys() | theirs.keys()
        if key not in stated or key not in theirs or not onp.array_equal(stated[key], theirs[key])
    }
    if unlike:
        raise ArgumentError(
            f"model: is not that of {whose}, which differs in {', '.join(sorted(unlike))}; give "
            "that one, as it was given to the fit or as fit.model"
        )
    found = {
        name: record[name] if name in record else tuple(part(record, name).values()) or None
        for name in left_open
    }
    return replace(model, **found)


def _plain(value: Any) -> Any:
    """A hyper-parameter as `record_of` keeps it."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple) and not all(onp.ndim(entry) == 0 for entry in value):
        return {str(place): _plain(entry) for place, entry in enumerate(value)}
    array = onp.asarray(value)
    if array.dtype == object:
        return repr(value)
    return array if array.ndim else array.item()
