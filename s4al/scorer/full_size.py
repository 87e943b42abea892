"""The class of every pixel of an original image, out of logits at the network's stride.

Shape suffixes: C classes, H W pixels of the original, h w pixels of the logits or of a region.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
_STRIP = 2**22  # logits of a region that are in memory at once


def label_pixels(
    logits_Chw: NDArray[np.floating[Any]], height: int, width: int, *, align_corners: bool, threads: int
) -> NDArray[np.uint8] | None:
    """Resize logits bilinearly to a picture of any size, as `torch.nn.functional.interpolate` does; the largest wins.

    The kernel that scores regions does it, with the picture as its one region: full-size logits are never made, so
    that beside the logits themselves memory is two bytes a pixel, whatever the number of classes.

    Parameters
    ----------
    logits_Chw : float16 or float32, C-contiguous.
    threads : of the kernel; the result does not depend on it.

    Returns
    -------
    uint8 (H, W), the lowest id where classes are equal; None where a logit is not finite.
    """
    from s4al.kernels import region_scores

    for axis, size in ((1, height), (2, width)):
        if size < logits_Chw.shape[axis]:
            # for pictures smaller than the logits: the kernel only enlarges
            logits_Chw = _along(logits_Chw, axis, size, slice(None), align_corners)
    scores = region_scores(
        np.ascontiguousarray(logits_Chw[None]),
        height=height,
        width=width,
        region_height=height,
        region_width=width,
        align_corners=align_corners,
        threads=threads,
    )
    return scores.label_NHW[0] if np.isfinite(scores.entropy_NR).all() else None


def region_pixels(
    logits_Chw: NDArray[np.floating[Any]], height: int, width: int, box: Box, *, align_corners: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
    """The same for one region of the picture, with how uncertain each pixel is.

    Only the region is resized, some rows at a time, so that memory grows neither with the picture nor with the region.

    Parameters
    ----------
    height, width : of the whole picture.
    box : y0, x0, y1, x1 in its pixels, ends exclusive.

    Returns
    -------
    uint8 (y1 - y0, x1 - x0) class ids, and of the same shape entropy / ln C * 255, rounded; 0 where C is 1. None where
    a logit of the region is not finite.
    """
    y0, x0, y1, x1 = box
    num_classes = logits_Chw.shape[0]
    columns = _along(logits_Chw, 2, width, slice(x0, x1), align_corners)
    label_hw, doubt_hw = (np.empty((y1 - y0, x1 - x0), np.uint8) for _ in range(2))
    step = max(1, _STRIP // (num_classes * max(1, x1 - x0)))
    for top in range(y0, y1, step):
        rows = slice(top, min(top + step, y1))
        strip = _along(columns, 1, height, rows, align_corners)
        if not np.isfinite(strip).all():
            return None
        place = slice(top - y0, rows.stop - y0)
        label_hw[place] = strip.argmax(axis=0)
        doubt_hw[place] = np.rint(_entropy(strip) * (255 / np.log(max(num_classes, 2))))
    return label_hw, doubt_hw


def _along(
    logits_Chw: NDArray[np.floating[Any]], axis: int, size: int, part: slice, align_corners: bool
) -> NDArray[np.float32]:
    """A part of one axis of the interpolation."""
    from s4al.kernels.taps import interpolation_taps

    lower, weight = (each[part] for each in interpolation_taps(logits_Chw.shape[axis], size, align_corners))
    upper = np.minimum(lower + 1, logits_Chw.shape[axis] - 1)
    shape = [1, 1, 1]
    shape[axis] = len(lower)
    second: NDArray[np.float32] = weight.astype(np.float32).reshape(shape)
    left, right = (logits_Chw.take(index, axis).astype(np.float32) for index in (lower, upper))
    return (left * (1 - second) + right * second).astype(np.float32, copy=False)


def _entropy(logits_Chw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of the softmax, in nats: ln sum e^z - sum p z, with z at most 0."""
    shifted = logits_Chw - logits_Chw.max(axis=0)
    power = np.exp(shifted)
    total = power.sum(axis=0)
    entropy = np.log(total) - (power * shifted).sum(axis=0) / total
    return np.maximum(entropy, 0).astype(np.float32, copy=False)
