from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from s4al.trainer.confusion import ConfusionMatrix


def test_hand_computed() -> None:
    matrix = ConfusionMatrix(3)
    label = np.array([[0, 0, 0, 0, 0], [1, 1, 1, 255, 255]], np.uint8)
    matrix.add(label, np.array([[0, 0, 0, 1, 1], [1, 1, 0, 2, 0]], np.uint8))
    assert matrix.counts_CC.tolist() == [[3, 2, 0], [1, 2, 0], [0, 0, 0]]  # rows: truth
    assert matrix.per_class_iou()[:2].tolist() == [3 / 6, 2 / 5]
    assert math.isnan(matrix.per_class_iou()[2])  # in neither; its prediction at an ignored pixel does not count
    assert matrix.miou() == pytest.approx(0.45)


def test_class_that_is_predicted_but_never_true_counts_as_zero() -> None:
    matrix = ConfusionMatrix(3)
    matrix.add(np.array([0, 0]), np.array([0, 2]))
    assert matrix.per_class_iou()[[0, 2]].tolist() == [0.5, 0.0]
    assert matrix.miou() == 0.25


def test_one_matrix_for_the_whole_set_not_a_mean_over_images() -> None:
    whole, parts = ConfusionMatrix(2), [ConfusionMatrix(2), ConfusionMatrix(2)]
    images = [([0, 0, 0, 1], [0, 0, 0, 0]), ([1, 1, 1, 1], [1, 1, 1, 0])]
    for (label, prediction), part in zip(images, parts, strict=True):
        whole.add(label, prediction)
        part.add(label, prediction)
    parts[0].merge(parts[1])
    assert np.array_equal(parts[0].counts_CC, whole.counts_CC)
    assert whole.per_class_iou().tolist() == [3 / 5, 3 / 5]
    assert whole.miou() == pytest.approx(0.6)


def test_torch_and_numpy_of_any_integer_type() -> None:
    rng = np.random.default_rng(0)
    label, prediction = rng.integers(0, 20, (2, 3, 16, 16)).astype(np.uint8)
    label[0] = 255
    first, second = ConfusionMatrix(20), ConfusionMatrix(20)
    first.add(label, prediction)
    second.add(torch.from_numpy(label).long(), torch.from_numpy(prediction))
    assert np.array_equal(first.counts_CC, second.counts_CC)
    assert first.counts_CC.sum() == 2 * 16 * 16  # 19 * 20 + 19 does not fit uint8
    for c in range(20):
        truth, found = (label == c), (prediction == c) & (label != 255)
        assert first.per_class_iou()[c] == (truth & found).sum() / (truth | found).sum()


def test_nothing_labelled_is_nan() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add(np.full(4, 255, np.uint8), np.zeros(4, np.uint8))
    assert math.isnan(matrix.miou())


@pytest.mark.parametrize(("label", "prediction"), [([2], [0]), ([0], [2]), ([0], [255]), ([-1], [0]), ([0, 1], [0])])
def test_ids_of_no_class_and_unequal_shapes_are_refused(label: list[int], prediction: list[int]) -> None:
    with pytest.raises(AssertionError):
        ConfusionMatrix(2).add(label, prediction)
