"""Rules that go by predicted class: shares worked out by hand, noise of a known distribution, empty classes, ties."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from s4al.scorer.acquisition.class_rules import class_confidence, class_quota, noise_beta, perturbed
from s4al.scorer.acquisition.spread import Room, Spread
from tests.scorer.acquisition.test_selection import choose, score_table


def room_of(pixels: list[int], spread: Spread = Spread(), images: list[int] | None = None) -> Room:  # noqa: B008
    """Regions 0, 1 ... of one image, or of the images named."""
    count = len(pixels)
    return Room(np.array(images or [0] * count), np.arange(count), np.array(pixels, np.int64), spread)


def quota(merits: list[float], predicted: list[int], budget: int, room: Room) -> tuple[list[int], list[int]]:
    for_class, from_pool = class_quota(np.array(merits), np.array(predicted, np.int16), room, budget)
    return for_class.tolist(), from_pool.tolist()


# --- class-quota ---


def test_two_thirds_go_to_the_classes_in_equal_parts_and_the_rest_to_the_best_of_the_pool() -> None:
    # 900 pixels: 600 for two classes, 300 each; then 300 for the pool, whose best are of class 0
    merits, predicted = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0], [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    assert quota(merits, predicted, 900, room_of([100] * 10)) == ([0, 1, 2, 6, 7, 8], [3, 4, 5])


def test_what_a_class_does_not_spend_goes_to_the_pool() -> None:
    # class 7 has one region for its 300; class 2 stops before the 150 that would break its part: 700 are left
    merits, predicted, pixels = [9.0, 8.0, 7.0, 6.0, 5.0, 1.0], [2, 2, 2, 2, 2, 7], [100, 100, 150, 100, 100, 100]
    assert quota(merits, predicted, 900, room_of(pixels)) == ([0, 1, 5], [2, 3, 4])


def test_parts_smaller_than_a_region_leave_everything_to_the_pool() -> None:
    assert quota([1.0, 3.0, 2.0], [0, 1, 2], 200, room_of([100] * 3)) == ([], [1, 2])


def test_a_single_class_and_none_at_all() -> None:
    assert quota([1.0, 3.0, 2.0], [4, 4, 4], 300, room_of([100] * 3)) == ([1, 2], [0])
    assert quota([], [], 300, room_of([])) == ([], [])


def test_equal_merits_take_the_first() -> None:
    assert quota([1.0] * 6, [0, 1, 0, 1, 0, 1], 300, room_of([100] * 6)) == ([0, 1], [2])


def test_both_parts_of_the_budget_keep_to_the_spread() -> None:
    one_each = Spread(most_per_image=1)  # region 0 fills image 0 before class 1 comes to its own best there
    room = room_of([100] * 5, one_each, images=[0, 0, 1, 1, 2])
    assert quota([9.0, 8.0, 7.0, 6.0, 5.0], [0, 1, 0, 1, 0], 300, room) == ([0, 3], [4])


def test_noise_of_known_size_is_added_to_the_logarithm() -> None:
    # exp(-1) and exp(-e) are what Gumbel noise of 0 and of -1 is made of
    uniform = np.exp([-1.0, -math.e, -1.0])
    found = perturbed(np.array([1.0, math.e**2, 0.0], np.float32), uniform, beta=2.0)
    assert found == pytest.approx([0.0, 1.5, -math.inf], abs=1e-6)
    assert np.isfinite(perturbed(np.array([1.0]), np.array([0.0]), beta=1.0)).all()


def test_with_beta_1_the_first_is_drawn_in_proportion_to_the_scores() -> None:
    uniform = np.random.default_rng(0).random((20_000, 3))
    first = perturbed(np.array([0.1, 0.3, 0.6]), uniform, beta=1.0).argmax(axis=1)
    assert np.bincount(first) / 20_000 == pytest.approx([0.1, 0.3, 0.6], abs=0.02)


def test_beta_goes_from_1_to_100_by_equal_factors() -> None:
    assert [noise_beta(cycle, 4) for cycle in range(4)] == pytest.approx([1.0, 10.0, 100.0, 100.0])
    assert [noise_beta(cycle, 2) for cycle in range(2)] == pytest.approx([1.0, 100.0])  # one round that is labelled
    assert noise_beta(0, 1) == 1.0


def test_the_noise_of_a_region_is_its_own_and_dies_out() -> None:
    rows = [(f"i{i}", region, 0.2 + region / 10) for i in range(6) for region in range(5)]
    pool = score_table(rows)
    noisy = choose(pool, "class-quota", budget=900)
    assert choose(score_table(rows[::-1]), "class-quota", budget=900) == noisy
    assert choose(pool, "class-quota", budget=900, seed=(7, 1)) != noisy
    quiet = choose(pool, "class-quota", budget=900, beta=1e6)[0]
    assert quiet != noisy[0] and set(quiet[:6]) == {(f"i{i}", 4) for i in range(6)}
    more = pa.concat_tables([score_table([("other", 0, 1e-9)]), pool])  # too low to be chosen, and no noise is shifted
    assert choose(more, "class-quota", budget=900) == noisy


def test_without_a_budget_noise_does_not_change_what_the_round_costs() -> None:
    # per-image would take region 2 of each, the small ones: 6 x 10 pixels
    pool = score_table([(f"i{i}", region, 0.1 + region) for i in range(6) for region in range(3)], y1=[50, 50, 10] * 6)
    for cycle in range(5):
        chosen, _ = choose(pool, "class-quota", k=1, seed=(7, cycle))
        assert sum(10 if region == 2 else 50 for _, region in chosen) <= 60


# --- class-confidence ---


def confidence(
    merits: list[float], predicted: list[int], uncertainty: list[float], budget: int, room: Room
) -> list[int]:
    found = class_confidence(np.array(merits), np.array(predicted, np.int16), np.array(uncertainty), room, budget)
    return found.tolist()


def test_the_budget_follows_the_mean_uncertainty_of_the_classes() -> None:
    # means 0.25 and 0.75: one region of class 0 for three of class 1, each class's best first
    merits = [9.0, 8.0, 7.0, 6.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    uncertainty = [0.125, 0.375, 0.25, 0.25, 0.5, 1.0, 0.75, 0.75, 0.75, 0.75]
    chosen = confidence(merits, [0] * 4 + [1] * 6, uncertainty, 800, room_of([100] * 10))
    assert sorted(chosen) == [0, 1, 4, 5, 6, 7, 8, 9]
    # by hand: pixels / mean is 400 for class 0; 133, 267, 400 (a tie, class 0 is first) for class 1
    assert chosen[:4] == [9, 8, 0, 7]


def test_parts_are_of_pixels_and_what_a_class_lacks_the_others_get() -> None:
    # equal means; a region of class 1 is as large as three of class 0, whose turns come at 100, 200, 300 (a tie), 400
    assert confidence([4.0, 3.0, 2.0, 1.0, 5.0], [0, 0, 0, 0, 1], [0.5] * 5, 700, room_of([100] * 4 + [300])) == [
        *(0, 1, 2, 4, 3)
    ]


def test_a_sure_class_comes_last_and_sure_classes_share_alike() -> None:
    assert confidence([9.0, 1.0, 2.0], [0, 1, 1], [0.0, 0.5, 0.5], 200, room_of([100] * 3)) == [2, 1]
    assert confidence([9.0, 8.0, 1.0], [0, 0, 1], [0.0, 0.0, 0.0], 200, room_of([100] * 3)) == [0, 2]
    assert confidence([], [], [], 200, room_of([])) == []


def test_a_region_beside_another_classs_is_passed_over() -> None:
    room = room_of([100] * 4, Spread(most_per_image=1), images=[0, 0, 1, 2])
    assert confidence([9.0, 8.0, 7.0, 6.0], [0, 1, 1, 0], [0.5] * 4, 10**6, room) == [0, 2, 3]


def test_uncertainty_is_the_column_of_least_confidence_whatever_the_metric() -> None:
    pool = score_table(
        [("a", 0, 0.9), ("a", 1, 0.8), ("b", 0, 0.2), ("b", 1, 0.1)],
        predicted=[0, 0, 1, 1],
        least_confidence=[0.1, 0.1, 0.7, 0.7],
    )
    assert choose(pool, "class-confidence", budget=200)[0] == [("b", 0), ("b", 1)]
