"""The batches of a training: which images a step sees and how they are augmented, as a pure function of the step.

Every random choice is keyed by (seed, cycle, step, slot), so a training that goes on from a checkpoint sees what it
would have seen, with nothing stored, and N processes together see the batch that one process would.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from s4al.cache import ImageCache
from s4al.config import Config
from s4al.trainer.augment import strong, weak
from s4al.trainer.network import IMAGENET_MEAN, IMAGENET_STD

_DRAW, _AUGMENT, _NETWORK, _NOISE, _CONTRAST = range(5)  # purposes of a key: no two share random numbers


class Batch(TypedDict):
    image: Tensor  # uint8 (B, H, W, 3)
    label: Tensor  # uint8 (B, H, W), 255 = ignore
    rows: list[int]  # of the training cache, to name images in messages


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

    def network(self) -> int:
        """Seed of the initial weights."""
        return self._torch_seed(_NETWORK)

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


class StepBatches(Dataset[Batch]):
    """Item `step` is that step's batch, or one process's share of it.

    Labelled images are drawn with replacement and get weak augmentation, unlabelled ones the strong augmentation on top
    (paper section 3.1); both sit in one batch (author code: 2 + 4), labelled first.

    Parameters
    ----------
    images : decoded training images.
    targets : uint8 (N, H, W) labels and pseudo-labels of the same rows, 255 = ignore.
    labelled, unlabelled : rows to draw from; no unlabelled rows means labelled-only batches.
    share : (rank, world size).
    """

    def __init__(
        self,
        images: ImageCache,
        targets: NDArray[np.uint8],
        labelled: Sequence[int],
        unlabelled: Sequence[int],
        config: Config,
        cycle: int,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self._images, self._targets = images, targets
        self._labelled, self._unlabelled = np.asarray(labelled), np.asarray(unlabelled)
        self._config, self._cycle = config, cycle
        rank, world = share
        per_process = batch_size(config, joint=len(unlabelled) > 0) // world
        self._slots = slice(rank * per_process, (rank + 1) * per_process)

    def __getitem__(self, step: int) -> Batch:
        key = Key(self._config.run.seed, self._cycle, step)
        trainer, rng = self._config.trainer, key.draw()
        if len(self._unlabelled):
            rows = np.concatenate(
                [
                    rng.choice(self._labelled, trainer.batch_labelled),
                    rng.choice(self._unlabelled, trainer.batch_unlabelled),
                ]
            )
            num_labelled = trainer.batch_labelled
        else:
            rows = rng.choice(self._labelled, trainer.batch_labelled_only)
            num_labelled = len(rows)
        slots = range(len(rows))[self._slots]
        pairs = [self._sample(int(rows[slot]), key.augment(slot), slot >= num_labelled) for slot in slots]
        return {
            "image": torch.from_numpy(np.stack([image for image, _ in pairs])),
            "label": torch.from_numpy(np.stack([label for _, label in pairs])),
            "rows": [int(rows[slot]) for slot in slots],
        }

    def _sample(
        self, row: int, rng: np.random.Generator, unlabelled: bool
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        augment, data = self._config.augment, self._config.data
        image, label = weak(
            self._images.read(row), self._targets[row], rng=rng, config=augment, height=data.height, width=data.width
        )
        return strong(image, label, rng=rng, config=augment) if unlabelled else (image, label)


def batch_size(config: Config, *, joint: bool) -> int:
    """Images a step over all processes."""
    trainer = config.trainer
    return trainer.batch_labelled + trainer.batch_unlabelled if joint else trainer.batch_labelled_only


def load_batches(
    batches: StepBatches, first_step: int, num_steps: int, *, workers: int, pin_memory: bool
) -> DataLoader[Batch]:
    """Iterate over the batches of steps `first_step` .. `num_steps` - 1, in order, made by `workers` processes."""
    return DataLoader(
        Subset(batches, range(first_step, num_steps)),
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        persistent_workers=False,
    )


def normalise(image_BHWC: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) to float32 (B, 3, H, W) in channels-last memory, ImageNet mean and deviation."""
    mean = torch.tensor(IMAGENET_MEAN, device=image_BHWC.device) * 255
    std = torch.tensor(IMAGENET_STD, device=image_BHWC.device) * 255
    return ((image_BHWC.float() - mean) / std).permute(0, 3, 1, 2)
