"""k-means++ seeding: items that stand for all others, before anything is known but what they look like.

Shape suffixes: M items, D features, L candidates of a step.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def spread_seeds(
    feature_MD: NDArray[np.floating],
    count: int,
    rng: np.random.Generator,
    group_M: NDArray[np.integer] | None = None,
    most_per_group: int = 0,
) -> NDArray[np.int64]:
    """Greedy k-means++ (Arthur & Vassilvitskii 2007, section 5; as scikit-learn's): the first at random; then of
    2 + ln(count) items drawn with chances proportional to D(x)^2, the squared distance to the nearest chosen one, that
    which lowers the sum of D^2 most. Items just like chosen ones are drawn at random when there are no others.

    Parameters
    ----------
    count : how many; fewer come back where there are not as many, or where the groups are full.
    group_M : which group each item is of; a group gives `most_per_group` at most.

    Returns
    -------
    int64 indices in the order of choice, each once.
    """
    feature_MD = np.asarray(feature_MD, np.float32)
    norm_M = np.square(feature_MD).sum(axis=1)
    free_M = np.ones(len(feature_MD), bool)
    nearest_M = np.full(len(feature_MD), np.inf, np.float32)
    trials, chosen = 2 + int(math.log(max(count, 1))), list[int]()
    while len(chosen) < count and free_M.any():
        drawn_L = _draw(np.where(free_M, nearest_M, 0.0), free_M, trials if chosen else 1, rng)
        distance_LM = norm_M[drawn_L, None] + norm_M - 2 * feature_MD[drawn_L] @ feature_MD.T
        after_LM = np.minimum(nearest_M, np.maximum(distance_LM, 0))
        best = int(after_LM[:, free_M].sum(axis=1).argmin())
        index, nearest_M = int(drawn_L[best]), after_LM[best]
        chosen.append(index)
        free_M[index] = False
        if group_M is not None and np.count_nonzero(group_M[chosen] == group_M[index]) >= most_per_group:
            free_M[group_M == group_M[index]] = False
    return np.array(chosen, np.int64)


def _draw(
    weight_M: NDArray[np.floating], free_M: NDArray[np.bool_], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """`count` free items, with chances in proportion to their weights where these say anything."""
    items = np.flatnonzero(free_M)
    total = np.cumsum(weight_M[items], dtype=np.float64)
    if not np.isfinite(total[-1]) or total[-1] <= 0:
        return rng.choice(items, count)
    place = np.searchsorted(total, rng.random(count) * total[-1], side="right")
    return items[np.minimum(place, len(items) - 1)]
