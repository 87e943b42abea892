"""How region_scores.cu is launched: its tables, its sizes and its arguments. NumPy only, so tests need no GPU.

The positions of the pixels are tables made here in float64, as for the CPU, because a kernel that computes them in
float32 finds other neighbours than the specification where a pixel lies exactly on a low-resolution one.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from s4al.kernels.arguments import POOLINGS, check_settings
from s4al.kernels.taps import interpolation_taps

SOURCE = Path(__file__).with_name("region_scores.cu")
THREADS = 96  # regions of 30 to 64 pixels keep 80 to 90 % of the lanes busy; 64 and 128 do no better
NUM_SCORES = 3
NUM_SUMS = 4
WARP = 32
# A multiprocessor with 100 KB of shared memory runs four blocks of 24 KB. More classes than about a hundred would leave
# tiles of fewer pixels than threads, which is worse than fewer blocks. 48 KB is what every device gives without asking.
PREFERRED_SHARED_BYTES = 24 * 1024
MOST_SHARED_BYTES = 48 * 1024
MOST_COUNTED = 2**24  # pixels of a region under "top-tenth": the kernel counts them in float32
MOST_BLOCKS = 65535  # along the second and third axis of a grid
TAP = np.dtype([("low", np.int32), ("weight", np.float32)])  # struct Tap


class LaunchPlan(NamedTuple):
    """What one launch needs beside the arrays; a function of the geometry."""

    options: tuple[str, ...]  # for the compiler
    grid: tuple[int, int, int]  # regions across, regions down, images
    threads: int
    shared_bytes: int
    kept_shape: tuple[int, ...]  # of the float32 that the kernel keeps in between, under "top-tenth" only
    row_taps: np.ndarray  # TAP (height,)
    column_taps: np.ndarray  # TAP (width,)
    run_rows: np.ndarray  # int32 (runs + 1,): first row of every run, then height
    first_run: np.ndarray  # int32 (regions down + 1,): first run of every row of regions, then runs
    scalars: dict[str, np.generic]  # the kernel's last parameters by name, in order

    @property
    def num_regions(self) -> int:
        return self.grid[0] * self.grid[1]


class _Tile(NamedTuple):
    runs: int
    width: int
    patch_height: int
    patch_width: int


def plan_launch(
    logits_shape: tuple[int, ...],
    dtype: np.typing.DTypeLike,
    *,
    height: int,
    width: int,
    region_height: int,
    region_width: int,
    align_corners: bool = False,
    labelled_pixels: str = "zero",
    pooling: str = "mean",
    confidence_threshold: float = 0.0,
) -> LaunchPlan:
    """Tables and sizes for (N, C, h, w) logits, see `s4al.kernels.region_scores`.

    Raises
    ------
    ValueError : settings that make no sense together, or that the kernel's 32-bit indices or the grid cannot hold.
    """
    dtype = np.dtype(dtype)
    if len(logits_shape) != 4 or min(logits_shape) < 1:
        raise ValueError(f"logits must be (N, C, H, W) without empty axes, got shape {logits_shape}")
    num_images, num_classes, low_height, low_width = logits_shape
    check_settings(
        logits_shape,
        dtype,
        height=height,
        width=width,
        region_height=region_height,
        region_width=region_width,
        labelled_pixels=labelled_pixels,
        pooling=pooling,
        confidence_threshold=confidence_threshold,
    )
    grid = (-(-width // region_width), -(-height // region_height), num_images)
    if max(grid[1:]) > MOST_BLOCKS:
        raise ValueError(f"at most {MOST_BLOCKS} images and rows of regions in one launch, got {grid[2]} and {grid[1]}")
    if max(num_classes * low_height * low_width, height * width) >= 2**31:
        raise ValueError(
            f"an image must have less than 2^31 logits and pixels, got {logits_shape[1:]} and {height}x{width}"
        )

    if pooling == "top-tenth" and min(region_height, height) * min(region_width, width) > MOST_COUNTED:
        raise ValueError(f'pooling "top-tenth" takes regions of at most {MOST_COUNTED} pixels on a GPU')

    rows = _taps(low_height, height, align_corners)
    columns = _taps(low_width, width, align_corners)
    rows_per_thread = _rows_per_thread(height / low_height)
    run_rows, first_run = _runs(rows["low"], region_height, rows_per_thread)
    tile = _choose_tile(rows["low"], columns["low"], run_rows, first_run, region_width, num_classes)
    return LaunchPlan(
        options=_options(rows_per_thread, dtype, pooling),
        grid=grid,
        threads=THREADS,
        shared_bytes=_shared_bytes(tile, num_classes),
        kept_shape=(NUM_SCORES, num_images, height, width) if pooling == "top-tenth" else (),
        row_taps=rows,
        column_taps=columns,
        run_rows=run_rows,
        first_run=first_run,
        scalars={
            "num_classes": np.int32(num_classes),
            "low_height": np.int32(low_height),
            "low_width": np.int32(low_width),
            "height": np.int32(height),
            "width": np.int32(width),
            "region_width": np.int32(min(region_width, width)),
            "tile_runs": np.int32(tile.runs),
            "tile_width": np.int32(tile.width),
            "patch_height": np.int32(tile.patch_height),
            "patch_width": np.int32(tile.patch_width),
            "exclude_labelled": np.int32(labelled_pixels == "exclude"),
            "confidence_threshold": np.float32(confidence_threshold),
        },
    )


def kernel_arguments(
    plan: LaunchPlan,
    *,
    logits: int,
    labelled: int,
    row_taps: int,
    column_taps: int,
    run_rows: int,
    first_run: int,
    scores: int,
    label: int,
    confidence: int,
    histogram: int,
    pixels: int,
) -> dict[str, np.generic]:
    """The kernel's arguments by parameter name, in order. The pointers are addresses, 0 = null."""
    pointers = {
        "logits": logits,
        "labelled": labelled,
        "row_taps": row_taps,
        "column_taps": column_taps,
        "run_rows": run_rows,
        "first_run": first_run,
        "scores": scores,
        "label": label,
        "confidence": confidence,
        "histogram": histogram,
        "pixels": pixels,
    }
    return {name: np.uint64(address) for name, address in pointers.items()} | plan.scalars


def _options(rows_per_thread: int, dtype: np.dtype, pooling: str) -> tuple[str, ...]:
    half = ("-DHALF_LOGITS",) if dtype == np.float16 else ()
    pool = f"-DPOOLING={POOLINGS.index(pooling)}"
    return ("-std=c++17", f"-DTHREADS={THREADS}", f"-DROWS={rows_per_thread}", pool, *half)


def _rows_per_thread(stride: float) -> int:
    """About as many rows as lie between two low-resolution ones; beyond four, registers are short."""
    return 1 if stride < 1.5 else 2 if stride < 3 else 4


def _taps(low_size: int, size: int, align_corners: bool) -> np.ndarray:
    taps = np.empty(size, TAP)
    taps["low"], taps["weight"] = interpolation_taps(low_size, size, align_corners)
    return taps


def _runs(low: np.ndarray, region_height: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut the rows into runs of at most `most` that have one low-resolution row and lie in one region."""
    rows = np.arange(low.size)
    cut = (rows % region_height == 0) | (np.diff(low, prepend=-1) != 0)
    since_cut = rows - np.maximum.accumulate(np.where(cut, rows, 0))
    starts = np.flatnonzero(since_cut % most == 0)
    region_starts = np.append(np.arange(0, low.size, region_height), low.size)
    return np.append(starts, low.size).astype(np.int32), np.searchsorted(starts, region_starts).astype(np.int32)


def _choose_tile(
    row_low: np.ndarray,
    column_low: np.ndarray,
    run_rows: np.ndarray,
    first_run: np.ndarray,
    region_width: int,
    num_classes: int,
) -> _Tile:
    """The whole region, halved until its patch fits in shared memory."""
    width = column_low.size
    runs = np.arange(run_rows.size - 1)
    run_in_region = runs - np.repeat(first_run[:-1], np.diff(first_run))
    column_in_region = np.arange(width) % region_width

    def make(tile_runs: int, tile_width: int) -> _Tile:
        row_starts = run_rows[:-1][run_in_region % tile_runs == 0]
        column_starts = np.flatnonzero(column_in_region % tile_width == 0)
        return _Tile(tile_runs, tile_width, _most_low(row_low, row_starts), _most_low(column_low, column_starts))

    def fit(limit: int) -> _Tile:
        tile = make(int(np.diff(first_run).max()), min(region_width, width))
        while _shared_bytes(tile, num_classes) > limit:  # one run by one column always fits: 4 KB for 255 classes
            if tile.runs > 1 and (tile.patch_height >= tile.patch_width or tile.width == 1):
                tile = make(-(-tile.runs // 2), tile.width)
            else:
                tile = make(tile.runs, -(-tile.width // 2))
        return tile

    tile = fit(PREFERRED_SHARED_BYTES)
    return tile if tile.runs * tile.width >= THREADS else fit(MOST_SHARED_BYTES)


def _most_low(low: np.ndarray, starts: np.ndarray) -> int:
    """Low-resolution pixels under the largest of the stretches that begin at `starts`, the second neighbours too."""
    ends = np.append(starts[1:], low.size)
    return int((low[ends - 1] + 2 - low[starts]).max())


def _shared_bytes(tile: _Tile, num_classes: int) -> int:
    """The patch, the sums of the warps, the histogram."""
    return 4 * (num_classes * tile.patch_height * tile.patch_width + NUM_SUMS * (THREADS // WARP) + num_classes)
