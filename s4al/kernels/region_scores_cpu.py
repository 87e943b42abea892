"""region_scores on the CPU: checks, tables and threads here, the arithmetic in region_scores_numba.

The threads are Python's own and run jitted code that does not hold the GIL. Numba's parallel loops would bring in a
threading layer: OpenMP spins at its barriers, which is ruinous next to an inference engine that wants the same cores
(seen: five times slower than one thread), and it aborts forked children.
"""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from s4al.kernels.arguments import RegionScores, check_arguments
from s4al.kernels.region_scores_numba import LANES, MAX, NUM_SCORES, NUM_SUMS, TOP_TENTH, Taps, score_chunks
from s4al.kernels.taps import interpolation_taps

_POOLINGS = {"mean": None, "max": MAX, "top-tenth": TOP_TENTH}
MAX_CHUNK_ROWS = 64  # bounds the float32 sums; and one big region is still work for several threads
BLOCK_BYTES = 256 * 1024  # the two stretched rows of a thread stay in its second-level cache


class Plan(NamedTuple):
    """Everything that depends on the geometry alone."""

    rows: Taps
    columns: Taps
    chunk_bounds: np.ndarray  # int64 (K + 1,): rows of the output, no chunk crosses regions
    first_chunk: np.ndarray  # int64, one per row of regions
    area_R: np.ndarray  # float64, pixels of each region
    block: int


def region_scores(
    logits_NCHW: np.ndarray,
    *,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    align_corners: bool = False,
    labelled_NHW: np.ndarray | None = None,
    labelled_pixels: str = "zero",
    pooling: str = "mean",
    confidence_threshold: float = 0.0,
    out: RegionScores | None = None,
    threads: int | None = None,
) -> RegionScores:
    """As `s4al.kernels.region_scores`, which holds the description."""
    check_arguments(
        logits_NCHW,
        height=height,
        width=width,
        region_height=region_height,
        region_width=region_width,
        labelled_NHW=labelled_NHW,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
        out=out,
    )
    if threads is not None and threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    num_images, num_classes, low_height, low_width = logits_NCHW.shape
    whole_cells = pooling == "top-tenth"
    plan = _plan(
        num_classes, low_height, low_width, height, width, region_height, region_width, align_corners, whole_cells
    )
    if out is None:
        out = RegionScores.empty(num_images, plan.area_R.size, height, width)
    num_chunks, cell_columns = plan.chunk_bounds.size - 1, -(-width // region_width)
    sums_NKR4 = np.empty((num_images, num_chunks, cell_columns, NUM_SUMS))
    _run(
        num_images * num_chunks,
        threads or _available_cores(),
        _read_only(logits_NCHW if logits_NCHW.dtype == np.float32 else logits_NCHW.view(np.uint16)),
        _read_only(np.empty((num_images, 0, 0), np.uint8) if labelled_NHW is None else labelled_NHW),
        plan.rows,
        plan.columns,
        plan.chunk_bounds,
        plan.block,
        region_width,
        _POOLINGS[pooling],
        labelled_pixels == "exclude",
        np.float32(confidence_threshold),
        sums_NKR4,
        out.label_NHW,
        out.confidence_NHW,
    )
    sums_NR4 = np.add.reduceat(sums_NKR4, plan.first_chunk, axis=1).reshape(num_images, -1, NUM_SUMS)
    unlabelled_NR = sums_NR4[..., NUM_SCORES]
    if pooling == "mean":
        count_NR = np.maximum(unlabelled_NR, 1) if labelled_pixels == "exclude" else plan.area_R
        for scores_NR, sums_NR in zip(out[:NUM_SCORES], np.moveaxis(sums_NR4, -1, 0), strict=False):
            np.divide(sums_NR, count_NR, out=scores_NR, casting="same_kind")
    else:  # pooled within the chunks already, of which a region has one under "top-tenth"
        pooled_NKR4 = np.maximum.reduceat(sums_NKR4, plan.first_chunk, axis=1)
        for score, scores_NR in enumerate(out[:NUM_SCORES]):
            scores_NR[:] = pooled_NKR4[..., score].reshape(num_images, -1)
    np.subtract(1, unlabelled_NR / plan.area_R, out=out.labelled_NR, casting="same_kind")
    return out


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read_only(array: np.ndarray) -> np.ndarray:
    """Numba compiles anew for writeable and for read-only arrays, so it only ever sees the one kind."""
    view = array.view()
    view.flags.writeable = False
    return view


def _run(num_tasks: int, threads: int, *arguments: Any) -> None:
    """Score the chunks on this thread and on up to threads - 1 others; an exception on any of them is raised here."""
    counter = np.zeros(1, np.int64)
    helpers = [_pool().submit(score_chunks, counter, *arguments) for _ in range(min(threads, num_tasks) - 1)]
    score_chunks(counter, *arguments)
    for helper in helpers:
        if not helper.cancel():  # one that has not begun has nothing left to do
            helper.result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="region-scores")


os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked child inherits the pool without its threads


@functools.lru_cache(maxsize=16)
def _plan(
    num_classes: int,
    low_height: int,
    low_width: int,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    align_corners: bool,
    whole_cells: bool,
) -> Plan:
    bounds, first_chunk = [0], []
    for y in range(0, height, region_height):
        end = min(y + region_height, height)
        pieces = 1 if whole_cells else -(-(end - y) // MAX_CHUNK_ROWS)
        first_chunk.append(len(bounds) - 1)
        bounds += [y + (end - y) * (piece + 1) // pieces for piece in range(pieces)]
    cell_heights = np.minimum(region_height, height - np.arange(0, height, region_height))
    cell_widths = np.minimum(region_width, width - np.arange(0, width, region_width))
    return Plan(
        rows=_taps(low_height, height, align_corners),
        columns=_taps(low_width, width, align_corners),
        chunk_bounds=np.array(bounds),
        first_chunk=np.array(first_chunk),
        area_R=np.outer(cell_heights, cell_widths).ravel().astype(np.float64),
        block=_block(num_classes, width),
    )


def _block(num_classes: int, width: int) -> int:
    """Columns per block: as many as the cache takes, in blocks of about equal width."""
    most = max(BLOCK_BYTES // (2 * num_classes * np.dtype(np.float32).itemsize), LANES)
    blocks = -(-width // most)
    return -(-width // (blocks * LANES)) * LANES


def _taps(low_size: int, size: int, align_corners: bool) -> Taps:
    lower, weight = interpolation_taps(low_size, size, align_corners)
    padded = np.zeros(size + LANES, np.float32)
    padded[:size] = weight
    return Taps(lower, padded, first=np.searchsorted(lower, np.arange(low_size + 1)))
