"""Label maps -> polygons along the edges of pixels, for formats that know no masks.

A polygon goes around one piece of one class (pixels that touch by a side). It has no holes: what lies in them is drawn
later, over it, so that only holes of undecided pixels are lost. Filled by the rule of `s4al.data.layouts.shapes` (the
pixels whose centres are inside), a polygon gives back exactly its piece with the holes filled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.drawing import bounding_box


@dataclass(frozen=True)
class Outline:
    """The outer edge of one piece of a class.

    Attributes
    ----------
    class_id : of the piece.
    points : (N, 2) int32 corners of pixels as x, y, clockwise as one sees it, from 0 to the width and height.
    area : pixels inside, those of holes too.
    """

    class_id: int
    points: NDArray[np.int32]
    area: int


def outlines(labels_HW: NDArray[np.uint8], undecided: int = 255) -> list[Outline]:
    """The outer edges of all pieces of all classes in `labels_HW`, larger ones first: drawn in this order, a piece
    inside of another lies above it."""
    found: list[Outline] = []
    for class_id in np.unique(labels_HW).tolist():
        if class_id != undecided:
            mask_HW = labels_HW == class_id
            x, y, width, height = bounding_box(mask_HW)
            edges = _outer_edges(mask_HW[y : y + height, x : x + width])
            found += [Outline(class_id, points + np.array([x, y], np.int32), area) for points, area in edges]
    return sorted(found, key=lambda outline: -outline.area)


def _outer_edges(mask_HW: NDArray[np.bool_]) -> list[tuple[NDArray[np.int32], int]]:
    """(points, area) of the walks around the pieces of a mask; those around holes are left out."""
    found = []
    for points in _walks(mask_HW):
        x, y = points.T.astype(np.int64)
        area = int(x[:-1] @ y[1:] - x[1:] @ y[:-1] + x[-1] * y[0] - x[0] * y[-1]) // 2
        if area > 0:  # a walk around a hole goes the other way
            found.append((points, area))
    return found


def _walks(mask_HW: NDArray[np.bool_]) -> list[NDArray[np.int32]]:
    """The corners of every closed walk along the edges of pixels, those that are set at the right hand.

    Where two pieces touch by a corner, the walk turns right and stays with its own.
    """
    width = mask_HW.shape[1] + 1  # corners in a row; a corner is y * width + x
    edges = _edges(mask_HW)
    steps = (1, width, -1, -width)
    visited = bytearray(len(edges[0]))
    walks = []
    for start in np.flatnonzero(np.frombuffer(edges[0], np.uint8)).tolist():
        if visited[start]:
            continue
        corners, corner, direction = [], start, 0
        while not (direction == 0 and visited[corner]):
            if direction == 0:
                visited[corner] = 1
            corner += steps[direction]
            right = (direction + 1) & 3
            if edges[right][corner]:
                direction = right
                corners.append(corner)
            elif not edges[direction][corner]:
                direction = (direction - 1) & 3
                corners.append(corner)
        y, x = np.divmod(np.array(corners, np.int32), width)
        walks.append(np.stack([x, y], axis=1))
    return walks


def _edges(mask_HW: NDArray[np.bool_]) -> list[bytes]:
    """By direction (right, down, left, up; the next one is the turn to the right): 1 for the corners at which an edge
    begins that has a set pixel at its right hand and none at its left."""
    inside = np.pad(mask_HW, 1)
    here, above, left = inside[1:, 1:], inside[:-1, 1:], inside[1:, :-1]  # of each corner
    right, down = here & ~above, left & ~here
    leftwards, up = np.zeros_like(right), np.zeros_like(right)
    leftwards[:, 1:] = (above & ~here)[:, :-1]  # the bottom edge of a pixel begins at its other end
    up[1:] = (here & ~left)[:-1]
    return [begins.astype(np.uint8).tobytes() for begins in (right, down, leftwards, up)]
