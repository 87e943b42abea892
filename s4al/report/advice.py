"""What the next regions will buy, from the curve so far, and what the same rule said before.

The assumption: mIoU grows with the logarithm of the labelled pixels, m = a + b ln(p), and a training comes out above or
below that by chance. The line is fitted by least squares to the cycles that are tested; cycle 0, which trains without
pseudo-labels, is left out once three others are there. The interval is that of a new training around the line: its
spread is estimated from the distances to the line together with a guess of one point of mIoU that weighs as much as
four trainings, without which two points, which always lie on their line, would promise certainty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from s4al.report.model import Advice, Point

LEVEL = 0.8
_GUESSED_SPREAD, _WEIGHT_OF_GUESS = 0.01, 4
# The 0.9 quantile of Student's t, so that 0.8 lies within, from 4 degrees of freedom on.
_QUANTILES = (1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372, 1.363, 1.356, 1.350, 1.345, 1.341)
_NORMAL = 1.282


def advise(points: Sequence[Point], regions: int, pixels: int) -> Advice | None:
    """What `regions` more regions, `pixels` in all, will add to the mIoU of the last point.

    None where there are fewer than two points, or nothing to buy.
    """
    kept = [point for point in points if point.cycle > 0] if len(points) > 3 else list(points)
    costs = np.log([point.pixels for point in kept if point.pixels > 0])
    if len(costs) < 2 or len(costs) < len(kept) or np.ptp(costs) == 0 or pixels <= 0:
        return None
    miou = np.array([point.miou for point in kept])
    centred = costs - costs.mean()
    slope = float(centred @ miou / (centred @ centred))
    residual = miou - miou.mean() - slope * centred
    freedom = len(kept) - 2 + _WEIGHT_OF_GUESS
    spread = math.sqrt((float(residual @ residual) + _WEIGHT_OF_GUESS * _GUESSED_SPREAD**2) / freedom)
    away = math.log(points[-1].pixels + pixels) - float(costs.mean())
    expected = float(miou.mean()) + slope * away - points[-1].miou
    half = _quantile(freedom) * spread * math.sqrt(1 + 1 / len(kept) + away**2 / float(centred @ centred))
    return Advice(
        points[-1].cycle,
        regions,
        pixels,
        expected,
        expected - half,
        expected + half,
        LEVEL,
        fitted_to=[point.cycle for point in kept],
    )


def back_test(points: Sequence[Point], regions: Sequence[int]) -> list[Advice]:
    """What `advise` would have said at each earlier cycle, and what came.

    Parameters
    ----------
    regions : asked for up to and including the cycle of each point.
    """
    said = []
    for last in range(1, len(points) - 1):
        now, after = points[last], points[last + 1]
        advice = advise(points[: last + 1], regions[last + 1] - regions[last], after.pixels - now.pixels)
        if advice is not None:
            advice.came = after.miou - now.miou
            said.append(advice)
    return said


def _quantile(freedom: int) -> float:
    index = freedom - _WEIGHT_OF_GUESS
    return _QUANTILES[index] if index < len(_QUANTILES) else _NORMAL
