"""What an engine runs for NUTS: all chains at once, one compiled function a question."""

from __future__ import annotations

from typing import Any

import numpy as onp

import vi_lab.numpy as np
from vi_lab.engine import Array, current
from vi_lab.nuts.adaptation import DualAveraging, first_step_size, update_averaging
from vi_lab.nuts.hamiltonian import Hamiltonian, Point
from vi_lab.nuts.iterative import transition
from vi_lab.nuts.trajectory import Noise, Record

Data = dict[str, Array]


@onp.errstate(all="ignore")  # a diverging trajectory overflows, and is dropped
def start(
    structure: Any, z: Array, inverse_mass_matrix: Array, normal: Array, guess: Array, data: Data
) -> tuple[Point, Array]:
    """The chains at ``z`` (C, D), and a first step size for each, as `first_step_size` finds it."""

    def chain(
        z: Array, inverse_mass_matrix: Array, normal: Array, guess: Array
    ) -> tuple[Point, Array]:
        hamiltonian = _hamiltonian(structure, inverse_mass_matrix, data)
        point = hamiltonian.point(z)
        return point, first_step_size(hamiltonian, point, normal, guess)

    return current().vmap(chain)(z, inverse_mass_matrix, normal, guess)


@onp.errstate(all="ignore")
def transitions(
    structure: Any,
    points: Point,
    averaging: DualAveraging,
    inverse_mass_matrix: Array,
    noise: Noise,
    length: int,
    adapting: bool,
    target_accept: float,
    data: Data,
) -> tuple[tuple[Point, DualAveraging], Record]:
    """``length`` transitions of every chain, one after another; ``noise`` has axes (C, B, ...)."""
    engine = current()

    def chain(
        point: Point, averaging: DualAveraging, inverse_mass_matrix: Array, noise: Noise
    ) -> tuple[tuple[Point, DualAveraging], Record]:
        hamiltonian = _hamiltonian(structure, inverse_mass_matrix, data)

        def step(
            state: tuple[Point, DualAveraging], noise: Noise
        ) -> tuple[tuple[Point, DualAveraging], Record]:
            point, averaging = state
            step_size = np.exp(averaging.log_step_size)
            point, record = transition(hamiltonian, step_size, point, noise)
            averaging = engine.cond(
                adapting,
                lambda averaging, alpha: update_averaging(averaging, alpha, target_accept),
                lambda averaging, alpha: averaging,
                averaging,
                record.acceptance,
            )
            return (point, averaging), record

        return engine.scan(step, (point, averaging), noise, length)

    return engine.vmap(chain)(points, averaging, inverse_mass_matrix, noise)


def _hamiltonian(structure: Any, inverse_mass_matrix: Array, data: Data) -> Hamiltonian:
    log_density_and_gradient = current().value_and_grad(structure.log_density)
    return Hamiltonian(lambda z: log_density_and_gradient(z, data), inverse_mass_matrix)
