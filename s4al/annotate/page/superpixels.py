"""Superpixels of a region, at three sizes: what one click gives a class to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEGMENT_PIXELS = (256, 64, 16)  # of a segment, coarse to fine, in a region that is not large
_MOST_PIXELS = 48 * 2**10  # SLIC sees at most so many: 25 ms a level
_MOST_SEGMENTS = (64, 256, 1024)
_FEWEST_SEGMENTS = (6, 16, 48)
# Of compactness 5, 10 and 20, and blur 0, 0.5, 0.7 and 1: with these the best class of every segment is right most
# often (93.5 % of the pixels at the middle size, on scenes and CamVid).
_COMPACTNESS = 20.0
_BLUR = (1.0, 0.7, 0.5)  # by size
_LEAST_SPAN = 64.0  # of the values that are stretched: noise on a plain surface is not blown up


def superpixels(image_HWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint16], int]:
    """The segment of every pixel at three sizes, coarse first; of each size 0, 1, 2 ...

    SLIC on the stretched colours, so that a dark picture falls apart along its edges, too. A region of more than
    49,152 pixels is seen at a fraction of its size.

    Returns
    -------
    segments : uint16 (3, ceil(H / step), ceil(W / step)).
    step : pixels of the region a side, for one of these.
    """
    height, width = image_HWC.shape[:2]
    step = max(1, int(np.ceil(np.sqrt(height * width / _MOST_PIXELS))))
    small_HWC = _stretched(image_HWC[::step, ::step])
    return np.stack([_slic(small_HWC, level) for level in range(len(SEGMENT_PIXELS))]), step


def _slic(image_HWC: NDArray[np.float32], level: int) -> NDArray[np.uint16]:
    from skimage.segmentation import slic

    area = image_HWC.shape[0] * image_HWC.shape[1]
    wanted = int(np.clip(area // SEGMENT_PIXELS[level], _FEWEST_SEGMENTS[level], _MOST_SEGMENTS[level]))
    if area <= wanted:  # a segment a pixel
        return np.arange(area, dtype=np.uint16).reshape(image_HWC.shape[:2])
    segments_HW = slic(
        image_HWC,
        n_segments=wanted,
        compactness=_COMPACTNESS,
        sigma=_BLUR[level],
        start_label=0,
        max_num_iter=5,
        channel_axis=-1,
    )
    return segments_HW.astype(np.uint16)


def _stretched(image_HWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """float32 in 0 to 1: the second percentile black, the 98th white, the three channels alike."""
    low, high = np.percentile(image_HWC, (2, 98))
    span = max(float(high - low), _LEAST_SPAN)
    return ((image_HWC.astype(np.float32) - np.float32(low)) / np.float32(span)).clip(0, 1)
