from __future__ import annotations

import numpy as np
import pytest

from s4al.data.regions import Grid


@pytest.mark.parametrize(
    ("grid", "rows", "cols"),
    [(Grid(360, 480, 30, 30), 12, 16), (Grid(688, 688, 43, 43), 16, 16), (Grid(100, 70, 30, 30), 4, 3)],
)
def test_shape_of_the_grid(grid, rows, cols):
    assert (grid.rows, grid.cols, grid.num_regions) == (rows, cols, rows * cols)


def test_published_cells_have_the_published_size():
    assert {(y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in Grid(360, 480, 30, 30).network_boxes().tolist()} == {900}
    city = Grid(688, 688, 43, 43)
    assert {(y1 - y0) * (x1 - x0) for y0, x0, y1, x1 in city.network_boxes().tolist()} == {1849}
    # Squashed from 1024 x 2048: a cell is 64 x 128 original pixels.
    assert {(y1 - y0, x1 - x0) for y0, x0, y1, x1 in city.original_boxes(1024, 2048).tolist()} == {(64, 128)}


@pytest.mark.parametrize("size", [(100, 70), (37, 211), (720, 960), (3, 2), (1, 1)])
def test_cells_tile_any_original_exactly_once(size):
    covered = np.zeros(size, int)
    for y0, x0, y1, x1 in Grid(100, 70, 30, 30).original_boxes(*size):
        covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


def test_a_ragged_cell_is_smaller():
    boxes = Grid(100, 70, 30, 30).network_boxes()
    assert boxes[-1].tolist() == [90, 60, 100, 70]
    assert boxes[4].tolist() == [30, 30, 60, 60]  # row 1, column 1


def test_the_ring_leaves_the_published_candidates():
    assert (~Grid(360, 480, 30, 30).ring()).sum() == 140
    assert (~Grid(688, 688, 43, 43).ring()).sum() == 196
