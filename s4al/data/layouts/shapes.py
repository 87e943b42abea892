"""COCO's shapes -> pixels: run lengths, plain or compressed, and polygons. Shapes are untrusted input.

Run lengths go down the columns, and the first one counts zeros. The compressed form writes each count in groups of
five bits, the lowest first, as characters from "0"; the sixth bit says that more follow, the highest bit of the last
group is the sign, and from the fourth count on what is written is the difference to the count two before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.data.headers import Refused

_MAX_GROUPS = 13  # of five bits: a count of more than 64 is none
_MAX_COORDINATE = 1e6
_MAX_CROSSINGS = 2**22  # rows x edges looked at together


def decode_shape(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) bool of an annotation's `segmentation`: a list of polygons (their union) or run lengths.

    Raises Refused where it is neither, or does not fit a picture of this size.
    """
    if isinstance(segmentation, list):
        mask_HW = np.zeros((height, width), np.bool_)
        for polygon in segmentation:
            mask_HW |= fill_polygon(polygon, height, width)
        return mask_HW
    if not isinstance(segmentation, dict):
        raise Refused("its segmentation is neither polygons nor run lengths")
    if segmentation.get("size") != [height, width]:
        size = str(segmentation.get("size"))[:40]
        raise Refused(f"its run lengths are of size {size}, its image is [{height}, {width}]")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = decode_counts(counts, height * width + 1)
    return fill_runs(counts, height, width)


def decode_counts(text: str, limit: int) -> list[int]:
    """The counts that a compressed string holds. Raises Refused where it is none, or holds more than `limit`."""
    counts: list[int] = []
    value = groups = 0
    for char in text:
        bits = ord(char) - 48
        if not 0 <= bits < 64 or groups == _MAX_GROUPS or len(counts) == limit:
            raise Refused("its compressed run lengths are damaged")
        value |= (bits & 31) << 5 * groups
        groups += 1
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << 5 * groups
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = groups = 0
    if groups:
        raise Refused("its compressed run lengths are cut off")
    return counts


def fill_runs(counts: Any, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) bool of run lengths. Raises Refused where they do not add up to the picture."""
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise Refused("its run lengths are no list of counts from 0 on")
    total = sum(counts)
    if total != height * width:
        raise Refused(f"its run lengths add up to {total:,} pixels, its image has {height * width:,}")
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def fill_polygon(points: Any, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) bool: the pixels whose centres are inside of the polygon [x, y, x, y, ...] by the even-odd rule.

    What lies outside of the picture is cut off. Raises Refused where it is no polygon.
    """
    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        raise Refused("its polygon is no list of three or more points x, y")
    if not all(type(number) in (int, float) and abs(number) <= _MAX_COORDINATE for number in points):
        raise Refused("its polygon has coordinates that are no numbers, or far outside of the picture")
    start_N2 = np.array(points, np.float64).reshape(-1, 2)
    end_N2 = np.roll(start_N2, -1, axis=0)
    top = max(0, int(np.ceil(start_N2[:, 1].min() - 0.5)))
    bottom = min(height, int(np.ceil(start_N2[:, 1].max() - 0.5)))
    mask_HW = np.zeros((height, width), np.bool_)
    if top < bottom:
        mask_HW[top:bottom] = _scan(start_N2, end_N2, np.arange(top, bottom, dtype=np.float64) + 0.5, width)
    return mask_HW


def _scan(
    start_N2: NDArray[np.float64], end_N2: NDArray[np.float64], rows_R: NDArray[np.float64], width: int
) -> NDArray[np.bool_]:
    """(R, W) bool: along each row, every edge that crosses it turns inside and outside over."""
    turns_RW = np.zeros((len(rows_R), width + 1), np.int64)
    step = max(1, _MAX_CROSSINGS // len(rows_R))
    for i in range(0, len(start_N2), step):
        (x0_N, y0_N), (x1_N, y1_N) = start_N2[i : i + step].T, end_N2[i : i + step].T
        crossed_RN = (y0_N <= rows_R[:, None]) != (y1_N <= rows_R[:, None])
        row, edge = np.nonzero(crossed_RN)
        share = (rows_R[row] - y0_N[edge]) / (y1_N - y0_N)[edge]
        x = x0_N[edge] + share * (x1_N - x0_N)[edge]
        # the first pixel whose centre is not left of the crossing
        np.add.at(turns_RW, (row, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)), 1)
    return (np.cumsum(turns_RW, axis=1)[:, :width] & 1).astype(np.bool_)


def paint(shapes: Sequence[tuple[Any, int]], height: int, width: int, background: int) -> NDArray[np.uint8]:
    """(H, W) uint8 of class ids from (segmentation, class id). Where shapes overlap, the one with fewer pixels lies
    above the one with more; of two alike, the later. Pixels of none are `background`. Raises Refused."""
    ids_HW = np.full((height, width), background, np.uint8)
    area_HW = np.full((height, width), height * width, np.int64)
    for segmentation, class_id in shapes:
        shape_HW = decode_shape(segmentation, height, width)
        area = np.count_nonzero(shape_HW)
        above_HW = shape_HW & (area <= area_HW)
        ids_HW[above_HW] = class_id
        area_HW[above_HW] = area
    return ids_HW
