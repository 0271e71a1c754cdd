"""All random numbers of a chain, from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

from vi_lab.nuts.trajectory import Noise
from vi_lab.results.checkpoint import Snapshot, generator_state, set_generator_state

TRANSITIONS_PER_BLOCK = 1_000
STREAMS = ("starts", "normals", "uniforms")
NUMBERS_PER_BLOCK = 2**20  # 8 MB of noise, and as much again of records


@dataclass(frozen=True)
class Randomness:
    """A chain's stream for each purpose, and a buffer for a block of noise.

    Blocks of any length take the same numbers, and no chain takes another's, so that
    draws depend neither on pace nor on how many chains there are.
    """

    starts: onp.random.Generator
    normals: onp.random.Generator
    uniforms: onp.random.Generator
    noise: Noise
    """a buffer of the next block's, with axes (B, ...)"""

    @classmethod
    def from_seed(cls, seed: int, chain: int, dim: int, max_depth: int) -> Randomness:
        """The numbers of chain 0, 1, ... for a density on R^dim."""
        purposes = onp.random.SeedSequence(seed, spawn_key=(chain,)).spawn(3)
        size = NUMBERS_PER_BLOCK // (dim + 3 * max_depth)
        size = max(1, min(TRANSITIONS_PER_BLOCK, size))
        uniform = onp.zeros((3, size, max_depth))
        noise = Noise(onp.zeros((size, dim)), *uniform)
        starts, normals, uniforms = map(onp.random.default_rng, purposes)
        return cls(starts, normals, uniforms, noise)

    @property
    def block_size(self) -> int:
        return len(self.noise.momentum)

    def block(self, length: int) -> Noise:
        """The noise of the next ``length`` transitions; rows beyond are left as they are."""
        self.normals.standard_normal(out=self.noise.momentum[:length])
        of_block = self.uniforms.random((length, 3, self.noise.direction.shape[1]))
        for k, buffer in enumerate(self.noise[1:]):
            buffer[:length] = of_block[:, k]
        return self.noise

    def start_normal(self) -> onp.ndarray:
        """(D,), for the momentum of a search for a step size."""
        return self.starts.standard_normal(self.noise.momentum.shape[1])

    def start_point(self, radius: float) -> onp.ndarray:
        """(D,), uniform on (-radius, radius)."""
        return self.starts.uniform(-radius, radius, self.noise.momentum.shape[1])

    def snapshot(self) -> Snapshot:
        """Where each stream is."""
        return {name: generator_state(getattr(self, name)) for name in STREAMS}

    def restore(self, saved: Snapshot) -> None:
        """Go back to where a snapshot was taken."""
        for name in STREAMS:
            set_generator_state(getattr(self, name), saved[name])
