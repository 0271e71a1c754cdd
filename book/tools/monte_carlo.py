r"""Compare what a cell says of a long Markov chain, by its Monte Carlo error.

A chain is chaotic: a last bit that another processor rounds differently has moved every
draw after some thousand transitions, so that one program on two machines gives two
independent runs. The outputs of a cell tagged ``monte-carlo`` are therefore compared as
those of two runs, with Monte Carlo errors s and s', standard deviations d and d' and
effective sample sizes n and n' (of the tails), and z = 5:

tables of estimates
    the lines under a header that has the column ``mcse``, by what a column holds:

    * ``mean``: :math:`|\Delta| \le z \sqrt{s^2 + s'^2}`;
    * ``sd``: :math:`|\Delta| \le z \sqrt{d^2/n + d'^2/n'}`, since the error of an sd is
      :math:`d \sqrt{(\kappa - 1)/4n}`, which this bounds for a kurtosis :math:`\kappa` up to 5;
    * ``hdi``: the same with :math:`n^{2/3}` for n, because the ends of a shortest interval
      converge as :math:`n^{-1/3}` (Chernoff 1964);
    * ``ess_bulk``, ``mcse``: within a factor `FACTOR`; ``ess_tail`` within `TAIL_FACTOR`;
    * ``r_hat``: :math:`|\Delta| \le 40 / n`.

numbers with their error, ``1.5 ± 0.2`` or ``12.5% ± 0.2%``
    as means are.
what a sampler says of its steps
    ``acceptance 0.91`` within `ACCEPTANCE` and at most 1, ``3.8 gradients a draw`` within a
    factor `FACTOR`.
pictures
    by how much ink there is where, once they are smoothed: `ink_difference` is at most `INK`, or
    what the cell's tag ``tolerance-...`` says.
all else
    words, counts, divergences, tables whose cells are no numbers: as in every other cell.

Each number is judged by itself, since those of one chain lean together by an unknown amount: three
means that are all 4.9 errors off pass. What a worse run prints of its own error widens its bound
by a factor `FACTOR` at most.

``tests/book/test_monte_carlo.py`` says how the bounds were measured, and how often a right
sampler fails them; it also breaks the sampler, and sees the chapter fail.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

Z = 5.0
"""Standard errors of a difference: one right number in two million is further off."""
FACTOR = 3.0
"""Between two effective sample sizes."""
TAIL_FACTOR = 5.0
"""Between two of the tails, where one slow excursion of a chain counts for much."""
ACCEPTANCE = 0.2
"""Between the mean acceptance of two runs, whose step sizes were adapted apart."""
INK = 0.45
"""Between two smoothed pictures, as a share of the most ink there is in one place."""
SMOOTHING = 0.03
"""The standard deviation of the smoothing, relative to the width of a picture."""
PIXELS = 8
"""By which the sizes of two pictures may differ: what a tick's label is wider."""

Row = dict[str, float]  # a row of a table, by column


def reconcile(old: str, new: str) -> tuple[list[str], str]:
    """Differences beyond Monte Carlo error; and ``new``, with the numbers of ``old`` for its own.

    What is left different in the second was no estimate, and is for others to judge.
    """
    complaints: list[str] = []
    lines, columns = [], None
    old_lines, new_lines = old.splitlines(), new.splitlines()
    if len(old_lines) != len(new_lines):
        return [], new
    for before, now in zip(old_lines, new_lines, strict=True):
        a, b = _cells(before), _cells(now)
        if a == b and "mcse" in a:
            columns = a
        elif columns and a[0] == b[0] and (rows := _rows(columns, a, b)):
            complaints += [f"{a[0]}: {found}" for found in _row_differences(*rows)]
            lines.append(before)
            continue
        else:
            columns = None
        found, line = _reconcile_phrases(before, now)
        complaints += found
        lines.append(line)
    return complaints, "\n".join(lines)


def _cells(line: str) -> list[str]:
    """The cells of a line of a table: at least two spaces lie between them."""
    return re.split(r"\s{2,}", line.strip())


# ----------------------------------------------------------------------------- tables


def _rows(columns: list[str], *lines: list[str]) -> list[Row] | None:
    """Lines of a table by column, or None if their cells are not one number for each column."""
    try:
        return [dict(zip(columns, map(float, cells[1:]), strict=True)) for cells in lines]
    except ValueError:
        return None


def _row_differences(old: Row, new: Row) -> Iterator[str]:
    for column, before in old.items():
        now = new[column]
        equal = now == before or (math.isnan(now) and math.isnan(before))  # R-hat of a constant
        if not (equal or _same_estimate(column, old, new)):
            yield f"{column} was {before:g} and is now {now:g}, beyond Monte Carlo error"


def _same_estimate(column: str, old: Row, new: Row) -> bool:
    """Whether two runs may differ so in ``column``; False if one of them is not a number."""
    difference = abs(new[column] - old[column])
    if column == "mean":
        return difference <= Z * math.hypot(old["mcse"], new["mcse"])
    if column in {"mcse", "ess_bulk", "ess_tail"}:
        factor = TAIL_FACTOR if column == "ess_tail" else FACTOR
        return _within_factor(old[column], new[column], factor)
    if column == "r_hat":
        return difference <= 40.0 / min(old["ess_bulk"], new["ess_bulk"])
    if column == "sd" or column.startswith("hdi"):
        power = 0.5 if column == "sd" else 1.0 / 3.0
        errors = (row["sd"] / row["ess_tail"] ** power for row in (old, new))
        return difference <= Z * math.hypot(*errors)
    return difference == 0.0


def _within_factor(old: float, new: float, factor: float = FACTOR) -> bool:
    return old <= factor * new and new <= factor * old


# ---------------------------------------------------------------------------- phrases

_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"


def _same_with_error(old: tuple[float, ...], new: tuple[float, ...]) -> bool:
    return abs(new[0] - old[0]) <= Z * math.hypot(old[1], new[1]) and _within_factor(old[1], new[1])


_PHRASES: dict[str, Callable[[tuple[float, ...], tuple[float, ...]], bool]] = {
    rf"{_NUMBER}%? ± {_NUMBER}": _same_with_error,
    rf"acceptance {_NUMBER}": lambda old, new: (
        abs(new[0] - old[0]) <= ACCEPTANCE and 0.0 <= new[0] <= 1.0
    ),
    rf"{_NUMBER} gradients a draw": lambda old, new: _within_factor(old[0], new[0]),
}


def _reconcile_phrases(old: str, new: str) -> tuple[list[str], str]:
    """`reconcile` for one line outside tables."""
    complaints = []
    for pattern, same in _PHRASES.items():
        before, now = list(re.finditer(pattern, old)), list(re.finditer(pattern, new))
        if len(before) != len(now):
            continue
        for a, b in zip(before, now, strict=True):
            if not same(*(tuple(map(float, match.groups())) for match in (a, b))):
                complaints.append(f"{a[0]!r} is now {b[0]!r}, beyond Monte Carlo error")
        for a, b in zip(reversed(before), reversed(now), strict=True):
            new = new[: b.start()] + a[0] + new[b.end() :]
    return complaints, new


# --------------------------------------------------------------------------- pictures


def ink_difference(old: np.ndarray, new: np.ndarray) -> float:
    """How far two smoothed pictures (rows, columns, channels) are apart where they differ most.

    In units of the most ink in one place: a curve that is gone makes a difference of 0.6 to
    0.7, draws that are gone one of 1, and curves or clouds of two right runs less than half of
    that, because smoothing does not move ink out of its neighbourhood. Infinite if the sizes
    differ by more than a few pixels. They are compared from their lower right corner, where the
    axes end.
    """
    sizes = np.array([old.shape[:2], new.shape[:2]])
    if np.ptp(sizes, axis=0).max() > PIXELS:
        return math.inf
    height, width = sizes.min(axis=0)
    sigma = SMOOTHING * width
    ink = [
        1.0 - gaussian_filter(picture[-height:, -width:, :3], (sigma, sigma, 0))
        for picture in (old, new)
    ]
    return float(np.max(np.abs(ink[0] - ink[1])) / max(ink[0].max(), 1e-3))
