"""The pool's one pass: read ahead, network, kernel. What is in memory does not depend on how many images there are.

Shape suffixes: N images of a batch, H W input pixels, h w stride-4 pixels, C classes, R regions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from s4al.config import Pooling
from s4al.data.regions import Grid
from s4al.scorer.batch import SLOTS, ScoredBatch, check_finite, mark_labelled
from s4al.scorer.device_pipeline import score_batches_on_device
from s4al.scorer.engines.device_engine import DeviceEngine
from s4al.scorer.engines.engine import Engine
from s4al.scorer.read_ahead import Read, ReadAhead, Span
from s4al.scorer.stopwatch import Stopwatch


def score_batches(
    read: Read,
    batches: Iterable[Span],
    engine: Engine,
    *,
    ids: Sequence[str],
    labelled_regions: Callable[[int], Sequence[int]] | None = None,
    labelled_pixels: Literal["zero", "exclude"] = "zero",
    pooling: Pooling = "mean",
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
    pooling : how a region's score is made of its pixels', see `kernels.region_scores`.
    confidence_threshold : pixels below it have the label 255.

    Raises
    ------
    NumericsError : logits that are not finite; names the images. And whatever `read` and the engine raise.
    """
    from s4al.kernels import RegionScores, region_scores

    if isinstance(engine, DeviceEngine):
        yield from score_batches_on_device(
            read,
            batches,
            engine,
            ids=ids,
            labelled_regions=labelled_regions,
            labelled_pixels=labelled_pixels,
            pooling=pooling,
            confidence_threshold=confidence_threshold,
            stopwatch=stopwatch,
        )
        return
    card, size, watch = engine.card, engine.batch_size, stopwatch or Stopwatch()
    grid = card.grid
    boxes = grid.network_boxes()
    majority = Majority(grid, card.stride, len(card.class_names))
    buffers = RegionScores.empty(size, grid.num_regions, grid.height, grid.width)
    labelled_NHW = np.zeros((size, grid.height, grid.width), np.uint8)
    images = [np.zeros((size, grid.height, grid.width, 3), np.uint8) for _ in range(SLOTS)]
    with ReadAhead(read, batches, images) as ahead:
        while True:
            with watch.stage("read"):
                item = ahead.next()
            if item is None:
                return
            span, slot = item
            with watch.stage("network"):
                logits_NChw = np.ascontiguousarray(engine.run(images[slot])[: span.count])
            ahead.release(slot)
            with watch.stage("kernel"):
                known = mark_labelled(labelled_NHW, boxes, span, labelled_regions)
                scores = region_scores(
                    logits_NChw,
                    **card.geometry,
                    labelled_NHW=labelled_NHW[: span.count] if known else None,
                    labelled_pixels=labelled_pixels,
                    pooling=pooling,
                    confidence_threshold=confidence_threshold,
                    threads=engine.threads,
                    out=RegionScores(*(array[: span.count] for array in buffers)),
                )
                check_finite(scores.entropy_NR, span, ids)
                predicted_NR = majority(logits_NChw)
            yield ScoredBatch(span, *scores[:5], predicted_NR)


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
