"""Geometries that every implementation of region_scores must get right, and the comparison with the specification."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from s4al.kernels import RegionScores, reference

MEAN_TOLERANCE = 1e-5
LABEL_MARGIN = 1e-4  # labels may differ where the two largest probabilities are closer than this


class Case(NamedTuple):
    logits: tuple[int, int, int, int]
    size: tuple[int, int]
    region: tuple[int, int]
    align_corners: bool = False
    dtype: type = np.float32
    spread: float = 3.0
    labelled: str = ""  # "", "zero" or "exclude"
    threshold: float = 0.0


CASES = {
    "camvid stride 4, exact cells": Case((2, 11, 30, 40), (120, 160), (30, 40)),
    "camvid stride 4, corners aligned": Case((2, 11, 30, 40), (120, 160), (30, 40), align_corners=True),
    "cityscapes cells of 43": Case((1, 19, 43, 43), (172, 172), (43, 43), threshold=0.5),
    "stride 16, ragged": Case((2, 11, 7, 9), (112, 144), (30, 30), labelled="zero"),
    "stride 16, corners aligned, float16": Case(
        (1, 19, 7, 9), (97, 129), (43, 43), align_corners=True, dtype=np.float16
    ),
    "stride 8, float16, excluding labelled": Case(
        (3, 5, 6, 8), (48, 64), (7, 11), dtype=np.float16, labelled="exclude"
    ),
    "stride 1": Case((2, 11, 33, 50), (33, 50), (8, 16), labelled="exclude"),
    "stride 1, corners aligned": Case((1, 3, 17, 23), (17, 23), (17, 5), align_corners=True),
    "one low-resolution pixel": Case((1, 4, 1, 1), (37, 53), (10, 20)),
    "one low-resolution pixel, corners aligned": Case((1, 4, 1, 1), (9, 16), (10, 20), align_corners=True),
    "one pixel": Case((1, 2, 1, 1), (1, 1), (30, 30)),
    "one class": Case((2, 1, 5, 6), (20, 24), (8, 8)),
    "two classes, strides 3.3 and 2.7": Case((1, 2, 9, 12), (30, 32), (9, 9), threshold=0.9),
    "150 classes": Case((1, 150, 12, 16), (48, 64), (13, 17), labelled="zero"),
    "255 classes, several blocks": Case((1, 255, 6, 50), (24, 200), (24, 60)),
    "region larger than the image": Case((2, 6, 50, 10), (200, 40), (1000, 1000), labelled="exclude"),
    "regions of one pixel": Case((1, 6, 4, 5), (16, 20), (1, 1)),
    "rows of one pixel, width 1": Case((1, 3, 9, 1), (33, 1), (4, 4)),
    "extreme logits": Case((2, 11, 12, 15), (48, 60), (12, 12), spread=80),
    "constant logits": Case((1, 11, 40, 10), (320, 40), (320, 40), spread=0),
}


def make(case: Case, seed: int = 0) -> tuple[np.ndarray, dict]:
    """Logits of a case and the other arguments. A spread of 80 means that every logit is 80 or -80."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, case.spread, case.logits) if case.spread != 80 else rng.choice([-80.0, 80.0], case.logits)
    arguments = {
        "height": case.size[0],
        "width": case.size[1],
        "region_height": case.region[0],
        "region_width": case.region[1],
        "align_corners": case.align_corners,
        "confidence_threshold": case.threshold,
    }
    if case.labelled:
        labelled = rng.integers(0, 3, (case.logits[0], *case.size), np.uint8)
        labelled[0, : case.region[0], : case.region[1]] = 1  # a region without any other pixel
        arguments |= {"labelled_NHW": labelled, "labelled_pixels": case.labelled}
    return logits.astype(case.dtype), arguments


def assert_agree(got: RegionScores, logits: np.ndarray, arguments: dict) -> None:
    expected = reference.region_scores(logits, **arguments)
    for name in ("entropy_NR", "least_confidence_NR", "margin_NR", "labelled_NR"):
        assert getattr(got, name).dtype == np.float32
        np.testing.assert_allclose(
            getattr(got, name), getattr(expected, name), rtol=0, atol=MEAN_TOLERANCE, err_msg=name
        )
    p = np.sort(
        reference.softmax(
            reference.upsample(logits, arguments["height"], arguments["width"], arguments["align_corners"])
        ),
        axis=1,
    )
    clear = np.abs(p[:, -1] - arguments["confidence_threshold"]) > LABEL_MARGIN
    if p.shape[1] > 1:
        clear &= p[:, -1] - p[:, -2] > LABEL_MARGIN
    np.testing.assert_array_equal(got.label_NHW[clear], expected.label_NHW[clear])
    rounding_is_clear = np.abs((255 * p[:, -1]) % 1 - 0.5) > 1e-3
    np.testing.assert_array_equal(got.confidence_NHW[rounding_is_clear], expected.confidence_NHW[rounding_is_clear])
    assert np.abs(got.confidence_NHW.astype(int) - expected.confidence_NHW).max() <= 1
