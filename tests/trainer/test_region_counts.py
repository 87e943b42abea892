"""The interval of a mIoU over few regions: against the definition, and against what it promises."""

from __future__ import annotations

import numpy as np
import pytest

from s4al.trainer.confusion import ConfusionMatrix
from s4al.trainer.region_counts import RegionCounts

CLASSES = 4


def counted(labels: list[np.ndarray], predictions: list[np.ndarray]) -> RegionCounts:
    counts = RegionCounts(len(labels), CLASSES)
    for region, (label, prediction) in enumerate(zip(labels, predictions, strict=True)):
        counts.add(region, label, prediction)
    return counts


def noisy(regions: int, seed: int, right: float = 0.7) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Regions of one or two classes each, of which a network gets some pixels right."""
    rng = np.random.default_rng(seed)
    labels = [rng.choice(rng.choice(CLASSES, 2), 50) for _ in range(regions)]
    rights = [rng.random(50) < rng.beta(4 * right, 4 * (1 - right)) for _ in range(regions)]
    wrong = [rng.integers(0, CLASSES, 50) for _ in range(regions)]
    return labels, [np.where(r, label, w) for r, label, w in zip(rights, labels, wrong, strict=True)]


def test_it_is_the_quantiles_of_the_miou_of_resampled_regions() -> None:
    labels, predictions = noisy(12, 0)
    rng = np.random.default_rng(5)
    mious = []
    for _ in range(2000):
        matrix = ConfusionMatrix(CLASSES)
        for region in rng.integers(0, 12, 12):
            matrix.add(labels[region], predictions[region])
        mious.append(matrix.miou())
    found = counted(labels, predictions).interval(3, CLASSES)
    assert found == pytest.approx(np.quantile(mious, [0.025, 0.975]), abs=0.02)


def test_it_holds_the_miou_of_the_whole_pool_about_as_often_as_it_says() -> None:
    labels, predictions = noisy(4000, 1)
    matrix = ConfusionMatrix(CLASSES)
    matrix.add(np.concatenate(labels), np.concatenate(predictions))
    rng, holds = np.random.default_rng(2), 0
    for trial in range(200):
        chosen = rng.choice(4000, 100, replace=False)
        interval = counted([labels[i] for i in chosen], [predictions[i] for i in chosen]).interval(trial, CLASSES)
        assert interval is not None
        holds += interval[0] <= matrix.miou() <= interval[1]
    assert 180 <= holds <= 199


def test_the_seed_decides() -> None:
    counts = counted(*noisy(20, 0))
    assert counts.interval(1, CLASSES) == counts.interval(1, CLASSES) != counts.interval(2, CLASSES)


def test_where_there_is_nothing_to_say() -> None:
    assert RegionCounts(0, CLASSES).interval(0, CLASSES) is None
    assert RegionCounts(3, CLASSES).interval(0, CLASSES) is None  # no pixel of them is labelled
    label = np.array([3, 3, 3])
    assert counted([label], [np.array([3, 3, 0])]).interval(0, 3) == (0.0, 0.0)  # class 3 is not tested
    assert counted([label, label], [label, label]).interval(0, CLASSES) == (1.0, 1.0)
