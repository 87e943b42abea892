"""Labels at the size of the original: against interpolation and argmax written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from s4al.scorer import full_size
from s4al.scorer.full_size import label_pixels, region_pixels

# original height, width; logits height, width; classes
SIZES = {
    "larger": (97, 130, 12, 16, 5),
    "much larger": (400, 700, 6, 8, 3),
    "the same": (12, 16, 12, 16, 5),
    "smaller": (5, 7, 12, 16, 5),
    "larger one way, smaller the other": (60, 3, 12, 16, 4),
    "one pixel": (1, 1, 12, 16, 4),
    "one row": (1, 50, 12, 16, 4),
    "one logit": (9, 11, 1, 1, 3),
    "one class": (9, 11, 3, 4, 1),
    "150 classes": (90, 120, 30, 40, 150),
}


def positions(size: int, low_size: int, align_corners: bool) -> list[float]:
    """Where each pixel lies among the logits, by the textbook."""
    if align_corners:
        return [0.0 if size == 1 else i * (low_size - 1) / (size - 1) for i in range(size)]
    return [max((i + 0.5) * low_size / size - 0.5, 0.0) for i in range(size)]


def interpolated(logits_Chw: NDArray[np.float32], height: int, width: int, align_corners: bool) -> NDArray[np.float64]:
    """Pixel by pixel, in float64: (C, H, W)."""
    _, low_height, low_width = logits_Chw.shape
    result = np.empty((len(logits_Chw), height, width))
    for y, v in enumerate(positions(height, low_height, align_corners)):
        for x, u in enumerate(positions(width, low_width, align_corners)):
            top, left = int(v), int(u)
            bottom, right = min(top + 1, low_height - 1), min(left + 1, low_width - 1)
            upper = logits_Chw[:, top, left] * (1 - u + left) + logits_Chw[:, top, right] * (u - left)
            lower = logits_Chw[:, bottom, left] * (1 - u + left) + logits_Chw[:, bottom, right] * (u - left)
            result[:, y, x] = upper * (1 - v + top) + lower * (v - top)
    return result


def logits(num_classes: int, height: int, width: int, dtype: type = np.float32) -> NDArray[np.floating]:
    return np.random.default_rng(0).normal(0, 3, (num_classes, height, width)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_labels_are_the_argmax_of_the_interpolated_logits(name: str, align_corners: bool, dtype: type) -> None:
    height, width, low_height, low_width, num_classes = SIZES[name]
    low = logits(num_classes, low_height, low_width, dtype)
    label = label_pixels(low, height, width, align_corners=align_corners, threads=2)
    full = interpolated(low.astype(np.float64), height, width, align_corners)
    assert label is not None
    assert (label.shape, label.dtype) == ((height, width), np.uint8)
    best = np.sort(full, axis=0)[::-1]
    clear = best[0] - best[1] > 1e-4 if num_classes > 1 else np.ones((height, width), bool)
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(label[clear], full.argmax(axis=0)[clear])


def test_boundaries_are_finer_than_those_of_an_enlarged_label() -> None:
    """Two logits at unequal strength: the border lies where they cross, not half-way."""
    low = np.array([[[3.0, -1.0]], [[0.0, 0.0]]], np.float32)
    label = label_pixels(low, 1, 8, align_corners=True, threads=1)
    assert label is not None
    assert label.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]]  # they are equal at 3/4 of 7


def test_the_number_of_threads_changes_nothing() -> None:
    low = logits(7, 30, 40)
    one, four = (label_pixels(low, 301, 399, align_corners=False, threads=count) for count in (1, 4))
    np.testing.assert_array_equal(one, four)


@pytest.mark.parametrize("size", [(48, 64), (5, 7)])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_give_no_labels(value: float, size: tuple[int, int]) -> None:
    low = logits(3, 6, 8)
    low[1, 3, 3:5] = value
    assert label_pixels(low, *size, align_corners=False, threads=1) is None


# --- one region ---


@pytest.mark.parametrize("strip", [1, 2**22], ids=["a row at a time", "at once"])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("name", SIZES)
def test_a_region_is_cut_out_of_the_whole(
    name: str, align_corners: bool, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_size, "_STRIP", strip)
    height, width, low_height, low_width, num_classes = SIZES[name]
    low = logits(num_classes, low_height, low_width)
    box = (height // 3, width // 4, height // 3 + (height + 2) // 3, width // 4 + (width + 2) // 3)
    found = region_pixels(low, height, width, box, align_corners=align_corners)
    assert found is not None
    label, doubt = found
    inside = interpolated(low, height, width, align_corners)[:, box[0] : box[2], box[1] : box[3]]
    assert label.shape == doubt.shape == inside.shape[1:] and label.dtype == doubt.dtype == np.uint8
    top_two = np.sort(inside, axis=0)[-2:]
    decided = top_two[-1] - top_two[0] > 1e-4 if num_classes > 1 else np.ones(label.shape, bool)
    assert (label == inside.argmax(axis=0))[decided].all()
    power = np.exp(inside - inside.max(axis=0))
    p = power / power.sum(axis=0)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=0)
    expected = 255 * entropy / np.log(num_classes) if num_classes > 1 else np.zeros(label.shape)
    assert np.abs(doubt - expected).max() <= 0.51  # rounded, float32


def test_a_region_of_a_network_that_knows_nothing_is_white_and_of_a_sure_one_black() -> None:
    flat = np.zeros((7, 4, 4), np.float32)
    sure = flat.copy()
    sure[3] = 50
    for low, doubt in ((flat, 255), (sure, 0)):
        found = region_pixels(low, 40, 40, (8, 8, 20, 16), align_corners=False)
        assert found is not None and (found[1] == doubt).all()


def test_a_region_says_only_of_its_own_pixels_that_they_are_not_finite() -> None:
    low = logits(3, 8, 8)
    low[1, 0, 0] = np.inf
    assert region_pixels(low, 80, 80, (0, 0, 20, 20), align_corners=False) is None
    assert region_pixels(low, 80, 80, (40, 40, 60, 60), align_corners=False) is not None
