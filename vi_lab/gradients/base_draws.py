r"""Base draws: the standard normals :math:`\epsilon` behind the draws of q.

A step of stochastic VI averages over S draws. Any law of :math:`(\epsilon_1, \dots,
\epsilon_S)` gives an unbiased gradient, as long as *each* :math:`\epsilon_s` is
:math:`\mathcal N(0, I)`; what they have to do with each other sets the noise. For a
function f of one draw with variance :math:`\sigma^2`, its mean over the S draws of a step
has variance

* `Independent`: :math:`\sigma^2 / S`;
* `Antithetic`, pairs :math:`\pm\epsilon`: :math:`2 \sigma_e^2 / S`, where
  :math:`f = f_e + f_o` is split into its even and odd parts and :math:`\sigma_e^2 =
  \mathrm{Var} f_e`. Nothing is left of an odd f, such as the mean-field gradient in
  mu of a Gaussian posterior; an even f pays double;
* `Sobol`: for smooth f it falls faster than 1/S, the more so the fewer coordinates f
  depends on (Buchholz, Wenzel and Mandt 2018, "Quasi-Monte Carlo variational inference").

`BaseDraws` says how to write another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as onp

from vi_lab.checks import choose
from vi_lab.errors import ArgumentError

SOBOL_MAX_DIM = 21_201  # the direction numbers of Joe and Kuo (2008), as SciPy ships them
SOBOL_MAX_DRAWS = 2**16
BITS = 52  # one less than a float64 has: (k + 1/2) 2^-52 is exact, and inside (0, 1)


class BaseDraws(Protocol):
    """How the draws within one step hang together.

    **To write your own**: a frozen dataclass with the three members below. Each draw by itself
    is N(0, I); steps are independent of each other, and filling two blocks gives the same
    numbers as filling one that is as long as both.
    """

    independent: ClassVar[bool]
    """Whether they do not, at all."""

    def check(self, draws: int, dim: int) -> None:
        """Refuse, with a ValueError, what cannot be drawn: ``draws`` points of R^dim a step."""

    def fill(self, rng: onp.random.Generator, out: onp.ndarray) -> None:
        """Fill ``out`` (length, draws, dim), float64, with standard normals."""


@dataclass(frozen=True)
class Independent:
    """Independent draws."""

    independent: ClassVar[bool] = True

    def check(self, draws: int, dim: int) -> None:
        """Nothing is refused."""

    def fill(self, rng: onp.random.Generator, out: onp.ndarray) -> None:
        """Fill ``out`` (length, draws, dim)."""
        rng.standard_normal(out=out)


@dataclass(frozen=True)
class Antithetic:
    """Pairs +eps, -eps: an even number of draws a step."""

    independent: ClassVar[bool] = False

    def check(self, draws: int, dim: int) -> None:
        """Raise ValueError for an odd number of ``draws``."""
        if draws % 2 or draws < 2:
            raise ArgumentError(
                f"draws: antithetic draws come in pairs, so their number must be even, not {draws}"
            )

    def fill(self, rng: onp.random.Generator, out: onp.ndarray) -> None:
        """Fill ``out`` (length, draws, dim)."""
        length, draws, dim = out.shape
        self.check(draws, dim)
        half = draws // 2
        out[:, :half] = rng.standard_normal((length, half, dim))
        onp.negative(out[:, :half], out=out[:, half:])


@dataclass(frozen=True)
class Sobol:
    r"""Scrambled Sobol' points through the normal quantile: 2^m draws a step.

    One set of points, scrambled by a random linear matrix (Matousek 1998), is made once
    and for all; each step moves it by its own random digital shift: the bits of every
    coordinate are XORed with those of a uniform number, the same for all points of the
    step. Each point is then uniform, so each step is unbiased, and the points
    keep their even spread. A shift costs as much as one uniform number a coordinate.

    Owen (1997) explains why scrambled points can do so much better than 1/S, and Owen
    (2003), "Variance and discrepancy with alternative scramblings", why this cheaper
    scrambling (averaged over the matrices) has the same variance.
    """

    independent: ClassVar[bool] = False

    def check(self, draws: int, dim: int) -> None:
        """Raise ValueError unless ``draws`` is a power of 2 and ``dim`` at most 21,201."""
        if draws < 2 or draws & (draws - 1) or draws > SOBOL_MAX_DRAWS:
            raise ArgumentError(
                "draws: Sobol' points are balanced in powers of two, so their number must be 2, "
                f"4, 8, ..., {SOBOL_MAX_DRAWS:,}, not {draws}"
            )
        if dim > SOBOL_MAX_DIM:
            raise ArgumentError(
                f"base_draws: Sobol' points exist in at most {SOBOL_MAX_DIM:,} dimensions, not "
                f"{dim:,}; use Antithetic() or Independent()"
            )

    def fill(self, rng: onp.random.Generator, out: onp.ndarray) -> None:
        """Fill ``out`` (length, draws, dim)."""
        from scipy.special import ndtri  # slow to import, and only these draws need it

        length, draws, dim = out.shape
        self.check(draws, dim)
        shift = rng.integers(2**BITS, size=(length, 1, dim), dtype=onp.uint64)
        onp.multiply(shift ^ _sobol_points(draws, dim), 2.0**-BITS, out=out)
        out += 2.0 ** -(BITS + 1)
        ndtri(out, out=out)


@lru_cache(maxsize=4)
def _sobol_points(draws: int, dim: int) -> onp.ndarray:
    """The first ``draws`` points, scrambled, as whole numbers below 2^52, (draws, dim)."""
    from scipy.stats import qmc  # one second to import

    # The seed is part of the definition: which matrix scrambles the points for all steps.
    points = qmc.Sobol(dim, scramble=True, bits=BITS, rng=0).random(draws)
    return onp.asarray(points * 2.0**BITS, dtype=onp.uint64)


BASE_DRAWS: dict[str, BaseDraws] = {
    "antithetic": Antithetic(),
    "independent": Independent(),
    "sobol": Sobol(),
}


def get_base_draws(base_draws: str | BaseDraws) -> BaseDraws:
    """Base draws by their name in `BASE_DRAWS`, or the value itself.

    Raises
    ------
    ValueError
        for an unknown name, or what is no such value.
    """
    return choose("base_draws", base_draws, BASE_DRAWS, ("check", "fill"))
