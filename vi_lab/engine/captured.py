"""What a function depends on beside its arguments, so when compiled code may be used again.

A compiled function remembers every number that it met when it was traced: a global, a variable
of the function around it, an attribute, an entry of an array. So code that was compiled for a
program may be used again only where all of these are as they were: `captured` finds them
(`vi_lab.engine.tokens` says where it looks), and two programs of the same code that captured
the same values share what was compiled, as when a cell of a notebook is run again.
"""

from __future__ import annotations

from typing import Any

from vi_lab.engine.tokens import Itself, Label, Token, Walk, digest


class Captured:
    """All that some values depend on; equal and hashed by it.

    An object that has one as its attribute ``captured`` is known by it.

    Attributes
    ----------
    parts : (label, token) pairs, in the order of discovery
    readable : whether none of it is an object that counts as itself
    """

    def __init__(self, parts: tuple[tuple[Label, Token], ...], readable: bool = True) -> None:
        self.parts, self.readable, self._hash = parts, readable, hash(parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Captured) and self.parts == other.parts

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return Captured, (self.parts, self.readable)  # a hash is that of one process

    def __repr__(self) -> str:
        return f"Captured({self.parts!r})"

    def digests(self) -> dict[str, str]:
        """A digest of each name in it; the same in every process."""
        found: dict[str, list[Token]] = {}
        for (_, name), token in self.parts:
            found.setdefault(name, []).append(token)
        return {name: digest(tokens) for name, tokens in found.items()}


def captured(*values: Any) -> Captured:
    """What ``values`` are and depend on, at this moment."""
    if len(values) == 1 and isinstance(known := getattr(values[0], "captured", None), Captured):
        return known
    walk = Walk()
    for number, value in enumerate(values):
        walk.parts["", str(number)] = walk.token(value)
    walk.follow_names()
    return Captured(tuple(walk.parts.items()), walk.readable)


class Watched:
    """A user's function: what it depends on now, but for what it writes itself.

    A function may count its calls or keep what it has computed. Such a variable changes as the
    function runs; it is no number that was written by somebody who wants another answer. So
    this is made before the function is run for the first time, and told when it has been:
    what has changed in between is left out from then on, and what was compiled is for this
    one alone.
    """

    def __init__(self, function: Any) -> None:
        self._function, self._own = function, frozenset[Label]()
        self._before: Captured | None = captured(function)

    def has_run(self) -> None:
        """The function has been run, by nobody who would change what it depends on."""
        if self._before is not None:
            changed = set(self._before.parts) ^ set(captured(self._function).parts)
            self._own, self._before = frozenset(label for label, _ in changed), None

    def now(self) -> Captured:
        """What it depends on."""
        found = captured(self._function)
        if found.readable and not self._own:
            return found
        parts = tuple(part for part in found.parts if part[0] not in self._own)
        return Captured((*parts, (("", "this one alone"), (Itself(self),))), readable=False)
