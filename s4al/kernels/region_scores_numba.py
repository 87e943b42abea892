"""The jitted half of region_scores_cpu: from low-resolution logits to region sums, labels and confidences, in one pass.

For one image and some rows of one row of regions:

1. *Stage* a row of low-resolution logits: subtract from every pixel its largest class and multiply by log2(e).
   Bilinear weights sum to one, so all classes of an upsampled pixel are shifted by one common amount, which leaves
   its softmax as it was, and every value is <= 0. So no pass over the pixel's classes is needed to find its maximum.
2. *Stretch* that row to full width. It serves all the output rows above and below it, and stays in the cache.
3. *Score* every output row between two stretched rows, sixteen pixels at a time with all running values in registers:
   Z = sum 2^v, S = sum v 2^v, the two largest v. Then H = ln2 (log2 Z - S / Z), p1 = 2^v1 / Z, p2 = 2^v2 / Z.
4. Pool. Means: add up columns in float32 (few rows, see MAX_CHUNK_ROWS), then columns into cells in float64, in a fixed
   order. Maxima: likewise. Mean of the top tenth: keep the scores of a row of cells, and for each cell look for the
   bound that a tenth of them reaches, by bisection of its bits: exact, and the same whatever the order of the pixels.

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

from s4al.kernels.lane_math import LOWEST, at_least, exp2, larger, log2
from s4al.kernels.lanes import claim, copy, fma, load4, load16, repeat4, select, splat, store, to_int, widen

F32 = np.float32
I32 = np.int32
LANES = 16
NUM_SCORES = 3  # entropy, least confidence, margin
NUM_SUMS = NUM_SCORES + 1  # and the number of unlabelled pixels
# How scores are pooled where not by their mean, which is None: Numba leaves the branches of a None out as it compiles,
# so that the innermost loop of the mean knows nothing of the others.
MAX, TOP_TENTH = 1, 2


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
    sums: np.ndarray  # float32, NUM_SUMS sums per column of the whole width, sum s begins at s * sums_pitch; of the
    # scores maxima under MAX, nothing under TOP_TENTH
    sums_pitch: int
    kept: np.ndarray  # float32, under TOP_TENTH: all scores, score s of row y at s * kept_pitch + y * sums_pitch
    kept_pitch: int
    cell: np.ndarray  # float32, one score of the pixels of a cell
    label: np.ndarray  # uint8 (pitch,)
    confidence: np.ndarray


LOG2_E = F32(1 / math.log(2))
LN2 = F32(math.log(2))
NEGATIVE_INFINITY = F32(-math.inf)
ZERO, HALF, ONE = F32(0), F32(0.5), F32(1)
INFINITY_BITS = I32(0x7F800000)


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
    top: np.ndarray, bottom: np.ndarray, weight: Any, num_classes: int, row: int, x0: int, x1: int, pooling: int | None,
    threshold: Any, scratch: Scratch,
) -> None:  # fmt: skip
    """Score the pixels x0..x1 of a row between two stretched rows: add to scratch.sums, fill label and confidence.

    `row` counts from the first row of the chunk.
    """
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
        if pooling is None:
            store(sums, i, fma(counts, entropy, load16(sums, i)))
            store(sums, i + pitch, fma(counts, ONE - p1, load16(sums, i + pitch)))
            store(sums, i + 2 * pitch, fma(counts, ONE - (p1 - p2), load16(sums, i + 2 * pitch)))
        elif pooling == MAX:
            store(sums, i, larger(load16(sums, i), counts * entropy))
            store(sums, i + pitch, larger(load16(sums, i + pitch), counts * (ONE - p1)))
            store(sums, i + 2 * pitch, larger(load16(sums, i + 2 * pitch), counts * (ONE - (p1 - p2))))
        else:
            at = row * pitch + i
            store(scratch.kept, at, counts * entropy)
            store(scratch.kept, at + scratch.kept_pitch, counts * (ONE - p1))
            store(scratch.kept, at + 2 * scratch.kept_pitch, counts * (ONE - (p1 - p2)))
        store(sums, i + 3 * pitch, counts + load16(sums, i + 3 * pitch))
        # Both comparisons are false for NaN.
        store(scratch.label, x, select(p1 >= threshold, best_class, splat(I32(255))))
        store(scratch.confidence, x, to_int(fma(select(p1 > ZERO, p1, ZERO), F32(255), HALF)))


@njit
def _score_chunk(
    logits_CHW: np.ndarray, labelled_HW: np.ndarray, rows: Taps, columns: Taps, y0: Any, y1: Any, block: int,
    pooling: int | None, threshold: Any, scratch: Scratch, label_HW: np.ndarray, confidence_HW: np.ndarray,
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
                _score_row(top, bottom, rows.weight[y], num_classes, y - y0, x0, x1, pooling, threshold, scratch)
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
def _largest_of_cells(scratch: Scratch, width: int, cell_width: int, cell_sums_R4: np.ndarray) -> None:
    """Make the sums of the scores that _sum_cells left the largest of each cell; NaN stays."""
    for cell in range(cell_sums_R4.shape[0]):
        for score in range(NUM_SCORES):
            largest = 0.0
            for x in range(cell * cell_width, min((cell + 1) * cell_width, width)):
                value = scratch.sums[score * scratch.sums_pitch + x]
                if value > largest or math.isnan(value):  # once NaN, no value is more
                    largest = value
            cell_sums_R4[cell, score] = largest


@njit
def _top_tenth_of_cells(
    scratch: Scratch, height: Any, width: int, cell_width: int, exclude_labelled: bool, cell_sums_R4: np.ndarray
) -> None:
    """Make the sums of the scores the means of the highest tenth of each cell, of the pixels that count; NaN stays."""
    for cell in range(cell_sums_R4.shape[0]):
        x0, x1 = cell * cell_width, min((cell + 1) * cell_width, width)
        area = height * (x1 - x0)
        counted = int(cell_sums_R4[cell, NUM_SCORES]) if exclude_labelled else area
        for score in range(NUM_SCORES):
            at, poison = 0, ZERO
            for y in range(height):
                row = score * scratch.kept_pitch + y * scratch.sums_pitch
                for x in range(row + x0, row + x1):
                    scratch.cell[at] = scratch.kept[x]
                    poison += scratch.kept[x] * ZERO
                    at += 1
            cell_sums_R4[cell, score] = poison + _mean_of_largest(scratch.cell[:area], max((counted + 9) // 10, 1))


@njit
def _mean_of_largest(values: np.ndarray, wanted: int) -> float:
    """The mean of the `wanted` largest of some float32, what is below zero taken for zero; undefined where one is NaN.

    Floats from zero on are in the order of their bits. At any time more than `wanted` values are at least `low` (or
    all are, as at the start), and `above`, not more than are wanted, at least `high`. If those are too few in the end,
    then because others are equal, to `low`.
    """
    bits = np.empty(1, np.int32)
    bound = bits.view(np.float32)
    low, high, above = I32(0), INFINITY_BITS, 0
    while high - low > 1 and above < wanted:
        bits[0] = low + (high - low) // 2
        middle, found = bound[0], I32(0)
        for i in range(values.size):
            found += I32(values[i] >= middle)
        if found > wanted:
            low = bits[0]
        else:
            high, above = bits[0], found
    bits[0] = high
    middle, total = bound[0], 0.0
    for i in range(values.size):
        total += values[i] if values[i] >= middle else ZERO
    bits[0] = low
    return (total + (wanted - above) * bound[0]) / wanted


@njit
def _make_scratch(
    num_classes: int, low_width: int, width: int, block: int, kept_rows: int, cell_pixels: int
) -> Scratch:
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
        kept=np.empty(NUM_SCORES * kept_rows * sums_pitch, np.float32),
        kept_pitch=kept_rows * sums_pitch,
        cell=np.empty(cell_pixels, np.float32),
        label=np.empty(pitch, np.uint8),
        confidence=np.empty(pitch, np.uint8),
    )


def _score_chunks(
    counter: np.ndarray, logits_NCHW: np.ndarray, labelled_NHW: np.ndarray, rows: Taps, columns: Taps,
    chunk_bounds: np.ndarray, block: int, cell_width: int, pooling: int | None, exclude_labelled: bool, threshold: Any,
    sums_NKR4: np.ndarray, label_NHW: np.ndarray, confidence_NHW: np.ndarray,
) -> None:  # fmt: skip
    """Score chunks of rows until none is left. Every thread runs this; `counter` deals out the chunks.

    Parameters
    ----------
    counter : int64 (1,), number of the next of the N * K chunks. No chunk writes what another one reads or writes, so
        it does not matter who takes which.
    logits_NCHW : float32, or the bits of float16 as uint16.
    labelled_NHW : uint8, nonzero = already labelled; (N, 0, 0) where nothing is.
    chunk_bounds : int64 (K + 1,), output rows. Under TOP_TENTH a chunk is a whole row of cells.
    block : columns that are processed together, a multiple of LANES.
    pooling : None for means, MAX or TOP_TENTH.
    sums_NKR4 : float64 output: for every chunk and every column of cells, the NUM_SUMS sums; under MAX and TOP_TENTH
        those of the scores are pooled already.
    label_NHW, confidence_NHW : uint8 output.
    """
    num_images, num_classes, _, low_width = logits_NCHW.shape
    num_chunks = chunk_bounds.size - 1
    width = columns.lower.size
    kept_rows = 0
    if pooling is not None and pooling == TOP_TENTH:
        kept_rows = np.diff(chunk_bounds).max()
    scratch = _make_scratch(num_classes, low_width, width, block, kept_rows, kept_rows * min(cell_width, width))
    task = claim(counter)
    while task < num_images * num_chunks:
        n, k = task // num_chunks, task % num_chunks
        y0, y1 = chunk_bounds[k], chunk_bounds[k + 1]
        _score_chunk(
            logits_NCHW[n], labelled_NHW[n], rows, columns, y0, y1, block, pooling, threshold, scratch,
            label_NHW[n], confidence_NHW[n],
        )  # fmt: skip
        _sum_cells(scratch, width, cell_width, sums_NKR4[n, k])
        if pooling is None:
            pass
        elif pooling == MAX:
            _largest_of_cells(scratch, width, cell_width, sums_NKR4[n, k])
        else:
            _top_tenth_of_cells(scratch, y1 - y0, width, cell_width, exclude_labelled, sums_NKR4[n, k])
        task = claim(counter)


try:
    score_chunks = njit(nogil=True, cache=True)(_score_chunks)
except RuntimeError as error:  # neither this folder nor the user's cache folder is writeable
    warnings.warn(f"{error}: s4al's CPU kernel is compiled anew in every process (about 10 s)", stacklevel=2)
    score_chunks = njit(nogil=True)(_score_chunks)
