"""Run lengths of a flat sequence of pixels, the first counting zeros: what the RLE of CVAT and COCO share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.contract import Unusable


def run_lengths(flat_P: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of equal pixels; the first one counts zeros and is 0 where the first pixel is set."""
    changes = np.flatnonzero(flat_P[1:] != flat_P[:-1]) + 1
    first = [0] if len(flat_P) and flat_P[0] else []
    return first + np.diff(np.concatenate([[0], changes, [len(flat_P)]])).tolist()


def fill_run_lengths(counts: Sequence[int], size: int) -> NDArray[np.bool_]:
    """(size,) bool, the inverse of `run_lengths`.

    Raises Unusable where the counts do not add up to `size` pixels, or one of them is negative.
    """
    if counts and min(counts) < 0:
        raise Unusable("its run lengths hold a negative count")
    total = sum(counts)
    if total != size:
        raise Unusable(f"its run lengths add up to {total:,} pixels instead of {size:,}")
    values = np.zeros(len(counts), np.bool_)
    values[1::2] = True
    return values.repeat(counts)
