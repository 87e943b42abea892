"""Greedy k-centre: choices worked out by hand, ties, groups of a long shortlist, features of images that are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from s4al import files
from s4al.config import resolve
from s4al.data.cache import ImageCache
from s4al.errors import ConfigError
from s4al.scorer import EngineRequest, score_cycle, select_cycle
from s4al.scorer.acquisition.candidate_features import CandidateFeatures
from s4al.scorer.acquisition.diversity import diverse, k_centre
from s4al.scorer.acquisition.selection import find_candidates
from s4al.scorer.acquisition.spread import Spread
from s4al.watch import Watch
from tests.scorer.acquisition.test_selection import choose, score_table
from tests.small_models import SmallNetworks, exported_run

LINE = np.array([[0.0], [1.0], [4.0], [10.0], [11.0]], np.float32)


def of_pixels(*pixels: int) -> NDArray[np.int64]:
    return np.array(pixels, np.int64)


def test_the_farthest_from_all_chosen_is_next() -> None:
    # from 0: 11 is farthest; then 4 (4 from 0) before 1 and 10 (1 each); then 1 on a tie, as it comes first
    assert k_centre(LINE, of_pixels(1, 1, 1, 1, 1), 5).tolist() == [0, 4, 2, 1, 3]


def test_it_ends_before_the_region_that_would_break_the_budget() -> None:
    assert k_centre(LINE, of_pixels(5, 1, 7, 1, 5), 16).tolist() == [0, 4]  # not a small one instead of the 7
    assert k_centre(LINE, of_pixels(5, 1, 7, 1, 5), 17).tolist() == [0, 4, 2]
    assert k_centre(LINE, of_pixels(5, 1, 7, 1, 5), 4).tolist() == []


def test_regions_that_are_alike_are_taken_in_order_and_once() -> None:
    assert k_centre(np.zeros((3, 2), np.float32), of_pixels(1, 1, 1), 9).tolist() == [0, 1, 2]
    assert k_centre(np.zeros((0, 2), np.float32), of_pixels(), 9).tolist() == []


def test_the_best_of_the_shortlist_is_the_first_centre() -> None:
    asked = []

    def features(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        asked.append(indices.tolist())
        return LINE[indices]

    shortlist = np.array([2, 0, 3, 1])  # 4.0 is the best
    assert diverse(shortlist, features, of_pixels(1, 1, 1, 1, 1), 2).tolist() == [2, 3]
    assert asked == [[2, 0, 3, 1]]
    assert diverse(shortlist, features, of_pixels(1, 1, 1, 1, 1), 4).tolist() == shortlist.tolist()
    assert len(asked) == 1  # nothing to choose from four for a budget of four


def test_groups_are_of_neighbours_and_share_the_budget() -> None:
    # two groups, regions 0 1 2 and 3 4, of 3/5 and all of a budget of 3: one (1.8 rounded down), then two
    shortlist, sizes = np.array([4, 2, 0, 3, 1]), []

    def features(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        sizes.append(sorted(indices.tolist()))
        return LINE[indices]

    assert diverse(shortlist, features, of_pixels(1, 1, 1, 1, 1), 3, group=3).tolist() == [2, 4, 3]
    assert sizes == [[0, 1, 2], [3, 4]]


def test_two_stages_the_best_for_four_budgets_and_of_these_the_unlike() -> None:
    # one region is asked for twice; the shortlist is the best eight; regions 0, 3, 6 ... of an image are alike
    rows = [("a", region, 0.9 - region / 100) for region in range(7)] + [("b", 0, 0.5), ("c", 1, 0.1)]
    assert choose(score_table(rows), "k-centre", budget=200)[0] == [("a", 0), ("a", 2)]  # b is 1 away, region 2 is 2
    assert choose(score_table(rows), "k-centre", budget=200, spread=Spread(most_per_image=1))[0] == [("a", 0), ("c", 1)]


def test_only_images_of_the_shortlist_are_run(tmp_path: Path) -> None:
    run = exported_run(tmp_path / "run", "acquisition.strategy=k-centre", "acquisition.budget_pixels=300")
    score_cycle(run, 0, watch=Watch())
    tables = [files.read_table(path) for path in sorted(run.stage(0, "score").glob("shard-*.parquet"))]
    candidates = find_candidates(tables, "entropy")
    networks = MeanColours(run.grid.network_boxes())
    features = CandidateFeatures(run, 0, candidates, EngineRequest(networks=networks), Watch())
    wanted = np.array([250, 3, 71, 4, 34])  # of images 7, 0, 2, 0 and 0; region 34 is the ragged corner
    found = features(wanted)
    assert networks.images == 3
    with ImageCache.open(run.cache / "train") as cache:
        for index, feature in zip(wanted, found, strict=True):
            image = cache.read(cache.ids.index(candidates.images[candidates.image_M[index]]))
            y0, x0, y1, x1 = run.grid.network_boxes()[candidates.region_M[index]]
            assert feature == pytest.approx(image[y0:y1, x0:x1].mean(axis=(0, 1)), rel=1e-5)
    result = select_cycle(run, 0, request=EngineRequest(networks=networks), watch=Watch())
    table = files.read_table(result.out)
    assert 2 <= result.regions == table.num_rows and result.pixels <= 300
    assert set(table["reason"].to_pylist()) == {"unlike the others among the highest entropy of the pool"}
    assert files.read_manifest(run.stage(0, "select"))["shortlist"] == 4
    assert select_cycle(run, 0, watch=Watch()) == result  # what is committed needs no network


class MeanColours(SmallNetworks):
    """The mean colour of a region is its feature; counts the images that were run."""

    def __init__(self, boxes: NDArray[np.int32]) -> None:
        super().__init__()
        self._boxes, self.images = boxes, 0

    def features(self, device: str):
        def mean_colours(image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            self.images += len(image_NHWC)
            means = [image_NHWC[:, y0:y1, x0:x1].mean(axis=(1, 2)) for y0, x0, y1, x1 in self._boxes]
            return np.stack(means, axis=1).astype(np.float32)

        return mean_colours


def test_a_shortlist_no_longer_than_the_budget_is_refused() -> None:
    with pytest.raises(ConfigError, match="shortlist"):
        resolve(overrides=["acquisition.shortlist=1"])
