"""The pass over the pool: batches, padding, labelled regions, majority classes, errors and the thread that reads."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import closing

import numpy as np
import pytest
from numpy.typing import NDArray

from s4al.data.regions import Grid
from s4al.errors import NumericsError
from s4al.kernels.reference import region_scores as reference_scores
from s4al.scorer.batch import SLOTS, ScoredBatch
from s4al.scorer.engines.model_card import ModelCard
from s4al.scorer.pipeline import Majority, score_batches
from s4al.scorer.read_ahead import Span, spans
from tests.small_models import CELL, HEIGHT, WIDTH, random_images, small_card

IMAGES = random_images(7)
ARRAYS = [field.name for field in dataclasses.fields(ScoredBatch) if field.name != "span"]
IDS = [f"image {i}" for i in range(len(IMAGES))]


class BlockEngine:
    """Logits are plain functions of each 4 x 4 block of an image, so what is expected can be worked out in NumPy."""

    name, provider, threads = "block", "numpy", 1
    passed_over: tuple[str, ...] = ()

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.card: ModelCard = small_card()
        self.seen: list[NDArray[np.uint8]] = []

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert len(image_NHWC) == self.batch_size
        self.seen.append(image_NHWC.copy())
        return block_logits(image_NHWC)


def block_logits(image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    blocks = image_NHWC.reshape(len(image_NHWC), HEIGHT // 4, 4, WIDTH // 4, 4, 3).mean(axis=(2, 4), dtype=np.float64)
    return np.ascontiguousarray((blocks.transpose(0, 3, 1, 2) - 127) / 8, np.float32)


def read(first: int, out_NHWC: NDArray[np.uint8]) -> None:
    out_NHWC[:] = IMAGES[first : first + len(out_NHWC)]


def score(batch_size: int, count: int = len(IMAGES), **settings: object) -> dict[str, NDArray[np.generic]]:
    """All arrays of all batches, joined."""
    engine = BlockEngine(batch_size)
    parts: dict[str, list[NDArray[np.generic]]] = {}
    batches = score_batches(read, spans(0, count, batch_size), engine, ids=IDS, **settings)  # type: ignore[arg-type]
    for batch in batches:
        for name in ARRAYS:
            parts.setdefault(name, []).append(getattr(batch, name).copy())
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}


@pytest.mark.parametrize("pooling", ["mean", "max", "top-tenth"])
def test_streaming_gives_what_the_specification_gives_for_all_images_at_once(pooling: str) -> None:
    streamed = score(3, confidence_threshold=0.6, pooling=pooling)
    expected = reference_scores(
        block_logits(IMAGES),
        height=HEIGHT,
        width=WIDTH,
        region_height=CELL,
        region_width=CELL,
        pooling=pooling,
        confidence_threshold=0.6,
    )
    for name in ("entropy_NR", "least_confidence_NR", "margin_NR", "labelled_NR"):
        np.testing.assert_allclose(streamed[name], getattr(expected, name), atol=1e-5)
    assert (streamed["label_NHW"] == expected.label_NHW).mean() > 0.9999
    assert set(np.unique(expected.label_NHW)) == {0, 1, 2, 255}  # the threshold does something here


@pytest.mark.parametrize("batch_size", [1, 2, 4, 7, 16])
def test_batch_size_and_padding_change_nothing(batch_size: int) -> None:
    one_by_one = score(1)
    together = score(batch_size)
    for name, array in one_by_one.items():
        np.testing.assert_array_equal(together[name], array, err_msg=name)


def test_a_short_batch_is_filled_up_with_black_images() -> None:
    engine = BlockEngine(4)
    list(score_batches(read, [Span(0, 4), Span(4, 3)], engine, ids=IDS))
    np.testing.assert_array_equal(engine.seen[1][:3], IMAGES[4:])
    assert not engine.seen[1][3].any()


def test_spans_cover_a_range_and_stay_inside_it() -> None:
    assert spans(3, 10, 4) == [Span(3, 4), Span(7, 3)]
    assert spans(3, 3, 4) == []


def test_labelled_regions_count_as_labelled_wholly_also_at_the_ragged_edge() -> None:
    grid = Grid(HEIGHT, WIDTH, CELL, CELL)
    last = grid.num_regions - 1
    known = {1: [0, last], 5: [8]}
    scored = score(2, labelled_regions=lambda index: known.get(index, ()))
    plain = score(2)
    labelled = np.zeros((len(IMAGES), grid.num_regions), bool)
    labelled[1, [0, last]] = labelled[5, 8] = True
    np.testing.assert_array_equal(scored["labelled_NR"], labelled.astype(np.float32))
    for name in ("entropy_NR", "least_confidence_NR", "margin_NR"):
        assert not scored[name][labelled].any()
        np.testing.assert_array_equal(scored[name][~labelled], plain[name][~labelled])


def test_logits_that_are_not_finite_name_their_image_and_no_other() -> None:
    class Broken(BlockEngine):
        def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            logits_NChw = super().run(image_NHWC)
            if len(self.seen) == 2:
                logits_NChw[1, 2, 3, 4] = np.inf
            return logits_NChw

    with pytest.raises(NumericsError, match=r"not finite for image 4\.") as caught:
        list(score_batches(read, spans(0, 7, 3), Broken(3), ids=IDS))
    assert caught.value.exit_code == 7


def test_what_is_behind_the_last_image_may_be_broken() -> None:
    class BrokenPadding(BlockEngine):
        def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
            logits_NChw = super().run(image_NHWC)
            logits_NChw[1:] = np.nan
            return logits_NChw

    (batch,) = score_batches(read, [Span(0, 1)], BrokenPadding(3), ids=IDS)
    assert np.isfinite(batch.entropy_NR).all()


def reading_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "s4al-read"]


def test_the_reader_stays_at_most_its_buffers_ahead() -> None:
    reads: list[int] = []

    def counting(first: int, out_NHWC: NDArray[np.uint8]) -> None:
        reads.append(first)

    batches = [Span(i % 7, 1) for i in range(50)]
    for number, _ in enumerate(score_batches(counting, batches, BlockEngine(1), ids=IDS), start=1):
        assert len(reads) <= number + SLOTS
    assert len(reads) == 50
    assert not reading_threads()


@pytest.mark.parametrize("stop", ["error", "closed early"])
def test_the_reader_ends_with_the_pass(stop: str) -> None:
    def failing(first: int, out_NHWC: NDArray[np.uint8]) -> None:
        if stop == "error" and first == 4:
            raise OSError("gone")

    batches = score_batches(failing, spans(0, 7, 2), BlockEngine(2), ids=IDS)
    with closing(batches):
        next(batches)
        if stop == "error":
            next(batches)
            with pytest.raises(OSError, match="gone"):
                next(batches)
    assert not reading_threads()


def test_no_images_give_no_batches() -> None:
    assert list(score_batches(read, [], BlockEngine(2), ids=[])) == []


# --- the majority class of a region ---


def majority(grid: Grid, label_hw: NDArray[np.integer], num_classes: int) -> list[int]:
    logits_NChw = np.eye(num_classes, dtype=np.float32)[label_hw].transpose(2, 0, 1)[None]
    return Majority(grid, 4, num_classes)(np.ascontiguousarray(logits_NChw))[0].tolist()


def test_majority_counts_the_pixels_whose_centre_is_in_the_region() -> None:
    # 8 x 16 input, 2 x 4 stride-4 pixels with centres at x = 2, 6, 10, 14; regions of 8 x 8: two columns of pixels each
    label_hw = np.array([[0, 2, 1, 1], [2, 0, 2, 1]])
    assert majority(Grid(8, 16, 8, 8), label_hw, 3) == [0, 1]  # two of class 0, two of 2: the lower id


def test_majority_at_a_ragged_edge() -> None:
    # regions of 8 x 12: the second one is 4 wide and holds the last column alone
    label_hw = np.array([[0, 0, 0, 2], [0, 0, 0, 2]])
    assert majority(Grid(8, 16, 8, 12), label_hw, 3) == [0, 2]


def test_majority_of_regions_smaller_than_a_stride_takes_the_nearest_pixel() -> None:
    label_hw = np.array([[0, 1, 2, 3]])
    assert majority(Grid(4, 16, 4, 2), label_hw, 4) == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_majority_prefers_the_lowest_class_on_equal_logits(dtype: type) -> None:
    logits_NChw = np.zeros((2, 3, 2, 4), dtype)
    logits_NChw[1, 1:] = 1
    majority_NR = Majority(Grid(8, 16, 8, 8), 4, 3)(logits_NChw)
    assert majority_NR.tolist() == [[0, 0], [1, 1]]


def test_majority_agrees_with_counting_by_hand_on_random_maps() -> None:
    generator = np.random.default_rng(3)
    grid = Grid(36, 44, 10, 7)
    label_hw = generator.integers(0, 5, (9, 11))
    expected = []
    for y0, x0, y1, x1 in grid.network_boxes():
        inside = [label_hw[y, x] for y in range(9) for x in range(11) if y0 <= 4 * y + 2 < y1 and x0 <= 4 * x + 2 < x1]
        expected.append(int(np.bincount(inside, minlength=5).argmax()) if inside else None)
    found = majority(grid, label_hw, 5)
    assert [f for f, e in zip(found, expected, strict=True) if e is not None] == [e for e in expected if e is not None]
