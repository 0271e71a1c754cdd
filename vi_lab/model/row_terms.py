r"""Which terms of a program are sums over rows: found by running it on some of them.

Minibatches (`vi_lab.model.minibatch`) ask that a log likelihood *is* a sum over rows. A program
does not say so, but it can be run on any rows: on a random set of them and on two parts of that
set, at two points. A term that is the same on all three stands outside the sum; one for which the
parts add up to the whole is a sum over rows; one that is neither cannot be had from a batch, and
the program is refused. So is one that has a latent for each row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as onp

from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.model.data import widen
from vi_lab.model.discover import Discovery, Look, check_inside, discover, look
from vi_lab.model.handlers import Constrain, Latent, Unconstrained
from vi_lab.model.maps import read
from vi_lab.model.minibatch import Minibatch, Scaling
from vi_lab.model.rows import Arrays

SAMPLE_ROWS = 257  # rows on which a program is tried
POINTS = 2  # at which its terms are compared
TRIES = 20  # to find points where they are finite
ROWS_AT_ONCE = 2**16  # where all rows are gone through


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

        slices = [slice(row, row + 1) for row in chosen.tolist()]
        rows = {name: read(arrays[name], slices, widen) for name in minibatch.rows}

        def some(part: slice) -> dict[str, Any]:
            return {**others, **{name: array[part] for name, array in rows.items()}}

        return cls(some(slice(None)), (some(slice(cut)), some(slice(cut, None))))


class Discovered(NamedTuple):
    """What a program contains (observed: of some rows), what of it is a sum over rows, some rows.

    What it observes of all rows is not kept, which may be more than fits in memory.
    """

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
    others = {**minibatch.split(arrays)[1], **constants}
    # Of rows that come in blocks, the program is tried on the first block.
    at_hand = arrays if minibatch.blocks is None else {**arrays, **minibatch.source(arrays).like}
    rows = Rows.draw(minibatch, at_hand, others)
    _try_parts(program, minibatch, at_hand, rows, others)
    discovery = discover(program, rows.all)
    terms, deterministics = _sort_terms(program, discovery.latents, rows)
    if not terms:
        raise ArgumentError(
            f"minibatch: no observation depends on the rows {list(minibatch.rows)}, so a batch "
            "of them says nothing; leave minibatch out, or name the arrays that are observed"
        )
    for seen, _ in _looks(program, minibatch, arrays, constants):
        for name in sorted(discovery.always):
            check_inside(name, seen.distributions[name], seen.observed[name])
    return Discovered(
        discovery,
        Scaling(minibatch.rows[0], count, terms, deterministics),
        {name: rows.all[name] for name in at_hand},
    )


def observed_values(
    program: Callable[..., None],
    minibatch: Minibatch,
    arrays: Mapping[str, onp.ndarray],
    constants: Mapping[str, Any],
    terms: Collection[str],
) -> dict[str, Any]:
    """What ``program`` observes of all rows, by name.

    An array that is data is returned as it is, in memory or not; what is computed from rows
    (a column of an array is) is computed block by block and joined, if in ``terms``.
    """
    found: dict[str, list[Any]] = {}
    for seen, data in _looks(program, minibatch, arrays, constants):
        for name, value in seen.observed.items():
            own = next((key for key in data if data[key] is value), None)
            if name not in terms:
                found[name] = [value]
            elif own is None or own not in arrays:
                found.setdefault(name, []).append(onp.array(value))
            else:
                found[name] = [arrays[own]]
    return {
        name: values[0] if len(values) == 1 else onp.concatenate(values)
        for name, values in found.items()
    }


def _looks(
    program: Callable[..., None],
    minibatch: Minibatch,
    arrays: Mapping[str, onp.ndarray],
    constants: Mapping[str, Any],
) -> Iterator[tuple[Look, dict[str, Any]]]:
    """A look at ``program`` with each block of rows, and the data that it was given."""
    others = minibatch.split(arrays)[1]
    for block in minibatch.source(arrays, widen).blocks(ROWS_AT_ONCE):
        data = {**others, **block}
        yield look(program, Look(point=0.0), {**data, **constants}), data


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
        whole = next(Arrays(minibatch.split(arrays)[0], widen).blocks(ROWS_AT_ONCE))
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
