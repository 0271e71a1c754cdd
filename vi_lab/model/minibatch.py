r"""Minibatches: which data rows go together, and what is scaled when only some are seen.

The log density of a model with N exchangeable rows is

.. math:: \log\tilde p(z) = \underbrace{\log p(\theta) + \log\abs{\det J_T(z)}}_{\text{once}}
          + \sum_{n=1}^N \ell_n(z), \qquad \ell_n = \log p(x_n \mid \theta),

and from a batch of B rows it is estimated without bias by scaling the *rows' terms alone*,

.. math:: \log\tilde p_B(z) = \log p(\theta) + \log\abs{\det J_T(z)}
          + \frac NB \sum_{n \in \text{batch}} \ell_n(z).

Its gradient is unbiased too. Without N/B the data would count for B rows, and the posterior
would be too wide by about :math:`\sqrt{N/B}`: nothing crashes and nothing warns. So the
model does it: a structure that is given b rows scales by N/b, and by 1 if it is given all.

All this asks that a log likelihood *is* a sum over rows. A program does not say so, but it
can be run on any rows: on a random set of them and on two parts of that set, at two points.
A term that is the same on all three stands outside the sum; one for which the parts add up
to the whole is a sum over rows; one that is neither cannot be had from a batch, and the
program is refused. So is one that has a latent for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as onp

from vi_lab.checks import check_whole
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.model.data import row_blocks, widen
from vi_lab.model.discover import Discovery, Look, discover, look
from vi_lab.model.handlers import Constrain, Latent, Unconstrained

SAMPLE_ROWS = 257  # rows on which a program is tried
POINTS = 2  # at which its terms are compared
TRIES = 20  # to find points where they are finite
ROWS_AT_ONCE = 2**16  # where all rows are gone through


@dataclass(frozen=True)
class Minibatch:
    """Which data of a model are rows, and how many of them a step of a fit sees.

    Parameters
    ----------
    rows : names of the data arrays with one row for each observation, (N, ...) each
    size : B, rows in a batch, from 1 to N

    Raises
    ------
    TypeError
        if ``rows`` is not a tuple or list of names.
    ValueError
        if ``rows`` is empty or names one twice, or ``size`` is not a positive whole number.

    Examples
    --------
    >>> import numpy as np
    >>> import vi_lab as vl
    >>> def line(m, x, y):
    ...     slope = m.sample("slope", vl.Normal(0.0, 1.0))
    ...     m.observe("y", vl.Normal(slope * x, 1.0), y)
    >>> x = np.linspace(0.0, 1.0, 1_000)
    >>> vl.Model(line, minibatch=vl.Minibatch(rows=("x", "y"), size=100), x=x, y=2 * x)
    Model line: 1 latent on R^1
      slope ()  Real()
    observed: y (1000,)
    minibatches: 100 of 1000 rows of x, y
    """

    rows: tuple[str, ...]
    size: int

    def __post_init__(self) -> None:
        if not isinstance(self.rows, tuple | list) or not all(
            isinstance(name, str) for name in self.rows
        ):
            raise ArgumentTypeError(
                f"rows: give the names of the arrays, ('x', 'y'), not {self.rows!r}"
            )
        if not self.rows or len(set(self.rows)) != len(self.rows):
            raise ArgumentError(
                f"rows: name each array of rows once, at least one, not {self.rows!r}"
            )
        check_whole("size", self.size, least=1)
        object.__setattr__(self, "rows", tuple(self.rows))

    def count(self, arrays: Mapping[str, onp.ndarray]) -> int:
        """How many rows ``arrays`` have: N.

        Raises
        ------
        ValueError
            if an array of rows is missing, lengths differ, or a batch would exceed N.
        """
        missing = [name for name in self.rows if name not in arrays]
        if missing:
            raise ArgumentError(
                f"minibatch: rows names {missing}, which are no arrays among the data; "
                f"there are {sorted(arrays)}"
            )
        lengths = {name: arrays[name].shape[:1] for name in self.rows}
        if len(set(lengths.values())) > 1 or () in lengths.values():
            listed = ", ".join(f"{name} {arrays[name].shape}" for name in self.rows)
            raise ArgumentError(
                f"minibatch: rows must all have the same number of rows, but have: {listed}; "
                "leave out of rows what is not one entry for each observation"
            )
        count = len(arrays[self.rows[0]])
        if self.size > count:
            raise ArgumentError(f"minibatch: size={self.size} exceeds the {count} rows there are")
        return count

    def split(
        self, arrays: Mapping[str, onp.ndarray]
    ) -> tuple[dict[str, onp.ndarray], dict[str, onp.ndarray]]:
        """``arrays`` in two: those that are rows, and the others."""
        rows = {name: arrays[name] for name in self.rows}
        return rows, {name: array for name, array in arrays.items() if name not in rows}


@dataclass(frozen=True)
class Scaling:
    """Which terms of a log density are sums over rows, and over how many in all.

    Attributes
    ----------
    row : name of one of the arrays of rows, whose length tells how many are given
    num_rows : N
    terms : names of the observations and factors that are sums over rows
    deterministics : True if a deterministic quantity depends on the rows
    """

    row: str
    num_rows: int
    terms: tuple[str, ...]
    deterministics: bool

    def log_density(self, terms: Mapping[str, Array], data: Mapping[str, Array]) -> Array:
        """Sum ``terms`` of the rows in ``data``, with theirs scaled to all N."""
        scale = self.num_rows / data[self.row].shape[0]
        over_rows = sum(terms[name] for name in self.terms)
        once = sum(term for name, term in terms.items() if name not in self.terms)
        return once + scale * over_rows


class Rows(NamedTuple):
    """Some rows of a model with all its other data: a set of rows, and the two parts of it."""

    all: dict[str, Any]
    parts: tuple[dict[str, Any], dict[str, Any]]

    @classmethod
    def draw(cls, minibatch: Minibatch, arrays: Mapping[str, Any], others: Any) -> Rows:
        """At most `SAMPLE_ROWS` rows without replacement, the same ones every time."""
        count = len(arrays[minibatch.rows[0]])
        rng = onp.random.default_rng(0)
        chosen = rng.choice(count, min(count, SAMPLE_ROWS), replace=False)
        cut = len(chosen) // 3 or 1

        def take(index: onp.ndarray) -> dict[str, Any]:
            return {**others, **{name: widen(arrays[name][index]) for name in minibatch.rows}}

        return cls(take(chosen), (take(chosen[:cut]), take(chosen[cut:])))


class Discovered(NamedTuple):
    """What a program contains, what of it is a sum over rows, and some rows to run it on."""

    discovery: Discovery
    scaling: Scaling
    some_data: dict[str, onp.ndarray]


def discover_rows(
    program: Callable[..., None],
    minibatch: Minibatch,
    arrays: Mapping[str, onp.ndarray],
    constants: Mapping[str, Any],
) -> Discovered:
    """Find out about ``program`` as `discover` does, and sort its terms as the module says.

    Raises
    ------
    TypeError, ValueError
        as `discover` does.
    ValueError
        if the arrays of rows do not fit together, a latent has an entry for each row, a prior
        depends on the rows, or an observation or factor is no sum over them.
    """
    count = minibatch.count(arrays)
    row_arrays, others = minibatch.split(arrays)
    rows = Rows.draw(minibatch, arrays, {**others, **constants})
    _try_parts(program, minibatch, arrays, rows, {**others, **constants})
    discovery = discover(program, rows.all)
    terms, deterministics = _sort_terms(program, discovery.latents, rows)
    if not terms:
        raise ArgumentError(
            f"minibatch: no observation depends on the rows {list(minibatch.rows)}, so a batch "
            "of them says nothing; leave minibatch out, or name the arrays that are observed"
        )
    observed: dict[str, Any] = {}
    for block in row_blocks(row_arrays, ROWS_AT_ONCE):
        data = {**others, **constants, **block}
        for name, value in look(program, Look(point=0.0), data).observed.items():
            own = next((key for key in data if data[key] is value), None)
            if own is not None:
                observed[name] = arrays[own]
            elif name in observed and name in terms:
                observed[name] = onp.concatenate([observed[name], value])
            else:
                observed[name] = value
    return Discovered(
        replace(discovery, observed=observed),
        Scaling(minibatch.rows[0], count, terms, deterministics),
        {name: rows.all[name] for name in arrays},
    )


def _try_parts(
    program: Callable[..., None],
    minibatch: Minibatch,
    arrays: Mapping[str, onp.ndarray],
    rows: Rows,
    others: Mapping[str, Any],
) -> None:
    """Run the program on some rows and on part of them: it must run, with the same latents."""
    count = len(arrays[minibatch.rows[0]])
    if count < 2:
        raise ArgumentError("minibatch: there is only one row; leave minibatch out")
    looks, problem = (Look(point=0.0), Look(point=0.0)), None
    for one, data in zip(looks, (rows.all, rows.parts[0]), strict=True):
        try:
            look(program, one, data)
        except (ValueError, IndexError, TypeError) as error:
            problem = error
    shapes, shapes_of_part = (
        {latent.name: latent.shape for latent in one.latents} for one in looks
    )
    local = [
        name
        for name, shape in shapes.items()
        if shapes_of_part.get(name, shape) != shape or (problem is not None and count in shape)
    ]
    if local:
        raise ArgumentError(
            f"minibatch: the latents {local} have an entry for each row, and a batch would move "
            "only its own. Sum or integrate them out of each row's likelihood, write them as a "
            "function of the row's data with coefficients that all rows share (amortise), or "
            "fit without minibatch"
        )
    if problem is not None:
        whole = next(row_blocks(minibatch.split(arrays)[0], ROWS_AT_ONCE))
        discover(program, {**others, **whole})  # may know a better reason
        raise ArgumentError(_cannot_run(problem, minibatch, arrays)) from problem


def _cannot_run(problem: Exception, minibatch: Minibatch, arrays: Mapping[str, Array]) -> str:
    count = len(arrays[minibatch.rows[0]])
    _, others = minibatch.split(arrays)
    forgotten = [name for name, array in others.items() if array.shape[:1] == (count,)]
    hint = f" ({forgotten} have {count} rows too, and are not named)" if forgotten else ""
    return (
        f"minibatch: the program does not run on some of its rows: {problem}; name in rows every "
        f"array that has an entry for each observation{hint}, and take numbers of rows from the "
        "shapes of those"
    )


def _sort_terms(
    program: Callable[..., None], latents: tuple[Latent, ...], rows: Rows
) -> tuple[tuple[str, ...], bool]:
    """Names of the terms that are sums over rows, and whether a deterministic depends on rows."""
    by_name = {latent.name: latent for latent in latents}
    kinds: dict[str, set[str]] = {}
    depends = False
    for z in _points(program, by_name, latents[-1].stop, rows.all):
        whole, *parts = (_terms(program, by_name, z, data) for data in (rows.all, *rows.parts))
        for name in whole:
            kinds.setdefault(name, set()).add(_kind(whole[name], [part[name] for part in parts]))
        of_all, of_part = (
            look(program, Constrain(by_name, z), data).values for data in (rows.all, rows.parts[0])
        )
        depends |= any(not onp.array_equal(of_all[name], of_part[name]) for name in of_all)
    for name, kind in kinds.items():
        if name in by_name and kind != {"once"}:
            raise ArgumentError(
                f"minibatch: the prior of {name!r} depends on the rows, so a batch would change "
                "it; compute what it needs from all rows beforehand and pass it as data"
            )
        if kind not in ({"once"}, {"rows"}):
            raise ArgumentError(
                f"minibatch: {name!r} is no sum over the rows: what it is on parts of them does "
                "not add up to what it is on all. Rows depend on one another, as in a time series, "
                "or on a statistic of all rows that the program computes (compute it beforehand, "
                "pass it as data); what a row needs of others can be columns of its own, such as "
                "its predecessors. Otherwise fit without minibatch"
            )
    return tuple(name for name, kind in kinds.items() if kind == {"rows"}), depends


def _points(
    program: Callable[..., None], latents: Mapping[str, Latent], dim: int, data: dict[str, Any]
) -> list[onp.ndarray]:
    """Points z near 0 at which every term is finite."""
    rng = onp.random.default_rng(1)
    found: list[onp.ndarray] = []
    for _ in range(TRIES):
        z = rng.uniform(-1.0, 1.0, dim)
        if all(onp.isfinite(term) for term in _terms(program, latents, z, data).values()):
            found.append(z)
        if len(found) == POINTS:
            return found
    raise ArgumentError(
        f"minibatch: the log density is finite at fewer than {POINTS} of {TRIES} points near "
        "z = 0, so it cannot be seen whether it is a sum over rows; look at priors and data"
    )


def _terms(
    program: Callable[..., None], latents: Mapping[str, Latent], z: Array, data: dict[str, Any]
) -> dict[str, Any]:
    terms = look(program, Unconstrained(latents, z), data).terms
    return {name: onp.asarray(term) for name, term in terms.items()}


def _kind(whole: Any, parts: list[Any]) -> str:
    """What a term is at one point: "once", "rows" or "neither"."""
    # 4e-10 in float64: far above the rounding of some hundred summands.
    tolerance = onp.finfo(whole.dtype).eps ** 0.6 if whole.dtype.kind == "f" else 0.0
    if all(abs(part - whole) <= tolerance * abs(whole) for part in parts):
        return "once"
    size = abs(whole) + sum(abs(part) for part in parts)
    return "rows" if abs(sum(parts) - whole) <= tolerance * size else "neither"
