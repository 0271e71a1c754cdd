"""Losses and gradients that are not finite: refused at the start, explained on the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as onp

from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, NonFiniteError
from vi_lab.families import Params
from vi_lab.model import Posterior


def check_start(model: Posterior, z: onp.ndarray) -> None:
    """Refuse to begin where the log density is not finite, and say which term is not.

    Raises
    ------
    ValueError
    """
    with onp.errstate(all="ignore"):
        terms_at_start = model.terms(z)
    bad = {name: term for name, term in terms_at_start.items() if not onp.isfinite(term)}
    if bad:
        terms = ", ".join(f"{name} ({term})" for name, term in bad.items())
        raise ArgumentError(
            f"the log density is not finite at the start; the terms at fault: {terms}. "
            "Give a starting point with init={latent: value, ...}, or look at those priors "
            "and data"
        )


def all_finite(params: Params) -> bool:
    """True if every parameter is a finite number."""
    return all(bool(onp.isfinite(value).all()) for value in params.values())


def explain_non_finite(
    model: Posterior,
    losses: onp.ndarray,
    done: int,
    gradient_after: Callable[[int], tuple[Array, Params]],
) -> None:
    """Replay a block up to its first bad step and raise an error that names the cause.

    ``losses`` are those of the block, after ``done`` steps; ``gradient_after(t)`` is the
    loss and gradient of its step t = 0, 1, ...
    """
    length = len(losses)
    bad = length if onp.isfinite(losses).all() else int(onp.argmax(~onp.isfinite(losses)))
    for t in range(max(0, bad - 1), min(bad + 1, length)):
        # The gradient of the step before may be the culprit: look at both.
        loss, gradient = gradient_after(t)
        culprits = _bad_latents(model, gradient)
        if culprits or not onp.isfinite(loss):
            raise NonFiniteError(
                f"step {done + t + 1}: the loss is {float(loss):.6g} and the gradient is not "
                f"finite for {', '.join(culprits) or 'no latent'}; use a smaller step size, "
                "more draws a step, or a starting point with init="
            )
    raise NonFiniteError(f"step {done + bad}: the parameters overflowed; use a smaller step size")


def _bad_latents(model: Posterior, gradient: Params) -> list[str]:
    """Names of the latents in whose coordinates some gradient is not finite."""
    finite = onp.ones(model.dim, dtype=bool)
    for value in gradient.values():
        if onp.shape(value)[:1] == (model.dim,):  # others belong to all latents alike
            finite &= onp.isfinite(value).reshape(model.dim, -1).all(axis=1)
    return [name for name, part in model.slices.items() if not finite[part].all()]
