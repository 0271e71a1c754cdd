"""`Check`: what of a fit can be believed, scalar by scalar, and what to do about the rest.

`Convergence` judges the search: whether q is the best of its family. A check asks whether q is near
the posterior. Chains that start at draws of q say so scalar by scalar: if q is the posterior they
stay what they are, and otherwise they show by how much a mean is off and an sd too small or too
large (`vi_lab.trust.short_chains`). Importance weights (`vi_lab.trust.weights`) are shown beside
them. What neither can see, a mode that no draw has met, the starts of the search may have found.

Where one scalar is wrong, chains may still be on their way, and others may be more wrong than they
show: of a hierarchy, the effects move once their scale has. Ask again with more transitions.

The cuts are those of what is to be told apart: a mean is believed if it is less than 0.5 sd off, an
sd if it is right within a factor 2, both by two standard errors. ``python -m benchmarks.check``
holds them against the references of the zoo.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as onp

from vi_lab import engine as engines
from vi_lab.families import family_record
from vi_lab.results.summary import Summary, flatten_draws
from vi_lab.trust import Density, Weights, bent, draws_for_line, pairs, short_chains, weigh, white

if TYPE_CHECKING:
    from vi_lab.results.fit import Fit

MOST_SHIFT = 0.5  # of a mean, in sds
MOST_GROWTH = 2.0  # of an sd, or as much too large
ERRORS = 2.0  # standard errors that are added to what is seen
MOST_MEMORY = 0.5  # correlation of a chain's end with its start
LEAST_ACCEPTANCE = 0.4
RARE_MODE = 7.0  # nats below: a thousandth of the mass, if as wide
WEIGHED = 1_000  # draws, at least
Q_DRAWS = 10_000  # for the moments of q
LEAST_CHAINS, LEAST_TRANSITIONS = 8, 4
MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class Check:
    """What of a fit can be believed; printed, a sentence first, then a table.

    Attributes
    ----------
    scalars : a row for each number of a draw. ``mean`` and ``sd`` are those of q; ``shift`` is by
        how many posterior sds the chains moved the mean, and ``growth`` their sd over that of q,
        with their standard errors; ``good`` is 1 if both can be believed
    weights : what importance weights say
    memory : by scalar, the correlation of a chain's later states with its start: where it is high,
        chains had not time to show what is wrong
    acceptance : of the chains' transitions
    modes : ELBOs, less that of q, of optima that the search found elsewhere and that would count
    optimum : False if the search found that there is none
    family : name of q's family
    gradients : of the log density that the check took
    seconds : wall time
    """

    scalars: Summary
    weights: Weights
    memory: onp.ndarray
    acceptance: float
    modes: tuple[float, ...]
    optimum: bool
    family: str
    gradients: int
    seconds: float

    @property
    def good(self) -> bool:
        """True where the mean and the sd of every scalar can be believed."""
        return not self.objections and bool((self.scalars["good"] == 1.0).all())

    @property
    def objections(self) -> tuple[str, ...]:
        """Why nothing can be believed, whatever the scalars say."""
        found = []
        if not self.optimum:
            found.append("the search found no optimum, so that there is no q to believe in")
        if not self.acceptance >= LEAST_ACCEPTANCE:
            found.append(f"chains from q could not move (acceptance {self.acceptance:.2f})")
        if self.modes:
            nats = ", ".join(f"{mode:+.1f}" for mode in self.modes[:MOST_NAMED])
            found.append(f"starts found other modes that count (ELBOs {nats} nats beside this one)")
        return tuple(found)

    @property
    def sentence(self) -> str:
        """What can be believed, what cannot, and what to do next."""
        if self.objections:
            why = "; ".join(self.objections)
            return f"NOT to be believed: {why}. Next: {self._next(means=False)}."
        means, sds = _believed(self.scalars)
        unknown = self.memory > MOST_MEMORY
        means, sds = means & ~unknown, sds & ~unknown
        parts = [_of_means(self.scalars, means, unknown), _of_sds(self.scalars, sds, unknown)]
        if unknown.any():
            parts.append(f"of {_listed(self.scalars, unknown)} the chains were too short to tell")
        said = "; ".join(part for part in parts if part)
        said = f"{said[0].upper()}{said[1:]}."
        if self.good:
            return said
        return f"{said} Next: {self._next(bool(means.all()))}."

    def _next(self, means: bool) -> str:
        """What to try, cheapest first; ``means`` says that those are right."""
        if not self.optimum:
            return "give every latent a proper prior"
        if self.modes:
            return "a prior or an order that tells the modes apart, or a fit of each with init="
        sampled = "vl.nuts(model)"
        if self.family != "mean_field":
            return sampled
        if means and not self.objections:
            return "vl.linear_response(fit), or family='full_rank'"
        return f"family='full_rank', and if that is no better {sampled}"

    def __str__(self) -> str:
        cost = f"Checked by chains from q: {self.gradients:,} gradients, {self.seconds:.1f} s."
        return "\n".join([self.sentence, str(self.scalars), str(self.weights), cost])

    __repr__ = __str__


def check_fit(fit: Fit, chains: int, transitions: int, seed: int) -> Check:
    """The check of ``fit`` by so many ``transitions`` of so many ``chains``."""
    began, rng = time.perf_counter(), onp.random.default_rng(seed)
    model, family, params = fit.model, fit.family, fit.params
    density = Density.of(model, engines.get(fit.engine))
    dim = int(model.dim)
    eps = pairs(rng, draws_for_line(dim, WEIGHED), family.base_dim(dim))
    z = onp.asarray(family.transform(params, eps))
    values, gradients = density(z)
    with onp.errstate(all="ignore"):
        weights = weigh(values - onp.asarray(family.log_density(params, z)))
    finite = onp.isfinite(gradients).all(axis=1)
    finite &= onp.roll(finite, len(z) // 2)  # both of a pair
    q = white(family, params)
    metric = bent(q, z[finite], gradients[finite]) if finite.mean() > 0.5 else q
    eps = rng.standard_normal((chains, family.base_dim(dim)))
    start = onp.asarray(family.transform(params, eps))
    moved = short_chains(density, metric, start, transitions, rng)
    late = moved.z[transitions // 2 :]
    names, of_q = flatten_draws(fit.sample(Q_DRAWS, seed=seed), leading=1)
    begun = flatten_draws(model.constrain(start, engine=fit.engine), leading=1)[1]
    ended = flatten_draws(model.constrain(late, engine=fit.engine), leading=2)[1]
    memory = _correlation(begun, ended.mean(axis=0))
    verdict = fit.convergence
    return Check(
        scalars=compare(tuple(names), of_q, ended, memory),
        weights=weights,
        memory=memory,
        acceptance=moved.acceptance,
        modes=tuple(m for m in (verdict.modes if verdict else ()) if m > -RARE_MODE),
        optimum=verdict is None or verdict.why != "no optimum",
        family=str(family_record(family)["name"]),
        gradients=density.gradients,
        seconds=time.perf_counter() - began,
    )


def compare(
    names: tuple[str, ...], of_q: onp.ndarray, chains: onp.ndarray, memory: onp.ndarray
) -> Summary:
    """Draws of q (S, K) beside states of chains (T, C, K), a row for each of K scalars.

    Errors are those of C independent chains, for the mean and, by the delta method, for the sd.
    """
    with onp.errstate(all="ignore"):
        mean, sd = of_q.mean(axis=0), of_q.std(axis=0, ddof=1)
        there = chains.mean(axis=(0, 1))
        squares = ((chains - there) ** 2).mean(axis=0)  # (C, K)
        spread = onp.sqrt(squares.mean(axis=0))
        root = len(squares) ** 0.5
        own = of_q.std(axis=0, ddof=1) / len(of_q) ** 0.5
        q_squares = ((of_q - mean) ** 2).std(axis=0, ddof=1) / len(of_q) ** 0.5 / (2.0 * sd**2)
        c_squares = squares.std(axis=0, ddof=1) / root / (2.0 * spread**2)
        shift_error = onp.hypot(chains.mean(axis=0).std(axis=0, ddof=1) / root, own) / spread
        growth = spread / sd
        columns = {
            "mean": mean,
            "shift": (there - mean) / spread,
            "shift_error": shift_error,
            "sd": sd,
            "growth": growth,
            "growth_error": growth * onp.hypot(c_squares, q_squares),
        }
    constant = (of_q == of_q[0]).all(axis=0) & (chains == of_q[0]).all(axis=(0, 1))
    plain = {"shift": 0.0, "shift_error": 0.0, "growth": 1.0, "growth_error": 0.0}
    for name, value in plain.items():
        columns[name] = onp.where(constant, value, columns[name])
    means, sds = _believed(Summary(names, columns))
    good = means & sds & ~(memory > MOST_MEMORY)
    return Summary(names, {**columns, "good": good.astype(float)})


def _believed(scalars: Summary) -> tuple[onp.ndarray, onp.ndarray]:
    """Whose means and whose sds are near enough, errors included."""
    off, growth = _off(scalars), scalars["growth"]
    error = ERRORS * scalars["growth_error"]
    return off < MOST_SHIFT, (growth + error < MOST_GROWTH) & (growth - error > 1.0 / MOST_GROWTH)


def _off(scalars: Summary) -> onp.ndarray:
    """By how many sds each mean may be off."""
    return onp.abs(scalars["shift"]) + ERRORS * onp.asarray(scalars["shift_error"])


def _of_means(scalars: Summary, believed: onp.ndarray, unknown: onp.ndarray) -> str:
    wrong = ~believed & ~unknown
    if wrong.any():
        seen = onp.nan_to_num(_off(scalars)[wrong], nan=onp.inf).max()
        return f"the mean of {_listed(scalars, wrong)} may be {seen:.2g} sd off"
    worst = _off(scalars)[believed].max(initial=0.0)
    return f"means can be believed to {max(worst, 0.01):.2f} sd" if believed.any() else ""


def _of_sds(scalars: Summary, believed: onp.ndarray, unknown: onp.ndarray) -> str:
    wrong, growth = ~believed & ~unknown, scalars["growth"]
    if not wrong.any():
        ratio = onp.maximum(growth, 1.0 / growth)[believed]
        return f"sds within a factor {ratio.max(initial=1.0):.2g}" if believed.any() else ""
    parts = []
    for bad, word, factor in (
        (wrong & (growth >= 1.0), "small", growth),
        (wrong & (growth < 1.0), "large", 1.0 / growth),
    ):
        if bad.any():
            times = f"{factor[bad].max():.2g} times too {word}"
            many = "sds" if bad.sum() > 1 else "the sd"
            verb = "are up to" if bad.sum() > 1 else "is"
            parts.append(f"{many} of {_listed(scalars, bad, factor)} {verb} {times}")
    lost = wrong & ~onp.isfinite(growth)
    if lost.any():
        parts.append(f"of {_listed(scalars, lost)} no sd is known")
    return "; ".join(parts)


def _listed(scalars: Summary, chosen: onp.ndarray, by: onp.ndarray | None = None) -> str:
    """Names of the ``chosen``, the largest ``by`` first, a few of them."""
    rows = onp.flatnonzero(chosen)
    if by is not None:
        rows = rows[onp.argsort(-by[rows], kind="stable")]
    names = [scalars.names[i] for i in rows[:MOST_NAMED]]
    more = len(rows) - len(names)
    if more:
        return f"{', '.join(names)} and {more} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _correlation(a: onp.ndarray, b: onp.ndarray) -> onp.ndarray:
    """Of the columns of two arrays (C, K); 0 where one does not vary."""
    with onp.errstate(all="ignore"):
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
        found = (a * b).sum(axis=0) / onp.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return onp.where(onp.isfinite(found), found, 0.0)
