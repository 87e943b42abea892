"""The pool's pass on a GPU: three batches in flight, nothing but launches on the host's side.

    host     read into pinned memory | ................................. | scores to the caller
    copy_in                          | images in |
    compute                                      | network, kernel |
    copy_out                                                       | scores, labels out |

Each slot owns all that a batch needs, so three batches are at three different places of this at a time. Network and
kernel of a slot are one CUDA graph, captured once. Full-size logits are never made.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from s4al.errors import EngineError
from s4al.scorer.device import Device, DeviceOutOfMemory, KernelOutput
from s4al.scorer.model_card import ModelCard
from s4al.scorer.pipeline import SLOTS, ScoredBatch, check_finite, mark_labelled
from s4al.scorer.read_ahead import Read, ReadAhead, Span
from s4al.scorer.stopwatch import Stopwatch

_TIMED_CALLS = 20
_WARM_UPS = 2  # engines allocate at their first calls, which a capture must not contain


class DeviceEngine(ABC):
    """A network on a device; an `Engine` that the pipeline can run without the host.

    Attributes
    ----------
    batch_size : may be lowered, or raised up to `largest_batch`, before anything is bound.
    logits_dtype : float16 or float32.
    capturable : whether what `bind` returns may be recorded in a CUDA graph.
    passed_over : why engines that would have been preferred are not used.
    """

    name: str
    provider: str
    batch_size: int
    largest_batch: int
    threads: int
    card: ModelCard
    device: Device
    logits_dtype: np.dtype[Any]
    capturable: bool
    passed_over: tuple[str, ...] = ()
    _one_batch: OneBatch | None = None

    @abstractmethod
    def bind(self, image_NHWC: Any, logits_NChw: Any) -> Callable[[], None]:
        """For these device arrays of `batch_size` images: what puts the network on the device's compute stream.

        The arrays are of `Device.zeros`. What is returned keeps them alive, and allocates nothing after `_WARM_UPS`
        calls. Raises DeviceOutOfMemory.
        """

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """As `Engine.run`, for checks: one batch at a time."""
        if self._one_batch is None:
            self._one_batch = OneBatch(self)
        return self._one_batch.run(image_NHWC)


@dataclass(frozen=True)
class _Slot:
    """All memory of one batch, on both sides."""

    image_NHWC: NDArray[np.uint8]
    labelled_NHW: NDArray[np.uint8]
    on_device: tuple[Any, Any]  # the twins of the two above
    output: KernelOutput
    results: KernelOutput  # its pinned twin
    launch: Callable[[], None]
    images_in: Any
    computed: Any
    results_out: Any

    def submit(self, device: Device, with_labels: bool) -> None:
        """Put a filled slot on its way. Labels stay on the device until they change."""
        device.upload(self.on_device[0], self.image_NHWC)
        if with_labels:
            device.upload(self.on_device[1], self.labelled_NHW)
        device.record(self.images_in, device.copy_in)
        device.wait(device.compute, self.images_in)
        self.launch()
        device.record(self.computed, device.compute)
        device.wait(device.copy_out, self.computed)
        for target, source in zip(self.results, self.output, strict=True):
            device.download(target, source)
        device.record(self.results_out, device.copy_out)


class OneBatch:
    """One batch at a time through an engine: what `DeviceEngine.run` needs. Raises DeviceOutOfMemory."""

    def __init__(self, engine: DeviceEngine) -> None:
        device, card, size = engine.device, engine.card, engine.batch_size
        self._device = device
        self._image = device.zeros((size, card.height, card.width, 3), np.uint8)
        self._logits = device.zeros((size, len(card.class_names), *card.logits_size), engine.logits_dtype)
        self._launch = _ready(engine, engine.bind(self._image, self._logits))
        self._events = device.event(), device.event()

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        assert image_NHWC.shape == self._image.shape, (image_NHWC.shape, self._image.shape)
        device, (images_in, computed) = self._device, self._events
        logits_NChw = np.empty(self._logits.shape, self._logits.dtype)
        device.upload(self._image, np.ascontiguousarray(image_NHWC))
        device.record(images_in, device.copy_in)
        device.wait(device.compute, images_in)
        self._launch()
        device.record(computed, device.compute)
        device.wait(device.copy_out, computed)
        device.download(logits_NChw, self._logits)
        device.synchronize_all()
        return logits_NChw


def _ready(engine: DeviceEngine, work: Callable[[], None]) -> Callable[[], None]:
    """Warmed up, and captured where the engine allows it."""
    device = engine.device
    device.synchronize_all()  # memory was zeroed on another stream
    for _ in range(_WARM_UPS):
        work()
    device.synchronize_all()
    return device.capture(work) if engine.capturable else work


def make_slots(engine: DeviceEngine, *, labelled_pixels: str, confidence_threshold: float) -> list[_Slot]:
    """Allocate, warm up and capture. Raises DeviceOutOfMemory."""
    return [_make_slot(engine, labelled_pixels, confidence_threshold) for _ in range(SLOTS)]


def _make_slot(engine: DeviceEngine, labelled_pixels: str, confidence_threshold: float) -> _Slot:
    device, card, size = engine.device, engine.card, engine.batch_size
    image_shape, labelled_shape = (size, card.height, card.width, 3), (size, card.height, card.width)
    image, labelled = device.zeros(image_shape, np.uint8), device.zeros(labelled_shape, np.uint8)
    logits = device.zeros((size, len(card.class_names), *card.logits_size), engine.logits_dtype)
    enqueue = engine.bind(image, logits)
    output, kernel = device.bind_kernel(
        logits, labelled, card, labelled_pixels=labelled_pixels, confidence_threshold=confidence_threshold
    )

    def work() -> None:
        enqueue()
        kernel()

    launch = _ready(engine, work)
    return _Slot(
        image_NHWC=device.pinned(image_shape, np.uint8),
        labelled_NHW=device.pinned(labelled_shape, np.uint8),
        on_device=(image, labelled),
        output=output,
        results=KernelOutput(*(device.pinned(array.shape, array.dtype) for array in output)),
        launch=launch,
        images_in=device.event(),
        computed=device.event(),
        results_out=device.event(),
    )


def stages_alone(engine: DeviceEngine) -> dict[str, float]:
    """Seconds an image of each stage on the device, with nothing else under way: what overlaps in the pipeline."""
    device, slot = engine.device, _make_slot(engine, "zero", 0.0)
    image, labelled = slot.on_device
    logits = device.zeros(
        (engine.batch_size, len(engine.card.class_names), *engine.card.logits_size), engine.logits_dtype
    )
    network = _ready(engine, engine.bind(image, logits))
    _, kernel = device.bind_kernel(logits, labelled, engine.card, labelled_pixels="zero", confidence_threshold=0.0)

    def copy_out() -> None:
        for target, source in zip(slot.results, slot.output, strict=True):
            device.download(target, source)

    stages = {
        "copy in": lambda: device.upload(image, slot.image_NHWC),
        "network": network,
        "kernel": kernel,
        "copy out": copy_out,
    }
    return {name: _seconds(device, stage) / engine.batch_size for name, stage in stages.items()}


def _seconds(device: Device, work: Callable[[], None]) -> float:
    """Of one call among many in a row, the first of which is not counted."""
    work()
    device.synchronize_all()
    started = time.perf_counter()
    for _ in range(_TIMED_CALLS):
        work()
    device.synchronize_all()
    return (time.perf_counter() - started) / _TIMED_CALLS


def score_batches_on_device(
    read: Read,
    batches: Iterable[Span],
    engine: DeviceEngine,
    *,
    ids: Sequence[str],
    labelled_regions: Callable[[int], Sequence[int]] | None = None,
    labelled_pixels: Literal["zero", "exclude"] = "zero",
    confidence_threshold: float = 0.0,
    stopwatch: Stopwatch | None = None,
) -> Generator[ScoredBatch]:
    """As `pipeline.score_batches`, which hands device engines over to this; `predicted_NR` counts full-size pixels.

    Raises
    ------
    EngineError : the device has not the memory for three batches. And what `score_batches` raises.
    """
    watch = stopwatch or Stopwatch()
    with watch.stage("set-up"):
        try:
            slots = make_slots(engine, labelled_pixels=labelled_pixels, confidence_threshold=confidence_threshold)
        except DeviceOutOfMemory as error:
            raise EngineError(
                f"{engine.device.name} has not the memory for {SLOTS} batches of {engine.batch_size} images ({error}).",
                kept="What was scored before is kept.",
                remedy="Set a smaller scorer.batch_size, or free the memory that other processes hold.",
            ) from error
    boxes = engine.card.grid.network_boxes()
    drawn = [False] * SLOTS  # whether the labelled pixels of a slot are other than none
    in_flight: deque[tuple[Span, int]] = deque()
    with ReadAhead(read, batches, [slot.image_NHWC for slot in slots]) as ahead:
        more = True
        try:
            while True:
                while more and len(in_flight) < SLOTS:
                    with watch.stage("read"):
                        item = ahead.next()
                    if item is None:
                        more = False
                        break
                    span, index = item
                    with watch.stage("launch"):
                        known = mark_labelled(slots[index].labelled_NHW, boxes, span, labelled_regions)
                        if drawn[index] and not known:
                            slots[index].labelled_NHW.fill(0)
                        slots[index].submit(engine.device, with_labels=known or drawn[index])
                        drawn[index] = known
                    in_flight.append(item)
                if not in_flight:
                    return
                span, index = in_flight.popleft()
                with watch.stage("wait"):
                    engine.device.synchronize(slots[index].results_out)
                yield _scored(span, slots[index].results, ids)
                ahead.release(index)
        finally:
            engine.device.synchronize_all()  # nothing may be on its way when the memory goes


def _scored(span: Span, results: KernelOutput, ids: Sequence[str]) -> ScoredBatch:
    entropy_NR, least_confidence_NR, margin_NR, labelled_NR = results.scores_4NR[:, : span.count]
    check_finite(entropy_NR, span, ids)
    return ScoredBatch(
        span,
        entropy_NR,
        least_confidence_NR,
        margin_NR,
        labelled_NR,
        label_NHW=results.label_NHW[: span.count],
        predicted_NR=results.histogram_NRC[: span.count].argmax(axis=2).astype(np.int16),
    )
