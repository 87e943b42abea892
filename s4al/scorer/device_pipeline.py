"""The pool's pass on a GPU: three batches in flight, nothing but launches on the host's side.

    host     read into pinned memory | ................................. | scores to the caller
    copy_in                          | images in |
    compute                                      | network, kernel |
    copy_out                                                       | scores, labels out |

Each slot owns all that a batch needs, so three batches are at three different places of this at a time. Network and
kernel of a slot are one CUDA graph, captured once. Full-size logits are never made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from s4al.errors import EngineError
from s4al.scorer.device import Device, DeviceOutOfMemory, KernelOutput
from s4al.scorer.model_card import ModelCard
from s4al.scorer.pipeline import SLOTS, ScoredBatch, check_finite, mark_labelled
from s4al.scorer.read_ahead import Read, ReadAhead, Span
from s4al.scorer.stopwatch import Stopwatch

_WARM_UPS = 2  # engines allocate at their first calls, which a capture must not contain


class DeviceEngine(Protocol):
    """A network on a device.

    Attributes
    ----------
    batch_size : may be lowered, or raised up to `largest_batch`, before anything is bound.
    logits_dtype : float16 or float32.
    capturable : whether what `bind` returns may be recorded in a CUDA graph.
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

    def bind(self, image_NHWC: Any, logits_NChw: Any) -> Callable[[], None]:
        """For these device arrays of `batch_size` images: what puts the network on the device's compute stream.

        The arrays are of `Device.zeros`. What is returned allocates nothing after `_WARM_UPS` calls. Raises
        DeviceOutOfMemory.
        """
        ...


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

    device.synchronize_all()  # the zeros were written on another stream
    for _ in range(_WARM_UPS):
        work()
    device.synchronize_all()
    return _Slot(
        image_NHWC=device.pinned(image_shape, np.uint8),
        labelled_NHW=device.pinned(labelled_shape, np.uint8),
        on_device=(image, labelled),
        output=output,
        results=KernelOutput(*(device.pinned(array.shape, array.dtype) for array in output)),
        launch=device.capture(work) if engine.capturable else work,
        images_in=device.event(),
        computed=device.event(),
        results_out=device.event(),
    )


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
