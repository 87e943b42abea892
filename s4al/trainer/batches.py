"""The batches of a training: which images a step sees and how they are augmented, as a pure function of the step.

Every random choice is keyed by (seed, cycle, step, slot), so a training that goes on from a checkpoint sees what it
would have seen, with nothing stored, and N processes together see the batch that one process would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from s4al.config import Config
from s4al.data.cache import ImageCache
from s4al.data.masks import IGNORE
from s4al.trainer.augment import strong, weak
from s4al.trainer.draw import Key, Slot, Stream, draw_rows
from s4al.trainer.networks.network import IMAGENET_MEAN, IMAGENET_STD

if TYPE_CHECKING:
    from s4al.trainer.learners.unlabelled.replay import Replay


class Batch(TypedDict):
    image: Tensor  # uint8 (B, H, W, 3)
    label: Tensor  # uint8 (B, H, W), 254 = void, 255 = nobody looked
    rows: list[int]  # of the training cache, to name images in messages
    counts: list[int]  # images of each part, in this process


class StepBatches(Dataset[Batch]):
    """Item `step` is that step's batch, or one process's share of it.

    Parameters
    ----------
    images : decoded training images.
    targets : uint8 (N, H, W) labels of the same rows, see `Targets`.
    parts : the streams, in the order in which they sit in a batch. A part is shared out among the processes as one:
        losses over the whole batch need a single part, learners that treat streams apart a part for each.
    replay : which rows to add as a last part, by step; see `replay.Replay`.
    share : (rank, world size).
    """

    def __init__(
        self,
        images: ImageCache,
        targets: NDArray[np.uint8],
        parts: Sequence[Sequence[Stream]],
        config: Config,
        cycle: int,
        share: tuple[int, int] = (0, 1),
        replay: Replay | None = None,
    ) -> None:
        self._images, self._targets, self._parts = images, targets, parts
        self._config, self._cycle, self._share, self._replay = config, cycle, share, replay

    def __getitem__(self, step: int) -> Batch:
        key = Key(self._config.run.seed, self._cycle, step)
        parts = draw_rows(self._parts, key)
        if self._replay:
            parts.append([Slot(row, self._parts[-1][-1]) for row in self._replay.draw(step)])
        rank, world = self._share
        samples, rows, counts, first = [], [], [], 0
        for part in parts:
            mine = range(len(part) * rank // world, len(part) * (rank + 1) // world)
            samples += [self._sample(part[index], key.augment(first + index)) for index in mine]
            rows += [part[index].row for index in mine]
            counts.append(len(mine))
            first += len(part)
        return {
            "image": torch.from_numpy(np.stack([image for image, _ in samples])),
            "label": torch.from_numpy(np.stack([label for _, label in samples])),
            "rows": rows,
            "counts": counts,
        }

    def _sample(self, slot: Slot, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        augment, data, stream = self._config.augment, self._config.data, slot.stream
        label = self._targets[slot.row]
        image, label = weak(
            self._images.read(slot.row),
            np.full_like(label, IGNORE) if slot.row in stream.hidden else label,
            rng=rng,
            config=augment,
            height=augment.crop_height or data.height,
            width=augment.crop_width or data.width,
            reflect=stream.reflect,
        )
        return strong(image, label, rng=rng, config=augment) if stream.strong else (image, label)


def batch_size(parts: Sequence[Sequence[Stream]]) -> int:
    """Images a step over all processes, replayed ones not counted."""
    return sum(stream.images for part in parts for stream in part)


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
