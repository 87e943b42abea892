"""The specification against values worked out by hand, and against torch."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from s4al.kernels.reference import region_scores, upsample

LN2, LN3 = math.log(2), math.log(3)


def logits_of(*classes: list[list[float]]) -> np.ndarray:
    """One image, one 2-d list of logits per class."""
    return np.array([classes], np.float32)


@pytest.mark.parametrize("num_classes", [1, 2, 11, 255])
def test_uniform_logits(num_classes: int) -> None:
    scores = region_scores(
        np.full((1, num_classes, 2, 3), 0.7, np.float32), height=4, width=6, region_height=2, region_width=3
    )
    p = 1 / num_classes
    np.testing.assert_allclose(scores.entropy_NR, np.full((1, 4), math.log(num_classes)), atol=1e-12)
    np.testing.assert_allclose(scores.least_confidence_NR, np.full((1, 4), 1 - p), atol=1e-12)
    np.testing.assert_allclose(scores.margin_NR, np.full((1, 4), 1.0 if num_classes > 1 else 0.0), atol=1e-12)
    assert (scores.label_NHW == 0).all()
    assert (scores.confidence_NHW == math.floor(255 * p + 0.5)).all()
    assert (scores.labelled_NR == 0).all()


def test_saturated_logits_score_zero() -> None:
    scores = region_scores(
        logits_of([[-1000.0]], [[1000.0]], [[0.0]]), height=2, width=2, region_height=2, region_width=2
    )
    assert [float(score[0, 0]) for score in scores[:3]] == [0.0, 0.0, 0.0]
    assert (scores.label_NHW == 1).all() and (scores.confidence_NHW == 255).all()


def test_fifty_fifty() -> None:
    scores = region_scores(logits_of([[5.0]], [[5.0]], [[-1000.0]]), height=1, width=1, region_height=1, region_width=1)
    assert scores.entropy_NR[0, 0] == pytest.approx(LN2)
    assert scores.least_confidence_NR[0, 0] == pytest.approx(0.5)
    assert scores.margin_NR[0, 0] == pytest.approx(1.0)
    assert scores.confidence_NHW[0, 0, 0] == 128  # floor(127.5 + 0.5)


def test_three_to_one() -> None:
    scores = region_scores(logits_of([[0.0]], [[LN3]]), height=1, width=1, region_height=1, region_width=1)
    assert scores.entropy_NR[0, 0] == pytest.approx(2 * LN2 - 0.75 * LN3)
    assert scores.least_confidence_NR[0, 0] == pytest.approx(0.25)
    assert scores.margin_NR[0, 0] == pytest.approx(0.5)
    assert (scores.label_NHW[0, 0, 0], scores.confidence_NHW[0, 0, 0]) == (1, 191)  # floor(191.25 + 0.5)


def test_upsampling_by_hand() -> None:
    plane = np.array([[[[0.0, 4.0], [8.0, 12.0]]]])  # 4 x + 8 y
    at = np.array([0, 0.25, 0.75, 1])  # half-pixel centres, clamped at the border
    np.testing.assert_allclose(upsample(plane, 4, 4, False)[0, 0], 4 * at + 8 * at[:, None])
    at = np.array([0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(upsample(plane, 4, 4, True)[0, 0], 4 * at + 8 * at[:, None])


def test_upsampled_logits_are_scored_not_upsampled_scores() -> None:
    """Corners 0 and 4 ln 3 in class 1: the four pixels have odds 1, 3, 27 and 81 to one."""
    scores = region_scores(
        logits_of([[0.0, 0.0]], [[0.0, 4 * LN3]]), height=1, width=4, region_height=1, region_width=2
    )
    rest = [1 / 2, 1 / 4, 1 / 28, 1 / 82]
    np.testing.assert_allclose(scores.least_confidence_NR[0], [(rest[0] + rest[1]) / 2, (rest[2] + rest[3]) / 2])
    np.testing.assert_allclose(scores.margin_NR[0], [rest[0] + rest[1], rest[2] + rest[3]])
    assert scores.label_NHW[0, 0].tolist() == [0, 1, 1, 1]  # the tie goes to class 0
    assert scores.confidence_NHW[0, 0].tolist() == [128, 191, 246, 252]


ODDS = logits_of([[0.0, 0.0, 0.0]], [[0.0, LN3, 400.0]])  # three pixels, least confidence 1/2, 1/4, 0


@pytest.mark.parametrize(
    ("labelled", "rule", "expected", "share"),
    [
        ([0, 0, 0], "zero", [3 / 8, 0], [0, 0]),  # the second region has one pixel only
        ([1, 0, 0], "zero", [1 / 8, 0], [1 / 2, 0]),
        ([1, 0, 0], "exclude", [1 / 4, 0], [1 / 2, 0]),
        ([1, 7, 255], "exclude", [0, 0], [1, 1]),
    ],
)
def test_ragged_regions_and_labelled_pixels(
    labelled: list[int], rule: str, expected: list[float], share: list[float]
) -> None:
    scores = region_scores(
        ODDS,
        height=1,
        width=3,
        region_height=5,
        region_width=2,
        labelled_NHW=np.array([[labelled]], np.uint8),
        labelled_pixels=rule,
    )
    np.testing.assert_allclose(scores.least_confidence_NR[0], expected, atol=1e-15)
    assert scores.labelled_NR[0].tolist() == share


@pytest.mark.parametrize(
    ("labelled", "rule", "largest", "tenth"),
    [
        ([], "zero", [0.44, 0.46], [(0.44 + 0.42) / 2, 0.46]),  # two of 20 pixels, one of 4
        ([], "exclude", [0.44, 0.46], [(0.44 + 0.42) / 2, 0.46]),
        ([22, 23], "zero", [0.42, 0.34], [(0.42 + 0.40) / 2, 0.34]),
        ([22, 23], "exclude", [0.42, 0.34], [(0.42 + 0.40) / 2, 0.34]),  # 19 and 3
        (range(12, 24), "zero", [0.20, 0.22], [(0.20 + 0.18) / 2, 0.22]),
        (range(12, 24), "exclude", [0.20, 0.22], [0.20, 0.22]),  # ten and two are left
        (range(2, 24), "zero", [0.02, 0], [0.01, 0]),  # the second of the two is a zero
        (range(24), "exclude", [0, 0], [0, 0]),
    ],
)
def test_pooling_by_hand(labelled: Sequence[int], rule: str, largest: list[float], tenth: list[float]) -> None:
    """Least confidences 0 to 0.46 in steps of 0.02, row by row over 4 x 6 pixels; regions of 4 x 5 and 4 x 1."""
    least = np.arange(24).reshape(4, 6) / 50
    logits = np.zeros((1, 2, 4, 6), np.float32)
    logits[0, 1] = np.log(1 / np.maximum(least, 1e-30) - 1)
    labelled_NHW = np.isin(np.arange(24), labelled).astype(np.uint8).reshape(1, 4, 6)
    for pooling, expected in (("max", largest), ("top-tenth", tenth)):
        scores = region_scores(
            logits,
            height=4,
            width=6,
            region_height=4,
            region_width=5,
            labelled_NHW=labelled_NHW,
            labelled_pixels=rule,
            pooling=pooling,
        )
        np.testing.assert_allclose(scores.least_confidence_NR[0], expected, atol=1e-7)
        np.testing.assert_allclose(scores.margin_NR[0], 2 * np.array(expected), atol=2e-7)  # 1 - (p1 - p2) = 2 (1 - p1)
        assert (scores.entropy_NR[0] >= scores.least_confidence_NR[0]).all()


def test_threshold_is_strict() -> None:
    shape = {"height": 1, "width": 3, "region_height": 1, "region_width": 3}
    assert region_scores(ODDS, **shape, confidence_threshold=0.5).label_NHW[0, 0].tolist() == [0, 1, 1]
    assert region_scores(ODDS, **shape, confidence_threshold=0.51).label_NHW[0, 0].tolist() == [255, 1, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_logit_spoils_its_pixels_and_their_region_only(value: float) -> None:
    logits = np.zeros((1, 2, 1, 4), np.float32)
    logits[0, 1, 0, 0] = value
    scores = region_scores(logits, height=2, width=8, region_height=2, region_width=3)
    # Half-pixel centres: columns 0..2 lie at or between low-resolution columns 0 and 1.
    assert np.isnan(scores.entropy_NR[0]).tolist() == [True, False, False]
    assert np.isnan(scores.margin_NR[0]).tolist() == [True, False, False]
    assert scores.label_NHW[0].tolist() == [[255, 255, 255, 0, 0, 0, 0, 0]] * 2
    assert scores.confidence_NHW[0].tolist() == [[0, 0, 0, 128, 128, 128, 128, 128]] * 2


@pytest.mark.parametrize("align_corners", [False, True])
def test_against_torch(align_corners: bool) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(1).normal(0, 3, (2, 7, 9, 12)).astype(np.float32)
    scores = region_scores(logits, height=36, width=48, region_height=9, region_width=12, align_corners=align_corners)
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits).double(), size=(36, 48), mode="bilinear", align_corners=align_corners
    )
    probability = full.softmax(1)
    top, label = probability.topk(2, dim=1)
    maps = (-(probability * probability.log()).sum(1), 1 - top[:, 0], 1 - (top[:, 0] - top[:, 1]))
    for got, expected in zip(scores[:3], maps, strict=True):
        pooled = torch.nn.functional.adaptive_avg_pool2d(expected, (4, 4)).flatten(1)
        np.testing.assert_allclose(got, pooled.numpy(), rtol=1e-12)
    assert (scores.label_NHW == label[:, 0].numpy()).all()
    assert (scores.confidence_NHW == (255 * top[:, 0] + 0.5).floor().numpy()).all()
