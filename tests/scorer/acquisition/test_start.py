"""What people are asked first: how many regions of how many images, drawn from what, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from s4al.data import Row
from s4al.data.regions import Grid
from s4al.run.asking import AskedRegion
from s4al.scorer.acquisition.start import START_BUDGET, first_questions
from s4al.watch import Interrupted, Watch

GRID = Grid(48, 64, 12, 16)  # 16 cells


def rows(count: int, height: int = 96, width: int = 128) -> list[Row]:
    return [Row(f"{index:05d}", "train", f"{index}.png", "", height=height, width=width) for index in range(count)]


def features(places: Sequence[int]) -> np.ndarray:
    """Cells of image i are all like i modulo 5, but cell 7 is like nothing else."""
    found = np.zeros((len(places), GRID.num_regions, 12), np.float32)
    for slot, place in enumerate(places):
        found[slot, :, place % 5] = 10
        found[slot, 7] = 10 * np.eye(12)[7]
    return found


def ask(
    count: int, *, grid: Grid = GRID, start: int = 4, test: int = 100, seed: int = 3, spread: bool = False, **size: int
) -> tuple[list[AskedRegion], list[AskedRegion]]:
    """(test, train)."""
    asked = first_questions(
        rows(count, **size),
        grid,
        start_regions=start,
        test_regions=test,
        seed=seed,
        features=features if spread else None,
        watch=Watch(),
    )
    assert len({(region.image, region.region) for region in asked}) == len(asked)
    kinds = [region.purpose for region in asked]
    assert kinds == sorted(kinds)  # test before train
    assert all(region.y1 > region.y0 and region.x1 > region.x0 for region in asked)
    return [r for r in asked if r.purpose == "test"], [r for r in asked if r.purpose == "train"]


@pytest.mark.parametrize("spread", [False, True], ids=["at random", "spread"])
@pytest.mark.parametrize(
    ("images", "start", "test", "train_regions", "test_regions"),
    [
        (60, 4, 100, 200, 100),  # the defaults in a pool that is large enough
        (50, 4, 100, 200, 100),
        (500, 4, 30, 200, 30),
        (500, 4, 0, 200, 0),
        (300, 1, 100, 200, 100),
        (10, 4, 100, 40, 13),  # a small one: a quarter of what is asked
        (10, 4, 5, 40, 5),
        (3, 4, 100, 12, 4),
        (1, 4, 100, 4, 1),
        (2, 1, 100, 2, 0),  # too small to test anything
        (1, 50, 100, 12, 4),  # more than there is: the rest of the cells, of which a quarter tests
    ],
)
def test_how_much_is_asked(
    images: int, start: int, test: int, train_regions: int, test_regions: int, spread: bool
) -> None:
    tests, train = ask(images, start=start, test=test, spread=spread)
    assert (len(tests), len(train)) == (test_regions, train_regions)
    per_image = Counter(region.image for region in train)
    assert max(per_image.values()) <= start and len(per_image) == min(images, START_BUDGET // start)


def test_images_that_are_one_region_keep_some_to_learn_from() -> None:
    tests, train = ask(60, grid=Grid(48, 64, 48, 64))
    assert 0 < 3 * len(tests) <= len(train) and len(tests) + len(train) <= 60


def test_cells_without_a_pixel_of_the_original_are_never_asked() -> None:
    tests, train = ask(6, start=16, test=100, height=2, width=3)  # 6 of the 16 cells hold a pixel
    assert len(tests) + len(train) <= 36 and train


def test_test_regions_are_a_uniform_sample_of_all_cells() -> None:
    images, cells = Counter(), Counter()
    for seed in range(200):
        for region in ask(60, test=100, seed=seed)[0]:
            images[region.image] += 1
            cells[region.region] += 1
    assert len(images) == 60 and len(cells) == 16
    # 20,000 draws: the deviations of a uniform multinomial, five standard deviations wide
    for counts, kinds in ((images, 60), (cells, 16)):
        mean = 20_000 / kinds
        assert max(abs(count - mean) for count in counts.values()) < 5 * np.sqrt(mean)


def test_the_start_set_is_spread_by_features() -> None:
    _, train = ask(1000, spread=True)
    kinds = Counter(int(region.image) % 5 for region in train)
    assert set(kinds) == set(range(5))
    assert any(region.region == 7 for region in train[:12])  # the odd one out is not left to chance
    assert all("unlike" in region.reason for region in train)


@pytest.mark.parametrize("spread", [False, True])
def test_the_seed_decides_and_nothing_else(spread: bool) -> None:
    assert ask(70, spread=spread) == ask(70, spread=spread)
    assert ask(70, spread=spread) != ask(70, spread=spread, seed=4)
    assert ask(70, spread=spread)[0] == ask(70, start=5)[0]  # what is tested on does not depend on the start set


def test_it_stops_where_it_is_asked_to() -> None:
    watch = Watch()
    watch.request_stop()
    with pytest.raises(Interrupted):
        first_questions(rows(70), GRID, start_regions=4, test_regions=10, seed=0, features=features, watch=watch)
