"""k-means++ seeding: every cluster is hit, chances follow the squared distance, groups give no more than they may."""

from __future__ import annotations

import numpy as np
import pytest

from s4al.scorer.acquisition.seeding import spread_seeds


def clusters(count: int, size: int, seed: int = 0) -> np.ndarray:
    """`count` clusters far from each other, `size` items each, in order."""
    rng = np.random.default_rng(seed)
    centres = 100 * rng.permutation(np.eye(count, 8 * count))
    return np.repeat(centres, size, axis=0) + rng.normal(0, 0.1, (count * size, 8 * count))


@pytest.mark.parametrize("seed", range(5))
def test_every_cluster_is_hit_before_any_twice(seed: int) -> None:
    seeds = spread_seeds(clusters(10, 20), 10, np.random.default_rng(seed))
    assert sorted(seeds // 20) == list(range(10))


def test_a_rare_cluster_is_found_where_random_draws_miss_it() -> None:
    common, rare = np.zeros((990, 4)), np.full((10, 4), 50.0)
    feature = np.concatenate([common + np.random.default_rng(0).normal(0, 0.1, common.shape), rare])
    assert (spread_seeds(feature, 2, np.random.default_rng(1)) >= 990).sum() == 1


def test_the_same_seed_gives_the_same_items_and_another_others() -> None:
    feature = np.random.default_rng(0).normal(size=(60, 5))
    first, again, other = (spread_seeds(feature, 20, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
    assert first == again != other
    assert len(set(first)) == 20


def test_groups_give_no_more_than_they_may() -> None:
    group = np.repeat(np.arange(6), 10)
    seeds = spread_seeds(np.random.default_rng(0).normal(size=(60, 3)), 100, np.random.default_rng(0), group, 4)
    assert np.bincount(group[seeds]).tolist() == [4] * 6


@pytest.mark.parametrize(("items", "count", "found"), [(0, 3, 0), (1, 3, 1), (4, 4, 4), (4, 0, 0)])
def test_fewer_items_than_wanted(items: int, count: int, found: int) -> None:
    seeds = spread_seeds(np.zeros((items, 2)), count, np.random.default_rng(0))
    assert sorted(seeds) == list(range(found))  # items that are all alike, too


def test_the_potential_is_below_that_of_plain_draws() -> None:
    """What greedy k-means++ is for: items are near to a chosen one."""
    feature = np.random.default_rng(3).gamma(0.5, 1.0, (400, 6))

    def potential(chosen: np.ndarray) -> float:
        return float(np.square(feature[:, None] - feature[chosen][None]).sum(axis=2).min(axis=1).sum())

    rngs = [np.random.default_rng(seed) for seed in range(10)]
    spread = np.mean([potential(spread_seeds(feature, 12, rng)) for rng in rngs])
    plain = np.mean([potential(rng.choice(400, 12, replace=False)) for rng in rngs])
    assert spread < 0.8 * plain
