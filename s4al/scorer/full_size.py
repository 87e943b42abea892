"""The class of every pixel of an original image, out of logits at the network's stride.

Shape suffixes: C classes, H W pixels of the original, h w pixels of the logits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
            logits_Chw = _shrink(logits_Chw, axis, size, align_corners)
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


def _shrink(
    logits_Chw: NDArray[np.floating[Any]], axis: int, size: int, align_corners: bool
) -> NDArray[np.floating[Any]]:
    """One axis of the interpolation, for pictures smaller than the logits: the kernel only enlarges."""
    from s4al.kernels.taps import interpolation_taps

    lower, weight = interpolation_taps(logits_Chw.shape[axis], size, align_corners)
    upper = np.minimum(lower + 1, logits_Chw.shape[axis] - 1)
    shape = [1, 1, 1]
    shape[axis] = size
    weight = weight.astype(np.float32).reshape(shape)
    left, right = (logits_Chw.take(index, axis).astype(np.float32) for index in (lower, upper))
    return left * (1 - weight) + right * weight
