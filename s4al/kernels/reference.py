"""The specification of region_scores: NumPy, float64, slow and obvious. The fast kernels are tested against it.

A pixel depends on its four neighbours among the low-resolution logits, also where the weight of one is zero, and a
neighbour with any class that is not finite makes it NaN. A NaN pixel has label 255 and confidence 0 and makes its
region's scores NaN, even where it is already labelled: a network that gives such numbers is broken, and nothing may
hide that.
"""

from __future__ import annotations

import numpy as np

from s4al.kernels.arguments import IGNORE, RegionScores, check_arguments


def region_scores(
    logits_NCHW: np.ndarray,
    *,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    align_corners: bool = False,
    labelled_NHW: np.ndarray | None = None,
    labelled_pixels: str = "zero",
    pooling: str = "mean",
    confidence_threshold: float = 0.0,
) -> RegionScores:
    """As `s4al.kernels.region_scores`, with float64 scores."""
    check_arguments(
        logits_NCHW,
        height=height,
        width=width,
        region_height=region_height,
        region_width=region_width,
        labelled_NHW=labelled_NHW,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
        out=None,
    )
    logits = upsample(logits_NCHW, height, width, align_corners)
    p = softmax(logits)
    entropy = -np.where(p == 0, 0, p * np.log(np.where(p == 0, 1, p))).sum(axis=1)
    p1, p2 = _two_largest(p)

    labelled = np.zeros(p1.shape, bool) if labelled_NHW is None else labelled_NHW != 0
    cells = [
        np.s_[:, y : y + region_height, x : x + region_width]
        for y in range(0, height, region_height)
        for x in range(0, width, region_width)
    ]
    counted = ~labelled if labelled_pixels == "exclude" else np.ones_like(labelled)

    def pool(score_NHW: np.ndarray) -> np.ndarray:
        of_unlabelled = score_NHW * ~labelled  # a product, so that NaN shows
        pools = [_pool(of_unlabelled[cell], counted[cell].sum(axis=(1, 2)), pooling) for cell in cells]
        return np.stack(pools, axis=1)

    return RegionScores(
        entropy_NR=pool(entropy),
        least_confidence_NR=pool(1 - p1),
        margin_NR=pool(1 - (p1 - p2)),
        labelled_NR=np.stack([labelled[cell].mean(axis=(1, 2)) for cell in cells], axis=1),
        # argmax gives the lowest class on ties; the comparison is false for NaN
        label_NHW=np.where(p1 >= confidence_threshold, logits.argmax(axis=1), IGNORE).astype(np.uint8),
        confidence_NHW=np.where(np.isnan(p1), 0, np.floor(255 * np.nan_to_num(p1) + 0.5)).astype(np.uint8),
    )


def _pool(score_NHW: np.ndarray, count_N: np.ndarray, pooling: str) -> np.ndarray:
    """One number an image for the pixels of a cell, of which `count` count: (N, H, W), (N,) -> (N,).

    Those that do not count are 0. No score is less, so they are not among the highest as long as others are left.
    """
    score_NP = score_NHW.reshape(len(score_NHW), -1)
    if pooling == "mean":
        return score_NP.sum(axis=1) / np.maximum(count_N, 1)
    if pooling == "max":
        return score_NP.max(axis=1)
    tenth_N = np.maximum(-(-count_N // 10), 1)
    descending_NP = np.sort(score_NP, axis=1)[:, ::-1]  # NaN first
    return np.array([score_P[:tenth].mean() for score_P, tenth in zip(descending_NP, tenth_N, strict=True)])


def upsample(logits_NCHW: np.ndarray, height: int, width: int, align_corners: bool) -> np.ndarray:
    """torch.nn.functional.interpolate(mode="bilinear") in float64."""
    finite = np.isfinite(logits_NCHW).all(axis=1, keepdims=True)
    low = np.where(finite, logits_NCHW, np.nan).astype(np.float64)
    (y0, y1, wy), (x0, x1, wx) = (
        _neighbours(low_size, size, align_corners)
        for low_size, size in zip(low.shape[2:], (height, width), strict=True)
    )
    wy = wy[:, None]
    top = low[:, :, y0][..., x0] * (1 - wx) + low[:, :, y0][..., x1] * wx
    bottom = low[:, :, y1][..., x0] * (1 - wx) + low[:, :, y1][..., x1] * wx
    return top * (1 - wy) + bottom * wy


def _neighbours(low_size: int, size: int, align_corners: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every output position the two low-resolution indices it lies between, and the weight of the second."""
    position = np.arange(size, dtype=np.float64)
    if align_corners:
        source = position * ((low_size - 1) / max(size - 1, 1))
    else:
        source = np.maximum((position + 0.5) * (low_size / size) - 0.5, 0)
    first = np.minimum(source.astype(np.int64), low_size - 1)
    return first, np.minimum(first + 1, low_size - 1), source - first


def softmax(logits_NCHW: np.ndarray) -> np.ndarray:
    e = np.exp(logits_NCHW - logits_NCHW.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _two_largest(p_NCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ordered = np.sort(p_NCHW, axis=1)
    second = ordered[:, -2] if ordered.shape[1] > 1 else np.zeros_like(ordered[:, 0])
    return ordered[:, -1], second
