"""Run lengths and outlines: worked by hand, by random masks, and against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from s4al.annotate.exchange.coco_rle import compress, encode_coco
from s4al.annotate.exchange.contract import Unusable
from s4al.annotate.exchange.cvat_rle import decode_cvat, encode_cvat
from s4al.annotate.exchange.outlines import outlines
from s4al.annotate.exchange.run_lengths import fill_run_lengths, run_lengths
from s4al.data.layouts.shapes import decode_counts, decode_shape, fill_polygon

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)
MASKS = hnp.arrays(np.bool_, SHAPES)
LABEL_MAPS = hnp.arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 1, 2, 59, 255]))

# One hole, in a box of 3 rows and 4 columns.
RING = np.array([[0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 1, 1]], np.bool_)


@pytest.mark.parametrize(
    ("flat", "counts"),
    [
        ([0, 0, 1], [2, 1]),
        ([1, 1, 0], [0, 2, 1]),
        ([0, 0], [2]),
        ([1], [0, 1]),
        ([0, 1, 0, 1], [1, 1, 1, 1]),
    ],
)
def test_run_lengths_by_hand(flat: list[int], counts: list[int]) -> None:
    assert run_lengths(np.array(flat, np.bool_)) == counts
    assert fill_run_lengths(counts, len(flat)).tolist() == [bool(pixel) for pixel in flat]


@pytest.mark.parametrize(("counts", "reason"), [([1, 1], "2 pixels instead of 3"), ([4, -1], "negative"), ([], "0 ")])
def test_run_lengths_that_do_not_fit_are_refused(counts: list[int], reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        fill_run_lengths(counts, 3)


def test_cvat_goes_along_the_rows() -> None:
    assert encode_cvat(RING) == "1, 3, 1, 1, 1, 1, 1, 3"
    assert np.array_equal(decode_cvat("1,3,1,1,1,1,1,3", 3, 4), RING)


@pytest.mark.parametrize("text", ["", "1,", "1;3", "1, -3", "0x3", "1, 3, 1e1", "٣", "99999999999", "12, 1"])
def test_cvat_text_that_is_no_mask_of_that_size_is_refused(text: str) -> None:
    with pytest.raises(Unusable):
        decode_cvat(text, 3, 4)


def test_coco_goes_down_the_columns() -> None:
    assert encode_coco(RING, compressed=False) == {"size": [3, 4], "counts": [3, 4, 1, 4]}


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ([3, 4], "34"),
        ([15], "?"),
        ([16], "`0"),  # 16 has the bit that would be a sign: it takes a second group
        ([0, 5, 7, 5], "0570"),  # the fourth count is written as the difference to the second
        ([0, 5, 7, 4], "057O"),
    ],
)
def test_compressed_counts_by_hand(counts: list[int], text: str) -> None:
    assert compress(counts) == text
    assert decode_counts(text, 100) == counts


@given(MASKS)
def test_cvat_masks_come_back(mask_HW: np.ndarray) -> None:
    assert np.array_equal(decode_cvat(encode_cvat(mask_HW), *mask_HW.shape), mask_HW)


@given(MASKS)
def test_pycocotools_reads_ours_and_we_its(mask_HW: np.ndarray) -> None:
    ours = encode_coco(mask_HW)
    theirs = coco_mask.encode(np.asfortranarray(mask_HW.astype(np.uint8)))
    assert ours == {"size": theirs["size"], "counts": theirs["counts"].decode()}
    plain = encode_coco(mask_HW, compressed=False)
    assert coco_mask.frPyObjects(plain, *mask_HW.shape) == theirs
    assert np.array_equal(coco_mask.decode({**ours, "counts": ours["counts"].encode()}), mask_HW)
    for written in (ours, plain):
        assert np.array_equal(decode_shape(written, *mask_HW.shape), mask_HW)


def test_an_outline_goes_clockwise_from_the_top_and_fills_its_hole() -> None:
    (outline,) = outlines(np.where(RING, 7, 255).astype(np.uint8))
    assert (outline.class_id, outline.area) == (7, 9)
    assert sorted(outline.points.tolist()) == [[1, 0], [1, 3], [4, 0], [4, 3]]
    x, y = outline.points.T
    assert (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() == 2 * 9


def test_pieces_that_touch_by_a_corner_have_outlines_of_their_own() -> None:
    corners = outlines(np.array([[3, 255], [255, 3]], np.uint8))
    assert [outline.area for outline in corners] == [1, 1]


@given(LABEL_MAPS)
def test_outlines_drawn_in_their_order_give_back_all_but_undecided_holes(labels_HW: np.ndarray) -> None:
    drawn_HW = np.full_like(labels_HW, 255)
    for outline in outlines(labels_HW):
        piece_HW = fill_polygon(outline.points.ravel().tolist(), *labels_HW.shape)
        assert np.count_nonzero(piece_HW) == outline.area
        drawn_HW[piece_HW] = outline.class_id
    decided_HW = labels_HW != 255
    assert np.array_equal(drawn_HW[decided_HW], labels_HW[decided_HW])
