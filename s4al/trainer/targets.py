"""What the network is trained towards: true labels where there are any, pseudo-labels elsewhere, ignore for the rest.

Self-training steps 2 and 3 (paper section 3.1). True labels always win: inside a labelled region a void pixel is `VOID`
and never becomes a pseudo-label, neither here nor in a learner that labels while it trains.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from s4al.data import Pool
from s4al.data.masks import VOID, resize_mask
from s4al.errors import DataError
from s4al.files import TEMPORARY
from s4al.run.state import NOT_LABELLED, LabelledRegion, Run

_MISTAKEN_SHARE = 0.05  # of the pixels of new classes: a class that got fewer of them is not doubted


@dataclass(frozen=True)
class Targets:
    """What there is to learn from.

    Attributes
    ----------
    labels : uint8 (N, H, W), rows as in the training cache; 254 = seen and void, 255 = nobody looked.
    labelled : rows of the images that are labelled as a whole.
    asked : rows of those of which regions are.
    rest : rows of all that are not in `labelled`.
    supervised : rows for the labelled part of a batch: `labelled`, or where people started from nothing `asked`.
    """

    labels: NDArray[np.uint8]
    labelled: list[int]
    asked: list[int]
    rest: list[int]

    @property
    def supervised(self) -> list[int]:
        return self.labelled or self.asked


def targets_file(run: Run, cycle: int) -> Path:
    """Derived data, made again by every command; the name makes a leftover one disposable."""
    return run.cache / f"{TEMPORARY}targets-{cycle:03d}.npy"


def open_targets(run: Run, cycle: int, pool: Pool) -> Targets:
    """Map what `build_targets` wrote; nothing is held in memory."""
    regions = run.training_regions(cycle)
    whole = run.whole_images(regions)
    asked = {region.image for region in regions} - whole
    rows = list(enumerate(pool.train.ids))
    return Targets(
        labels=np.load(targets_file(run, cycle), mmap_mode="r"),
        labelled=[row for row, image in rows if image in whole],
        asked=[row for row, image in rows if image in asked],
        rest=[row for row, image in rows if image not in whole],
    )


def build_targets(run: Run, cycle: int, pool: Pool) -> None:
    """Write the labels of every usable training image at the network's size.

    S4AL+ alone learns from stored pseudo-labels, those of the cycle before.

    Raises DataError where nothing is labelled, RunStateError, StorageError.
    """
    regions = run.training_regions(cycle)
    if not regions:
        raise DataError(
            f"Nothing is labelled in {run.root} that the network of cycle {cycle} could learn from.",
            remedy="Start a new run, and label some of its regions.",
        )
    data, train = run.config.data, pool.train
    shape = (len(train), data.height, data.width)
    labels = npy_format.open_memmap(targets_file(run, cycle), mode="w+", dtype=np.uint8, shape=shape)
    true = _TrueRows(run, pool, regions)
    pseudo = _PseudoRows(run, cycle - 1) if run.config.learner.name == "s4al-plus" and cycle > 0 else None
    if pseudo and len(run.classes(cycle)) > len(run.classes(cycle - 1)):
        pseudo.forget(_mistaken(true, pseudo, len(run.classes(cycle - 1))))
    for row, image in enumerate(train.ids):
        labels[row] = pseudo.read(image) if pseudo else NOT_LABELLED
        if image in true.images:
            label, known = true.read(image)
            labels[row][known] = np.where(label == NOT_LABELLED, VOID, label)[known]
    labels.flush()


class _TrueRows:
    """Labels by image id, at the network's size. images : those of which something is labelled."""

    def __init__(self, run: Run, pool: Pool, regions: Iterable[LabelledRegion]) -> None:
        self._run, self._rows = run, {row.id: row for row in pool.train.rows}
        self.images: dict[str, list[LabelledRegion]] = {}
        for region in regions:
            self.images.setdefault(region.image, []).append(region)

    def read(self, image: str) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """uint8 (H, W) labels, and where somebody looked."""
        data, row = self._run.config.data, self._rows[image]
        true, known = true_labels(self._run, self.images[image], row.height, row.width)
        return resize_mask(true, data.height, data.width), resize_mask(known, data.height, data.width) == 1


class _PseudoRows:
    """Pseudo-labels by image id; an image that had none (it is wholly labelled) is all ignore."""

    def __init__(self, run: Run, cycle: int) -> None:
        self._cache = run.pseudo_labels(cycle)
        self._row: Mapping[str, int] = {image: row for row, image in enumerate(self._cache.ids)}
        self._kept = np.arange(256, dtype=np.uint8)

    def forget(self, classes: Iterable[int]) -> None:
        """From now on these are not labelled."""
        self._kept[list(classes)] = NOT_LABELLED

    def read(self, image: str) -> NDArray[np.uint8] | int:
        return self._kept[self._cache.read(self._row[image])] if image in self._row else NOT_LABELLED


def _mistaken(true: _TrueRows, pseudo: _PseudoRows, num_known: int) -> list[int]:
    """The classes a network gave to pixels that are now labelled with one it did not have, ids from `num_known` on.

    What else it gave them to may be of the new class as well, and there are far more such pixels than labelled ones:
    learnt from, they would say that the new class is nowhere.
    """
    counts = np.zeros(256, np.int64)
    for image in true.images:
        label, known = true.read(image)
        new = known & (label >= num_known) & (label < VOID)
        if new.any():
            counts += np.bincount(np.broadcast_to(pseudo.read(image), new.shape)[new], minlength=256)
    given = counts[:num_known]
    return np.flatnonzero(given > _MISTAKEN_SHARE * given.sum()).tolist()


def true_labels(
    run: Run, regions: list[LabelledRegion], height: int, width: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """uint8 (height, width) at original size: labels, and 1 where somebody looked."""
    true = np.full((height, width), NOT_LABELLED, np.uint8)
    known = np.zeros((height, width), np.uint8)
    masks = {cycle: run.label_mask(cycle, regions[0].image) for cycle in sorted({region.cycle for region in regions})}
    for region in regions:
        box = np.s_[region.y0 : region.y1, region.x0 : region.x1]
        true[box] = masks[region.cycle][box]
        known[box] = 1
    return true, known
