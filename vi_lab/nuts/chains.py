"""What an engine runs for NUTS: one chain, one compiled function a question.

Every chain runs the same two functions, whose arguments have the same shapes however
many chains there are: nothing is compiled anew for another number of chains, and a
chain's draws are the same bits in any company. Mapped over chains they would run in
lockstep, each leaf waiting for the longest tree, and with both branches of every `cond`.
"""

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
    """The chain at ``z`` (D,), and a first step size, as `first_step_size` finds it."""
    hamiltonian = _hamiltonian(structure, inverse_mass_matrix, data)
    point = hamiltonian.point(z)
    return point, first_step_size(hamiltonian, point, normal, guess)


@onp.errstate(all="ignore")
def transitions(
    structure: Any,
    point: Point,
    averaging: DualAveraging,
    inverse_mass_matrix: Array,
    noise: Noise,
    length: int,
    adapting: bool,
    target_accept: float,
    data: Data,
) -> tuple[tuple[Point, DualAveraging], tuple[Record, Array]]:
    """``length`` transitions, one after another; ``noise`` has axes (B, ...).

    Returns where the chain is, the records, and the gradients (B, D) of the draws.
    """
    engine = current()
    hamiltonian = _hamiltonian(structure, inverse_mass_matrix, data)

    def step(
        state: tuple[Point, DualAveraging], noise: Noise
    ) -> tuple[tuple[Point, DualAveraging], tuple[Record, Array]]:
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
        return (point, averaging), (record, point.gradient)

    return engine.scan(step, (point, averaging), noise, length)


def _hamiltonian(structure: Any, inverse_mass_matrix: Array, data: Data) -> Hamiltonian:
    log_density_and_gradient = current().value_and_grad(structure.log_density)
    return Hamiltonian(lambda z: log_density_and_gradient(z, data), inverse_mass_matrix)
