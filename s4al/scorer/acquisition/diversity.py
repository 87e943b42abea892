"""Regions that differ from each other: greedy k-centre over region means of the network's features.

Shape suffixes: M candidates, D feature channels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

# Indices of candidates -> float32 (M, D), a row each.
Features = Callable[[NDArray[np.int64]], NDArray[np.float32]]

# Work grows with the square of the candidates that are compared at once, memory with their number.
_GROUP = 8192


def k_centre(feature_MD: NDArray[np.floating], pixels_M: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Greedy k-centre (Gonzalez 1985; core-sets: Sener & Savarese 2018, algorithm 1).

    The first candidate, then always the one whose distance to the nearest of those chosen, min_c |f - f_c|, is the
    largest, until the next one would break the budget. Where distances are equal, the first.

    Parameters
    ----------
    feature_MD : compared by Euclidean distance.
    pixels_M : what each candidate costs.

    Returns
    -------
    indices in the order of choice.
    """
    distance_M = np.full(len(feature_MD), np.inf)
    chosen: list[int] = []
    while len(chosen) < len(feature_MD):
        index = int(distance_M.argmax())
        if pixels_M[index] > budget:
            break
        chosen.append(index)
        budget -= int(pixels_M[index])
        np.minimum(distance_M, np.square(feature_MD - feature_MD[index]).sum(axis=1), out=distance_M)
        distance_M[index] = -1.0  # below the 0 of one just like it
    return np.array(chosen, np.int64)


def diverse(
    shortlist: NDArray[np.int64], features: Features, pixels_M: NDArray[np.int64], budget: int, group: int = _GROUP
) -> NDArray[np.int64]:
    """Those of a shortlist that are spread in feature space (arXiv 2507.17367): `k_centre` on it.

    A long one is cut into groups of neighbours by image, each with its part of the budget (what one leaves goes to the
    next), so that neither features nor distances of all are ever there at once.

    Parameters
    ----------
    shortlist : candidates, the best first; the best of a group is its first centre.
    pixels_M : of all candidates.
    group : candidates that are compared with each other, at most.

    Returns
    -------
    candidates in the order of choice, group by group.
    """
    if pixels_M[shortlist].sum() <= budget:
        return shortlist  # nothing to choose, and no feature worth computing
    total, seen, spent = int(pixels_M[shortlist].sum()), 0, 0
    chosen: list[NDArray[np.int64]] = []
    for places in np.array_split(np.argsort(shortlist), -(-len(shortlist) // group)):
        part = shortlist[np.sort(places)]
        seen += int(pixels_M[part].sum())
        chosen.append(part[k_centre(features(part), pixels_M[part], budget * seen // total - spent)])
        spent += int(pixels_M[chosen[-1]].sum())
    return np.concatenate(chosen)
