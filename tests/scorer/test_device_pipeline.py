"""The GPU pipeline on a device that runs what it is given late and in odd orders: same scores as the CPU's pass."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from s4al.data.regions import Grid
from s4al.errors import EngineError, NumericsError
from s4al.scorer.batch import SLOTS, ScoredBatch
from s4al.scorer.device_pipeline import score_batches_on_device, stages_alone
from s4al.scorer.engines import device_engine
from s4al.scorer.engines.device_engine import DeviceEngine
from s4al.scorer.pipeline import score_batches
from s4al.scorer.read_ahead import Span, spans
from tests.lazy_device import LazyDevice
from tests.scorer.test_pipeline import ARRAYS, IDS, IMAGES, BlockEngine, block_logits, read
from tests.small_models import HEIGHT, WIDTH, small_card

KNOWN = {1: [0, 11], 2: [3], 5: [8]}


class LazyBlockEngine(DeviceEngine):
    """BlockEngine on a lazy device."""

    name, provider, threads, largest_batch = "block", "lazy", 1, 16
    logits_dtype = np.dtype(np.float32)

    def __init__(self, batch_size: int, seed: int = 0, *, memory_bytes: int = 2**40, capturable: bool = True) -> None:
        self.batch_size, self.card, self.capturable = batch_size, small_card(), capturable
        self.device = LazyDevice(seed, memory_bytes)

    def bind(self, image_NHWC: NDArray[np.uint8], logits_NChw: NDArray[np.float32]) -> Callable[[], None]:
        assert image_NHWC.shape == (self.batch_size, HEIGHT, WIDTH, 3)
        return lambda: self.device.put(
            self.device.compute, "network", lambda: np.copyto(logits_NChw, block_logits(image_NHWC))
        )


def joined(batches: list[dict[str, NDArray[np.generic]]]) -> dict[str, NDArray[np.generic]]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in ARRAYS}


def taken(batch: ScoredBatch) -> dict[str, NDArray[np.generic]]:
    """What a caller may keep: copies made before the next batch is asked for."""
    return {name: getattr(batch, name).copy() for name in ARRAYS}


def labelled_regions(index: int) -> list[int]:
    return KNOWN.get(index % len(IMAGES), [])


def many(first: int, out_NHWC: NDArray[np.uint8]) -> None:
    out_NHWC[:] = IMAGES[np.arange(first, first + len(out_NHWC)) % len(IMAGES)]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("capturable", [True, False])
def test_any_order_the_streams_allow_gives_the_scores_of_the_cpu(seed: int, capturable: bool) -> None:
    count, ids = 25, [f"image {i}" for i in range(25)]
    pooling = ("mean", "max", "top-tenth")[seed % 3]
    settings = {"ids": ids, "labelled_regions": labelled_regions, "pooling": pooling, "confidence_threshold": 0.6}
    engine = LazyBlockEngine(3, seed, capturable=capturable)
    on_device = joined([taken(b) for b in score_batches_on_device(many, spans(0, count, 3), engine, **settings)])
    on_cpu = joined([taken(b) for b in score_batches(many, spans(0, count, 3), BlockEngine(3), **settings)])
    for name in set(ARRAYS) - {"predicted_NR"}:  # the one counts full-size pixels, the other those of the logits
        np.testing.assert_array_equal(on_device[name], on_cpu[name], err_msg=name)


def test_the_predicted_class_is_that_of_most_full_size_pixels_whatever_their_confidence() -> None:
    batches = list(map(taken, score_batches_on_device(read, spans(0, 7, 7), LazyBlockEngine(7), ids=IDS)))
    (strict,) = map(
        taken, score_batches_on_device(read, spans(0, 7, 7), LazyBlockEngine(7), ids=IDS, confidence_threshold=1.0)
    )
    card = small_card()
    boxes = Grid(HEIGHT, WIDTH, card.region_height, card.region_width).network_boxes()
    label_NHW = batches[0]["label_NHW"]
    for region, (y0, x0, y1, x1) in enumerate(boxes):
        for image in range(7):
            expected = np.bincount(label_NHW[image, y0:y1, x0:x1].ravel(), minlength=3).argmax()
            assert batches[0]["predicted_NR"][image, region] == expected
    np.testing.assert_array_equal(strict["predicted_NR"], batches[0]["predicted_NR"])
    assert (strict["label_NHW"] == 255).mean() > 0.9


@pytest.mark.parametrize("event", ["_images_in", "_computed"])
def test_a_forgotten_wait_gives_wrong_scores(event: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device of these tests notices what they are for."""
    submit = device_engine.Passage.submit

    def careless(passage: device_engine.Passage, *pairs: Any) -> None:
        device: Any = passage._device
        forgotten, wait = getattr(passage, event), device.wait
        device.wait = lambda stream, awaited: None if awaited is forgotten else wait(stream, awaited)
        submit(passage, *pairs)
        device.wait = wait

    monkeypatch.setattr(device_engine.Passage, "submit", careless)
    expected = joined([taken(batch) for batch in score_batches(read, spans(0, 7, 1), BlockEngine(1), ids=IDS)])
    wrong = 0
    for seed in range(10):
        found = joined(
            [taken(b) for b in score_batches_on_device(read, spans(0, 7, 1), LazyBlockEngine(1, seed), ids=IDS)]
        )
        wrong += not np.array_equal(found["entropy_NR"], expected["entropy_NR"])
    assert wrong > 0


def test_batches_are_launched_ahead_of_the_caller() -> None:
    engine = LazyBlockEngine(1)
    batches = score_batches_on_device(read, spans(0, 7, 1), engine, ids=IDS)
    with closing(batches):
        next(batches)
        waiting = sum(step.__name__ == "step" for step in engine.device.compute.todo)
        done = engine.device.log.count("network") - SLOTS * device_engine._WARM_UPS
        assert done + waiting // 2 >= SLOTS, "all slots were submitted before the first result was asked for"


def test_memory_is_taken_once_and_graphs_are_captured_once() -> None:
    engine = LazyBlockEngine(2)
    batches = score_batches_on_device(many, spans(0, 100, 2), engine, ids=[str(i) for i in range(100)])
    with closing(batches):
        next(batches)
        before = (engine.device.log.count("zeros"), engine.device.log.count("captured"))
        for _ in batches:
            pass
    assert (engine.device.log.count("zeros"), engine.device.log.count("captured")) == before
    assert before[1] == SLOTS


def test_logits_that_are_not_finite_name_their_image() -> None:
    class Broken(LazyBlockEngine):
        def bind(self, image_NHWC: NDArray[np.uint8], logits_NChw: NDArray[np.float32]) -> Callable[[], None]:
            def work() -> None:
                logits_NChw[:] = block_logits(image_NHWC)
                for slot, image_HWC in enumerate(image_NHWC):
                    if np.array_equal(image_HWC, IMAGES[4]):
                        logits_NChw[slot, 2, 3, 4] = np.nan

            return lambda: self.device.put(self.device.compute, "network", work)

    with pytest.raises(NumericsError, match=r"not finite for image 4\."):
        list(score_batches_on_device(read, spans(0, 7, 3), Broken(3), ids=IDS))


def test_too_little_memory_says_what_to_change() -> None:
    with pytest.raises(EngineError, match=r"3 batches of 4 images.*scorer.batch_size") as caught:
        next(score_batches_on_device(read, spans(0, 7, 4), LazyBlockEngine(4, memory_bytes=50_000), ids=IDS))
    assert caught.value.exit_code == 6


@pytest.mark.parametrize("stop", ["error", "closed early"])
def test_the_reader_ends_with_the_pass_and_nothing_stays_on_a_stream(stop: str) -> None:
    def failing(first: int, out_NHWC: NDArray[np.uint8]) -> None:
        if stop == "error" and first == 6:
            raise OSError("gone")
        read(first, out_NHWC)

    engine = LazyBlockEngine(1)
    batches = score_batches_on_device(failing, spans(0, 7, 1), engine, ids=IDS)
    with closing(batches):
        next(batches)
        if stop == "error":
            with pytest.raises(OSError, match="gone"):
                list(batches)
    assert not any(thread.name == "s4al-read" for thread in threading.enumerate())
    assert not any(stream.todo for stream in engine.device._streams())


def test_no_images_give_no_batches() -> None:
    assert list(score_batches_on_device(read, [], LazyBlockEngine(2), ids=[])) == []
    assert [b.span for b in score_batches_on_device(read, [Span(3, 1)], LazyBlockEngine(2), ids=IDS)] == [Span(3, 1)]


def test_the_pass_over_the_pool_is_the_devices_where_the_engine_is_on_one() -> None:
    engine = LazyBlockEngine(3)
    found = joined([taken(batch) for batch in score_batches(read, spans(0, 7, 3), engine, ids=IDS)])
    assert engine.device.log.count("captured") == SLOTS
    np.testing.assert_array_equal(
        found["entropy_NR"],
        joined([taken(b) for b in score_batches(read, spans(0, 7, 3), BlockEngine(3), ids=IDS)])["entropy_NR"],
    )


def test_one_batch_at_a_time_gives_the_logits() -> None:
    engine = LazyBlockEngine(7)
    for images in (IMAGES, IMAGES[::-1]):
        np.testing.assert_array_equal(engine.run(images), block_logits(images))
    assert engine.device.log.count("captured") == 1


def test_stages_are_timed_alone() -> None:
    seconds = stages_alone(LazyBlockEngine(2))
    assert list(seconds) == ["copy in", "network", "kernel", "copy out"]
    assert all(value > 0 for value in seconds.values())
