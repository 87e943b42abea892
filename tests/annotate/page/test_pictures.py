"""Pictures are made once, within a bound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s4al.annotate.page.pictures import Kept, Pictures, view_of
from s4al.annotate.queries import Query, Round
from tests.annotate.page.rounds import picture_round


class Counting(Round):
    """Counts how often an image is decoded."""

    decoded = 0

    def image(self, query: Query) -> np.ndarray:
        self.decoded += 1
        return super().image(query)


def test_an_image_is_decoded_once_for_all_its_regions(tmp_path: Path) -> None:
    """Also where regions of other images are asked in between."""
    images = {name: np.random.default_rng(ord(name)).integers(0, 256, (90, 90, 3), np.uint8) for name in "abc"}
    regions = [(name, (y, y, y + 10, y + 10)) for y in range(0, 80, 10) for name in images]
    opened = picture_round(tmp_path, images, regions)
    round = Counting(opened.run, opened.cycle)
    pictures = Pictures(round, with_guess=True)
    for query in round.queries:
        pictures.prepared(query)
        np.testing.assert_array_equal(pictures.crop(query), images[query.image][query.box])
        pictures.prepared(query)
    assert round.decoded == 3


def test_what_is_kept_is_bounded() -> None:
    kept: Kept[str] = Kept(100)
    for number in range(10):
        kept.put(number, f"value {number}", 30)
        kept.get(0)
    assert [number for number in range(10) if kept.get(number) is not None] == [0, 8, 9]
    kept.put(0, "again", 30)  # replaced, not counted twice
    assert kept.get(8) is not None
    kept.put(11, "too large for the bound, but needed now", 1000)
    assert [number for number in range(12) if kept.get(number) is not None] == [11]


@pytest.mark.parametrize(
    ("box", "size", "view"),
    [
        ((100, 100, 140, 160), (360, 480), (60, 40, 180, 220)),  # its own size on each side
        ((0, 0, 40, 60), (360, 480), (0, 0, 80, 120)),  # as far as the image goes
        ((330, 440, 360, 480), (360, 480), (300, 400, 360, 480)),
        ((10, 10, 12, 12), (360, 480), (0, 0, 28, 28)),  # a tiny region needs more
        ((0, 0, 1, 1), (1, 1), (0, 0, 1, 1)),
    ],
)
def test_view_is_the_region_with_its_own_size_around(
    box: tuple[int, int, int, int], size: tuple[int, int], view: tuple[int, int, int, int]
) -> None:
    query = Query("a", 0, *box, 0.0, 0, "", "train", 0, "r000-000000")
    assert tuple(vars(view_of(query, *size)).values()) == view


@pytest.mark.parametrize("side", [1000, 1900, 3000])
def test_context_of_a_large_region_is_cut_down(side: int) -> None:
    query = Query("a", 0, 2000, 2000, 2000 + side, 2000 + side, 0.0, 0, "", "train", 0, "r000-000000")
    view = view_of(query, 8000, 8000)
    assert side + 32 <= view.y1 - view.y0 == view.x1 - view.x0
    assert (view.y1 - view.y0) ** 2 <= max(4_100_000, 1.3 * side**2)
