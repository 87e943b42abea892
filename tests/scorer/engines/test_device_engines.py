"""Engines that write into the pipeline's memory, and their batch size. What needs a GPU is in tests/gpu."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from s4al.errors import EngineError
from s4al.scorer.batch import SLOTS
from s4al.scorer.engines import device_engine, device_engines
from s4al.scorer.engines.device_engines import OrtDeviceEngine, settle_batch_size
from s4al.watch import Watch
from tests.lazy_device import LazyDevice
from tests.notes import Notes
from tests.scorer.test_device_pipeline import LazyBlockEngine
from tests.small_models import random_images, small_card, small_engine, small_model


def test_onnx_runtime_reads_and_writes_the_memory_it_is_bound_to() -> None:
    device, images = LazyDevice(0), random_images(3)
    engine = OrtDeviceEngine(small_model(), small_card(), device, batch_size=3, threads=1, kind="cpu")
    image = device.zeros(images.shape, np.uint8)
    logits = device.zeros((3, 3, *engine.card.logits_size), engine.logits_dtype)
    enqueue = engine.bind(image, logits)
    for turn in (images, images[::-1]):
        image[:] = turn
        enqueue()
        np.testing.assert_array_equal(logits, small_engine(3).run(turn.copy()))


def test_memory_that_is_bound_stays() -> None:
    """Engines hold addresses; whoever holds what `bind` returned must be able to forget the arrays."""
    device = LazyDevice(0)
    engine = OrtDeviceEngine(small_model(), small_card(), device, batch_size=2, threads=1, kind="cpu")
    image, logits = device.zeros((2, 48, 64, 3), np.uint8), device.zeros((2, 3, 12, 16), np.float32)
    enqueue, references = engine.bind(image, logits), (weakref.ref(image), weakref.ref(logits))
    del image, logits
    gc.collect()
    assert all(reference() is not None for reference in references)
    enqueue()


def test_an_onnx_runtime_without_the_provider_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EngineError, match="no CUDAExecutionProvider"):
        OrtDeviceEngine(small_model(), small_card(), LazyDevice(0), batch_size=1, threads=1)


def image_bytes() -> int:
    """Of one image in all slots, with its logits."""
    card = small_card()
    logits = 4 * len(card.class_names) * card.logits_size[0] * card.logits_size[1]
    return SLOTS * (card.height * card.width * 3 + logits)


def test_a_batch_that_does_not_fit_is_halved_and_told() -> None:
    engine, notes = LazyBlockEngine(1, memory_bytes=3 * image_bytes()), Notes()
    settle_batch_size(engine, 16, notes)
    assert engine.batch_size == 2
    assert [line.split(";")[1] for line in notes.lines] == [f" going on with {size} images." for size in (8, 4, 2)]


def test_not_even_one_image() -> None:
    with pytest.raises(EngineError, match="Not even one image") as caught:
        settle_batch_size(LazyBlockEngine(1, memory_bytes=1000), 4, Watch())
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ([100, 190, 300, 301], 16),  # 32 is hardly faster
        ([100, 190, 300, 400], 16),  # the engine takes no more than 16
        ([100, 99], 4),
        ([100, None], 4),  # the second does not fit
    ],
)
def test_the_batch_is_doubled_while_that_pays(
    rates: list[float | None], chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, given = LazyBlockEngine(1), iter(rates)
    monkeypatch.setattr(device_engines, "_rate", lambda engine, size: next(given))
    settle_batch_size(engine, 0, Watch())
    assert engine.batch_size == chosen


def test_doubling_falls_back_below_its_start_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LazyBlockEngine(1, memory_bytes=3 * image_bytes())
    settle_batch_size(engine, 0, Watch())
    assert engine.batch_size == 2


def test_timing_runs_the_network_on_the_device() -> None:
    engine = LazyBlockEngine(1)
    assert device_engines._rate(engine, 4) > 0
    assert engine.device.log.count("network") == SLOTS + device_engine.TIMED_CALLS
    assert not any(stream.todo for stream in engine.device._streams())
