"""What every implementation of region_scores must do: test bodies that a class inherits and says how to score."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s4al.kernels import RegionScores, reference
from s4al.kernels.arguments import POOLINGS
from tests.kernels.cases import CASES, Case, assert_agree, make

Score = Callable[..., RegionScores]  # with the parameters of s4al.kernels.region_scores


class Contract:
    """Subclasses, or their modules, have a fixture `score`."""

    @pytest.mark.parametrize("pooling", POOLINGS)
    @pytest.mark.parametrize("name", CASES)
    def test_agrees_with_the_reference(self, score: Score, name: str, pooling: str) -> None:
        logits, arguments = make(CASES[name])
        arguments["pooling"] = pooling
        assert_agree(score(logits, **arguments), logits, arguments)

    def test_ties_go_to_the_lowest_class(self, score: Score) -> None:
        logits = np.zeros((1, 20, 6, 6), np.float32)
        logits[0, [3, 17]] = np.random.default_rng(0).normal(5, 1, (6, 6))  # the same two fields, above the rest
        scores = score(logits, height=24, width=24, region_height=24, region_width=24)
        assert (scores.label_NHW == 3).all()

    def test_threshold_is_strict_and_nan_is_under_any(self, score: Score) -> None:
        shape = {"height": 2, "width": 4, "region_height": 2, "region_width": 4}
        half = np.zeros((1, 2, 1, 1), np.float32)  # p1 is exactly 1/2
        assert (score(half, **shape, confidence_threshold=0.5).label_NHW == 0).all()
        assert (score(half, **shape, confidence_threshold=0.5000001).label_NHW == 255).all()
        half[:] = np.nan
        assert (score(half, **shape).label_NHW == 255).all()

    @pytest.mark.parametrize("align_corners", [False, True])
    @pytest.mark.parametrize("dtype", [np.float32, np.float16])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("at", [(0, 0), (5, 7), (11, 15)])
    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_bad_logits_spoil_exactly_what_they_touch(
        self, score: Score, value: float, at: tuple[int, int], dtype: type, align_corners: bool, pooling: str
    ) -> None:
        # With aligned corners 45 x 61 has every fourth pixel exactly on a low-resolution one.
        size = (45, 61) if align_corners else (48, 64)
        logits, arguments = make(Case((2, 11, 12, 16), size, (10, 10), align_corners, dtype, labelled="zero"))
        arguments["pooling"] = pooling
        clean = score(logits, **arguments)
        logits[1, 4, at[0], at[1]] = value
        got, expected = score(logits, **arguments), reference.region_scores(logits, **arguments)
        spoilt = np.isnan(expected.entropy_NR)
        assert 0 < spoilt.sum() < 5
        for name in ("entropy_NR", "least_confidence_NR", "margin_NR"):
            np.testing.assert_array_equal(np.isnan(getattr(got, name)), spoilt)
            np.testing.assert_array_equal(getattr(got, name)[~spoilt], getattr(clean, name)[~spoilt])
        np.testing.assert_array_equal(got.label_NHW == 255, expected.label_NHW == 255)
        kept = got.label_NHW != 255
        np.testing.assert_array_equal(got.label_NHW[kept], clean.label_NHW[kept])
        np.testing.assert_array_equal(got.confidence_NHW, np.where(kept, clean.confidence_NHW, 0))

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_bad_logits_show_where_all_is_labelled(self, score: Score, pooling: str) -> None:
        logits, labelled = np.full((1, 3, 2, 2), np.nan, np.float32), np.ones((1, 8, 8), np.uint8)
        for rule in ("zero", "exclude"):
            rules = {"labelled_NHW": labelled, "labelled_pixels": rule, "pooling": pooling}
            got = score(logits, height=8, width=8, region_height=8, region_width=8, **rules)
            assert np.isnan(got[:3]).all()
            assert got.labelled_NR == 1

    def test_where_all_classes_underflow_scores_stay_finite_and_labels_right(self, score: Score) -> None:
        logits, arguments = far_neighbours()
        got = score(logits, **arguments)
        assert all(np.isfinite(scores).all() for scores in got[:3])
        assert got.label_NHW[0, 0].tolist() == [0] * 8 + [2] * 8

    def test_saturated_logits_score_exactly_zero(self, score: Score) -> None:
        logits = np.full((1, 19, 3, 3), -1e4, np.float32)
        logits[0, 7] = 1e4
        got = score(logits, height=12, width=12, region_height=6, region_width=6)
        assert not got.entropy_NR.any()
        assert not got.least_confidence_NR.any()
        assert not got.margin_NR.any()
        assert (got.label_NHW == 7).all()
        assert (got.confidence_NHW == 255).all()

    def test_of_equal_pixels_every_pooling_is_the_same(self, score: Score) -> None:
        shape = {"height": 31, "width": 50, "region_height": 31, "region_width": 31}
        for pooling in POOLINGS:
            got = score(np.zeros((1, 4, 5, 7), np.float32), **shape, pooling=pooling)
            np.testing.assert_allclose(got.entropy_NR, np.log(4), rtol=1e-6)
            np.testing.assert_allclose(got.least_confidence_NR, 3 / 4, rtol=1e-6)
            np.testing.assert_allclose(got.margin_NR, 1, rtol=1e-6)

    def test_a_few_uncertain_pixels_are_not_hidden_by_certain_ones(self, score: Score) -> None:
        """Eleven of a hundred pixels are undecided between two classes, the others are certain."""
        logits = np.full((1, 2, 10, 10), 50, np.float32)
        logits[0, 1] = np.where(np.arange(100).reshape(10, 10) % 9 == 3, 50, -50)
        expected = {"mean": 0.055, "max": 0.5, "top-tenth": 0.5}
        for pooling, value in expected.items():
            shape = {"height": 10, "width": 10, "region_height": 10, "region_width": 10, "pooling": pooling}
            np.testing.assert_allclose(score(logits, **shape).least_confidence_NR, value, rtol=1e-6)
        logits[0, 1, :9] = -50  # one is left, or a tenth of a tenth
        np.testing.assert_allclose(score(logits, **shape).least_confidence_NR, 0.05, rtol=1e-6)

    def test_entropy_is_never_negative(self, score: Score) -> None:
        """Between neighbours that disagree all shifted logits are far from zero, and rounding is coarse."""
        logits, arguments = make(Case((1, 2, 20, 20), (80, 80), (1, 1), spread=40.0))
        got = score(logits, **arguments)
        assert got.entropy_NR.min() >= 0

    def test_an_image_scores_the_same_alone_and_in_a_batch(self, score: Score) -> None:
        logits, arguments = make(CASES["camvid stride 4, exact cells"])
        alone = [score(np.ascontiguousarray(logits[n : n + 1]), **arguments) for n in range(2)]
        joined = RegionScores(*map(np.concatenate, zip(*alone, strict=True)))
        assert_same_bits(joined, score(logits, **arguments))


class KernelContract(Contract):
    """What region_scores.cu does beyond that, on a GPU and on the emulator."""

    @settings(
        max_examples=60,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(
        low=st.tuples(st.integers(1, 6), st.integers(1, 9)),
        more=st.tuples(st.integers(0, 30), st.integers(0, 60)),
        region=st.tuples(st.integers(1, 40), st.integers(1, 40)),
        images=st.integers(1, 2),
        classes=st.integers(1, 6),
        align_corners=st.booleans(),
        dtype=st.sampled_from([np.float32, np.float16]),
        labelled=st.sampled_from(["", "zero", "exclude"]),
        pooling=st.sampled_from(POOLINGS),
        spread=st.sampled_from([0.0, 0.1, 3.0, 20.0]),
        seed=st.integers(0, 1000),
    )
    def test_agrees_with_the_reference_on_any_geometry(
        self, score: Score, low, more, region, images, classes, align_corners, dtype, labelled, pooling, spread, seed
    ) -> None:
        size = (low[0] + more[0], low[1] + more[1])
        case = Case((images, classes, *low), size, region, align_corners, dtype, spread, labelled)
        logits, arguments = make(case, seed)
        arguments["pooling"] = pooling
        assert_agree(score(logits, **arguments), logits, arguments)

    @pytest.mark.parametrize("name", ["camvid stride 4, exact cells", "150 classes", "stride 1"])
    def test_histogram_counts_every_pixel_before_the_threshold(self, score: Score, name: str) -> None:
        logits, arguments = make(CASES[name])
        logits[0, 0, 0, 0] = np.nan
        labels_NHW = score(logits, **(arguments | {"confidence_threshold": 0.0})).label_NHW
        got = score_histogram(score, logits, arguments | {"confidence_threshold": 0.9})
        np.testing.assert_array_equal(got, count_classes(labels_NHW, logits.shape[1], arguments))
        assert got.sum() == (labels_NHW != 255).sum()

    def test_neighbours_that_disagree_by_thousands(self, score: Score) -> None:
        logits, arguments = far_neighbours()
        assert_agree(score(logits, **arguments), logits, arguments)

    def test_logits_as_large_as_they_get(self, score: Score) -> None:
        logits = np.full((1, 2, 2, 2), -3e38, np.float32)
        logits[0, 0] = 3e38
        got = score(logits, height=8, width=8, region_height=8, region_width=8)
        assert not got.entropy_NR.any()
        assert (got.label_NHW == 0).all()

    def test_a_sum_over_half_a_million_pixels_loses_nothing(self, score: Score) -> None:
        logits = np.zeros((1, 3, 128, 256), np.float32)
        got = score(logits, height=512, width=1024, region_height=512, region_width=1024)
        np.testing.assert_allclose(got.entropy_NR, np.log(3), rtol=3e-7)
        np.testing.assert_allclose(got.least_confidence_NR, 2 / 3, rtol=3e-7)

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_same_bits_every_time(self, score: Score, pooling: str) -> None:
        logits, arguments = make(CASES["150 classes"])
        arguments["pooling"] = pooling
        assert_same_bits(score(logits, **arguments), score(logits, **arguments))


def far_neighbours() -> tuple[np.ndarray, dict]:
    """Two pixels that are sure of different classes: half way between them every shifted logit is at -1000 or lower."""
    logits = np.full((1, 3, 1, 2), -1000, np.float32)
    logits[0, 0, 0, 0] = logits[0, 2, 0, 1] = 1000
    _, arguments = make(Case((1, 3, 1, 2), (1, 16), (1, 16)))
    return logits, arguments


def score_histogram(score: Score, logits: np.ndarray, arguments: dict) -> np.ndarray:
    regions = score(logits, **arguments).entropy_NR.shape[1]
    histogram_NRC = np.empty((logits.shape[0], regions, logits.shape[1]), np.uint32)
    score(logits, **arguments, histogram_NRC=histogram_NRC)
    return histogram_NRC


def count_classes(labels_NHW: np.ndarray, num_classes: int, arguments: dict) -> np.ndarray:
    height, width = arguments["region_height"], arguments["region_width"]
    cells = [
        labels_NHW[:, y : y + height, x : x + width].reshape(len(labels_NHW), -1)
        for y in range(0, labels_NHW.shape[1], height)
        for x in range(0, labels_NHW.shape[2], width)
    ]
    return np.array(
        [[np.bincount(cell[n], minlength=256)[:num_classes] for cell in cells] for n in range(len(cells[0]))]
    )


def assert_same_bits(a: RegionScores, b: RegionScores) -> None:
    for name, x, y in zip(RegionScores._fields, a, b, strict=True):
        assert x.tobytes() == y.tobytes(), name
