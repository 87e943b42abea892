"""The jitted half of region_scores_cpu: from low-resolution logits to region sums, labels and confidences, in one pass.

For one image and some rows of one row of regions:

1. *Stage* a row of low-resolution logits: subtract from every pixel its largest class and multiply by log2(e).
   Bilinear weights sum to one, so all classes of an upsampled pixel are shifted by one common amount, which leaves
   its softmax as it was, and every value is <= 0. So no pass over the pixel's classes is needed to find its maximum.
2. *Stretch* that row to full width. It serves all the output rows above and below it, and stays in the cache.
3. *Score* every output row between two stretched rows, sixteen pixels at a time with all running values in registers:
   Z = sum 2^v, S = sum v 2^v, the two largest v. Then H = ln2 (log2 Z - S / Z), p1 = 2^v1 / Z, p2 = 2^v2 / Z.
4. Add up columns in float32 (few rows, see MAX_CHUNK_ROWS), then columns into cells in float64, in a fixed order.

In the sums v is at least LOWEST, so that 2^v does not vanish and Z > 0. Where all classes of a pixel are below that,
which takes four neighbours whose logits disagree by more than 220, it counts as uniform; its label is still right.

Numba's cache looks at this file only: after a change in lanes.py or lane_math.py, touch this one.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from s4al.kernels.lane_math import LOWEST, at_least, exp2, log2
from s4al.kernels.lanes import claim, copy, fma, load4, load16, repeat4, select, splat, store, to_int, widen

F32 = np.float32
I32 = np.int32
LANES = 16
NUM_SUMS = 4  # entropy, least confidence, margin, number of unlabelled pixels


class Taps(NamedTuple):
    """Bilinear interpolation along one axis: output i lies between low-resolution lower[i] and lower[i] + 1."""

    lower: np.ndarray  # int64 (size,)
    weight: np.ndarray  # float32 (size + LANES,), of the second neighbour; the padding may be loaded, is never used
    first: np.ndarray  # int64 (low_size + 1,): the first output whose lower is at least k


class Scratch(NamedTuple):
    """One thread's working memory, all flat."""

    low: np.ndarray  # float32, a staged row: class c begins at c * low_pitch
    low_pitch: int
    shift: np.ndarray  # float32 (low_pitch,)
    poison: np.ndarray  # float32 (low_pitch,)
    top: np.ndarray  # float32, a stretched row: class c begins at c * pitch
    bottom: np.ndarray
    pitch: int
    unlabelled: np.ndarray  # float32 (pitch,), 1 where a pixel counts
    sums: np.ndarray  # float32, NUM_SUMS sums per column of the whole width, sum s begins at s * sums_pitch
    sums_pitch: int
    label: np.ndarray  # uint8 (pitch,)
    confidence: np.ndarray


LOG2_E = F32(1 / math.log(2))
LN2 = F32(math.log(2))
NEGATIVE_INFINITY = F32(-math.inf)
ZERO, HALF, ONE = F32(0), F32(0.5), F32(1)


@njit
def _stage(logits_CHW: np.ndarray, y: Any, x0: Any, x1: Any, scratch: Scratch) -> None:
    """Row y, columns x0..x1 (the last one again past the right edge), shifted and scaled, into scratch.low."""
    num_classes, _, low_width = logits_CHW.shape
    width = min(x1, low_width) - x0
    low, shift, poison = scratch.low, scratch.shift, scratch.poison
    shift[:width] = NEGATIVE_INFINITY
    poison[:width] = ZERO
    for c in range(num_classes):
        row = logits_CHW[c, y, x0 : x0 + width]
        out = low[c * scratch.low_pitch : (c + 1) * scratch.low_pitch]
        for i in range(width):
            value = widen(row[i])
            out[i] = value
            shift[i] = value if value > shift[i] else shift[i]
            poison[i] += value * ZERO  # NaN where any class is not finite, which then spoils the whole pixel
    for i in range(width):
        shift[i] += poison[i]
    for c in range(num_classes):
        out = low[c * scratch.low_pitch : (c + 1) * scratch.low_pitch]
        for i in range(width):
            out[i] = (out[i] - shift[i]) * LOG2_E
        if width < x1 - x0:
            out[width] = out[width - 1]


@njit
def _stretch(columns: Taps, num_classes: int, x0: int, x1: int, scratch: Scratch, out: np.ndarray) -> None:
    """Interpolate scratch.low to the output columns x0..x1. Stores go by fours; the next one overwrites a surplus."""
    k0 = columns.lower[x0]
    for k in range(k0, columns.lower[x1 - 1] + 1):
        for x in range(max(columns.first[k], x0), min(columns.first[k + 1], x1), 4):
            weight = load4(columns.weight, x)
            for c in range(num_classes):
                left = repeat4(scratch.low, c * scratch.low_pitch + k - k0)
                right = repeat4(scratch.low, c * scratch.low_pitch + k - k0 + 1)
                store(out, c * scratch.pitch + x - x0, fma(weight, right - left, left))


@njit
def _score_row(
    top: np.ndarray, bottom: np.ndarray, weight: Any, num_classes: int, x0: int, x1: int, threshold: Any,
    scratch: Scratch,
) -> None:  # fmt: skip
    """Score the pixels x0..x1 of a row between two stretched rows: add to scratch.sums, fill label and confidence."""
    sums, pitch = scratch.sums, scratch.sums_pitch
    for x in range(0, x1 - x0, LANES):
        z = splat(ZERO)
        s = splat(ZERO)
        best = splat(NEGATIVE_INFINITY)
        second = splat(NEGATIVE_INFINITY)
        best_class = splat(I32(0))
        for c in range(num_classes):
            above = load16(top, c * scratch.pitch + x)
            below = load16(bottom, c * scratch.pitch + x)
            v = fma(weight, below - above, above)
            better = v > best  # strictly: the lowest class wins ties
            best_class = select(better, splat(I32(c)), best_class)
            loser = select(better, best, v)
            second = select(loser > second, loser, second)
            best = select(better, v, best)
            v = at_least(LOWEST, v)
            e = exp2(v)
            z = z + e
            s = fma(v, e, s)
        over_z = ONE / z
        entropy = at_least(ZERO, (log2(z) - s * over_z) * LN2)  # rounding may leave it just below
        p1 = exp2(at_least(LOWEST, best)) * over_z
        p2 = exp2(at_least(LOWEST, second)) * over_z

        counts = load16(scratch.unlabelled, x)
        i = x0 + x
        store(sums, i, fma(counts, entropy, load16(sums, i)))
        store(sums, i + pitch, fma(counts, ONE - p1, load16(sums, i + pitch)))
        store(sums, i + 2 * pitch, fma(counts, ONE - (p1 - p2), load16(sums, i + 2 * pitch)))
        store(sums, i + 3 * pitch, counts + load16(sums, i + 3 * pitch))
        # Both comparisons are false for NaN.
        store(scratch.label, x, select(p1 >= threshold, best_class, splat(I32(255))))
        store(scratch.confidence, x, to_int(fma(select(p1 > ZERO, p1, ZERO), F32(255), HALF)))


@njit
def _score_chunk(
    logits_CHW: np.ndarray, labelled_HW: np.ndarray, rows: Taps, columns: Taps, y0: Any, y1: Any, block: int,
    threshold: Any, scratch: Scratch, label_HW: np.ndarray, confidence_HW: np.ndarray,
) -> None:  # fmt: skip
    """Score the rows y0..y1, one block of columns after the other, and leave every column's sums in scratch.sums."""
    num_classes, low_height, _ = logits_CHW.shape
    width = columns.lower.size
    scratch.sums[:] = ZERO
    for x0 in range(0, width, block):
        x1 = min(x0 + block, width)
        k0, k1 = columns.lower[x0], columns.lower[x1 - 1] + 2
        top, bottom = scratch.top, scratch.bottom
        first, last = rows.lower[y0], rows.lower[y1 - 1]
        _stage(logits_CHW, first, k0, k1, scratch)
        _stretch(columns, num_classes, x0, x1, scratch, bottom)
        for k in range(first, last + 1):
            top, bottom = bottom, top
            _stage(logits_CHW, min(k + 1, low_height - 1), k0, k1, scratch)
            _stretch(columns, num_classes, x0, x1, scratch, bottom)
            for y in range(max(rows.first[k], y0), min(rows.first[k + 1], y1)):
                if labelled_HW.size:
                    labelled = labelled_HW[y, x0:x1]
                    for i in range(x1 - x0):
                        scratch.unlabelled[i] = ZERO if labelled[i] else ONE
                _score_row(top, bottom, rows.weight[y], num_classes, x0, x1, threshold, scratch)
                copy(scratch.label, label_HW[y], x0, x1 - x0)
                copy(scratch.confidence, confidence_HW[y], x0, x1 - x0)


@njit
def _sum_cells(scratch: Scratch, width: int, cell_width: int, cell_sums_R4: np.ndarray) -> None:
    """Add up the columns of every cell, left to right, in float64."""
    sums, pitch = scratch.sums, scratch.sums_pitch
    for cell in range(cell_sums_R4.shape[0]):
        a = b = c = d = 0.0  # four sums side by side, because each addition waits for the one before
        for x in range(cell * cell_width, min((cell + 1) * cell_width, width)):
            a += sums[x]
            b += sums[x + pitch]
            c += sums[x + 2 * pitch]
            d += sums[x + 3 * pitch]
        cell_sums_R4[cell, 0], cell_sums_R4[cell, 1], cell_sums_R4[cell, 2], cell_sums_R4[cell, 3] = a, b, c, d


@njit
def _make_scratch(num_classes: int, low_width: int, width: int, block: int) -> Scratch:
    low_pitch = min(block, low_width) + 2
    # An odd number of cache lines, or the classes of a column would fall into few sets of the cache. It leaves room for
    # stores that run over.
    pitch = (block // LANES + 1 | 1) * LANES
    sums_pitch = width + LANES
    return Scratch(
        low=np.empty(num_classes * low_pitch, np.float32),
        low_pitch=low_pitch,
        shift=np.empty(low_pitch, np.float32),
        poison=np.empty(low_pitch, np.float32),
        top=np.zeros(num_classes * pitch, np.float32),
        bottom=np.zeros(num_classes * pitch, np.float32),
        pitch=pitch,
        unlabelled=np.ones(pitch, np.float32),
        sums=np.empty(NUM_SUMS * sums_pitch, np.float32),
        sums_pitch=sums_pitch,
        label=np.empty(pitch, np.uint8),
        confidence=np.empty(pitch, np.uint8),
    )


def _score_chunks(
    counter: np.ndarray, logits_NCHW: np.ndarray, labelled_NHW: np.ndarray, rows: Taps, columns: Taps,
    chunk_bounds: np.ndarray, block: int, cell_width: int, threshold: Any,
    sums_NKR4: np.ndarray, label_NHW: np.ndarray, confidence_NHW: np.ndarray,
) -> None:  # fmt: skip
    """Score chunks of rows until none is left. Every thread runs this; `counter` deals out the chunks.

    Parameters
    ----------
    counter : int64 (1,), number of the next of the N * K chunks. No chunk writes what another one reads or writes, so
        it does not matter who takes which.
    logits_NCHW : float32, or the bits of float16 as uint16.
    labelled_NHW : uint8, nonzero = already labelled; (N, 0, 0) where nothing is.
    chunk_bounds : int64 (K + 1,), output rows.
    block : columns that are processed together, a multiple of LANES.
    sums_NKR4 : float64 output: for every chunk and every column of cells, the NUM_SUMS sums.
    label_NHW, confidence_NHW : uint8 output.
    """
    num_images, num_classes, _, low_width = logits_NCHW.shape
    num_chunks = chunk_bounds.size - 1
    width = columns.lower.size
    scratch = _make_scratch(num_classes, low_width, width, block)
    task = claim(counter)
    while task < num_images * num_chunks:
        n, k = task // num_chunks, task % num_chunks
        _score_chunk(
            logits_NCHW[n], labelled_NHW[n], rows, columns, chunk_bounds[k], chunk_bounds[k + 1], block,
            threshold, scratch, label_NHW[n], confidence_NHW[n],
        )  # fmt: skip
        _sum_cells(scratch, width, cell_width, sums_NKR4[n, k])
        task = claim(counter)


try:
    score_chunks = njit(nogil=True, cache=True)(_score_chunks)
except RuntimeError as error:  # neither this folder nor the user's cache folder is writeable
    warnings.warn(f"{error}: s4al's CPU kernel is compiled anew in every process (about 10 s)", stacklevel=2)
    score_chunks = njit(nogil=True)(_score_chunks)
