"""The region grid: cells of the network's input, known in original pixels to everybody outside.

S4AL+ asks for fixed, non-overlapping cells (paper section 4.2). A cell that does not fit at the right or bottom edge is
smaller.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Grid:
    """Cells of `region_height` x `region_width` over an input of `height` x `width` pixels, from the top left.

    A region's index is `row * cols + col`.
    """

    height: int
    width: int
    region_height: int
    region_width: int

    @property
    def rows(self) -> int:
        return -(-self.height // self.region_height)

    @property
    def cols(self) -> int:
        return -(-self.width // self.region_width)

    @property
    def num_regions(self) -> int:
        return self.rows * self.cols

    def network_boxes(self) -> NDArray[np.int32]:
        """(R, 4) int32 `y0, x0, y1, x1` in pixels of the network's input, ends exclusive."""
        return self.original_boxes(self.height, self.width)

    def original_boxes(self, height: int, width: int) -> NDArray[np.int32]:
        """(R, 4) int32 `y0, x0, y1, x1` in pixels of an original image of `height` x `width`, ends exclusive.

        Both edges of a cell are rounded down in the same way, so the cells tile the original without gap or overlap. An
        original smaller than the grid can leave a cell empty.
        """
        rows = _edges(self.rows, self.region_height, self.height, height)
        cols = _edges(self.cols, self.region_width, self.width, width)
        boxes = np.empty((self.rows, self.cols, 4), np.int32)
        boxes[..., 0] = rows[:-1, None]
        boxes[..., 1] = cols[None, :-1]
        boxes[..., 2] = rows[1:, None]
        boxes[..., 3] = cols[None, 1:]
        return boxes.reshape(-1, 4)

    def ring(self) -> NDArray[np.bool_]:
        """(R,) True for the cells on the outer border."""
        inner = np.zeros((self.rows, self.cols), bool)
        inner[1:-1, 1:-1] = True
        return ~inner.reshape(-1)


def _edges(count: int, cell: int, network_size: int, original_size: int) -> NDArray[np.int64]:
    network = np.minimum(np.arange(count + 1, dtype=np.int64) * cell, network_size)
    return network * original_size // network_size
