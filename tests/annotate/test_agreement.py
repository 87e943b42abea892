"""How far two people agree, on labels small enough to count by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from s4al.annotate.agreement import Agreement, compare_labels

NAMES = ["road", "car", "sky"]


def compare(*pairs: tuple[list, list]) -> Agreement:
    arrays = [tuple(np.array([row], np.uint8) for row in pair) for pair in pairs]
    return compare_labels(arrays, NAMES)


@pytest.mark.parametrize(
    ("pairs", "pixels", "iou"),
    [
        ([([0, 0, 1, 1], [0, 0, 1, 1])], 1.0, {"road": 1.0, "car": 1.0}),
        ([([0, 0, 0, 1], [0, 0, 1, 1])], 0.75, {"road": 2 / 3, "car": 1 / 2}),
        ([([0, 0], [1, 1])], 0.0, {"road": 0.0, "car": 0.0}),
        ([([0, 255, 1, 1], [0, 0, 255, 1])], 1.0, {"road": 1.0, "car": 1.0}),
        ([([0], [0]), ([2, 2], [2, 0])], 2 / 3, {"road": 1 / 2, "sky": 1 / 2}),
        ([([255, 255], [0, 0])], None, {}),
        ([], None, {}),
    ],
)
def test_pixels_and_classes(pairs, pixels, iou) -> None:
    found = compare(*pairs)
    assert found.regions == len(pairs)
    assert found.pixel_agreement == pixels
    assert found.iou == pytest.approx(iou)
    assert found.mean_iou == (pytest.approx(sum(iou.values()) / len(iou)) if iou else None)
    assert compare(*(pair[::-1] for pair in pairs)) == found  # nobody of the two is right


def test_counts_add_up_to_those_of_all_together() -> None:
    one, two = ([0, 0, 0, 1], [0, 0, 1, 1]), ([2, 2, 0], [2, 0, 0])
    together = compare(one, two)
    assert compare(one) + compare(two) == together
    assert Agreement.from_json(json.loads(json.dumps(together.to_json()))) == together
