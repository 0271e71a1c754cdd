"""`NutsResult`: the draws of the chains, and what they are worth."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as onp

from vi_lab.checks import check_probability
from vi_lab.errors import ArgumentError
from vi_lab.results import diagnostics
from vi_lab.results.storage import load_result, save_result
from vi_lab.results.summary import Summary, summarise

STATISTICS = ("log_density", "acceptance", "n_leapfrog", "depth", "diverging", "energy")

MAX_RHAT = 1.01
MIN_ESS_PER_CHAIN = 100
MIN_BFMI = 0.3


@dataclass(frozen=True, eq=False)
class NutsResult:
    """Draws from a posterior by NUTS: C chains of N draws, warm-up left out.

    Attributes
    ----------
    model : the `Model` or `Target` that was sampled
    z : draws on the unconstrained scale, (C, N, D)
    log_density : log p~(z) of each draw, (C, N), like the next five
    acceptance : mean acceptance probability along each trajectory
    n_leapfrog : leapfrog steps, so gradients, of each transition
    depth : doublings of each trajectory
    diverging : whether its energy error exceeded 1000
    energy : value of the Hamiltonian at the draw
    step_size : leapfrog step of each chain, (C,)
    inverse_mass_matrix : diagonal of M^-1 of each chain, (C, D)
    max_depth : most doublings that were allowed
    engine : name of the engine that ran it
    seed : the seed it was given
    interrupted : True if Ctrl-C ended it before its last draw
    seconds : wall time, compilation and warm-up included
    """

    model: Any
    z: onp.ndarray = field(repr=False)
    log_density: onp.ndarray = field(repr=False)
    acceptance: onp.ndarray = field(repr=False)
    n_leapfrog: onp.ndarray = field(repr=False)
    depth: onp.ndarray = field(repr=False)
    diverging: onp.ndarray = field(repr=False)
    energy: onp.ndarray = field(repr=False)
    step_size: onp.ndarray
    inverse_mass_matrix: onp.ndarray
    max_depth: int
    engine: str
    seed: int
    interrupted: bool = False
    seconds: float = 0.0

    @cached_property
    def draws(self) -> dict[str, onp.ndarray]:
        """Draws on the constrained scale by name, ``(C, N, *shape)``, deterministics included."""
        return dict(self.model.constrain(self.z, engine=self.engine))

    def stacked(self) -> dict[str, onp.ndarray]:
        """`draws` with the chains end to end, ``(C * N, *shape)``: like those of ``fit.sample``."""
        return {name: v.reshape(-1, *v.shape[2:]) for name, v in self.draws.items()}

    @cached_property
    def mean(self) -> dict[str, onp.ndarray]:
        """Posterior means on the constrained scale."""
        return {name: v.mean(axis=0) for name, v in self.stacked().items()}

    @cached_property
    def std(self) -> dict[str, onp.ndarray]:
        """Posterior standard deviations on the constrained scale."""
        return {name: v.std(axis=0, ddof=1) for name, v in self.stacked().items()}

    def summary(self, prob: float = 0.95) -> Summary:
        """Mean, sd, Monte Carlo error, interval, effective sample sizes, R-hat; then `problems`.

        ``prob`` is the probability of the highest-density interval. Above the problems stands
        how the draws were made: the acceptance aimed at was ``target_accept``, and each draw
        took so many gradients on average, warm-up left out.
        """
        check_probability("prob", prob)
        chains, num_draws = self.energy.shape
        acceptance, gradients = self.acceptance.mean(), self.n_leapfrog.mean()
        kept = (
            f"{chains} chains of {num_draws} draws, {int(self.diverging.sum())} divergences, "
            f"acceptance {acceptance:.2f}, {gradients:.1f} gradients a draw"
        )
        return summarise(self.draws, chains=True, prob=prob, notes=(kept, *self.problems))

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Why not to trust these draws as they are, and what to do; empty if all is well."""
        table = summarise(self.draws, chains=True)
        chains, num_draws = self.energy.shape
        total = chains * num_draws
        ess = onp.minimum(table["ess_bulk"], table["ess_tail"])
        bfmi = diagnostics.bfmi(self.energy)
        divergences = int(self.diverging.sum())
        deep = int((self.depth >= self.max_depth).sum())
        found = []
        if divergences:
            found.append(
                f"{divergences} of {total} transitions diverged: there are regions too narrow for "
                "the step size, which the draws miss; raise target_accept towards 0.99, or "
                "reparameterise the model (a scale and its effects: non-centred)"
            )
        if deep:
            found.append(
                f"{deep} of {total} transitions reached max_depth={self.max_depth}: correct but "
                "slow; tune longer, rescale the latents to similar sizes, or raise max_depth"
            )
        if (bfmi < MIN_BFMI).any():
            found.append(
                f"E-BFMI is {bfmi.min():.2f} in the worst chain, below {MIN_BFMI}: the energy's "
                "tails are hardly explored; look for heavy tails, tune longer or reparameterise"
            )
        rows = (
            (
                table["r_hat"] > MAX_RHAT,
                table["r_hat"].round(3),
                f"R-hat above {MAX_RHAT}",
                "the chains disagree; tune and draw more, or look for several modes",
            ),
            (
                ess < MIN_ESS_PER_CHAIN * chains,
                ess.round(),
                f"bulk or tail effective sample size under {MIN_ESS_PER_CHAIN} a chain",
                "means, intervals and these diagnostics are unreliable; draw more",
            ),
        )
        for bad, values, what, advice in rows:
            if bad.any():
                found.append(f"{what} for {_listed(table.names, bad, values)}: {advice}")
        return tuple(found)

    # ------------------------------------------------------------- in and out
    def to_arviz(self) -> Any:
        """Posterior, sample statistics and observed data in ArviZ's form."""
        from vi_lab.results.export import to_arviz  # ArviZ is optional and slow to import

        statistics = {
            "lp": self.log_density,
            "acceptance_rate": self.acceptance,
            "n_steps": self.n_leapfrog,
            "tree_depth": self.depth,
            "diverging": self.diverging,
            "energy": self.energy,
            "step_size": onp.broadcast_to(self.step_size[:, None], self.energy.shape),
        }
        return to_arviz(posterior=self.draws, observed=self.model.observed, sample_stats=statistics)

    def save(self, path: str | Path) -> None:
        """Write all but the model to a NumPy archive, whole or not at all."""
        save_result(path, self.model, **{name: getattr(self, name) for name in _saved()})

    @classmethod
    def load(cls, path: str | Path, model: Any) -> NutsResult:
        """Saved draws from the posterior of ``model``.

        Raises
        ------
        FileNotFoundError
        TypeError, ValueError
            if ``model`` has other latents than the model that was sampled, or the file is damaged
            or holds something else.
        """
        saved = load_result(path, model, needed=_saved())
        axes = onp.shape(saved["energy"])
        shapes = {name: onp.shape(saved[name]) for name in ("z", *STATISTICS)}
        if len(axes) != 2 or shapes != {"z": (*axes, model.dim), **dict.fromkeys(STATISTICS, axes)}:
            raise ArgumentError(
                f"path: {path} holds arrays whose shapes do not fit together: {shapes}; give the "
                "file of draws from this model"
            )
        return cls(model=model, **{name: saved[name] for name in _saved()})

    def __repr__(self) -> str:
        chains, num_draws, dim = self.z.shape
        state = ", interrupted" if self.interrupted else ""
        return (
            f"NutsResult({chains} chains of {num_draws} draws on R^{dim}, on {self.engine}{state}, "
            f"{int(self.diverging.sum())} divergences)"
        )


def _saved() -> list[str]:
    """The fields that are written to a file: all but the model."""
    return [field.name for field in fields(NutsResult) if field.name != "model"]


def _listed(names: tuple[str, ...], bad: onp.ndarray, values: onp.ndarray) -> str:
    """The first few offenders with their values, and how many more there are."""
    shown = [f"{names[i]} ({values[i]:g})" for i in onp.flatnonzero(bad)[:3]]
    more = int(bad.sum()) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
