"""What the network is trained towards: true labels where there are any, pseudo-labels elsewhere, ignore for the rest.

Self-training steps 2 and 3 (paper section 3.1). True labels always win: inside a labelled region a void pixel is `VOID`
and never becomes a pseudo-label, neither here nor in a learner that labels while it trains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from s4al.data import Pool
from s4al.data.masks import VOID, resize_mask
from s4al.files import TEMPORARY
from s4al.run.state import NOT_LABELLED, LabelledRegion, Run


@dataclass(frozen=True)
class Targets:
    """What there is to learn from.

    Attributes
    ----------
    labels : uint8 (N, H, W), rows as in the training cache; 254 = seen and void, 255 = nobody looked.
    labelled : rows of the images that are labelled as a whole.
    asked : rows of those of which regions are.
    rest : rows of all that are not in `labelled`.
    """

    labels: NDArray[np.uint8]
    labelled: list[int]
    asked: list[int]
    rest: list[int]


def targets_file(run: Run, cycle: int) -> Path:
    """Derived data, made again by every command; the name makes a leftover one disposable."""
    return run.cache / f"{TEMPORARY}targets-{cycle:03d}.npy"


def open_targets(run: Run, cycle: int, pool: Pool) -> Targets:
    """Map what `build_targets` wrote; nothing is held in memory."""
    regions = run.labelled_regions(cycle)
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
    """Write the labels of every usable training image at the network's size. Raises RunStateError, StorageError.

    S4AL+ alone learns from stored pseudo-labels, those of the cycle before.
    """
    by_image: dict[str, list[LabelledRegion]] = defaultdict(list)
    for region in run.labelled_regions(cycle):
        by_image[region.image].append(region)
    data, train = run.config.data, pool.train
    shape = (len(train), data.height, data.width)
    labels = npy_format.open_memmap(targets_file(run, cycle), mode="w+", dtype=np.uint8, shape=shape)
    pseudo = _PseudoRows(run, cycle - 1) if run.config.learner.name == "s4al-plus" and cycle > 0 else None
    for row, (image, height, width) in enumerate(zip(train.ids, train.heights, train.widths, strict=True)):
        labels[row] = pseudo.read(image) if pseudo else NOT_LABELLED
        if image in by_image:
            true, known = true_labels(run, by_image[image], int(height), int(width))
            known = resize_mask(known, data.height, data.width) == 1
            true = resize_mask(true, data.height, data.width)[known]
            labels[row][known] = np.where(true == NOT_LABELLED, VOID, true)
    labels.flush()


class _PseudoRows:
    """Pseudo-labels by image id; an image that had none (it is wholly labelled) is all ignore."""

    def __init__(self, run: Run, cycle: int) -> None:
        self._cache = run.pseudo_labels(cycle)
        self._row: Mapping[str, int] = {image: row for row, image in enumerate(self._cache.ids)}

    def read(self, image: str) -> NDArray[np.uint8] | int:
        return self._cache.read(self._row[image]) if image in self._row else NOT_LABELLED


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
