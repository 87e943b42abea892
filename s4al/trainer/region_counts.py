"""The mIoU of some regions of a pool, and how far that of all could be from it.

Shape suffixes: R regions, C classes, B draws of the bootstrap.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DRAWS, LEVEL = 1000, 0.95
_BOOTSTRAP = 0xB007  # keeps these draws apart from others of the run's seed


class RegionCounts:
    """Pixels of each region by class: where label and prediction agree, and of either; int64 (R, C)."""

    def __init__(self, num_regions: int, num_classes: int) -> None:
        self.hits_RC, self.label_RC, self.predicted_RC = (
            np.zeros((num_regions, num_classes), np.int64) for _ in range(3)
        )

    def add(self, region: int, label_P: NDArray[np.integer], prediction_P: NDArray[np.integer]) -> None:
        """Count pixels of a region; all of them are labelled."""
        num_classes = self.hits_RC.shape[1]
        for counts_RC, ids_P in (
            (self.hits_RC, label_P[label_P == prediction_P]),
            (self.label_RC, label_P),
            (self.predicted_RC, prediction_P),
        ):
            counts_RC[region] += np.bincount(ids_P.ravel(), minlength=num_classes)

    def interval(self, seed: int, tested: int) -> tuple[float, float] | None:
        """The percentile bootstrap interval of the mIoU over the first `tested` classes; None where it has no value.

        As many regions are drawn with replacement, `DRAWS` times, always the same ones for a seed: cycles are compared
        on the same draws. A class that is in neither label nor prediction of a draw is left out of its mean.
        """
        regions = len(self.hits_RC)
        if not regions:
            return None
        rng = np.random.default_rng([seed, _BOOTSTRAP])
        times_BR = rng.multinomial(regions, np.full(regions, 1 / regions), size=DRAWS)
        hits_BC, label_BC, predicted_BC = (
            times_BR @ counts_RC[:, :tested] for counts_RC in (self.hits_RC, self.label_RC, self.predicted_RC)
        )
        union_BC = label_BC + predicted_BC - hits_BC
        there_BC = union_BC > 0
        iou_BC = np.divide(hits_BC, union_BC, out=np.zeros(union_BC.shape), where=there_BC)
        classes_B = there_BC.sum(axis=1)
        miou_B = (iou_BC.sum(axis=1) / np.maximum(classes_B, 1))[classes_B > 0]
        if not miou_B.size:
            return None
        low, high = np.quantile(miou_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
        return low, high
