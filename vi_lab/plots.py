"""Pictures of fits, of draws, and of data beside replicated data.

A result is a `Fit`, a `NutsResult`, or a dictionary of draws ``{name: (S, *shape)}``. Its
numbers are shown one by one, called as in summaries: ``mu``, ``theta[0]``, ``L[1, 0]``.

Each function draws on the axes it is given, or on those of a new figure, and returns
them. Colours are those of Okabe and Ito, which colour-blind readers tell apart, and
line styles differ as well, for print in grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as onp

from vi_lab.arrays import as_real
from vi_lab.checks import (
    check_instance,
    check_label,
    check_names,
    check_seed,
    check_whole,
    described,
    is_whole,
    shown,
)
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.nuts import NutsResult
from vi_lab.results.fit import Fit
from vi_lab.results.summary import flatten_draws, matching, unknown

Result = Fit | NutsResult | Mapping[str, Array]
Names = str | Sequence[str] | None

FIT_DRAWS = 10_000  # from a q, which has none of its own
POINTS = 5_000  # at most, in a scatter plot: more would only be black
TAIL = 0.0005  # of the draws at either end, outside the picture: one outlier would fill it
LEAST_SPAN = 0.5  # nats: smaller differences of an ELBO are no news

# Okabe and Ito (2008), "Color universal design", without its yellow, too pale for a line.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = ("-", "--", "-.", ":")
DATA_COLOUR = "0.25"


def elbo(fit: Fit, every: int = 10, ax: Any = None) -> Any:
    """The ELBO estimated at every ``every``-th step of ``fit``, and its running mean.

    The mean is over a fiftieth of all steps; fits of a few dozen steps, such as
    deterministic ones, have none. The vertical axis shows the level at which the second
    half of the fit stays, with as much again below it for the rise: the first steps are
    usually far under the picture.

    Raises
    ------
    TypeError
        if ``fit`` is no `Fit`.
    ValueError
        if ``every`` is not a positive whole number, or leaves fewer than two steps.
    """
    check_instance("fit", fit, Fit, "the Fit of advi, which has an ELBO by step")
    check_whole("every", every, least=1)
    steps = onp.arange(len(fit.losses))[::every]
    if len(steps) < 2:
        raise ArgumentError(
            f"every: {every} leaves 1 of {len(fit.losses)} steps; give a smaller one"
        )
    estimates = -_finite("fit: its losses", fit.losses)
    ax = _axis(ax, width=6.0, height=3.6)
    window = len(estimates) // 50
    few = window < 2
    thin = {"color": COLOURS[0], "marker": "."} if few else {"color": COLOURS[4], "linewidth": 0.6}
    ax.plot(steps, estimates[::every], label="estimate of a step", **thin)
    if not few:
        mean = running_mean(estimates, window)[::every]
        ax.plot(steps, mean, color=COLOURS[1], label=f"mean of the last {window:,} steps")
    low, high = onp.quantile(estimates[len(estimates) // 2 :], [0.005, 0.995])
    span = max(high - low, LEAST_SPAN)
    ax.set(xlabel="step", ylabel="ELBO (nats)", ylim=(low - span, high + 0.5 * span))
    ax.margins(x=0.02)
    ax.legend(loc="lower right")
    return ax


def trace(result: Result, names: Names = None, axes: Any = None, seed: int = 0) -> Any:
    """A row for each number: on the left its density, on the right its draws in order.

    Chains are drawn one by one; of a `Fit`, 10,000 draws (``seed`` is for these). ``names``
    picks what to show: ``"theta"`` for all its entries, ``"theta[0]"`` for one.

    Returns
    -------
    axes, of shape (numbers, 2)

    Raises
    ------
    ValueError
        if a name is unknown, or ``axes`` are not two for each number.
    """
    names = None if names is None else check_names("names", names)
    scalars, draws = _select(*_draws(result, seed), names)
    axes = _axes(axes, len(scalars), 2, width=5.0, height=1.9)
    for row, scalar, chains in zip(axes, scalars, onp.moveaxis(draws, -1, 0), strict=True):
        density, order = row
        for i, (chain, style) in enumerate(zip(chains, _styles(), strict=False)):
            _density(density, chain, label=f"chain {i}", **style)
            order.plot(chain, color=style["color"], linewidth=0.4, alpha=0.7, rasterized=True)
        density.set(ylabel="density", **_frame(scalar, chains))
        order.set(xlabel="draw", ylabel=scalar)
        order.margins(x=0.01)
    if len(draws) > 1:
        axes[0, 0].legend(loc="best")
    return axes


def compare(*, names: Names = None, axes: Any = None, seed: int = 0, **results: Result) -> Any:
    """A panel for each number, with its density in each of ``results`` by label.

    ``compare(ADVI=fit, NUTS=chains)``; labels that are no Python names come as
    ``compare(**{"mean field": fit})``. Without ``names``, the numbers that all results
    have are shown. Chains are pooled; of a `Fit`, 10,000 draws are taken, with ``seed``.

    Returns
    -------
    axes, of shape (numbers,)

    Raises
    ------
    ValueError
        if there is no result, a name is unknown, no number is common to all results, or
        ``axes`` are not one for each number.
    """
    if not results:
        raise ArgumentError("results: give at least one, by its label: compare(ADVI=fit)")
    tables = {label: _draws(result, seed, label) for label, result in results.items()}
    if names is None:
        first, *others = (scalars for scalars, _ in tables.values())
        names = [scalar for scalar in first if all(scalar in other for other in others)]
        if not names:
            raise ArgumentError(f"results: {', '.join(tables)} have no number in common to compare")
    names = check_names("names", names)
    chosen = {label: _select(*table, names) for label, table in tables.items()}
    scalars = next(iter(chosen.values()))[0]
    columns = min(len(scalars), 3)
    if axes is None:
        rows = -(-len(scalars) // columns)
        grid = _new_axes(rows, columns, width=3.6, height=2.8).ravel()
        for spare in grid[len(scalars) :]:
            spare.remove()
        axes = grid[: len(scalars)]
    axes = _axes(axes, len(scalars), 1, width=3.6, height=2.8)[:, 0]
    for k, (ax, scalar) in enumerate(zip(axes, scalars, strict=True)):
        pooled = [draws[..., k].ravel() for _, draws in chosen.values()]
        for label, draws, style in zip(chosen, pooled, _styles(), strict=False):
            _density(ax, draws, label=label, **style)
        ax.set(ylabel="density" if k % columns == 0 else "", **_frame(scalar, pooled))
    axes[0].legend(loc="best")
    return axes


def replicated(
    data: Array, replicated: Array, columns: Sequence[int] | None = None, ax: Any = None
) -> Any:
    """The density of ``data`` (N,) beside that of replicated values of single rows.

    ``replicated`` (S, N) are data sets as `vi_lab.posterior_predictive` draws them;
    each of ``columns`` (by default four, evenly spaced) is one row of the data, and its
    curve the density of that row's S replicated values.

    Raises
    ------
    ValueError
        if the shapes do not fit, or there is no such column.
    """
    data, replicated = _finite("data", data), _finite("replicated", replicated)
    if data.ndim != 1 or replicated.ndim != 2 or replicated.shape[1:] != data.shape:
        raise ArgumentError(
            f"replicated: need data (N,) and replicated data sets (S, N), not {data.shape} and "
            f"{replicated.shape}"
        )
    if columns is None:
        columns = sorted(set(onp.linspace(0, len(data) - 1, 4).round().astype(int).tolist()))
    if not isinstance(columns, Sequence | onp.ndarray) or not all(map(is_whole, columns)):
        raise ArgumentTypeError(f"columns: must be numbers of rows, not {shown(columns)}")
    if len(columns) == 0:
        raise ArgumentError("columns: is empty; give at least one, or leave it out")
    absent = [column for column in columns if not 0 <= column < len(data)]
    if absent:
        raise ArgumentError(
            f"columns: there are none of {absent}; data rows are 0 to {len(data) - 1}"
        )
    ax = _axis(ax, width=6.0, height=3.6)
    ax.hist(data, bins="auto", density=True, color="0.85", edgecolor="white")
    for column, style in zip(columns, _styles(), strict=False):
        _density(ax, replicated[:, column], label=f"replicated, row {column}", **style)
    # As data are few, their range is not that of their distribution: the curve goes beyond.
    grid, density = _kde(data, bound_correction=False, extend=True, extend_fct=0.5)
    ax.plot(grid, density, color=DATA_COLOUR, linewidth=2.5, label="data")
    ax.set(xlabel="value", ylabel="density")
    ax.legend(loc="best")
    return ax


def scatter(result: Result, x: str, y: str, ax: Any = None, seed: int = 0) -> Any:
    """The draws of two numbers, such as ``"density[0]"`` and ``"density[1]"``, as points.

    At most 5,000 are shown, evenly spaced among all; ``seed`` is for those of a `Fit`.

    Raises
    ------
    ValueError
        if a name is unknown or means more than one number.
    """
    scalars, draws = _draws(result, seed)
    pooled = draws.reshape(-1, len(scalars))
    pooled = pooled[onp.linspace(0, len(pooled) - 1, min(POINTS, len(pooled))).astype(int)]
    pairs = []
    for argument, name in {"x": x, "y": y}.items():
        check_label(argument, name)
        if name not in scalars:
            raise ArgumentError(f"{argument}: {unknown(name, scalars)}")
        pairs.append(_finite(name, pooled[:, scalars.index(name)]))
    ax = _axis(ax, width=4.2, height=4.2)
    ax.plot(*pairs, ".", color=COLOURS[0], markersize=3, alpha=0.35, mew=0, rasterized=True)
    ax.set(xlabel=x, ylabel=y)
    return ax


def running_mean(values: onp.ndarray, window: int) -> onp.ndarray:
    """The mean of the last ``window`` of ``values`` (T,) up to each (fewer at first): (T,)."""
    total = onp.concatenate([[0.0], onp.cumsum(values)])
    last = onp.arange(1, len(values) + 1)
    first = onp.maximum(last - window, 0)
    return (total[last] - total[first]) / (last - first)


# ------------------------------------------------------------------------- results


def _draws(result: Result, seed: int, what: str = "result") -> tuple[list[str], onp.ndarray]:
    """The names of all numbers, and their draws, (chains, draws, numbers)."""
    check_seed("seed", seed)
    if isinstance(result, NutsResult):
        return flatten_draws(result.draws, leading=2)
    if isinstance(result, Fit):
        result = result.sample(FIT_DRAWS, seed=seed)
    elif not isinstance(result, Mapping):
        raise ArgumentTypeError(
            f"{what}: is {described(result)}, which has no draws; give a Fit, a NutsResult, or "
            "draws by name, {name: (S, *shape)}"
        )
    scalars, table = flatten_draws(result, leading=1, what=what)
    return scalars, table[None]


def _select(
    scalars: list[str], draws: onp.ndarray, names: list[str] | None
) -> tuple[list[str], onp.ndarray]:
    """Those numbers that ``names`` means, in its order; all of them, if None."""
    if names is not None:
        chosen = matching(scalars, names)
        draws, scalars = draws[..., [scalars.index(name) for name in chosen]], chosen
    for k, scalar in enumerate(scalars):
        _finite(scalar, draws[..., k])
    return scalars, draws


def _finite(what: str, values: Array) -> onp.ndarray:
    """``values`` as floats, of which there are some, all finite: others cannot be drawn."""
    array = onp.asarray(as_real(f"{what}:", values), dtype=float)
    bad = int((~onp.isfinite(array)).sum())
    if bad or not array.size:
        found = f"{bad:,} of {array.size:,} values are infinite or NaN" if bad else "is empty"
        raise ArgumentError(f"{what}: {found}, so there is no picture; leave it out")
    return array


# ------------------------------------------------------------------------- drawing


def _density(ax: Any, draws: onp.ndarray, **style: Any) -> None:
    """A kernel density estimate of ``draws`` (S,) without their outermost; a bar if constant."""
    low, high = _limits(draws)
    inside = draws[(draws >= low) & (draws <= high)]
    if inside.min() == inside.max():  # such as an entry of a Cholesky factor
        ax.axvline(inside[0], **style)
    else:
        ax.plot(*_kde(inside), **style)


def _kde(draws: onp.ndarray, **options: Any) -> tuple[onp.ndarray, onp.ndarray]:
    """A grid of values and the density there."""
    from arviz_stats.base.array import array_stats  # imports scipy.stats, which takes a second

    estimate: Any = array_stats.kde
    grid, density, _ = estimate(onp.asarray(draws, dtype=float), bw="silverman", **options)
    return grid, density


def _limits(draws: onp.ndarray) -> tuple[float, float]:
    low, high = onp.quantile(draws, [TAIL, 1.0 - TAIL])
    return float(low), float(high)


def _frame(scalar: str, samples: Iterable[onp.ndarray]) -> dict[str, Any]:
    """Axes for densities of ``samples``: as wide as all of them, from zero upwards, no scale."""
    lows, highs = zip(*map(_limits, samples), strict=True)
    frame = {"xlabel": scalar, "ylim": (0, None), "yticks": []}
    return frame | ({"xlim": (min(lows), max(highs))} if min(lows) < max(highs) else {})


def _styles() -> Any:
    """Colours and line styles, for ever; together they repeat after twelve."""
    return ({"color": c, "linestyle": d} for c, d in zip(cycle(COLOURS), cycle(DASHES)))


def _axis(ax: Any, *, width: float, height: float) -> Any:
    """``ax``, or that of a new figure if None."""
    return _axes(ax, 1, 1, width=width, height=height, name="ax")[0, 0]


def _axes(
    axes: Any, rows: int, columns: int, *, width: float, height: float, name: str = "axes"
) -> onp.ndarray:
    """``axes`` as an array (rows, columns), or those of a new figure if None."""
    if axes is None:
        return _new_axes(rows, columns, width=width, height=height)
    given = onp.ravel(onp.asarray(axes, dtype=object))
    if not all(hasattr(ax, "plot") for ax in given):
        raise ArgumentTypeError(f"{name}: must be of Matplotlib, not {shown(axes)}")
    if given.size != rows * columns:
        wanted = f"{rows * columns} for {rows} numbers"
        raise ArgumentError(f"{name}: need {wanted}, not {given.size}; leave it out for new ones")
    return given.reshape(rows, columns)


def _new_axes(rows: int, columns: int, *, width: float, height: float) -> onp.ndarray:
    """The axes of a new figure, (rows, columns); sizes in inches for each."""
    import matplotlib.pyplot as plt  # takes half a second, and only pictures need it

    size = (width * columns, height * rows)
    _, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    return axes
