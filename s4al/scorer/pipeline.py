"""The pool's one pass: read ahead, network, kernel. What is in memory does not depend on how many images there are.

Shape suffixes: N images of a batch, H W input pixels, h w stride-4 pixels, C classes, R regions.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from s4al.errors import NumericsError
from s4al.regions import Grid
from s4al.scorer.engines import Engine
from s4al.scorer.stopwatch import Stopwatch

if TYPE_CHECKING:
    from s4al.kernels import RegionScores

SLOTS = 3  # batches in memory: one being read, one waiting, one being scored

# Fills out_NHWC with images first .. first + len(out) - 1.
Read = Callable[[int, NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Span:
    """Images first .. first + count - 1, scored in one batch."""

    first: int
    count: int


@dataclass(frozen=True)
class ScoredBatch:
    """Scores of one span. The arrays are reused: valid until the next batch is asked for."""

    span: Span
    scores: RegionScores
    predicted_NR: NDArray[np.int16]  # the class most stride-4 pixels of a region are given


def spans(start: int, stop: int, batch_size: int) -> list[Span]:
    return [Span(first, min(batch_size, stop - first)) for first in range(start, stop, batch_size)]


def score_batches(
    read: Read,
    batches: Iterable[Span],
    engine: Engine,
    *,
    ids: Sequence[str],
    labelled_regions: Callable[[int], Sequence[int]] | None = None,
    labelled_pixels: Literal["zero", "exclude"] = "zero",
    confidence_threshold: float = 0.0,
    stopwatch: Stopwatch | None = None,
) -> Generator[ScoredBatch]:
    """Score images batch by batch, reading ahead in one other thread.

    The engine always gets its full batch; what is missing is black images whose scores are dropped.

    Parameters
    ----------
    batches : spans of at most `engine.batch_size` images.
    ids : of all images, for messages.
    labelled_regions : image -> its regions that are labelled already. They count as labelled as a whole, by their cell
        of the network's input, whatever rounding their box of original pixels has seen.
    confidence_threshold : pixels below it have the label 255.

    Raises
    ------
    NumericsError : logits that are not finite; names the images. And whatever `read` and the engine raise.
    """
    from s4al.kernels import RegionScores, region_scores

    card, size, watch = engine.card, engine.batch_size, stopwatch or Stopwatch()
    grid = card.grid
    boxes = grid.network_boxes()
    majority = Majority(grid, card.stride, len(card.class_names))
    buffers = RegionScores.empty(size, grid.num_regions, grid.height, grid.width)
    labelled_NHW = np.zeros((size, grid.height, grid.width), np.uint8)
    with closing(_read_ahead(read, batches, (size, grid.height, grid.width, 3))) as filled:
        while True:
            with watch.stage("read"):
                item = next(filled, None)
            if item is None:
                return
            span, image_NHWC = item
            with watch.stage("network"):
                logits_NChw = np.ascontiguousarray(engine.run(image_NHWC)[: span.count])
            with watch.stage("kernel"):
                known = _mark(labelled_NHW, boxes, span, labelled_regions)
                scores = region_scores(
                    logits_NChw,
                    height=grid.height,
                    width=grid.width,
                    region_height=grid.region_height,
                    region_width=grid.region_width,
                    align_corners=card.align_corners,
                    labelled_NHW=labelled_NHW[: span.count] if known else None,
                    labelled_pixels=labelled_pixels,
                    confidence_threshold=confidence_threshold,
                    threads=engine.threads,
                    out=RegionScores(*(array[: span.count] for array in buffers)),
                )
                _check_finite(scores, span, ids)
                predicted_NR = majority(logits_NChw)
            yield ScoredBatch(span, scores, predicted_NR)


def _mark(
    labelled_NHW: NDArray[np.uint8],
    boxes: NDArray[np.int32],
    span: Span,
    labelled_regions: Callable[[int], Sequence[int]] | None,
) -> bool:
    """Draw the labelled regions of a span; False where there are none."""
    regions = [labelled_regions(span.first + slot) if labelled_regions else () for slot in range(span.count)]
    if not any(regions):
        return False
    labelled_NHW.fill(0)
    for slot, of_image in enumerate(regions):
        for y0, x0, y1, x1 in boxes[list(of_image)]:
            labelled_NHW[slot, y0:y1, x0:x1] = 1
    return True


def _check_finite(scores: RegionScores, span: Span, ids: Sequence[str]) -> None:
    """The kernel turns logits that are not finite into NaN scores of their regions."""
    bad = ~np.isfinite(scores.entropy_NR).all(axis=1)
    if bad.any():
        names = ", ".join(ids[span.first + int(slot)] for slot in np.flatnonzero(bad))
        raise NumericsError(
            f"The network's output is not finite for {names}.",
            kept="What was scored before is kept.",
            remedy="The weights of this cycle are broken: look at its training, lower trainer.lr in a new run.",
        )


class Majority:
    """The class that most stride-`stride` pixels of each region are given; the lowest id where two are as frequent.

    A pixel belongs to the region under its centre. A region too small to hold a centre takes the nearest pixel.
    """

    def __init__(self, grid: Grid, stride: int, num_classes: int) -> None:
        rows = _samples(grid.rows, grid.region_height, grid.height, -(-grid.height // stride))
        cols = _samples(grid.cols, grid.region_width, grid.width, -(-grid.width // stride))
        width = -(-grid.width // stride)
        self._pixel = np.array([row * width + col for _, row in rows for _, col in cols], np.intp)
        region = np.array([row * grid.cols + col for row, _ in rows for col, _ in cols], np.intp)
        self._bin = region * num_classes
        self._shape = grid.num_regions, num_classes

    def __call__(self, logits_NChw: NDArray[np.floating[Any]]) -> NDArray[np.int16]:
        """float16 or float32 (N, C, h, w) -> int16 (N, R)."""
        label_NP = _argmax(logits_NChw).reshape(len(logits_NChw), -1)
        counts = [np.bincount(self._bin + label_P[self._pixel], minlength=np.prod(self._shape)) for label_P in label_NP]
        return np.array([each.reshape(self._shape).argmax(axis=1) for each in counts], np.int16)


def _samples(count: int, cell: int, size: int, low_size: int) -> list[tuple[int, int]]:
    """(cell, low-resolution pixel) pairs along one axis."""
    pairs = [(int((2 * low + 1) * size / (2 * low_size)) // cell, low) for low in range(low_size)]
    empty = set(range(count)) - {index for index, _ in pairs}
    middles = {index: (index * cell + min((index + 1) * cell, size)) / 2 for index in empty}
    return pairs + [(index, min(int(middle * low_size / size), low_size - 1)) for index, middle in middles.items()]


def _argmax(logits_NChw: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """argmax over classes, the lowest on ties; class by class in whole arrays, ten times faster than NumPy's own."""
    best, label = logits_NChw[:, 0].copy(), np.zeros(logits_NChw[:, 0].shape, np.uint8)
    for index in range(1, logits_NChw.shape[1]):
        challenger = logits_NChw[:, index]
        better = (challenger > best).view(np.uint8)
        np.maximum(label, better * np.uint8(index), out=label)  # later classes have higher ids
        np.maximum(best, challenger, out=best)
    return label


def _read_ahead(
    read: Read, batches: Iterable[Span], shape: tuple[int, int, int, int]
) -> Generator[tuple[Span, NDArray[np.uint8]]]:
    """Yield each span with its images, zeros behind the last; the buffer is taken back at the next step."""
    free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()
    ready: queue.SimpleQueue[tuple[Span, NDArray[np.uint8]] | BaseException | None] = queue.SimpleQueue()
    stopped = threading.Event()
    for _ in range(SLOTS):
        free.put(np.zeros(shape, np.uint8))

    def work() -> None:
        try:
            for span in batches:
                buffer = free.get()
                if stopped.is_set():
                    return
                read(span.first, buffer[: span.count])
                buffer[span.count :] = 0
                ready.put((span, buffer))
        except BaseException as error:  # noqa: BLE001 handed over and raised where it can be dealt with
            ready.put(error)
        else:
            ready.put(None)

    thread = threading.Thread(target=work, name="s4al-read", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            free.put(item[1])
    finally:
        stopped.set()
        free.put(np.empty(0, np.uint8))  # wakes a reader that waits for a buffer
        thread.join()
