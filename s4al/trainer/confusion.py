"""Confusion matrix and the intersection over union made of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from s4al.data.masks import IGNORE


class ConfusionMatrix:
    """Counts of pixels over a whole data set; `counts_CC[truth, prediction]`, int64."""

    def __init__(self, num_classes: int) -> None:
        self.counts_CC: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)

    @property
    def num_classes(self) -> int:
        return self.counts_CC.shape[0]

    def add(self, label: ArrayLike, prediction: ArrayLike) -> None:
        """Count pixels.

        Parameters
        ----------
        label, prediction : integer class ids of one shape, NumPy or CPU torch; pixels labelled 255 are left out. A
            prediction of 255, "not confident", on a labelled pixel is a programmer's mistake, as is any id of no class.
        """
        label_P, prediction_P = np.asarray(label).ravel(), np.asarray(prediction).ravel()
        assert label_P.shape == prediction_P.shape, (label_P.shape, prediction_P.shape)
        valid_P = label_P != IGNORE
        label_P, prediction_P = label_P[valid_P].astype(np.int64), prediction_P[valid_P].astype(np.int64)
        for ids in (label_P, prediction_P):
            assert ids.size == 0 or (ids.min() >= 0 and ids.max() < self.num_classes), (ids.min(), ids.max())
        cell_P = label_P * self.num_classes + prediction_P
        self.counts_CC += np.bincount(cell_P, minlength=self.num_classes**2).reshape(self.counts_CC.shape)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another part of the data set."""
        assert self.num_classes == other.num_classes, (self.num_classes, other.num_classes)
        self.counts_CC += other.counts_CC

    def per_class_iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class, shape (C,); NaN where a class is in neither truth nor prediction."""
        intersection_C = np.diag(self.counts_CC).astype(np.float64)
        union_C = self.counts_CC.sum(axis=0) + self.counts_CC.sum(axis=1) - intersection_C
        return np.divide(intersection_C, union_C, out=np.full(self.num_classes, np.nan), where=union_C > 0)

    def miou(self) -> float:
        """Mean of the defined per-class values, NaN where there is none.

        A class in neither truth nor prediction is left out rather than counted as 0 (published S4AL code) or 1. A class
        that is predicted but never true counts as 0.
        """
        iou_C = self.per_class_iou()
        return mean_or_nan(iou_C[~np.isnan(iou_C)])


def mean_or_nan(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
