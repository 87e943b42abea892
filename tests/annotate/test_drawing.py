"""Shapes -> pixels: against scikit-image, by hand, and what lies above what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from s4al.annotate.exchange.colours import class_colours
from s4al.annotate.exchange.contract import Unusable
from s4al.annotate.exchange.drawing import Area, Shape, bounding_box, clip, draw_box, draw_ellipse, draw_polygon, paint

SIZE = (9, 13)


@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_polygons_are_those_of_scikit_image(seed: int, num_points: int) -> None:
    points_N2 = np.random.default_rng(seed).uniform(-6, 20, (num_points, 2))  # no edge through a pixel's centre
    drawn_HW = draw_polygon(points_N2.ravel().tolist(), SIZE).whole(SIZE)
    assert np.array_equal(drawn_HW, polygon2mask(SIZE, points_N2[:, ::-1] - 0.5))  # there, centres are whole numbers


@pytest.mark.parametrize(
    ("points", "pixels"),
    [
        ([1, 1, 3, 1, 3, 3, 1, 3], [(1, 1), (1, 2), (2, 1), (2, 2)]),
        ([0, 0, 2, 0, 0, 2], [(0, 0)]),  # of the pixels on the slope, the one whose centre is inside
        ([0, 0, 3, 0, 3, 3, 0, 3, 0, 0, 1, 1, 2, 1, 2, 2, 1, 2, 1, 1], [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0),
                                                                       (2, 1), (2, 2)]),  # a hole by a bridge
        ([20, 20, 30, 20, 30, 30], []),
        ([-9, -9, -1, -9, -1, -1], []),
        ([1, 1, 5, 1, 3, 1], []),
    ],
)  # fmt: skip
def test_polygons_by_hand(points: list[float], pixels: list[tuple[int, int]]) -> None:
    assert [tuple(pixel) for pixel in np.argwhere(draw_polygon(points, SIZE).whole(SIZE)).tolist()] == pixels


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        ([0, 0, 1, 1], "three or more"),
        ([0, 0, 1, 1, 2], "three or more"),
        ("0,0,1,1,2,2", "three or more"),
        ([0, 0, 1, 1, 2, "2"], "no numbers"),
        ([0, 0, 1, 1, 2, True], "no numbers"),
        ([0, 0, 1, 1, 2, float("nan")], "no numbers"),
        ([0, 0, 1, 1, 2, float("inf")], "far outside"),
        ([0, 0, 1, 1, 2, 10**400], "far outside"),
        ([0.0, 0.0] * 100_001, "100,001 points"),
    ],
)
def test_what_is_no_polygon(points: object, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        draw_polygon(points, SIZE)


def test_a_turned_box() -> None:
    assert np.array_equal(draw_box(2, 3, 8, 5, SIZE, degrees=90).whole(SIZE), draw_box(4, 1, 6, 7, SIZE).whole(SIZE))
    diamond = draw_box(3, 3, 6, 6, SIZE, degrees=45).whole(SIZE)
    assert ["".join(".x"[int(pixel)] for pixel in row) for row in diamond[2:7, 2:7]] == [
        "..x..",
        ".xxx.",
        "xxxxx",
        ".xxx.",
        "..x..",
    ]


def test_an_ellipse_without_area_is_refused() -> None:
    with pytest.raises(Unusable, match="no area"):
        draw_ellipse(3, 3, 0, 2, SIZE)


@pytest.mark.parametrize(
    ("top", "left", "box"),
    [(2, 3, (2, 3, 4, 6)), (-1, -2, (0, 0, 1, 1)), (8, 12, (8, 12, 9, 13)), (9, 0, None), (0, -3, None)],
)
def test_clip(top: int, left: int, box: tuple[int, int, int, int] | None) -> None:
    expected = np.zeros(SIZE, np.bool_)
    if box is not None:
        expected[box[0] : box[2], box[1] : box[3]] = True
    assert np.array_equal(clip(np.ones((2, 3), np.bool_), top, left, SIZE).whole(SIZE), expected)


def test_paint_goes_by_z_order_then_by_order_and_counts_what_changed_hands() -> None:
    labels_HW = np.full((1, 6), 255, np.uint8)

    def shape(class_id: int, x0: int, x1: int, z_order: int = 0) -> Shape:
        return Shape(class_id, lambda: Area(0, x0, np.ones((1, x1 - x0), np.bool_)), z_order)

    covered = paint(labels_HW, [shape(7, 0, 2, z_order=1), shape(1, 0, 4), shape(2, 3, 5), shape(2, 3, 4)])
    assert labels_HW.tolist() == [[7, 7, 1, 2, 2, 255]]
    assert covered == 1 + 2


@given(st.integers(0, 8), st.integers(0, 12), st.integers(1, 9), st.integers(1, 13))
def test_bounding_box(y: int, x: int, height: int, width: int) -> None:
    mask_HW = np.zeros((18, 26), np.bool_)
    mask_HW[y : y + height, x : x + width] = True
    assert bounding_box(mask_HW) == [x, y, width, height]


def test_class_colours_are_the_runs_own_where_they_serve() -> None:
    palette = np.array([[0, 0, 0], [9, 9, 9], [9, 9, 9], [1, 2, 3]], np.uint8)
    colours = class_colours(palette)
    assert (colours[1], colours[3]) == ((9, 9, 9), (1, 2, 3))
    assert len(set(colours)) == 4
    assert (0, 0, 0) not in colours


def test_254_classes_of_one_colour_get_one_each() -> None:
    assert len(set(class_colours(np.zeros((254, 3), np.uint8)))) == 254
