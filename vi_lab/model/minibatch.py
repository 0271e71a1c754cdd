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

That the terms *are* sums over rows is checked when a model is made: `vi_lab.model.row_terms`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as onp

from vi_lab.checks import check_callable, check_whole, described, shown
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError, ArgumentTypeError
from vi_lab.model.data import as_array
from vi_lab.model.rows import Arrays, Blocks, Convert
from vi_lab.model.streams import BEGINS, begun


@dataclass(frozen=True)
class Minibatch:
    """Which data of a model are rows, and how many of them a step of a fit sees.

    Parameters
    ----------
    rows : names of the data arrays with one row for each observation, (N, ...) each
    size : B, rows in a batch, from 1 to N
    blocks : for rows that are no arrays (files, a data base): a function that begins to give
        them, block by block, each a dictionary of the arrays ``rows``, (n, ...) for any n. It is
        called anew for each pass; 32 MB at a time are shuffled, so blocks should come in an order
        that has nothing to do with what is in them
    num_rows : N, if there are ``blocks``

    Raises
    ------
    TypeError
        if ``rows`` is not a tuple or list of names, or ``blocks`` cannot be called.
    ValueError
        if ``rows`` is empty or names one twice, ``size`` is not a positive whole number, or
        there is a number of rows without ``blocks`` or the other way round.

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
    blocks: Callable[[], Iterable[Mapping[str, Array]]] | None = None
    num_rows: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.rows, tuple | list) or not all(
            isinstance(name, str) for name in self.rows
        ):
            raise ArgumentTypeError(
                f"rows: give the names of the arrays, ('x', 'y'), not {shown(self.rows)}"
            )
        if not self.rows or len(set(self.rows)) != len(self.rows):
            raise ArgumentError(
                f"rows: name each array of rows once, at least one, not {self.rows!r}"
            )
        check_whole("size", self.size, least=1)
        object.__setattr__(self, "rows", tuple(self.rows))
        if self.num_rows is not None:
            check_whole("num_rows", self.num_rows, least=1)
        check_callable("blocks", self.blocks, BEGINS, 0)
        if (self.blocks is None) != (self.num_rows is None):
            raise ArgumentError(
                "num_rows: is to be given with blocks, and only with them: the rows of arrays can "
                "be counted, and those of a stream are needed to scale a batch to all of them"
            )

    def source(
        self, arrays: Mapping[str, onp.ndarray], convert: Convert = onp.asarray
    ) -> Arrays | Blocks:
        """Where the rows come from: ``arrays``, or the blocks."""
        if self.num_rows is None:
            return Arrays.of({name: arrays[name] for name in self.rows}, convert)
        first = next(self._blocks(convert))
        return Blocks(partial(self._blocks, convert), self.num_rows, first)

    def _blocks(self, convert: Convert) -> Iterator[dict[str, onp.ndarray]]:
        for block in begun("blocks", self.blocks) if self.blocks else ():
            if not isinstance(block, Mapping) or set(block) != set(self.rows):
                found = sorted(block, key=str) if isinstance(block, Mapping) else described(block)
                raise ArgumentError(
                    f"blocks: each must be a dictionary of the arrays {sorted(self.rows)}, and one "
                    f"holds {found}"
                )
            arrays = {name: as_array(name, block[name], as_stored=True) for name in self.rows}
            self.length_of(arrays)
            yield {name: convert(array) for name, array in arrays.items()}

    def count(self, arrays: Mapping[str, onp.ndarray]) -> int:
        """N, the rows of ``arrays``.

        Raises
        ------
        ValueError
            if an array of rows is missing, lengths differ, or a batch would exceed N.
        """
        if self.num_rows is not None:
            twice = [name for name in self.rows if name in arrays]
            if twice:
                raise ArgumentError(
                    f"blocks: give {twice}, which are data too; leave one of them out"
                )
            count = self.num_rows
        else:
            count = self.length_of(arrays)
        if self.size > count:
            raise ArgumentError(f"minibatch: size={self.size} exceeds the {count} rows there are")
        return count

    def length_of(self, arrays: Mapping[str, onp.ndarray]) -> int:
        """The rows that ``arrays`` have in common.

        Raises
        ------
        ValueError
            if one is missing, or lengths differ.
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
        return len(arrays[self.rows[0]])

    def split(
        self, arrays: Mapping[str, onp.ndarray]
    ) -> tuple[dict[str, onp.ndarray], dict[str, onp.ndarray]]:
        """Those of ``arrays`` that are rows (none, if those come in blocks), and all others."""
        rows = {name: arrays[name] for name in self.rows if name in arrays}
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
