"""The shapes that people draw -> pixels of a picture: those whose centres are inside. Shapes are untrusted.

One rule for all formats, whatever a tool's own is: a tool that draws polygons by their outlines (LabelMe with Pillow)
sets a pixel more at the right and the bottom edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.contract import UNPAINTED, Unusable

MAX_SHAPES = 100_000  # of one picture
_MAX_NUMBERS = 200_000  # of one polygon
_MAX_COORDINATE = 1e6

Size = tuple[int, int]  # (height, width) of the picture


@dataclass(frozen=True)
class Area:
    """Pixels of a picture: a bool mask whose top left pixel lies at `top`, `left`; it lies inside of the picture."""

    top: int
    left: int
    mask_HW: NDArray[np.bool_]

    @property
    def box(self) -> tuple[slice, slice]:
        """To index a picture's (H, W) arrays with."""
        height, width = self.mask_HW.shape
        return slice(self.top, self.top + height), slice(self.left, self.left + width)

    def whole(self, size: Size) -> NDArray[np.bool_]:
        """(H, W) bool of the picture's size."""
        whole_HW = np.zeros(size, np.bool_)
        whole_HW[self.box] = self.mask_HW
        return whole_HW


@dataclass(frozen=True)
class Shape:
    """One shape with a class; `draw` raises Unusable. A higher `z_order` lies above."""

    class_id: int
    draw: Callable[[], Area]
    z_order: int = 0


def paint(labels_HW: NDArray[np.uint8], shapes: Iterable[Shape]) -> int:
    """Draw shapes on a label map by their z-order, of one z-order the later above.

    Returns how many pixels, with repetitions, one class took from another. Raises Unusable.
    """
    covered = 0
    for shape in sorted(shapes, key=lambda shape: shape.z_order):
        area = shape.draw()
        inside_HW = labels_HW[area.box]
        before_N = inside_HW[area.mask_HW]
        covered += int(np.count_nonzero((before_N != UNPAINTED) & (before_N != shape.class_id)))
        inside_HW[area.mask_HW] = shape.class_id
    return covered


def draw_polygon(points: Any, size: Size) -> Area:
    """[x, y, x, y, ...] in pixels, even-odd. Raises Unusable where it is no polygon.

    Only the box around it is looked at: large pictures hold many small polygons.
    """
    from s4al.data.layouts.shapes import fill_polygon

    if not isinstance(points, list) or len(points) < 6 or len(points) % 2:
        raise Unusable("a polygon is no list of three or more points x, y")
    if len(points) > _MAX_NUMBERS:
        raise Unusable(f"a polygon has {len(points) // 2:,} points (limit {_MAX_NUMBERS // 2:,})")
    _check(points)
    (left, right), (top, bottom) = (
        (max(math.floor(min(numbers)), 0), min(math.ceil(max(numbers)), limit))
        for numbers, limit in ((points[::2], size[1]), (points[1::2], size[0]))
    )
    if left >= right or top >= bottom:
        return _NOTHING
    moved = [number - (top if i % 2 else left) for i, number in enumerate(points)]
    return Area(top, left, fill_polygon(moved, bottom - top, right - left))


def draw_box(x0: float, y0: float, x1: float, y1: float, size: Size, *, degrees: float = 0.0) -> Area:
    """A rectangle by two opposite corners, turned clockwise about its centre. Raises Unusable."""
    _check([x0, y0, x1, y1, degrees])
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    turned = (_turn(corner, centre, degrees) if degrees else corner for corner in corners)
    return draw_polygon([number for corner in turned for number in corner], size)


def draw_ellipse(cx: float, cy: float, rx: float, ry: float, size: Size, *, degrees: float = 0.0) -> Area:
    """An ellipse by centre and radii, turned clockwise. Raises Unusable."""
    _check([cx, cy, rx, ry, degrees])
    if rx <= 0 or ry <= 0:
        raise Unusable("an ellipse has no area")
    y, x = np.ogrid[0.5 : size[0], 0.5 : size[1]]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along, across = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
    return Area(0, 0, (along / rx) ** 2 + (across / ry) ** 2 <= 1)


def clip(mask_HW: NDArray[np.bool_], top: int, left: int, size: Size) -> Area:
    """A mask with its top left corner at a pixel that may lie outside; what does is cut off."""
    height, width = size
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + mask_HW.shape[0], height), min(left + mask_HW.shape[1], width)
    if y0 >= y1 or x0 >= x1:
        return _NOTHING
    return Area(y0, x0, mask_HW[y0 - top : y1 - top, x0 - left : x1 - left])


def bounding_box(mask_HW: NDArray[np.bool_]) -> list[int]:
    """[x, y, width, height] of the smallest box around the set pixels, of which there is at least one."""
    rows, cols = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return [int(cols[0]), int(rows[0]), int(cols[-1] - cols[0]) + 1, int(rows[-1] - rows[0]) + 1]


def _turn(point: tuple[float, float], centre: tuple[float, float], degrees: float) -> tuple[float, float]:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = point[0] - centre[0], point[1] - centre[1]
    return centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos


def _check(numbers: Sequence[Any]) -> None:
    """Raises Unusable for what is no number, not a number, or so large that it is a mistake."""
    if not all(type(number) in (int, float) and abs(number) <= _MAX_COORDINATE for number in numbers):
        raise Unusable("a shape has coordinates that are no numbers, or far outside of the picture")


_NOTHING = Area(0, 0, np.zeros((0, 0), np.bool_))
