"""Engines: who differentiates, and who runs the loop.

An *engine* supplies NumPy with derivatives. There are two: autograd (the
reference, pure Python) and JAX (compiled, used when it is installed). Both offer
the handful of operators of :class:`Engine`, and only their own two files import
them.

Two questions are kept apart, each answered by a context variable:

* which engine should run the next fit? :func:`use`, a ``with use(...)`` block,
  an ``engine=`` argument or the environment variable ``VI_LAB_ENGINE`` choose;
* whose NumPy does ``vi_lab.numpy`` stand for *right now*? NumPy's own, except
  while an engine runs a function (:func:`running`).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from functools import cached_property
from types import ModuleType, TracebackType
from typing import Any, Protocol

import numpy as onp

from vi_lab.checks import check_name
from vi_lab.errors import EngineError, MissingPackageError

NAMES = ("autograd", "jax")

Array = Any  # an array of NumPy, of autograd or of JAX, or one of their tracers
Tree = Any  # an array, or dictionaries and tuples of arrays


class Namespace(Protocol):
    """What :mod:`vi_lab.numpy` and :mod:`vi_lab.scipy` stand for."""

    @property
    def numpy(self) -> Any:
        """NumPy, as this engine has it."""

    @property
    def special(self) -> Any:
        """Special functions, as this engine has them."""


class Engine(Namespace, Protocol):
    """The operators that every engine has.

    :meth:`compile`, :meth:`hessian_vector_product` are called from plain Python
    and hand back NumPy arrays. The others are used inside a function that an
    engine is running.
    """

    name: str

    version: str
    """of the package that runs: another may round otherwise"""

    parallel: bool
    """whether functions that it runs on several threads run at the same time"""

    def compile(
        self,
        function: Callable[..., Tree],
        static: tuple[int, ...] = (),
        *,
        few_rows: bool = False,
    ) -> Callable:
        """``function`` run by this engine: arrays in, NumPy arrays out.

        Positional arguments listed in ``static`` must be hashable; the rest are
        arrays or trees of arrays and are never baked in as constants. The same
        ``function`` gives the same compiled function again, so that a second
        call with arguments of the same shapes compiles nothing. ``few_rows`` says that
        its loops work on a few thousand numbers at a time, for which other code is
        faster than for many; an engine that compiles nothing does the same for both.
        """
        ...

    def value_and_grad(self, function: Callable[..., Array]) -> Callable:
        """``x, *rest -> (function(x, *rest), gradient with respect to x)``; x is a tree."""
        ...

    def hessian_vector_product(self, function: Callable[..., Array]) -> Callable:
        """``(x, *rest) -> (v -> H(x) v)`` for a scalar ``function`` of a vector ``x``."""
        ...

    def vmap(self, function: Callable[..., Tree]) -> Callable[..., Tree]:
        """``function`` mapped over the leading axis of all its arguments."""
        ...

    def scan(
        self,
        step: Callable[[Tree, Tree], tuple[Tree, Tree]],
        state: Tree,
        inputs: Tree,
        length: int | Array | None = None,
    ) -> tuple[Tree, Tree]:
        """Fold ``step(state, inputs[t]) -> (state, record)`` over the leading axis.

        Only the first ``length`` steps are taken (all, if None); ``length`` may be
        an argument of a compiled function, so that blocks of any length share
        one compilation. Records of steps not taken are zero. A scan of all steps is
        differentiated, one of ``length`` steps is not.
        """
        ...

    def while_loop(
        self, keep_going: Callable[[Tree], Array], body: Callable[[Tree], Tree], state: Tree
    ) -> Tree:
        """Apply ``body`` to ``state`` for as long as ``keep_going(state)``."""
        ...

    def cond(
        self, predicate: Array, if_true: Callable[..., Tree], if_false: Callable, *args: Tree
    ) -> Tree:
        """``if_true(*args)`` where ``predicate`` holds, else ``if_false(*args)``."""
        ...

    def set_at(self, array: Array, index: Any, value: Array) -> Array:
        """A copy of ``array`` with ``array[index] = value`` (not differentiated)."""
        ...

    def stop_gradient(self, x: Tree) -> Tree:
        """``x`` as a constant of differentiation."""
        ...


class _Plain:
    """What `vi_lab.numpy` and `vi_lab.scipy` are while no engine runs."""

    numpy = onp

    @cached_property
    def special(self) -> Any:
        return importlib.import_module("vi_lab.engine.plain")  # SciPy's: on first use


_PLAIN = _Plain()
_running: ContextVar[Engine | None] = ContextVar("vi_lab_running_engine", default=None)
_chosen: ContextVar[str | None] = ContextVar("vi_lab_chosen_engine", default=None)


def namespace() -> Namespace:
    """The engine that is running a function now, or plain NumPy."""
    return _running.get() or _PLAIN


_numpy: ContextVar[Any] = ContextVar("vi_lab_numpy", default=onp)
numpy_now: Callable[[], Any] = _numpy.get
"""``namespace().numpy``, by one call in C: each `np.log` of a log density asks for it."""


@contextmanager
def running(engine: Engine) -> Iterator[None]:
    """Within the block, `vi_lab.numpy` is ``engine``'s NumPy."""
    tokens = _running.set(engine), _numpy.set(engine.numpy)
    try:
        yield
    finally:
        _running.reset(tokens[0])
        _numpy.reset(tokens[1])


def follow(module: str, names: Iterable[str], source: str) -> None:
    """Make each of ``names`` in ``module`` that of ``source`` at the time of the look-up.

    ``source`` is an expression over this file, such as "numpy_now()". A module's own
    `__getattr__` is asked only when a look-up has failed, and failing takes ten times as long
    as looking up; properties of the module's class are found at once.
    """
    # The name is written into the function, as `collections.namedtuple` does: `getattr` with a
    # variable takes half as long again.
    getters = {name: eval(f"lambda module: {source}.{name}", globals()) for name in names}  # noqa: S307
    properties = {name: property(getter) for name, getter in getters.items()}
    sys.modules[module].__class__ = type("_Following", (ModuleType,), properties)


def current() -> Engine:
    """The engine that runs now; for operators used inside a running function."""
    engine = _running.get()
    if engine is None:
        raise EngineError("no engine is running: call this from a function that an engine runs")
    return engine


class use:
    """Choose the engine for what follows: ``vi_lab.use("autograd")``.

    As a statement it holds until the next choice; as ``with use("jax"): ...`` it
    holds within the block. It is a context variable, so a choice made in one
    thread or task leaves the others alone.

    Raises
    ------
    ValueError
        if there is no engine of that name.
    ImportError
        if JAX is asked for but not installed; the message says how to install it.
    """

    def __init__(self, name: str) -> None:
        load(name)
        self._token: Token[str | None] = _chosen.set(name)
        self.name = name

    def __enter__(self) -> use:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _chosen.reset(self._token)

    def __repr__(self) -> str:
        return f"use({self.name!r})"


def get(name: str | None = None) -> Engine:
    """The engine called ``name``; None means the one in force.

    In force is, in this order: the last :func:`use`, ``VI_LAB_ENGINE``, JAX if it
    is installed, autograd.
    """
    if name is None:
        name = _chosen.get() or os.environ.get("VI_LAB_ENGINE") or _default()
    return load(name)


def load(name: str) -> Engine:
    """Import and return one engine, with a message to act on if that fails."""
    check_name("engine", name, NAMES)
    if name == "jax" and not _jax_is_installed():
        raise MissingPackageError(
            "engine 'jax' needs JAX, which is not installed here; "
            "install it with: pip install 'vi-lab[jax]'"
        )
    engine: Engine = importlib.import_module(f"vi_lab.engine.{name}").ENGINE
    return engine


def _jax_is_installed() -> bool:
    return importlib.util.find_spec("jax") is not None


def _default() -> str:
    return "jax" if _jax_is_installed() else "autograd"
