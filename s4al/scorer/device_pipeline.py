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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from s4al.config import Pooling
from s4al.errors import EngineError
from s4al.scorer.batch import SLOTS, ScoredBatch, check_finite, mark_labelled
from s4al.scorer.engines.device import DeviceOutOfMemory, KernelOutput
from s4al.scorer.engines.device_engine import DeviceEngine, Passage, bind_network, ready, seconds_per_call
from s4al.scorer.read_ahead import Read, ReadAhead, Span
from s4al.scorer.stopwatch import Stopwatch


@dataclass(frozen=True)
class _Slot:
    """All memory of one batch, on both sides."""

    image_NHWC: NDArray[np.uint8]
    labelled_NHW: NDArray[np.uint8]
    on_device: tuple[Any, Any]  # the twins of the two above
    output: KernelOutput
    results: KernelOutput  # its pinned twin
    network: Callable[[], None]
    kernel: Callable[[], None]
    passage: Passage  # of network and kernel as one

    def submit(self, with_labels: bool) -> None:
        """Put a filled slot on its way. Labels stay on the device until they change."""
        uploads = list(zip(self.on_device, (self.image_NHWC, self.labelled_NHW), strict=True))
        self.passage.submit(uploads if with_labels else uploads[:1], zip(self.results, self.output, strict=True))


def make_slots(
    engine: DeviceEngine, *, labelled_pixels: str, pooling: Pooling, confidence_threshold: float
) -> list[_Slot]:
    """Allocate, warm up and capture. Raises DeviceOutOfMemory."""
    return [_make_slot(engine, labelled_pixels, pooling, confidence_threshold) for _ in range(SLOTS)]


def _make_slot(engine: DeviceEngine, labelled_pixels: str, pooling: Pooling, confidence_threshold: float) -> _Slot:
    device, card = engine.device, engine.card
    image, logits, network = bind_network(engine)
    labelled = device.zeros((engine.batch_size, card.height, card.width), np.uint8)
    output, kernel = device.bind_kernel(
        logits,
        labelled,
        card,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
    )

    def work() -> None:
        network()
        kernel()

    return _Slot(
        image_NHWC=device.pinned(image.shape, np.uint8),
        labelled_NHW=device.pinned(labelled.shape, np.uint8),
        on_device=(image, labelled),
        output=output,
        results=KernelOutput(*(device.pinned(array.shape, array.dtype) for array in output)),
        network=network,
        kernel=kernel,
        passage=Passage(device, ready(engine, work)),
    )


def stages_alone(engine: DeviceEngine, pooling: Pooling = "mean") -> dict[str, float]:
    """Seconds an image of each stage on the device, with nothing else under way: what overlaps in the pipeline."""
    device, slot = engine.device, _make_slot(engine, "zero", pooling, 0.0)

    def copy_out() -> None:
        for target, source in zip(slot.results, slot.output, strict=True):
            device.download(target, source)

    stages = {
        "copy in": lambda: device.upload(slot.on_device[0], slot.image_NHWC),
        "network": device.capture(slot.network) if engine.capturable else slot.network,
        "kernel": slot.kernel,
        "copy out": copy_out,
    }
    return {name: seconds_per_call(device, stage) / engine.batch_size for name, stage in stages.items()}


def score_batches_on_device(
    read: Read,
    batches: Iterable[Span],
    engine: DeviceEngine,
    *,
    ids: Sequence[str],
    labelled_regions: Callable[[int], Sequence[int]] | None = None,
    labelled_pixels: Literal["zero", "exclude"] = "zero",
    pooling: Pooling = "mean",
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
            slots = make_slots(
                engine,
                labelled_pixels=labelled_pixels,
                pooling=pooling,
                confidence_threshold=confidence_threshold,
            )
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
                        slots[index].submit(with_labels=known or drawn[index])
                        drawn[index] = known
                    in_flight.append(item)
                if not in_flight:
                    return
                span, index = in_flight.popleft()
                with watch.stage("wait"):
                    engine.device.synchronize(slots[index].passage.results_out)
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
