"""All random numbers of a run of NUTS, from one seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as onp

from vi_lab.nuts.trajectory import Noise

TRANSITIONS_PER_BLOCK = 1_000
NUMBERS_PER_BLOCK = 2**22  # 32 MB of noise, and as much again of records


@dataclass(frozen=True)
class Randomness:
    """A stream for each chain and purpose, and a buffer for a block of noise.

    Blocks of any length take the same numbers, so that results do not depend on pace,
    nor those of a chain on how many others there are.
    """

    starts: tuple[onp.random.Generator, ...]
    normals: tuple[onp.random.Generator, ...]
    uniforms: tuple[onp.random.Generator, ...]
    noise: Noise
    """a buffer of the next block's, with axes (C, B, ...)"""

    @classmethod
    def from_seed(cls, seed: int, chains: int, dim: int, max_depth: int) -> Randomness:
        seeds = [chain.spawn(3) for chain in onp.random.SeedSequence(seed).spawn(chains)]
        starts, normals, uniforms = (
            tuple(map(onp.random.default_rng, purpose)) for purpose in zip(*seeds, strict=True)
        )
        numbers = chains * (dim + 3 * max_depth)
        size = max(1, min(TRANSITIONS_PER_BLOCK, NUMBERS_PER_BLOCK // numbers))
        uniform = onp.zeros((3, chains, size, max_depth))
        noise = Noise(onp.zeros((chains, size, dim)), *uniform)
        return cls(starts, normals, uniforms, noise)

    @property
    def block_size(self) -> int:
        return self.noise.momentum.shape[1]

    def block(self, length: int) -> Noise:
        """The noise of the next ``length`` transitions; rows beyond are left as they are."""
        for c, (normals, uniforms) in enumerate(zip(self.normals, self.uniforms, strict=True)):
            normals.standard_normal(out=self.noise.momentum[c, :length])
            of_block = uniforms.random((length, 3, self.noise.direction.shape[2]))
            for k, buffer in enumerate(self.noise[1:]):
                buffer[c, :length] = of_block[:, k]
        return self.noise

    def start_normals(self) -> onp.ndarray:
        """(C, D), for the momenta of a search for a step size."""
        dim = self.noise.momentum.shape[2]
        return onp.stack([start.standard_normal(dim) for start in self.starts])

    def start_points(self, chains: onp.ndarray) -> onp.ndarray:
        """(len(chains), D) for the ``chains`` given by number: uniform on (-2, 2), as in Stan."""
        dim = self.noise.momentum.shape[2]
        return onp.stack([self.starts[c].uniform(-2.0, 2.0, dim) for c in chains])
