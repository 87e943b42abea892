"""Which images a step sees, and every other random choice of a training: pure functions of (seed, cycle, step).

A training that goes on from a checkpoint draws what it would have drawn, with nothing stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Purposes of a key: no two share random numbers.
_DRAW, _AUGMENT, _NETWORK, _NOISE, _CONTRAST, _VIEWS, _REPLAY = range(7)


@dataclass(frozen=True)
class Key:
    """Names a stream of random numbers."""

    seed: int
    cycle: int
    step: int = 0

    def draw(self) -> np.random.Generator:
        return self._generator(_DRAW)

    def augment(self, slot: int) -> np.random.Generator:
        return self._generator(_AUGMENT, slot)

    def views(self, rank: int) -> np.random.Generator:
        """What a learner does to its images on the device, in one process."""
        return self._generator(_VIEWS, rank)

    def replay(self) -> np.random.Generator:
        return self._generator(_REPLAY)

    def network(self, number: int = 0) -> int:
        """Seed of the initial weights of the learner's networks, from 0."""
        return self._torch_seed(_NETWORK, *([number] if number else []))

    def noise(self, rank: int) -> int:
        """Seed of dropout and stochastic depth in one process."""
        return self._torch_seed(_NOISE, rank)

    def contrast(self) -> int:
        """Seed of the ReCo samples, the same in every process."""
        return self._torch_seed(_CONTRAST)

    def _generator(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.cycle, self.step, *purpose])

    def _torch_seed(self, *purpose: int) -> int:
        return int(self._generator(*purpose).integers(2**63))


@dataclass(frozen=True)
class Stream:
    """Images of one kind in every batch.

    Attributes
    ----------
    rows : of the training cache, to draw from with replacement.
    images : how many a step, over all processes.
    strong : augment them strongly.
    reflect : see `augment.weak`.
    hidden : rows whose labels the learner must not see, because they are drawn as unlabelled ones.
    """

    rows: Sequence[int]
    images: int
    strong: bool = False
    reflect: bool = False
    hidden: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Slot:
    """One image of a batch."""

    row: int
    stream: Stream


def draw_rows(parts: Sequence[Sequence[Stream]], key: Key) -> list[list[Slot]]:
    """The images of a step, over all processes, part by part."""
    rng = key.draw()
    drawn = []
    for part in parts:
        slots = []
        for stream in part:
            slots += [Slot(row, stream) for row in rng.choice(np.asarray(stream.rows), stream.images).tolist()]
        drawn.append(slots)
    return drawn
