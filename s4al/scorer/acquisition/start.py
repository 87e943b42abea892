"""What people are asked for before there is a network: regions to start with, and regions that only test.

The test regions are a uniform sample of all cells, so that the mIoU on them stands for the pool; they are drawn first,
and the start set from what is left: `start_regions` of each of as many images as `START_BUDGET` regions allow, unlike
each other in the features of the pretrained backbone where those are at hand (the cold-start rules that do best use
such features), at random elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from s4al.data import Row
from s4al.data.regions import Grid
from s4al.run.asking import AskedRegion, Purpose
from s4al.scorer.acquisition.seeding import spread_seeds
from s4al.watch import Watch

START_BUDGET = 200  # regions: an hour or two of one person
_MOST_COMPARED = 2000  # images: more take minutes to look at, and are no less alike
_TEST, _START = 0x7E57, 0x57A7  # keep the draws apart from others of the run's seed

# Places of images in the pool -> float32 (N, R, D), what the backbone sees in each cell.
CellFeatures = Callable[[Sequence[int]], NDArray[np.float32]]
OfImage = Callable[[int, int, int], NDArray[np.float32]]  # (place, done, of how many) -> (R, D)


def first_questions(
    rows: Sequence[Row],
    grid: Grid,
    *,
    start_regions: int,
    test_regions: int,
    seed: int,
    features: CellFeatures | None,
    watch: Watch,
) -> list[AskedRegion]:
    """Test regions first, then those to learn from, each in the order of choice.

    Parameters
    ----------
    rows : the training images, in the order of the cache.
    start_regions : of an image. test_regions : of the pool, 0 for none; a quarter of what is asked at most where the
        pool has fewer images than the start set's budget, or not many more cells than that.
    features : None for a random start set.

    Raises Interrupted between images.
    """
    cells = _Cells(rows, grid)
    budget = max(1, START_BUDGET // start_regions)
    images, quota = min(len(rows), budget), min(start_regions, START_BUDGET, cells.per_image)
    large = len(rows) >= budget and cells.count >= 4 * test_regions
    num_test = test_regions if large else min(test_regions, images * quota // 3, cells.count // 4)
    test = cells.draw(num_test, np.random.default_rng([seed, _TEST]))
    rng, taken = np.random.default_rng([seed, _START]), set(test)
    if features is None:
        start, reason = _random_start(cells, images, quota, taken, rng), "at random, to start with"
    else:
        start = _spread_start(cells, _watched(features, watch), images, quota, taken, rng)
        reason = "unlike the others in the pretrained network's features, to start with"
    if not large:  # the start set may have become smaller than it was meant to be
        test = test[: len(start) // 3]
    asked = [cells.asked(cell, rank, "drawn at random, to test on", "test") for rank, cell in enumerate(test)]
    return asked + [cells.asked(cell, rank, reason, "train") for rank, cell in enumerate(start)]


def _watched(features: CellFeatures, watch: Watch) -> OfImage:
    """One image at a time: what cells look like in a large pool would not fit into memory."""

    def of_image(image: int, done: int, total: int) -> NDArray[np.float32]:
        watch.stop_here()
        watch.progress("start regions", done, total)
        return features([image])[0]

    return of_image


class _Cells:
    """All cells of all images, (image, region), without those that have no pixel of the original."""

    def __init__(self, rows: Sequence[Row], grid: Grid) -> None:
        self.rows, self.grid = rows, grid
        self._boxes: dict[int, NDArray[np.int32]] = {}
        self.per_image = grid.num_regions
        self.count = len(rows) * grid.num_regions

    def box(self, cell: tuple[int, int]) -> list[int]:
        image, region = cell
        if image not in self._boxes:
            self._boxes[image] = self.grid.original_boxes(self.rows[image].height, self.rows[image].width)
        return self._boxes[image][region].tolist()

    def exists(self, cell: tuple[int, int]) -> bool:
        y0, x0, y1, x1 = self.box(cell)
        return y1 > y0 and x1 > x0

    def draw(self, count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
        """Uniformly, without repetition; fewer where there are not as many."""
        found: dict[tuple[int, int], None] = {}
        for attempt in (2 * count, self.count):  # of everything, where too many are empty
            drawn = rng.choice(self.count, min(attempt, self.count), replace=False)
            cells = (divmod(int(index), self.per_image) for index in drawn)
            found.update((cell, None) for cell in cells if self.exists(cell))
            if len(found) >= count:
                break
        return list(found)[:count]

    def of_image(self, image: int, taken: set[tuple[int, int]]) -> list[tuple[int, int]]:
        cells = ((image, region) for region in range(self.per_image))
        return [cell for cell in cells if cell not in taken and self.exists(cell)]

    def asked(self, cell: tuple[int, int], rank: int, reason: str, purpose: Purpose) -> AskedRegion:
        image, region = cell
        y0, x0, y1, x1 = self.box(cell)
        return AskedRegion(self.rows[image].id, region, y0, x0, y1, x1, 0.0, rank, reason, purpose)


def _random_start(
    cells: _Cells, images: int, quota: int, taken: set[tuple[int, int]], rng: np.random.Generator
) -> list[tuple[int, int]]:
    start: list[tuple[int, int]] = []
    for image in rng.choice(len(cells.rows), images, replace=False).tolist():
        free = cells.of_image(image, taken)
        start += [free[place] for place in rng.choice(len(free), min(quota, len(free)), replace=False)]
    return [start[place] for place in rng.permutation(len(start))]  # whoever stops early has seen many images


def _spread_start(
    cells: _Cells,
    features: OfImage,
    images: int,
    quota: int,
    taken: set[tuple[int, int]],
    rng: np.random.Generator,
) -> list[tuple[int, int]]:
    """Images that are unlike each other, then regions of them that are."""
    chosen, total = np.arange(len(cells.rows)), images
    if images < len(chosen):
        compared = np.sort(rng.choice(len(chosen), min(_MOST_COMPARED, len(chosen)), replace=False))
        total = len(compared) + images
        mean_ND = np.stack(
            [features(image, done, total).mean(axis=0) for done, image in enumerate(compared.tolist(), start=1)]
        )
        chosen = compared[spread_seeds(mean_ND, images, rng)]
    candidates: list[tuple[int, int]] = []
    rows_MD: list[NDArray[np.float32]] = []
    for done, image in enumerate(sorted(chosen.tolist()), start=total - len(chosen) + 1):
        free = cells.of_image(image, taken)
        candidates += free
        rows_MD.append(features(image, done, total)[[region for _, region in free]])
    group_M = np.array([image for image, _ in candidates], np.int64)
    seeds = spread_seeds(np.concatenate(rows_MD), images * quota, rng, group_M, quota)
    return [candidates[seed] for seed in seeds]
