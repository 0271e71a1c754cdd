"""`ZooEntry`: a model program, its data, and the answers that others computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as onp

from vi_lab import datasets
from vi_lab.engine import Array
from vi_lab.errors import ArgumentError
from vi_lab.model import Model
from vi_lab.results.summary import flatten_draws


@dataclass(frozen=True)
class Reference:
    """What a long, checked MCMC run says of one scalar, in the model's units.

    ``mcse`` is the Monte Carlo standard error of ``mean``; the others are the
    standard deviation and the quantiles at 5%, 50% and 95%.
    """

    mean: float
    sd: float
    mcse: float
    q05: float
    q50: float
    q95: float


@dataclass(frozen=True)
class CheckPoint:
    """The log joint density at constrained ``values``, known up to one constant a model."""

    values: dict[str, onp.ndarray]
    log_joint: float


@dataclass(frozen=True)
class Accuracy:
    """How far draws of an approximation are from a reference, over all its scalars.

    Attributes
    ----------
    max_abs_z : the distance between means, in reference sds
    sd_ratio_min, sd_ratio_max : the smallest and the largest sd, in reference sds
    """

    max_abs_z: float
    sd_ratio_min: float
    sd_ratio_max: float


@dataclass(frozen=True)
class Exact:
    """What is exactly true of a posterior, and of its best mean-field Gaussian.

    Attributes
    ----------
    mean, sd : of the posterior by scalar, in the model's units
    log_evidence : log p(x), in nats
    mean_field_mean, mean_field_sd : of the best mean-field q by scalar, on the
        unconstrained scale
    mean_field_loss : its negative ELBO, in nats
    """

    mean: Mapping[str, float]
    sd: Mapping[str, float]
    log_evidence: float
    mean_field_mean: Mapping[str, float]
    mean_field_sd: Mapping[str, float]
    mean_field_loss: float


@dataclass(frozen=True)
class ZooEntry:
    """A model and what is known about it.

    Scalars are named as in summaries: ``theta[0]`` is the first entry.

    Attributes
    ----------
    name : what the function in `vi_lab.zoo` is called
    program : the model, for one draw
    data : the data of ``program`` by argument
    posteriordb : the posterior's name in posteriordb; None if it is not from there
    reference : MCMC answers by scalar (posteriordb only)
    check_points : values of the log joint density (posteriordb only)
    baseline : by family, how far the best Gaussian of that family is from the reference
        (posteriordb only; full rank up to 13 dimensions)
    exact : exact answers (the notebook's two only)
    """

    name: str
    program: Callable[..., None]
    data: Mapping[str, Any] = field(repr=False)
    posteriordb: str | None = None
    reference: Mapping[str, Reference] = field(default_factory=dict, repr=False)
    check_points: tuple[CheckPoint, ...] = field(default=(), repr=False)
    baseline: Mapping[str, Accuracy] = field(default_factory=dict, repr=False)
    exact: Exact | None = field(default=None, repr=False)

    def model(self) -> Model:
        """The program with its data."""
        return Model(self.program, **self.data)

    def accuracy(self, draws: Mapping[str, Array]) -> Accuracy:
        """How far ``draws``, by name ``(S, *shape)``, are from the reference.

        Raises
        ------
        ValueError
            if there is no reference, or ``draws`` lack one of its scalars.
        """
        if not self.reference:
            raise ArgumentError(f"{self.name}: has no reference; see its field exact")
        names, table = flatten_draws(draws, leading=1)  # (S, scalars)
        if missing := sorted(set(self.reference) - set(names)):
            raise ArgumentError(
                f"draws: lack {', '.join(missing)}; give what sample() of a fit to "
                f"{self.name}().model() returns"
            )
        chosen = table[:, [names.index(scalar) for scalar in self.reference]]
        mean = onp.array([r.mean for r in self.reference.values()])
        sd = onp.array([r.sd for r in self.reference.values()])
        z = (chosen.mean(axis=0) - mean) / sd
        ratio = chosen.std(axis=0, ddof=1) / sd
        return Accuracy(float(abs(z).max()), float(ratio.min()), float(ratio.max()))


def from_posteriordb(
    name: str, posteriordb: str, program: Callable[..., None], prepare: Callable[[dict], dict]
) -> ZooEntry:
    """The entry of a shipped posterior; ``prepare(its data)`` is what ``program`` takes."""
    posterior = datasets.posteriordb(posteriordb)
    arrays = {key: onp.asarray(value) for key, value in posterior["data"].items()}
    return ZooEntry(
        name=name,
        program=program,
        data=prepare(arrays),
        posteriordb=posteriordb,
        reference={
            zero_based(scalar): Reference(**numbers)
            for scalar, numbers in posterior["reference"].items()
        },
        check_points=tuple(
            CheckPoint(
                {key: onp.asarray(value) for key, value in point["parameters"].items()},
                point["log_density"],
            )
            for point in posterior["check_points"]["points"]
        ),
        baseline={
            family.replace("-", "_"): Accuracy(
                *(numbers[key] for key in ("max_abs_z", "sd_ratio_min", "sd_ratio_max"))
            )
            for family, numbers in posterior["vi_baseline"].items()
        },
    )


def zero_based(scalar: str) -> str:
    """posteriordb counts from 1, Python from 0: ``theta[1]`` becomes ``theta[0]``."""
    return re.sub(r"\d+(?=[],])", lambda index: str(int(index[0]) - 1), scalar)
