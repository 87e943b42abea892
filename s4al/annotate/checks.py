"""What an answer has to be before it is stored, whoever sent it."""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.classes import UNPRINTABLE
from s4al.annotate.queries import Query
from s4al.data.masks import IGNORE
from s4al.errors import AnswerError

KEPT = "All answers that were saved are kept."
_MAX_TEXT = 200  # characters of a name, a tool, an id


def check_labels(query: Query, labels_hw: NDArray[np.uint8], num_classes: int) -> None:
    """Raises AnswerError unless they are uint8 of the region's size, class ids below `num_classes` or 255."""
    h, w = query.shape
    problem = ""
    if labels_hw.dtype != np.uint8 or labels_hw.ndim != 2:
        problem = f"its labels are {labels_hw.dtype} of shape {labels_hw.shape}, not uint8 of ({h}, {w})"
    elif labels_hw.shape != (h, w):
        problem = f"it is {labels_hw.shape[1]} x {labels_hw.shape[0]} pixels, its region {w} x {h}"
    else:
        unknown_hw = (labels_hw >= num_classes) & (labels_hw != IGNORE)
        if unknown_hw.any():
            id = int(labels_hw[unknown_hw][0])
            number = int(np.count_nonzero(labels_hw == id))
            problem = f"it has class {id} at {number:,} pixels, and the run has {num_classes} classes, from 0"
    if problem:
        raise AnswerError(
            f"The answer to {query.id} ({query.image}, region {query.region}) does not fit: {problem}.",
            kept=KEPT,
            remedy="Send one class id a pixel of the region, 255 where it is left open.",
        )


def checked_texts(**texts: str) -> dict[str, str]:
    """The texts, stripped. Raises AnswerError where one is too long, or has characters that cannot be printed."""
    stripped = {name: text.strip() for name, text in texts.items()}
    for name, text in stripped.items():
        if len(text) > _MAX_TEXT or any(unicodedata.category(char) in UNPRINTABLE for char in text):
            raise AnswerError(
                f"The {name} of an answer, {text[:_MAX_TEXT]!r}, is longer than {_MAX_TEXT} characters or has some "
                "that cannot be printed.",
                kept=KEPT,
                remedy="Give a shorter one, in plain characters.",
            )
    return stripped
