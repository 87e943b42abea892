"""The run lengths of a CVAT mask: decimal numbers with commas between, along the rows of the mask's own box."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.contract import Unusable
from s4al.annotate.exchange.run_lengths import fill_run_lengths, run_lengths

_NUMBERS = re.compile(r"\s*[0-9]{1,10}\s*(?:,\s*[0-9]{1,10}\s*)*", re.ASCII)


def encode_cvat(mask_HW: NDArray[np.bool_]) -> str:
    """(H, W) bool -> "0, 3, 4": the runs of zeros and ones in turn, row by row."""
    return ", ".join(map(str, run_lengths(mask_HW.ravel())))


def decode_cvat(text: str, height: int, width: int) -> NDArray[np.bool_]:
    """(H, W) bool. Raises Unusable where `text` is no such list, or does not fill a box of this size."""
    if not _NUMBERS.fullmatch(text):
        raise Unusable("its run lengths are no numbers with commas between")
    return fill_run_lengths(list(map(int, text.split(","))), height * width).reshape(height, width)
