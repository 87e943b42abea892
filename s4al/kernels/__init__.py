"""Region scores from low-resolution logits in one pass.

`reference` is the specification in NumPy, `region_scores_cpu` the fast twin. They import nothing else of s4al.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from s4al.kernels.arguments import RegionScores

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RegionScores", "region_scores"]


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
    out: RegionScores | None = None,
    threads: int | None = None,
) -> RegionScores:
    """Score the regions of a batch and label its pixels, as if the logits had been upsampled to full size.

    Upsampling is bilinear, as `torch.nn.functional.interpolate(size=(height, width), mode="bilinear")`. Regions tile
    the image from the top left, row by row; those at the right and bottom edge are smaller where the size does not
    divide. Region scores are within 1e-5 of `s4al.kernels.reference`, whatever the pooling: a mean, a maximum and a
    mean of the largest move by no more than the largest error of a pixel. The same input gives the same bits whatever
    `threads` is.

    Parameters
    ----------
    logits_NCHW : float32 or float16, C-contiguous, at most 255 classes, not larger than the output.
    height, width : output size in pixels.
    region_height, region_width : region size in output pixels.
    labelled_NHW : uint8 (N, height, width), nonzero where a pixel is already labelled.
    labelled_pixels : "zero", labelled pixels count as pixels with score 0 (the paper's rule), or "exclude", the mean
        is over the other pixels and a region without any scores 0.
    pooling : how the scores of a region's pixels become its own. "mean" (the paper's rule); "max", the highest; or
        "top-tenth", the mean of the highest tenth, ceil(n / 10) of the n pixels that count but at least one (OREAL,
        WACV 2025). Each score is pooled by itself: the highest tenth by entropy need not be that by margin. Pixels that
        are labelled already count as 0, or not at all, as `labelled_pixels` says.
    confidence_threshold : pixels whose largest probability is less than this get label 255.
    out : arrays to fill and return, see `RegionScores.empty`; new memory costs more than a tenth of the time.
    threads : by default as many as there are cores that this process may use.

    Returns
    -------
    RegionScores. A logit that is NaN or infinite makes the scores of every region that it touches NaN, and gives the
    pixels that it touches label 255 with confidence 0; other regions are not affected.

    Raises
    ------
    ValueError : shapes, dtypes or settings that make no sense together.
    """
    from s4al.kernels import region_scores_cpu  # Numba takes half a second to import

    return region_scores_cpu.region_scores(
        logits_NCHW,
        height=height,
        width=width,
        region_height=region_height,
        region_width=region_width,
        align_corners=align_corners,
        labelled_NHW=labelled_NHW,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
        out=out,
        threads=threads,
    )
