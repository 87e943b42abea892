"""The run lengths of COCO, written; they are read by `s4al.data.layouts.shapes`, which explains them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.run_lengths import run_lengths


def encode_coco(mask_HW: NDArray[np.bool_], *, compressed: bool = True) -> dict[str, Any]:
    """(H, W) bool -> `{"size": [H, W], "counts": ...}`, down the columns; counts are text, or a list of numbers."""
    counts = run_lengths(mask_HW.T.ravel())
    return {"size": list(mask_HW.shape), "counts": compress(counts) if compressed else counts}


def compress(counts: list[int]) -> str:
    """Counts as characters of five bits each; from the fourth on, as differences to the count two before."""
    text = []
    for i, count in enumerate(counts):
        value = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = value & 31
            value >>= 5
            # the fifth bit of the last group is the sign of the number
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + (bits | (32 if more else 0))))
    return "".join(text)
