"""Which regions are worth a person's time: the best of each image, of the whole pool, class by class, or at random.

Suffix M: candidate regions, of all images together. Ties are broken by (score, image, region), so the order in which
shards are read never matters.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4al.config import NETWORK_METRICS, Metric, Strategy
from s4al.scorer.acquisition.table import BOX

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Candidates:
    """Regions that may be asked for, sorted by image id, then region.

    Attributes
    ----------
    images : ids, sorted; `image_M` points into them.
    predicted_M : the class most of the region is predicted as.
    """

    images: list[str]
    image_M: NDArray[np.int32]
    region_M: NDArray[np.int32]
    box_M4: NDArray[np.int32]
    score_M: NDArray[np.float32]
    predicted_M: NDArray[np.int16]

    def __len__(self) -> int:
        return len(self.image_M)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Original pixels of each region: what it costs."""
        y0, x0, y1, x1 = self.box_M4.T.astype(np.int64)
        return (y1 - y0) * (x1 - x0)


def kernel_metric(metric: Metric) -> Metric:
    """What the kernel gives for a metric, or in place of one that needs more than an image's logits."""
    return "entropy" if metric == "flip_entropy" or metric in NETWORK_METRICS else metric


def find_candidates(
    tables: Iterable[pa.Table],
    metric: Metric,
    excluded_R: NDArray[np.bool_] | None = None,
    best_of_image: int | None = None,
) -> Candidates:
    """The regions of score tables that may be asked for.

    Left out: regions that are labelled already (wholly, as all labelled ones are: a region is asked and labelled as
    one), regions without a pixel of the original, regions marked in `excluded_R`.

    Parameters
    ----------
    tables : shards, in any order; each is dropped before the next is read.
    best_of_image : keep only so many of each image, the best; an image's regions must then be in one shard. Memory does
        not grow with the number of regions any more.
    """
    shards: list[Candidates] = []
    for table in tables:
        shard = _of_table(table, metric, excluded_R)
        if best_of_image is not None:
            shard = _take(shard, np.sort(_best_of_each_image(shard, shard.score_M, best_of_image)[0]))
        shards.append(shard)
    return _merge(shards)


def _of_table(table: pa.Table, metric: Metric, excluded_R: NDArray[np.bool_] | None) -> Candidates:
    coded = table["image"].dictionary_encode().combine_chunks()
    box_M4 = np.stack([table[name].to_numpy() for name in BOX], axis=1)
    y0, x0, y1, x1 = box_M4.T
    wanted_M = (y1 > y0) & (x1 > x0) & (table["labelled"].to_numpy() < 1)
    if excluded_R is not None:
        wanted_M &= ~excluded_R[table["region"].to_numpy()]
    everything = Candidates(
        coded.dictionary.to_pylist(),
        coded.indices.to_numpy(),
        table["region"].to_numpy(),
        box_M4,
        table[metric].to_numpy(),
        table["predicted"].to_numpy(),
    )
    return _take(everything, np.flatnonzero(wanted_M))


def _take(candidates: Candidates, indices: NDArray[np.int64]) -> Candidates:
    return Candidates(
        candidates.images,
        candidates.image_M[indices],
        candidates.region_M[indices],
        candidates.box_M4[indices],
        candidates.score_M[indices],
        candidates.predicted_M[indices],
    )


def _merge(shards: Sequence[Candidates]) -> Candidates:
    """One sorted whole."""
    images = sorted({image for shard in shards for image in shard.images})
    number = {image: index for index, image in enumerate(images)}
    image_M = _join(
        (np.array([number[image] for image in shard.images], np.int32)[shard.image_M] for shard in shards), np.int32
    )
    region_M = _join((shard.region_M for shard in shards), np.int32)
    whole = Candidates(
        images,
        image_M,
        region_M,
        np.concatenate([np.empty((0, 4), np.int32), *(shard.box_M4 for shard in shards)]),
        _join((shard.score_M for shard in shards), np.float32),
        _join((shard.predicted_M for shard in shards), np.int16),
    )
    return _take(whole, np.lexsort((region_M, image_M)))


def sample_images(candidates: Candidates, fraction: float, seed: Sequence[int]) -> Candidates:
    """The candidates of a random share of the images (rounded, at least one); keyed by seed and the images' ids."""
    if fraction == 1.0 or not len(candidates):
        return candidates
    present = np.unique(candidates.image_M)
    draws = [np.random.default_rng([*seed, _key(candidates.images[image])]).random() for image in present]
    taken = present[np.argsort(draws, kind="stable")[: max(1, round(fraction * len(present)))]]
    return _take(candidates, np.flatnonzero(np.isin(candidates.image_M, taken)))


def _join(arrays: Iterable[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype), *arrays])


@dataclass(frozen=True)
class Spread:
    """How the chosen regions must be spread, so that near-duplicates are not asked for.

    Attributes
    ----------
    most_per_image : regions of one image at most, 0 for any number.
    min_distance : between the centres of two regions of one image, in cells of the grid; 2 keeps neighbours out.
    cols : of the grid.
    """

    most_per_image: int = 0
    min_distance: float = 0.0
    cols: int = 1


ANYWHERE = Spread()


class _Room:
    """What may still be taken beside what was."""

    def __init__(self, candidates: Candidates, spread: Spread) -> None:
        self._candidates, self._spread = candidates, spread
        self._taken: dict[int, list[tuple[int, int]]] = {}

    def take(self, index: int) -> bool:
        """False where the image has enough regions, or one that is too near."""
        spread, candidates = self._spread, self._candidates
        row, col = divmod(int(candidates.region_M[index]), spread.cols)
        taken = self._taken.setdefault(int(candidates.image_M[index]), [])
        if spread.most_per_image and len(taken) >= spread.most_per_image:
            return False
        if any(math.hypot(row - r, col - c) < spread.min_distance for r, c in taken):
            return False
        taken.append((row, col))
        return True


def select(
    candidates: Candidates,
    strategy: Strategy,
    *,
    regions_per_image: int,
    budget_pixels: int,
    seed: Sequence[int],
    spread: Spread = ANYWHERE,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Choose regions.

        per-image   the k best of each image, whatever the budget (the paper)
        global      the best of the pool, until the next one would break the budget
        balanced    the same, but the class with the fewest pixels so far is served next, by predicted class
        random      without a budget k of each image, with one the whole pool; the baseline

    Parameters
    ----------
    budget_pixels : original pixels; 0 means as many as per-image would take.
    spread : what is chosen keeps to it, and may then be less than was asked for.
    seed : numbers the random strategy is keyed by, together with the image's id.

    Returns
    -------
    indices into `candidates` in the order of choice, and the rank of each, from 0: within its image where the quota is
    per image, in the pool otherwise.
    """
    merit_M = _random_merit(candidates, seed) if strategy == "random" else candidates.score_M
    per_image, rank = _best_of_each_image(candidates, merit_M, regions_per_image)
    if strategy == "per-image" or (strategy == "random" and budget_pixels == 0):
        return (
            _spaced_quota(candidates, merit_M, regions_per_image, spread) if spread.min_distance else (per_image, rank)
        )
    budget, room = budget_pixels or int(candidates.pixels[per_image].sum()), _Room(candidates, spread)
    if strategy == "balanced":
        chosen = _balanced(candidates, merit_M, budget, room)
    else:
        order = np.argsort(-merit_M, kind="stable")  # candidates are sorted by image and region, which settles ties
        if spread.most_per_image or spread.min_distance:
            order = np.array([index for index in order if room.take(index)], np.int64)
        chosen = order[: np.searchsorted(np.cumsum(candidates.pixels[order]), budget, side="right")]
    return chosen, np.arange(len(chosen), dtype=np.int32)


def _spaced_quota(
    candidates: Candidates, merit_M: NDArray[np.floating], k: int, spread: Spread
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The best of each image of which no two are too near to each other."""
    order = np.lexsort((candidates.region_M, -merit_M, candidates.image_M))
    room = _Room(candidates, replace(spread, most_per_image=k))
    chosen = np.array([index for index in order if k and room.take(index)], np.int64)
    return chosen, _ranks(candidates.image_M[chosen])


def _best_of_each_image(
    candidates: Candidates, merit_M: NDArray[np.floating], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    order = np.lexsort((candidates.region_M, -merit_M, candidates.image_M))
    rank = _ranks(candidates.image_M[order])
    return order[rank < k], rank[rank < k]


def _ranks(image_M: NDArray[np.int32]) -> NDArray[np.int32]:
    """0, 1, 2 ... within each image; ascending ids in, the best region of each first."""
    return (np.arange(len(image_M)) - np.searchsorted(image_M, image_M, side="left")).astype(np.int32)


def _balanced(candidates: Candidates, merit_M: NDArray[np.floating], budget: int, room: _Room) -> NDArray[np.int64]:
    """Classes take turns: the one with the fewest pixels so far (then the lowest id) takes its best region.

    A class that has no region left, or whose next one breaks the budget, is out.
    """
    pixels_M = candidates.pixels
    order = np.argsort(-merit_M, kind="stable")
    waiting = {int(c): iter(order[candidates.predicted_M[order] == c]) for c in np.unique(candidates.predicted_M)}
    turns = [(0, c) for c in sorted(waiting)]
    chosen: list[int] = []
    left = budget
    while turns:
        taken, c = heapq.heappop(turns)
        index = next((index for index in waiting[c] if pixels_M[index] > left or room.take(index)), None)
        if index is None or pixels_M[index] > left:
            continue
        chosen.append(int(index))
        left -= int(pixels_M[index])
        heapq.heappush(turns, (taken + int(pixels_M[index]), c))
    return np.array(chosen, np.int64)


def _random_merit(candidates: Candidates, seed: Sequence[int]) -> NDArray[np.float64]:
    """Uniform numbers keyed by seed, image id and region: the same for a region whatever else is in the pool."""
    merit_M = np.empty(len(candidates))
    bounds = np.searchsorted(candidates.image_M, np.arange(len(candidates.images) + 1))
    for image, start, stop in zip(candidates.images, bounds[:-1], bounds[1:], strict=True):
        regions = candidates.region_M[start:stop]
        draws = np.random.default_rng([*seed, _key(image)]).random(int(regions.max(initial=-1)) + 1)
        merit_M[start:stop] = draws[regions]
    return merit_M


def _key(image: str) -> int:
    return int.from_bytes(hashlib.sha256(image.encode()).digest()[:8])
