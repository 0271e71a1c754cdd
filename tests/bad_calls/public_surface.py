"""What a user may call: found in the library, so that nothing new is forgotten.

The modules are those that the book's reference shows; of each, what its ``__all__`` names, or
else what it defines. Methods go by the class that defines them, once: ``Distribution.sample``.
"""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import vi_lab as vl
from vi_lab import (
    conjugate,
    datasets,
    distributions,
    engine,
    families,
    optimizers,
    plots,
    transforms,
    zoo,
)
from vi_lab.conjugate import ConjugateModel
from vi_lab.gradients import base_draws, estimators
from vi_lab.model import Batches
from vi_lab.model.handlers import Handler
from vi_lab.optimizers import averaging, schedules
from vi_lab.results import diagnostics
from vi_lab.transforms import OntoSupport, Transform, supports

MODULES = [
    *(vl, conjugate, distributions, transforms, supports, families, optimizers, averaging),
    *(schedules, estimators, base_draws, datasets, zoo, plots, engine, diagnostics),
]


def functions(kind: type) -> set[str]:
    """Names of the functions that a class defines itself."""
    return {
        name
        for name, value in vars(kind).items()
        if inspect.isfunction(value) and not name.startswith("_")
    }


# By room: methods that the library calls, with what it has made itself. They are for those who
# write a subclass, and run at every step: what reaches them was checked at a door.
CALLED_BY_THE_LIBRARY: dict[str, set[str]] = {
    "distributions": set(distributions.Continuous.__abstractmethods__)
    | {"log_prob_of_latent", "standard_log_cdf", "standard_inverse", "standardised", "log_mass"},
    "transforms": functions(Transform) | functions(OntoSupport) | functions(supports.Support),
    "families": functions(families.Family)
    | functions(families.LocationScaleGaussian)
    | functions(families.TriangularGaussian)
    | functions(families.Chart)
    | {"of_gaussian"},
    "optimizers": functions(optimizers.Optimizer) | functions(optimizers.Average),
    "gradients": functions(estimators.Estimator) | functions(base_draws.BaseDraws),
    "engine": functions(engine.Engine),
}
CALLED_BY_CAVI = set(ConjugateModel.__abstractmethods__) | {"check_number", "coefficients", "named"}


def surface() -> dict[str, Callable[..., Any]]:
    """Every public callable that takes arguments, by name."""
    found = {f"Handler.{name}": vars(Handler)[name] for name in sorted(functions(Handler))}
    found |= methods(Batches)
    for module in MODULES:
        for name in public_names(module):
            thing = getattr(module, name)
            if inspect.isclass(thing) and thing.__module__.startswith("vi_lab"):
                found |= methods(thing)
                if not (inspect.isabstract(thing) or getattr(thing, "_is_protocol", False)):
                    found.setdefault(name, thing)
            elif inspect.isfunction(thing):
                room = "" if name in vl.__all__ else f"{thing.__module__.split('.')[1]}."
                found.setdefault(f"{room}{name}", thing)
    return {name: thing for name, thing in found.items() if takes_arguments(thing)}


def public_names(module: ModuleType) -> list[str]:
    own = [name for name in vars(module) if not name.startswith("_")]
    own = [
        name for name in own if getattr(getattr(module, name), "__module__", "") == module.__name__
    ]
    return list(getattr(module, "__all__", own))


def methods(kind: type) -> dict[str, Callable[..., Any]]:
    return {
        f"{parent.__name__}.{name}": value
        for parent in kind.__mro__
        if parent.__module__.startswith("vi_lab")
        for name, value in vars(parent).items()
        if not name.startswith("_") or name == "__getitem__"
        if inspect.isfunction(value) or isinstance(value, classmethod)
        if name not in CALLED_BY_THE_LIBRARY.get(parent.__module__.split(".")[1], ())
        if not (issubclass(parent, ConjugateModel) and name in CALLED_BY_CAVI)
    }


def parameters(thing: Callable[..., Any]) -> Iterator[str]:
    """Names of what ``thing`` is called with; `**data` and the like are free."""
    function = thing.__func__ if isinstance(thing, classmethod) else thing
    for name, parameter in inspect.signature(function).parameters.items():
        if name not in {"self", "cls"} and parameter.kind is not parameter.VAR_KEYWORD:
            yield name


def takes_arguments(thing: Callable[..., Any]) -> bool:
    try:
        return any(parameters(thing))
    except ValueError:  # an error or a warning: written in C
        return False
