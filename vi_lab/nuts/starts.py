r"""Where a chain starts: where ``init`` says, or at random points until one will do.

Stan's starts are uniform on (-2, 2) for each coordinate of z, tried until the density
and its gradient are finite. That is too little to ask. In a tail where log p~ is -1e30,
one step of the recursion :math:`e_t = y_t - \mu - \theta e_{t-1}` away from overflow,
both are finite, but the energy is only known to 1e14 nats: no step, however short, is
seen to keep it, and the chain cannot move. Such a start is no better than an infinite
one, and no fault of the model: another is drawn.

The first half of the tries are from the box (-2, 2)^D, so that chains start apart, as
R-hat asks. Where none of them is any good (a regression on x^3 with x up to 40, where
all of the box overflows), the boxes of the other half shrink towards z = 0, the middle
of every support, each to half of the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as onp

from vi_lab.arrays import as_real
from vi_lab.checks import described
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.nuts.adaptation import FASTEST_SEARCH, SLOWEST_SEARCH
from vi_lab.nuts.hamiltonian import Point
from vi_lab.nuts.randomness import Randomness

STARTS = 100  # tried for each chain before giving up, as in Stan
RADIUS = 2.0

NOT_FINITE = "a log density or gradient that is not finite"
NO_STEP = "no step short enough to keep the energy"
FLAT = "a log density that no step changes"


class Obstacle(NamedTuple):
    """Why a chain cannot move from where it is."""

    reason: str
    point: Point


def obstacle(point: Point, step_size: Array) -> Obstacle | None:
    """What is wrong at ``point``, from which `first_step_size` found ``step_size``."""
    if not (onp.isfinite(point.log_density) and onp.isfinite(point.gradient).all()):
        return Obstacle(NOT_FINITE, point)
    if step_size <= SLOWEST_SEARCH:
        return Obstacle(NO_STEP, point)
    if step_size >= FASTEST_SEARCH:
        return Obstacle(FLAT, point)
    return None


def random_starts(randomness: Randomness, first: int = 0) -> Iterator[onp.ndarray]:
    """`STARTS` points z (D,): from a box, then from boxes that shrink; not the ``first`` ones."""
    for attempt in range(first, STARTS):
        halvings = max(0, attempt + 1 - STARTS // 2)
        yield randomness.start_point(RADIUS / 2.0**halvings)


def given_starts(model: Any, init: Any, chains: int) -> onp.ndarray:
    """``init`` as unconstrained z, (C, D), a row for each chain.

    Raises
    ------
    TypeError, ValueError
        naming ``init``, and what to give instead.
    """
    z = _from_values(model, init) if isinstance(init, Mapping) else _from_numbers(init)
    if z.shape not in ((model.dim,), (chains, model.dim)):
        raise ArgumentError(
            f"init: has shape {z.shape}; give z of shape ({model.dim},) for all chains or "
            f"({chains}, {model.dim}) for each of them, or a constrained value for each latent"
        )
    if not onp.isfinite(z).all():
        raise ArgumentError(f"init: is not finite on the unconstrained scale, where it is {z}")
    return onp.array(onp.broadcast_to(z, (chains, model.dim)))


def _from_values(model: Any, init: Mapping[str, Array]) -> onp.ndarray:
    """z (D,) from a constrained value for each latent.

    Deterministic quantities, which come with the means of draws, follow from the latents.
    """
    discovery = getattr(model, "discovery", None)  # a `Target` has none
    follows = discovery.deterministics if discovery else ()
    values = {name: value for name, value in init.items() if name not in follows}
    wrong = sorted(set(model.latents) ^ set(values), key=str)
    if wrong:
        raise ArgumentError(
            f"init: needs exactly the latents {list(model.latents)}; missing or unknown: {wrong}"
        )
    try:
        return onp.asarray(model.unconstrain(values), dtype=float)
    except (ArgumentError, ArgumentTypeError) as error:
        raise type(error)(f"init: {error}") from error


def _from_numbers(init: Any) -> onp.ndarray:
    """``init`` as an array."""
    try:
        return onp.asarray(as_real("init:", init), dtype=float)
    except ArgumentTypeError as error:
        raise ArgumentTypeError(
            f"init: cannot start at {described(init)}; give a constrained value for each latent, "
            "as in init={'mu': 0.0} or init=fit.mean, or unconstrained z, as in "
            "init=result.z[:, -1]"
        ) from error


# ------------------------------------------------------------------ when nothing works


def no_start(model: Any, tried: list[Obstacle], given: bool) -> str:
    """Why no start worked, from all that were tried; evaluates the model once, safely."""
    reasons = [obstacle.reason for obstacle in tried]
    last = tried[-1]
    if set(reasons) == {FLAT}:
        return (
            "model: leapfrog steps of any length leave the energy as it is, so the log density is "
            "flat and cannot be normalised; give every latent a proper prior"
        )
    where = "at the start" if given else f"at any of {len(tried)} random points"
    meant = "" if given else " (the last is meant here)"
    if set(reasons) == {NOT_FINITE}:
        return (
            f"model: the log density or its gradient is not finite {where}{meant}; "
            f"{_culprits(model, last.point)}. Give another start with init={{latent: value, ...}}, "
            "or look at those priors and data"
        )
    counts = ", ".join(f"{r} ({reasons.count(r)} times)" for r in dict.fromkeys(reasons))
    seen = last.reason if given else counts
    worst = int(onp.argmax(onp.nan_to_num(abs(last.point.gradient), nan=onp.inf)))
    return (
        f"model: a chain cannot move {where}: {seen}. There{meant} the log density is "
        f"{float(last.point.log_density):.3g} and its steepest slope "
        f"{float(last.point.gradient[worst]):.3g}, in {_owner(model, worst)}. Start nearer to the "
        "posterior with init={latent: value, ...} (init=fit.mean of a fit, say); if the chain is "
        "near it already, the log density is not continuous there, or its gradient is wrong"
    )


def _culprits(model: Any, point: Point) -> str:
    """Which terms, or which gradients, are not finite at ``point``."""
    try:
        terms = model.terms(point.z)
    except Exception as error:  # noqa: BLE001 - the program is the user's, and this is a message
        return f"evaluated there, the program says: {error}"
    bad = [f"{name} ({term})" for name, term in terms.items() if not onp.isfinite(term)]
    if bad:
        return f"terms at fault: {', '.join(bad)}"
    finite = onp.isfinite(point.gradient)
    bad = [name for name, part in model.slices.items() if not finite[part].all()]
    return f"latents whose gradient is not finite: {', '.join(bad)}"


def _owner(model: Any, coordinate: int) -> str:
    """The latent that z[coordinate] belongs to."""
    return next(n for n, part in model.slices.items() if part.start <= coordinate < part.stop)
