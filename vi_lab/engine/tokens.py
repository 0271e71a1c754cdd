"""Values as tokens: nested tuples that are equal where the values are, in any process.

From a function one comes to

* the globals that its code names, and the functions and classes among them, which are followed
  in turn;
* the variables of the functions around it, its defaults, what a `functools.partial` holds;
* of the ``self`` of a method, and of a module, the attributes that the code names;
* the code itself: the same text run again is the same function.

Everything else is taken whole: arrays by their bytes, containers by their entries, other objects
by their state, as for `pickle`. Numbers are told apart by type, because programs can: 1, 1.0 and
True are three. What belongs to a library (Python's, installed packages, vi_lab) does not change,
and counts by its name. What has no state to be read (a lock, an open file) counts as itself.

Nothing of it depends on the process, so that a digest may be compared with that of another day.
"""

from __future__ import annotations

import dis
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property, lru_cache, partial
from hashlib import blake2b
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MethodType,
    ModuleType,
)
from typing import Any, ClassVar, NamedTuple

import numpy as onp

Token = tuple[Any, ...]  # nested tuples of strings, integers and bytes; and `Itself`
Label = tuple[str, str]
"""A function or object, with its number in the order of discovery, and a name in it."""

MOST_VALUES = 100_000  # of an object that holds more nothing is read
PLAIN = {bool, int, str, bytes, type(None)}
ALL_NAMES = {"getattr", "vars", "__dict__", "__getattribute__"}  # name what nobody can foresee
NOT_STATE = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__"}
NOT_STATE |= {"__dataclass_fields__", "__dataclass_params__", "__abstractmethods__", "_abc_impl"}
NOT_STATE |= {"__firstlineno__", "__static_attributes__", "__annotate__"}


class Itself:
    """The token of an object that cannot be read: equal to that of no other object."""

    def __init__(self, value: Any) -> None:
        self.value = value  # held, so that no other object takes its place in memory

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Itself) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)

    def __repr__(self) -> str:
        return f"<{type(self.value).__qualname__}>"  # for `digest`: no memory address


def digest(token: Any) -> str:
    """A short text for a token, the same in every process."""
    return blake2b(repr(token).encode(), digest_size=16).hexdigest()


class Anatomy(NamedTuple):
    """What a code object says."""

    digest: str
    globals: tuple[str, ...]
    """names that it looks up among the globals, it and the functions inside it"""
    imports: tuple[str, ...]
    """modules that it imports as it runs"""
    names: frozenset[str]
    """all names that are not local, attributes among them"""


@lru_cache(maxsize=4096)
def anatomy(code: CodeType) -> Anatomy:
    """Of ``code`` and the functions defined in it; where it stands in its file is no matter."""
    looked_up: dict[str, None] = {}
    imports: dict[str, None] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname in {"LOAD_GLOBAL", "LOAD_NAME"}:
            looked_up[instruction.argval] = None
        elif instruction.opname == "IMPORT_NAME":
            imports[instruction.argval] = None
    names = set(code.co_names)
    constants: list[Token] = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner = anatomy(constant)
            constants.append(("code", inner.digest))
            looked_up |= dict.fromkeys(inner.globals)
            imports |= dict.fromkeys(inner.imports)
            names |= inner.names
        else:
            constants.append(Walk().token(constant))
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    variables = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    own = digest((code.co_code, constants, counts, variables, code.co_exceptiontable))
    return Anatomy(own, tuple(looked_up), tuple(imports), frozenset(names))


class Walk:
    """One search; `parts` is what it has found."""

    def __init__(self) -> None:
        self.parts: dict[Label, Token] = {}
        self.names: set[str] = set()  # in all code that was met
        self._namespaces: dict[int, tuple[str, Any]] = {}  # modules and selves, by id
        self._functions: dict[int, str] = {}
        self._inside: set[int] = set()  # objects that are being read
        self._alive: list[Any] = []  # what has been numbered by its id
        self._read = 0
        self.readable = True

    def token(self, value: Any) -> Token:  # noqa: PLR0911 - a table of kinds
        """``value``, and in `parts` what it leads to."""
        kind = type(value)
        if kind in PLAIN:
            return kind.__name__, value
        if kind is float or kind is complex:
            return kind.__name__, repr(value)  # so NaN is NaN, and -0.0 is not 0.0
        self._read += 1
        if self._read > MOST_VALUES:
            return self._itself(value)
        record = _record(kind)  # type: ignore[arg-type] # a class is hashable
        if record is not None:
            if (known := getattr(value, "captured", None)) is not None:
                return record.kind, known
            return record.kind, *[self.token(getattr(value, name)) for name in record.fields]
        if id(value) in self._inside:
            return ("again",)
        self._inside.add(id(value))
        try:
            return self.readers.get(kind, Walk._other)(self, value)
        finally:
            self._inside.discard(id(value))

    # ------------------------------------------------------------------- kinds of values
    def _entries(self, value: Any) -> Token:
        return type(value).__name__, *map(self.token, value)

    def _unordered(self, value: Any) -> Token:
        return type(value).__name__, *sorted(map(self.token, value), key=repr)

    def _pairs(self, value: Any) -> Token:
        return "dict", *((self.token(k), self.token(v)) for k, v in value.items())

    def _partial(self, value: Any) -> Token:
        return "partial", *map(self.token, (value.func, value.args, value.keywords))

    def _method(self, value: Any) -> Token:
        return "method", self.token(value.__func__), self._namespace(value.__self__)

    def _builtin(self, value: Any) -> Token:
        if isinstance(value.__self__, ModuleType | type | None):
            return "builtin", value.__module__ or "", value.__qualname__
        return "method", value.__name__, self.token(value.__self__)  # such as rng.normal

    def _cell(self, value: Any) -> Token:
        try:
            return self.token(value.cell_contents)
        except ValueError:  # it is still empty
            return ("empty",)

    def _array(self, array: onp.ndarray) -> Token:
        if array.dtype.hasobject:
            return "array", str(array.shape), self.token(array.tolist())
        data = onp.ascontiguousarray(array).reshape(-1).view(onp.uint8)
        token = "array", str(array.dtype), str(array.shape), blake2b(data.data).digest()
        if isinstance(array, onp.ma.MaskedArray):
            return *token, self._array(onp.ma.getmaskarray(array))
        return token

    def _other(self, value: Any) -> Token:  # noqa: PLR0911 - a table of kinds
        """What is none of the types in `readers`."""
        kind = type(value)
        if isinstance(value, onp.ndarray):
            return self._array(value)
        if isinstance(value, onp.generic | onp.dtype | type(...) | type(NotImplemented)):
            return kind.__name__, repr(value)
        if isinstance(value, type):
            return self._class(value)
        if callable(value) and callable(inner := getattr(value, "__wrapped__", None)):
            return "wrapped", kind.__name__, self.token(inner)
        module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
        if isinstance(module, str) and isinstance(name, str) and in_library(module):
            return "library", module, name
        if kind.__module__.partition(".")[0] in {"jax", "jaxlib"} and hasattr(value, "__array__"):
            return "jax", *self._array(onp.asarray(value))
        return self._object(value)

    def _itself(self, value: Any) -> Token:
        self.readable = False
        return (Itself(value),)

    def _function(self, function: FunctionType) -> Token:
        where = self._functions.get(id(function))
        if where is not None:
            return "function", where
        where = self._functions[id(function)] = str(len(self._functions) + 1)
        self._alive.append(function)
        if in_library(function.__module__ or ""):
            self.parts[where, "the library"] = function.__module__, function.__qualname__
        else:
            found = anatomy(function.__code__)
            self.parts[where, "the code"] = (found.digest,)
            self.names |= found.names
            for name in found.globals:
                if name in function.__globals__:
                    self.parts[where, name] = self.token(function.__globals__[name])
            for name in found.imports:
                if name in sys.modules:
                    self.parts[where, name] = self.token(sys.modules[name])
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for name, cell in cells:
            self.parts[where, name] = self.token(cell)
        held = function.__defaults__, function.__kwdefaults__, function.__dict__
        for name, value in zip(("defaults", "defaults", "attributes"), held, strict=True):
            if value:
                self.parts[where + name, f"its {name}"] = self.token(value)
        return "function", where

    def _class(self, kind: type) -> Token:
        if in_library(kind.__module__):
            return "class", kind.__module__, kind.__qualname__
        body = [(name, v) for name, v in vars(kind).items() if name not in NOT_STATE]
        parts = tuple((name, self._attribute(value)) for name, value in body)
        return "class", kind.__qualname__, self.token(kind.__bases__), *parts

    def _attribute(self, value: Any) -> Token:
        """What a class holds under a name."""
        if isinstance(value, property):
            return "property", *map(self.token, (value.fget, value.fset))
        if isinstance(value, staticmethod | classmethod):
            return type(value).__name__, self.token(value.__func__)
        if isinstance(value, cached_property):
            return "cached", self.token(value.func)
        if inspect.isdatadescriptor(value):  # of a slot
            return ("slot",)
        return self.token(value)

    def _object(self, value: Any) -> Token:
        kind = type(value)
        try:
            _, arguments, *state = value.__reduce_ex__(4)
        except Exception:  # noqa: BLE001 - whatever says that it has no state
            return self._itself(value)
        if kind is object:  # which has none, and is told apart by being itself
            return self._itself(value)
        if state and isinstance(state[0], dict):  # what was computed from the rest says nothing
            state[0] = {
                name: v
                for name, v in state[0].items()
                if not isinstance(getattr(kind, name, None), cached_property)
            }
        entries = [list(part) if isinstance(part, Iterator) else part for part in state]
        return "object", self.token(kind), self.token(arguments), self.token(entries)

    # ------------------------------------------------------- of which only some is named
    def _namespace(self, value: Any) -> Token:
        """A module, or the ``self`` of a method: of it, what the code names (`follow_names`)."""
        if isinstance(value, ModuleType):
            if in_library(value.__name__):
                return "module", value.__name__
        elif isinstance(value, type) or in_library(type(value).__module__):
            return self.token(value)
        number, _ = self._namespaces.setdefault(id(value), (f"of {len(self._namespaces)}", value))
        return "names", number

    def follow_names(self) -> None:
        """Read the named attributes, whose code may name more of them."""
        done: set[tuple[str, str]] = set()
        while True:
            found = [
                (number, name, value)
                for number, value in self._namespaces.values()
                for name in self._named(value)
                if (number, name) not in done
            ]
            if not found:
                return
            for number, name, value in found:
                done.add((number, name))
                tokens = [self._attribute(v) for v in _definitions(value, name)]
                if tokens:
                    self.parts[number, name] = tuple(tokens)

    def _named(self, value: Any) -> list[str]:
        """Names by which the code may reach something in ``value``, in a fixed order."""
        free = self.names & ALL_NAMES or hasattr(type(value), "__getattr__")
        return sorted(self.names | set(vars(value)) if free else self.names)

    readers: ClassVar[dict[type, Callable[[Walk, Any], Token]]] = {
        tuple: _entries,
        list: _entries,
        dict: _pairs,
        set: _unordered,
        frozenset: _unordered,
        partial: _partial,
        FunctionType: _function,
        MethodType: _method,
        BuiltinFunctionType: _builtin,
        ModuleType: _namespace,
        CellType: _cell,
        CodeType: lambda walk, code: ("code", anatomy(code).digest),
    }


def _definitions(value: Any, name: str) -> list[Any]:
    """What ``value.name`` may be: of the object, and of its classes."""
    held = getattr(value, "__dict__", {})
    found = [held[name]] if name in held else []
    if isinstance(value, ModuleType):
        return found
    for kind in type(value).__mro__:
        defined = vars(kind).get(name)
        if defined is not None and inspect.isdatadescriptor(defined) and not found:
            slot = not isinstance(defined, property | cached_property)
            found += [getattr(value, name, None)] if slot else []
        if defined is not None:
            found.append(defined)
    return found


class Record(NamedTuple):
    """A dataclass of a library: all else in its instances follows from their fields."""

    kind: str
    fields: tuple[str, ...]


@lru_cache(maxsize=4096)
def _record(kind: Any) -> Record | None:
    """What is known of a class, if it is such a one."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if not (is_dataclass(kind) and in_library(kind.__module__)):
        return None
    return Record(name, tuple(field.name for field in fields(kind)))


@lru_cache(maxsize=4096)
def in_library(module: str) -> bool:
    """Whether a module is Python's, an installed package's or vi_lab's: not the user's."""
    top = module.partition(".")[0]
    if top == "__main__":  # a script or a notebook, whoever runs it
        return False
    if top == "vi_lab" or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and bool({"site-packages", "dist-packages"} & {*Path(file).parts})
