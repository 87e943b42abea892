"""Which regions are worth a person's time: the best of each image, of the whole pool, class by class, or at random.

Suffixes: M candidate regions, of all images together; K chosen ones. Ties are broken by (score, image, region), so the
order in which shards are read never matters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4al.config import NETWORK_METRICS, Metric, Strategy
from s4al.scorer.acquisition.class_rules import balanced, class_confidence, class_quota, perturbed
from s4al.scorer.acquisition.diversity import Features, diverse
from s4al.scorer.acquisition.spread import ANYWHERE, Room, Spread
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
    uncertainty_M : 1 - confidence, the column `least_confidence`, whatever the metric.
    """

    images: list[str]
    image_M: NDArray[np.int32]
    region_M: NDArray[np.int32]
    box_M4: NDArray[np.int32]
    score_M: NDArray[np.float32]
    predicted_M: NDArray[np.int16]
    uncertainty_M: NDArray[np.float32]

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


def table_strategy(strategy: Strategy) -> Strategy:
    """A strategy that goes by the score table alone, or its first stage where it needs more."""
    return "global" if strategy == "k-centre" else strategy


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
        table["least_confidence"].to_numpy(),
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
        candidates.uncertainty_M[indices],
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
        _join((shard.uncertainty_M for shard in shards), np.float32),
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
class Choice:
    """The regions of a round, in the order of choice.

    Attributes
    ----------
    index_K : into the candidates.
    rank_K : from 0, within its image where the quota is per image, in the pool otherwise.
    for_class_K : whether it was compared with regions of its predicted class alone.
    """

    index_K: NDArray[np.int64]
    rank_K: NDArray[np.int32]
    for_class_K: NDArray[np.bool_]


def select(
    candidates: Candidates,
    strategy: Strategy,
    *,
    regions_per_image: int,
    budget_pixels: int,
    seed: Sequence[int],
    spread: Spread = ANYWHERE,
    beta: float = 1.0,
    features: Features | None = None,
    shortlist: int = 4,
) -> Choice:
    """Choose regions.

        per-image         the k best of each image, whatever the budget (the paper)
        global            the best of the pool, until the next one would break the budget
        balanced          the same, but the class with the fewest pixels so far is served next, by predicted class
        class-quota       two thirds of the budget in equal parts for the predicted classes, noise on the score
        class-confidence  the budget for the predicted classes in proportion to their mean uncertainty
        k-centre          of the best for some times the budget, those that are far from each other in feature space
        random            without a budget k of each image, with one the whole pool; the baseline

    Parameters
    ----------
    budget_pixels : original pixels; 0 means as many as per-image would take.
    spread : what is chosen keeps to it, and may then be less than was asked for.
    seed : numbers that whatever is random is keyed by, together with the image's id.
    beta : of class-quota's noise, see `noise_beta`.
    features : of candidates, called with those on k-centre's shortlist; no other strategy needs them.
    shortlist : how many budgets k-centre's shortlist would cost.
    """
    merit_M = _merit(candidates, strategy, seed, beta)
    by_image_M = merit_M if strategy == "random" else candidates.score_M  # noise does not change what a round may cost
    per_image, rank = _best_of_each_image(candidates, by_image_M, regions_per_image)
    if strategy == "per-image" or (strategy == "random" and budget_pixels == 0):
        if spread.min_distance:
            per_image, rank = _spaced_quota(candidates, merit_M, regions_per_image, spread)
        return Choice(per_image, rank, np.zeros(len(rank), bool))
    budget = budget_pixels or int(candidates.pixels[per_image].sum())
    if strategy == "k-centre":
        assert features, "k-centre needs features"
        best = _rank_pool(candidates, strategy, merit_M, shortlist * budget, spread)[1]
        for_class, from_pool = best[:0], diverse(best, features, candidates.pixels, budget)
    else:
        for_class, from_pool = _rank_pool(candidates, strategy, merit_M, budget, spread)
    index_K = np.concatenate([for_class, from_pool])
    return Choice(index_K, np.arange(len(index_K), dtype=np.int32), np.arange(len(index_K)) < len(for_class))


def _merit(candidates: Candidates, strategy: Strategy, seed: Sequence[int], beta: float) -> NDArray[np.floating]:
    if strategy == "random":
        return _random_merit(candidates, seed)
    if strategy == "class-quota":
        return perturbed(candidates.score_M, _random_merit(candidates, seed), beta)
    return candidates.score_M


def _rank_pool(
    candidates: Candidates, strategy: Strategy, merit_M: NDArray[np.floating], budget: int, spread: Spread
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What is chosen for its predicted class, and what from the whole pool."""
    room = Room(candidates.image_M, candidates.region_M, candidates.pixels, spread)
    nothing = np.empty(0, np.int64)
    if strategy == "balanced":
        return balanced(merit_M, candidates.predicted_M, room, budget), nothing
    if strategy == "class-confidence":
        return class_confidence(merit_M, candidates.predicted_M, candidates.uncertainty_M, room, budget), nothing
    if strategy == "class-quota":
        return class_quota(merit_M, candidates.predicted_M, room, budget)
    order = np.argsort(-merit_M, kind="stable")  # candidates are sorted by image and region, which settles ties
    return nothing, room.spend(order, budget)


def _spaced_quota(
    candidates: Candidates, merit_M: NDArray[np.floating], k: int, spread: Spread
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The best of each image of which no two are too near to each other."""
    order = np.lexsort((candidates.region_M, -merit_M, candidates.image_M))
    room = Room(candidates.image_M, candidates.region_M, candidates.pixels, replace(spread, most_per_image=k))
    chosen = room.spend(order, int(candidates.pixels.sum())) if k else order[:0]
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
