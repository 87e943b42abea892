"""What every implementation of region_scores takes and gives back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

IGNORE = 255
MAX_CLASSES = 255  # class ids are uint8 and 255 means "no label"
LABELLED_PIXELS = ("zero", "exclude")
POOLINGS = ("mean", "max", "top-tenth")


class RegionScores(NamedTuple):
    """Scores of N images with R regions each (row by row), and what the network says of every pixel.

    The scores are pooled over the region's own pixels, by default their means: float32 (N, R), float64 from the
    reference. Of all three the highest is the least certain, whatever the pooling.
    """

    entropy_NR: np.ndarray  # nats
    least_confidence_NR: np.ndarray  # 1 - p1
    margin_NR: np.ndarray  # 1 - (p1 - p2)
    labelled_NR: np.ndarray  # share of the region's pixels that were already labelled
    label_NHW: np.ndarray  # uint8, most probable class; 255 where its probability is under the threshold or not finite
    confidence_NHW: np.ndarray  # uint8, floor(255 * p1 + 0.5); 0 where it is not finite

    @classmethod
    def empty(cls, num_images: int, num_regions: int, height: int, width: int) -> RegionScores:
        """Uninitialised arrays of the right shapes, to be passed as `out` again and again."""
        scores = (np.empty((num_images, num_regions), np.float32) for _ in range(4))
        pixels = (np.empty((num_images, height, width), np.uint8) for _ in range(2))
        return cls(*scores, *pixels)


def num_regions(height: int, width: int, region_height: int, region_width: int) -> int:
    return -(-height // region_height) * -(-width // region_width)


def check_arguments(
    logits_NCHW: np.ndarray,
    *,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    labelled_NHW: np.ndarray | None,
    labelled_pixels: str,
    pooling: str,
    confidence_threshold: float,
    out: RegionScores | None,
) -> None:
    """Raise ValueError for anything a kernel would read or write wrongly."""
    if logits_NCHW.ndim != 4 or 0 in logits_NCHW.shape:
        raise ValueError(f"logits must be (N, C, H, W) without empty axes, got shape {logits_NCHW.shape}")
    num_images = logits_NCHW.shape[0]
    check_settings(
        logits_NCHW.shape,
        logits_NCHW.dtype,
        height=height,
        width=width,
        region_height=region_height,
        region_width=region_width,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
    )
    if not logits_NCHW.flags.c_contiguous:
        raise ValueError("logits must be C-contiguous; use np.ascontiguousarray")
    if labelled_NHW is not None:
        check_array("labelled_NHW", labelled_NHW, (num_images, height, width), np.uint8)
    if out is not None:
        scores = (num_images, num_regions(height, width, region_height, region_width))
        for name, array in zip(RegionScores._fields, out, strict=True):
            per_pixel = name.endswith("NHW")
            shape = (num_images, height, width) if per_pixel else scores
            check_array(f"out.{name}", array, shape, np.uint8 if per_pixel else np.float32)
            if not array.flags.writeable:
                raise ValueError(f"out.{name} is read-only")


def check_settings(
    logits_shape: tuple[int, ...],
    dtype: np.dtype,
    *,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    labelled_pixels: str,
    pooling: str,
    confidence_threshold: float,
) -> None:
    """Raise ValueError for what no kernel can do, whatever the arrays hold."""
    _, num_classes, low_height, low_width = logits_shape
    if dtype not in (np.float32, np.float16):
        raise ValueError(f"logits must be float32 or float16, got {dtype}")
    if num_classes > MAX_CLASSES:
        raise ValueError(f"at most {MAX_CLASSES} classes ({IGNORE} is the ignore label), got {num_classes}")
    if low_height > height or low_width > width:
        raise ValueError(f"logits of {low_height}x{low_width} cannot be upsampled to {height}x{width}")
    if region_height < 1 or region_width < 1:
        raise ValueError(f"a region must be at least 1x1, got {region_height}x{region_width}")
    if labelled_pixels not in LABELLED_PIXELS:
        raise ValueError(f"labelled_pixels must be one of {LABELLED_PIXELS}, got {labelled_pixels!r}")
    if pooling not in POOLINGS:
        raise ValueError(f"pooling must be one of {POOLINGS}, got {pooling!r}")
    if not 0.0 <= confidence_threshold <= 1.0:
        raise ValueError(f"confidence_threshold must be a probability, got {confidence_threshold}")


def check_array(name: str, array: Any, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> None:
    """Raise ValueError unless the array, NumPy's or CuPy's, is what a kernel may take for a pointer."""
    if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a C-contiguous {np.dtype(dtype)} array of shape {shape}, got {array.dtype} {array.shape}"
            f"{'' if array.flags.c_contiguous else ', not contiguous'}"
        )
