"""Acquisition rules that share a budget out among the classes that regions are predicted as.

Suffix M: candidate regions, of all images together. A higher merit is better; where two are equal, the candidate that
comes first is taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from s4al.scorer.acquisition.spread import Room

_LAST_BETA = 100.0


def balanced(
    merit_M: NDArray[np.floating], predicted_M: NDArray[np.integer], room: Room, budget: int
) -> NDArray[np.int64]:
    """The class with the fewest pixels so far (then the lowest id) takes its best region next.

    Returns
    -------
    indices in the order of choice.
    """
    return _take_turns(merit_M, predicted_M, room, budget, lambda c, spent, pixels: spent)


def class_quota(
    merit_M: NDArray[np.floating], predicted_M: NDArray[np.integer], room: Room, budget: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Two thirds of the budget in equal parts for the classes, the rest for the pool (ClaSP PE, arXiv 2601.13677).

    A class takes its best regions until the next one would break its part; what it leaves goes to the pool's part.

    Parameters
    ----------
    merit_M : of ClaSP PE the `perturbed` scores.
    predicted_M : class of each region. The classes are those that occur.

    Returns
    -------
    indices chosen for their class, class by class, and then those chosen from the pool, each in the order of choice.
    """
    order, classes = np.argsort(-merit_M, kind="stable"), np.unique(predicted_M)
    parts = [room.spend(order[predicted_M[order] == c], 2 * budget // (3 * len(classes))) for c in classes]
    for_class = np.concatenate([np.empty(0, np.int64), *parts])
    left = budget - int(room.pixels_M[for_class].sum())
    return for_class, room.spend(order[~np.isin(order, for_class)], left)


def class_confidence(
    merit_M: NDArray[np.floating],
    predicted_M: NDArray[np.integer],
    uncertainty_M: NDArray[np.floating],
    room: Room,
    budget: int,
) -> NDArray[np.int64]:
    """Each class's best, the budget in proportion to the class's mean uncertainty (DECOMP, arXiv 2512.07606).

    Next is the class with the lowest (pixels so far + pixels of its next region) / mean uncertainty: D'Hondt's method,
    which is off by less than a region a class and leaves the part of a class that runs out to the others.

    Parameters
    ----------
    uncertainty_M : 1 - confidence, not negative. A class without any comes last.

    Returns
    -------
    indices in the order of choice.
    """
    classes, class_M = np.unique(predicted_M, return_inverse=True)
    mean = np.bincount(class_M, uncertainty_M) / np.bincount(class_M)
    weight = dict(zip(classes.tolist(), np.maximum(mean, np.finfo(np.float32).tiny).tolist(), strict=True))
    return _take_turns(merit_M, predicted_M, room, budget, lambda c, spent, pixels: (spent + pixels) / weight[c])


def perturbed(score_M: NDArray[np.floating], uniform_M: NDArray[np.float64], beta: float) -> NDArray[np.float64]:
    """log(score) + Gumbel(0, 1 / beta): power noise (Kirsch et al. 2023), as ClaSP PE has it.

    With beta 1 the best are a draw without replacement in proportion to the scores; with a large beta they are simply
    the highest. A score of 0 stays last.

    Parameters
    ----------
    score_M : not negative.
    uniform_M : in [0, 1), what the noise is made of.

    Returns
    -------
    float64 (M,), -inf where the score is 0.
    """
    gumbel_M = -np.log(-np.log(np.maximum(uniform_M, np.finfo(np.float64).tiny)))
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(score_M, 0.0), dtype=np.float64) + gumbel_M / beta


def noise_beta(cycle: int, cycles: int) -> float:
    """From 1 in the first round of queries to 100 in the last that is labelled; a single round has 1.

    Geometric, so that the noise, whose width is 1 / beta, shrinks by the same factor from round to round. On a straight
    line it would be gone (1 / 34 of what it was) in the second of four rounds.

    Parameters
    ----------
    cycles : trainings of the run; every one but the last is followed by a round that is labelled for the next.
    """
    return _LAST_BETA ** min(1.0, cycle / max(1, cycles - 2))


def _take_turns(
    merit_M: NDArray[np.floating],
    predicted_M: NDArray[np.integer],
    room: Room,
    budget: int,
    turn: Callable[[int, int, int], float],
) -> NDArray[np.int64]:
    """Region by region; a class that has none left, or whose next one breaks the budget, is out.

    Parameters
    ----------
    turn : of a class, the pixels it has taken and those of its next region; the lowest is next, then the lowest class.
    """
    order, pixels_M = np.argsort(-merit_M, kind="stable"), room.pixels_M
    waiting = {int(c): iter(order[predicted_M[order] == c]) for c in np.unique(predicted_M)}
    spent = dict.fromkeys(waiting, 0)
    turns: list[tuple[float, int, int]] = []

    def line_up(c: int) -> None:
        index = next((int(index) for index in waiting[c] if room.fits(index)), None)
        if index is not None:
            heapq.heappush(turns, (turn(c, spent[c], int(pixels_M[index])), c, index))

    for c in waiting:
        line_up(c)
    chosen: list[int] = []
    while turns:
        _, c, index = heapq.heappop(turns)
        if pixels_M[index] > budget:
            continue
        if room.fits(index):  # no other class has taken one beside it meanwhile
            room.take(index)
            chosen.append(index)
            spent[c] += int(pixels_M[index])
            budget -= int(pixels_M[index])
        line_up(c)
    return np.array(chosen, np.int64)
