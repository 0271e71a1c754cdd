"""`Fit`: what a variational fit found, in the model's own names and units."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as onp

from vi_lab import engine as engines
from vi_lab.checks import check_held, check_seed, check_whole
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.families import Family, Params, family_from_record, family_record, get_family
from vi_lab.model import LogDensity, Posterior
from vi_lab.results.convergence import Convergence, Stage
from vi_lab.results.storage import flat, load_result, part, save_result
from vi_lab.results.summary import Summary, summarise

if TYPE_CHECKING:
    from vi_lab.results.check import Check

MOMENT_DRAWS = 10_000
MINIBATCH_DRAWS = 100
CHECKED = "_last_check"
UNCHECKED = "Unchecked: whether q is near the posterior is not known; fit.check() asks."
PLAIN = ("losses", "engine", "seed", "interrupted", "seconds")  # fields saved as they are


class Estimate(NamedTuple):
    """A Monte Carlo estimate and its standard error."""

    value: float
    mcse: float

    def __repr__(self) -> str:
        return f"{self.value:.6g} +- {self.mcse:.2g}"


@dataclass(frozen=True, eq=False)
class Fit:
    """A fitted variational distribution q.

    Attributes
    ----------
    model : the `Model` or `Target` that was fitted
    family : the variational family
    params : variational parameters of q by name (see `vi_lab.families`)
    losses : one estimate of the negative ELBO a step, in nats
    engine : name of the engine that ran it
    seed : the seed it was given
    interrupted : True if Ctrl-C ended it before its last step
    seconds : wall time, compilation included
    convergence : why the fit stopped and how far it believes to be from the best q of its
        family; None where nothing judged that (an optimizer of your choice)
    stages : what a search tried, one after another: print them
    """

    model: Posterior
    family: Family
    params: Params
    losses: onp.ndarray = field(repr=False)
    engine: str
    seed: int
    interrupted: bool = False
    seconds: float = 0.0
    convergence: Convergence | None = None
    stages: tuple[Stage, ...] = ()

    # ------------------------------------------------------- q on the real line
    @property
    def unconstrained_mean(self) -> dict[str, onp.ndarray]:
        """Means of z under q by latent, on the unconstrained scale."""
        return self._by_latent(self.params["loc"])

    @property
    def unconstrained_std(self) -> dict[str, onp.ndarray]:
        """Standard deviations of z under q by latent, on the unconstrained scale."""
        return self._by_latent(self.family.std(self.params))

    @property
    def unconstrained_covariance(self) -> onp.ndarray:
        """Covariance of z under q, (D, D)."""
        return self.family.covariance(self.params)

    def sample_unconstrained(self, num_draws: int, *, seed: int) -> onp.ndarray:
        """Draws z ~ q, of shape (num_draws, D)."""
        check_whole("num_draws", num_draws, least=1)
        check_held("num_draws", num_draws, max(int(self.model.dim), self._base_dim))
        check_seed("seed", seed)
        eps = onp.random.default_rng(seed).standard_normal((num_draws, self._base_dim))
        return onp.asarray(self.family.transform(self.params, eps))

    # --------------------------------------------------- q in the model's units
    def sample(self, num_draws: int = 1_000, *, seed: int) -> dict[str, onp.ndarray]:
        """Draws from q on the constrained scale, by name, ``(num_draws, *shape)``.

        Deterministic quantities of the program are among them.
        """
        z = self.sample_unconstrained(num_draws, seed=seed)
        return dict(self.model.constrain(z, engine=self.engine))

    @cached_property
    def mean(self) -> dict[str, onp.ndarray]:
        """Means under q on the constrained scale, from 10,000 draws."""
        return {name: v.mean(axis=0) for name, v in self._moment_draws.items()}

    @cached_property
    def std(self) -> dict[str, onp.ndarray]:
        """Standard deviations under q on the constrained scale, from 10,000 draws."""
        return {name: v.std(axis=0, ddof=1) for name, v in self._moment_draws.items()}

    def summary(self, num_draws: int = MOMENT_DRAWS, *, seed: int = 0) -> Summary:
        """Mean, sd, Monte Carlo standard error and 95% HDI from draws of q.

        The draws are independent: an effective sample size or R-hat would say
        nothing, and there is none. The verdict on the search stands below the table, and under it
        what the last `check` said of q, or that there was none.
        """
        searched = () if self.convergence is None else (str(self.convergence),)
        checked = self.__dict__.get(CHECKED)
        notes = (*searched, UNCHECKED if checked is None else checked.sentence)
        return summarise(self.sample(num_draws, seed=seed), notes=notes)

    def check(self, *, chains: int = 64, transitions: int = 20, seed: int = 0) -> Check:
        """What of this fit can be believed, scalar by scalar; `summary` says it from then on.

        Short chains start at draws of q and show by how much means are off and sds too small or
        too large (`vi_lab.results.check`). By default that takes 3,000 to 8,000 gradients. More
        ``chains`` make errors smaller, more ``transitions`` (of which the later half counts) give
        them time where they are slow.

        >>> import vi_lab as vl, vi_lab.numpy as np
        >>> def density(z):  # correlations of 0.95
        ...     return -0.5 * (z[0] ** 2 + z[1] ** 2 - 1.9 * z[0] * z[1]) / (1 - 0.95**2)
        >>> fit = vl.advi(vl.Target(density, dim=2), seed=1, progress=False)
        >>> check = fit.check()
        >>> check.good
        False
        >>> bool(2.5 < check.scalars["z[0]", "growth"] < 4)  # 1 / sqrt(1 - 0.95^2) = 3.2
        True

        Raises
        ------
        TypeError, ValueError
            for a bad argument, or a model whose rows do not fit in memory.
        """
        from vi_lab.results.check import LEAST_CHAINS, LEAST_TRANSITIONS, check_fit

        check_whole("chains", chains, least=LEAST_CHAINS)
        check_whole("transitions", transitions, least=LEAST_TRANSITIONS)
        check_held("chains", chains, transitions * int(self.model.dim))
        check_seed("seed", seed)
        check = check_fit(self, chains, transitions, seed)
        self.__dict__[CHECKED] = check  # as a cached property would
        return check

    def elbo(self, num_draws: int | None = None, *, seed: int = 0) -> Estimate:
        """The ELBO of q in nats, with its Monte Carlo standard error.

        All rows of the data count, minibatches or not. From 10,000 draws, or 100 for a model
        with minibatches, whose draws are dear.

        The mean over draws of log p~(z) - log q(z): nearly free of noise where q
        is nearly the posterior.
        """
        minibatch = self.model.minibatch is not None
        if num_draws is None:
            num_draws = MINIBATCH_DRAWS if minibatch else MOMENT_DRAWS
        check_whole("num_draws", num_draws, least=2)  # for a standard error
        z = self.sample_unconstrained(num_draws, seed=seed)
        if minibatch:  # whose rows may not fit in memory, and are read in blocks
            log_q = onp.asarray(self.family.log_density(self.params, z))
            log_weights = self.model.log_density(z, engine=self.engine) - log_q
        else:
            run = engines.get(self.engine).compile(_log_weights, static=(0, 1))
            log_weights = run(self.model.structure, self.family, self.params, z, self.model.data)
        return Estimate(float(log_weights.mean()), float(log_weights.std(ddof=1) / num_draws**0.5))

    # ------------------------------------------------------------- in and out
    def to_arviz(self, num_draws: int = 1_000, *, seed: int = 0) -> Any:
        """Posterior and observed data in ArviZ's form: groups with one chain."""
        from vi_lab.results.export import to_arviz  # ArviZ is optional and slow to import

        draws = {name: v[None] for name, v in self.sample(num_draws, seed=seed).items()}
        return to_arviz(posterior=draws, observed=self.model.observed)

    def save(self, path: str | Path) -> None:
        """Write all but the model to a NumPy archive, whole or not at all."""
        parts = {"params": self.params, "family": family_record(self.family)}
        if self.convergence is not None:
            parts["convergence"] = asdict(self.convergence)
        if self.stages:
            parts["stages"] = {"lines": json.dumps([asdict(stage) for stage in self.stages])}
        plain = {name: getattr(self, name) for name in PLAIN}
        save_result(path, self.model, **plain, **flat(parts))

    @classmethod
    def load(cls, path: str | Path, model: Posterior, family: Family | None = None) -> Fit:
        """A saved fit of ``model``; ``family`` is asked for if it is one of your own.

        Raises
        ------
        FileNotFoundError
        TypeError, ValueError
            if ``model`` has other latents than the model that was fitted, ``family`` is another
            one than was saved, or the file is damaged or holds something else.
        """
        own = None if family is None else get_family(family)
        saved = load_result(path, model, needed=(*PLAIN, "family.name"))
        params, verdict = part(saved, "params"), part(saved, "convergence")
        try:
            family = family_from_record(part(saved, "family"), own)
            convergence = Convergence.of(verdict) if verdict else None
            lines = json.loads(str(part(saved, "stages").get("lines", "[]")))
            stages = tuple(Stage(**line) for line in lines)
        except TypeError as error:  # other settings than there are
            raise ArgumentError(
                f"path: {path} was saved by another version of this library: {error}"
            ) from error
        _check_params(path, params, family.init(onp.zeros(model.dim), 1.0))
        plain = {name: saved[name] for name in PLAIN}
        return cls(
            model=model,
            family=family,
            params=params,
            convergence=convergence,
            stages=stages,
            **plain,
        )

    def __repr__(self) -> str:
        state = ", interrupted" if self.interrupted else ""
        loss = f", last loss {self.losses[-1_000:].mean():.6g} nats" if self.losses.size else ""
        steps = f"{len(self.losses)} steps on {self.engine}"
        return f"Fit({family_record(self.family)['name']}, {steps}{state}{loss})"

    @property
    def _base_dim(self) -> int:
        return self.family.base_dim(int(self.model.dim))

    @cached_property
    def _moment_draws(self) -> dict[str, onp.ndarray]:
        return self.sample(MOMENT_DRAWS, seed=self.seed)

    def _by_latent(self, z: onp.ndarray) -> dict[str, onp.ndarray]:
        return {
            latent: z[part].reshape(self.model.unconstrained_shapes[latent])
            for latent, part in self.model.slices.items()
        }


def _check_params(path: str | Path, params: Params, needed: Params) -> None:
    """Refuse saved parameters of other names or shapes than the family's on this space."""
    shapes = {name: onp.shape(value) for name, value in sorted(params.items())}
    wanted = {name: onp.shape(value) for name, value in sorted(needed.items())}
    numbers = all(onp.asarray(value).dtype.kind == "f" for value in params.values())
    if shapes != wanted or not numbers:
        raise ArgumentError(
            f"path: {path} must hold numbers of the shapes {wanted}, the parameters of the family "
            f"here, but holds {shapes}; give the file of a fit of this model"
        )


def _log_weights(
    structure: LogDensity, family: Family, params: Params, z: Array, data: dict[str, Array]
) -> Array:
    """log p~(z) - log q(z) of shape (S,), for ``z`` (S, D)."""
    return structure.log_density_batch(z, data) - family.log_density(params, z)
