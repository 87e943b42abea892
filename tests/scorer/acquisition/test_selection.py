"""Selection: cases worked out by hand, ties, budgets, and independence of the order of everything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from s4al.config import STRATEGIES, Strategy
from s4al.data.regions import Grid
from s4al.scorer.acquisition.selection import Candidates, find_candidates, sample_images, select
from s4al.scorer.acquisition.spread import Spread

Chosen = list[tuple[str, int]]


def score_table(rows: Sequence[tuple[str, int, float]], *, pixels: int = 100, **columns: Sequence[object]) -> pa.Table:
    """(image, region, entropy) rows of regions of `pixels` x 1 pixels, none labelled, all predicted as class 0."""
    count = len(rows)
    given = {
        "image": pa.array([row[0] for row in rows], pa.string()),
        "region": pa.array([row[1] for row in rows], pa.int32()),
        **{name: pa.array([value] * count, pa.int32()) for name, value in (("y0", 0), ("x0", 0), ("x1", 1))},
        "y1": pa.array([pixels] * count, pa.int32()),
        "entropy": pa.array([row[2] for row in rows], pa.float32()),
        "margin": pa.array([-row[2] for row in rows], pa.float32()),
        "least_confidence": pa.array([0.5] * count, pa.float32()),
        "labelled": pa.array([0.0] * count, pa.float32()),
        "predicted": pa.array([0] * count, pa.int16()),
    }
    types = {"y1": pa.int32(), "labelled": pa.float32(), "predicted": pa.int16(), "least_confidence": pa.float32()}
    return pa.table(given | {name: pa.array(values, types[name]) for name, values in columns.items()})


def name_features(candidates: Candidates, indices: np.ndarray) -> np.ndarray:
    """What a region is like depends on which it is, not on what else there is; regions 0, 3, 6 ... are alike."""
    images = [candidates.images[image] for image in candidates.image_M[indices]]
    regions = candidates.region_M[indices]
    return np.array([[ord(image[0]), region % 3] for image, region in zip(images, regions, strict=True)], np.float32)


def choose(
    tables: Sequence[pa.Table] | pa.Table,
    strategy: Strategy,
    k: int = 2,
    budget: int = 0,
    metric: str = "entropy",
    seed: Sequence[int] = (7, 0),
    excluded: np.ndarray | None = None,
    spread: Spread = Spread(),  # noqa: B008
    beta: float = 1.0,
) -> tuple[Chosen, list[int]]:
    candidates = find_candidates([tables] if isinstance(tables, pa.Table) else tables, metric, excluded)  # type: ignore[arg-type]
    choice = select(
        candidates,
        strategy,
        regions_per_image=k,
        budget_pixels=budget,
        seed=seed,
        spread=spread,
        beta=beta,
        features=lambda indices: name_features(candidates, indices),
    )
    names = [(candidates.images[candidates.image_M[i]], int(candidates.region_M[i])) for i in choice.index_K]
    return names, choice.rank_K.tolist()


POOL = score_table(
    [
        *(("a", 0, 0.1), ("a", 1, 0.9), ("a", 2, 0.5)),
        *(("b", 0, 0.8), ("b", 1, 0.7), ("b", 2, 0.95)),
        *(("c", 0, 0.2), ("c", 1, 0.3), ("c", 2, 0.0)),
    ]
)


def test_per_image_takes_the_best_of_each() -> None:
    chosen, rank = choose(POOL, "per-image", k=2)
    assert chosen == [("a", 1), ("a", 2), ("b", 2), ("b", 0), ("c", 1), ("c", 0)]
    assert rank == [0, 1, 0, 1, 0, 1]


def test_per_image_ignores_the_budget() -> None:
    assert choose(POOL, "per-image", k=1, budget=10**6)[0] == [("a", 1), ("b", 2), ("c", 1)]


def test_another_metric_turns_the_order_round() -> None:
    assert choose(POOL, "per-image", k=1, metric="margin")[0] == [("a", 0), ("b", 1), ("c", 2)]


def test_global_takes_the_best_of_all_until_the_budget_is_used() -> None:
    chosen, rank = choose(POOL, "global", budget=399)
    assert chosen == [("b", 2), ("a", 1), ("b", 0)]
    assert rank == [0, 1, 2]
    assert choose(POOL, "global", budget=400)[0] == [("b", 2), ("a", 1), ("b", 0), ("b", 1)]


def test_global_stops_at_the_first_region_that_breaks_the_budget() -> None:
    pool = score_table([("a", 0, 0.9), ("a", 1, 0.8), ("a", 2, 0.7)], y1=[60, 50, 10])
    assert choose(pool, "global", budget=75)[0] == [("a", 0)]  # not the small third one instead of the second


def test_without_a_budget_global_spends_what_the_quota_would() -> None:
    chosen, _ = choose(POOL, "global", k=2)
    assert chosen == [("b", 2), ("a", 1), ("b", 0), ("b", 1), ("a", 2), ("c", 1)]


def test_balanced_serves_the_class_with_the_fewest_pixels() -> None:
    # by hand: 0 first on equal counts, then 1, then 2; class 2 has one region only; then 0 and 1 take turns again
    pool = score_table(
        [("a", 0, 0.9), ("a", 1, 0.8), ("a", 2, 0.7), ("a", 3, 0.6), ("b", 0, 0.5), ("b", 1, 0.4)],
        predicted=[0, 0, 0, 1, 1, 2],
    )
    chosen, rank = choose(pool, "balanced", budget=500)
    assert chosen == [("a", 0), ("a", 3), ("b", 1), ("a", 1), ("b", 0)]
    assert rank == [0, 1, 2, 3, 4]


def test_balanced_counts_pixels_not_regions() -> None:
    # class 1's region of 30 pixels leaves it behind class 0's 10 for three more turns
    pool = score_table(
        [("a", 0, 0.9), ("a", 1, 0.8), ("a", 2, 0.7), ("a", 3, 0.6), ("a", 4, 0.5)],
        predicted=[0, 1, 0, 0, 0],
        y1=[10, 30, 10, 10, 10],
    )
    assert choose(pool, "balanced", budget=70)[0] == [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("a", 4)]
    assert choose(pool, "balanced", budget=65)[0] == [("a", 0), ("a", 1), ("a", 2), ("a", 3)]


def test_random_takes_the_quota_of_each_image_and_is_not_the_score_order() -> None:
    pool = score_table([(f"i{i:02d}", region, region / 100) for i in range(20) for region in range(30)])
    chosen, rank = choose(pool, "random", k=3)
    assert [image for image, _ in chosen] == [f"i{i:02d}" for i in range(20) for _ in range(3)]
    assert rank == [0, 1, 2] * 20
    mean = np.mean([region for _, region in chosen])
    assert 9 < mean < 20  # uniform over 0..29: 14.5 +- 1.1; the best would be 28


def test_random_with_a_budget_draws_from_the_whole_pool() -> None:
    pool = score_table([(f"i{i:02d}", region, 0.5) for i in range(20) for region in range(30)])
    chosen, _ = choose(pool, "random", budget=6000)
    assert len(chosen) == 60
    assert max(np.bincount([int(image[1:]) for image, _ in chosen])) > 3  # no quota


def test_random_is_keyed_by_seed_and_cycle_alone() -> None:
    pool = score_table([("a", region, 0.0) for region in range(50)])
    first = choose(pool, "random", k=5, seed=(7, 0))
    assert choose(pool, "random", k=5, seed=(7, 0)) == first
    assert choose(pool, "random", k=5, seed=(7, 1)) != first
    assert choose(pool, "random", k=5, seed=(8, 0)) != first
    more = pa.concat_tables([score_table([("b", region, 1.0) for region in range(50)]), pool])
    assert [each for each in choose(more, "random", k=5)[0] if each[0] == "a"] == first[0]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ties_go_by_image_then_region_and_the_order_of_shards_never_matters(strategy: Strategy) -> None:
    generator = np.random.default_rng(5)
    rows = [(f"{i}", region, float(generator.integers(0, 3))) for i in range(12) for region in range(6)]
    predicted = generator.integers(0, 3, len(rows)).tolist()
    expected = choose(
        score_table(rows, predicted=predicted), strategy, k=2, budget=0 if strategy == "per-image" else 1700
    )
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(rows))
        shuffled = score_table([rows[i] for i in order], predicted=[predicted[i] for i in order])
        shards = [shuffled.slice(start, 17) for start in range(0, len(rows), 17)]
        assert choose(shards, strategy, k=2, budget=0 if strategy == "per-image" else 1700) == expected


def test_equal_scores_take_the_first_image_and_region() -> None:
    pool = score_table([("b", 1, 0.5), ("a", 2, 0.5), ("b", 0, 0.5), ("a", 0, 0.5)])
    assert choose(pool, "global", budget=300)[0] == [("a", 0), ("a", 2), ("b", 0)]
    assert choose(pool, "per-image", k=1)[0] == [("a", 0), ("b", 0)]


def test_labelled_empty_and_excluded_regions_are_never_asked() -> None:
    pool = score_table(
        [("a", 0, 0.9), ("a", 1, 0.8), ("a", 2, 0.7), ("a", 3, 0.6)], labelled=[1.0, 0.0, 0.0, 0.0], y1=[9, 9, 0, 9]
    )
    assert choose(pool, "per-image", k=4)[0] == [("a", 1), ("a", 3)]
    ring = np.array([False, True, False, False])
    assert choose(pool, "per-image", k=4, excluded=ring)[0] == [("a", 3)]


def test_the_outer_ring_of_a_grid_leaves_the_inner_cells() -> None:
    grid = Grid(40, 50, 10, 10)
    pool = score_table([("a", region, 1.0) for region in range(grid.num_regions)])
    chosen, _ = choose(pool, "per-image", k=100, excluded=grid.ring())
    assert [region for _, region in chosen] == [6, 7, 8, 11, 12, 13]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_budget_larger_than_the_pool_asks_for_all_of_it(strategy: Strategy) -> None:
    chosen, _ = choose(POOL, strategy, k=100, budget=10**9)
    assert sorted(chosen) == [(image, region) for image in "abc" for region in range(3)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_to_choose_from(strategy: Strategy) -> None:
    assert choose([], strategy) == ([], [])
    all_labelled = score_table([("a", 0, 0.9)], labelled=[1.0])
    assert choose(all_labelled, strategy) == ([], [])
    assert choose(score_table([]), strategy) == ([], [])
    assert choose(POOL, strategy, k=0) == ([], [])


def test_keeping_the_best_of_each_image_of_a_shard_changes_no_choice() -> None:
    generator = np.random.default_rng(1)
    rows = [(f"{i}", region, float(generator.integers(0, 4))) for i in range(12) for region in range(6)]
    shards = [score_table(rows[start : start + 24]) for start in range(0, 72, 24)]
    pruned = find_candidates(shards[::-1], "entropy", best_of_image=2)
    assert len(pruned) == 24
    choice = select(pruned, "per-image", regions_per_image=2, budget_pixels=0, seed=(0, 0))
    chosen = [(pruned.images[pruned.image_M[i]], int(pruned.region_M[i])) for i in choice.index_K]
    assert (chosen, choice.rank_K.tolist()) == choose(shards, "per-image", k=2)


def test_candidates_are_sorted_and_know_what_they_cost() -> None:
    shards = [score_table([("b", 1, 0.1), ("b", 0, 0.2)], y1=[3, 4]), score_table([("a", 5, 0.3)], y1=[5])]
    candidates: Candidates = find_candidates(shards, "entropy")
    assert candidates.images == ["a", "b"]
    assert candidates.image_M.tolist() == [0, 1, 1]
    assert candidates.region_M.tolist() == [5, 0, 1]
    assert candidates.pixels.tolist() == [5, 4, 3]
    assert candidates.score_M.tolist() == pytest.approx([0.3, 0.2, 0.1])


def test_at_most_so_many_of_an_image_leave_room_for_others() -> None:
    spread = Spread(most_per_image=1)
    assert choose(POOL, "global", budget=400, spread=spread)[0] == [("b", 2), ("a", 1), ("c", 1)]
    assert choose(POOL, "global", budget=200, spread=spread)[0] == [("b", 2), ("a", 1)]
    assert [image for image, _ in choose(POOL, "random", budget=900, spread=spread)[0]].count("a") == 1


# Cells of image `a`, three columns: 0 1 2 / 3 4 5; from the best on: 4, 1, 5, 0.
NEAR = score_table([("a", 0, 0.6), ("a", 1, 0.8), ("a", 4, 0.9), ("a", 5, 0.7), ("b", 1, 0.5)])


def test_regions_of_an_image_keep_their_distance() -> None:
    neighbours_out = Spread(min_distance=1.1, cols=3)  # 4 keeps out 1 and 5; 0 is a diagonal away, 1.41
    assert choose(NEAR, "global", budget=10**6, spread=neighbours_out)[0] == [("a", 4), ("a", 0), ("b", 1)]
    assert choose(NEAR, "per-image", k=2, spread=neighbours_out) == ([("a", 4), ("a", 0), ("b", 1)], [0, 1, 0])
    assert choose(NEAR, "per-image", k=2, spread=Spread(min_distance=2, cols=3))[0] == [("a", 4), ("b", 1)]
    assert choose(NEAR, "per-image", k=0, spread=neighbours_out)[0] == []
    assert choose(NEAR, "balanced", budget=300, spread=neighbours_out)[0] == [("a", 4), ("a", 0), ("b", 1)]


def test_a_spread_that_allows_everything_changes_nothing() -> None:
    for strategy in STRATEGIES:
        loose = Spread(most_per_image=3, min_distance=0.5, cols=3)
        assert choose(POOL, strategy, k=2, budget=500, spread=loose) == choose(POOL, strategy, k=2, budget=500)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "per-image"])
@pytest.mark.parametrize(
    "spread", [Spread(), Spread(most_per_image=2, min_distance=1.5, cols=4)], ids=["loose", "spread"]
)
def test_no_strategy_breaks_the_budget_or_the_spread_or_asks_twice(strategy: Strategy, spread: Spread) -> None:
    generator = np.random.default_rng(2)
    rows = [(f"{i}", region, float(generator.integers(0, 4))) for i in range(9) for region in range(12)]
    predicted, pixels = generator.integers(0, 4, len(rows)).tolist(), generator.integers(1, 100, len(rows)).tolist()
    size = {row[:2]: each for row, each in zip(rows, pixels, strict=True)}
    for budget in (1, 50, 333, 2000):
        pool = score_table(rows, predicted=predicted, y1=pixels)
        chosen, rank = choose(pool, strategy, budget=budget, spread=spread)
        assert len(set(chosen)) == len(chosen) and rank == list(range(len(chosen)))
        assert sum(size[each] for each in chosen) <= budget
        if spread.most_per_image:
            cells = [[divmod(region, 4) for image, region in chosen if image == f"{i}"] for i in range(9)]
            assert max(map(len, cells)) <= 2
            assert all(math.dist(a, b) >= 1.5 for each in cells for a, b in itertools.combinations(each, 2))


def test_a_random_share_of_the_images_is_keyed_by_their_names() -> None:
    names = [f"image {number:02d}" for number in range(20)]
    rows = [(name, region, 0.5) for name in names for region in (0, 1)]

    def sampled(tables: list[pa.Table], fraction: float, seed: int) -> set[str]:
        kept = sample_images(find_candidates(tables, "entropy"), fraction, (seed, 0))
        assert np.bincount(kept.image_M).max() == 2  # an image is in with all of its regions
        return {kept.images[image] for image in kept.image_M}

    half = sampled([score_table(rows)], 0.5, 1)
    assert len(half) == 10
    assert sampled([score_table(rows[20:]), score_table(rows[:20])], 0.5, 1) == half
    assert sampled([score_table(rows)], 0.5, 2) != half
    assert half < sampled([score_table(rows)], 0.75, 1)
    assert len(sampled([score_table(rows)], 0.001, 1)) == 1
    assert len(sampled([score_table(rows)], 1.0, 1)) == 20
