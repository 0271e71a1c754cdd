"""A call, and what is tried in place of each of its arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wrong_values import Wrong


@dataclass(frozen=True)
class Call:
    """``function(**good)``, with the values of ``wrong`` for one argument after the other.

    Attributes
    ----------
    function : what is called, by keywords
    good : arguments that nobody would object to before any work
    wrong : by argument, what is to be refused
    called : by argument, what a message may begin with in place of its name
    """

    function: Callable[..., Any]
    good: Mapping[str, Any]
    wrong: Mapping[str, list[Wrong]]
    called: Mapping[str, str] = field(default_factory=dict)
