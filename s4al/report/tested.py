"""What the test of a cycle says: IoU by class, the confusion matrix, and the images that were kept of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.report.model import Confusion
from s4al.report.sources import read_document

_LARGEST = 10


@dataclass
class Tested:
    """`evaluation.json` of a cycle; lists are by class, None where a class is not in the test images."""

    miou: float | None
    per_class_iou: list[float | None]
    counts_CC: NDArray[np.int64] | None
    examples: list[dict[str, Any]] | None


def read_test(train: Path, class_names: list[str]) -> Tested:
    """The test of a committed training, from its folder; without class names only its mIoU.

    Raises RunStateError, and what a file of another form leads to: KeyError, TypeError, AttributeError, ValueError.
    """
    found = read_document(train / "evaluation.json")
    iou = found.get("per_class_iou") or {}
    counts_CC = None
    if class_names and found.get("confusion") is not None:
        counts_CC = np.array(found["confusion"], np.int64)
        if counts_CC.shape != (len(class_names),) * 2:
            raise ValueError(f"a confusion matrix of shape {counts_CC.shape} for {len(class_names)} classes")
    examples = found.get("examples")
    return Tested(
        _number(found["miou"]),
        [_number(iou.get(name)) for name in class_names],
        counts_CC,
        [_example(each) for each in examples] if examples is not None else None,
    )


def largest_confusions(
    counts_CC: NDArray[np.int64], class_names: list[str], examples: list[dict[str, Any]] | None
) -> list[Confusion]:
    """The ten pairs of classes with most wrong pixels, the largest first, with the test image that has most of it."""
    wrong_CC = counts_CC.copy()
    np.fill_diagonal(wrong_CC, 0)
    order = np.argsort(-wrong_CC, axis=None, kind="stable")[:_LARGEST]
    of_truth_C = counts_CC.sum(axis=1)
    shown = {(each["truth"], each["predicted"]): each for each in examples or () if each["why"] == "confusion"}
    return [
        Confusion(
            class_names[truth],
            class_names[predicted],
            int(wrong_CC[truth, predicted]),
            float(wrong_CC[truth, predicted] / of_truth_C[truth]),
            shown.get((truth, predicted)),
        )
        for truth, predicted in (divmod(int(index), len(class_names)) for index in order)
        if wrong_CC[truth, predicted]
    ]


def _number(value: Any) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _example(found: dict[str, Any]) -> dict[str, Any]:
    """One entry of `examples`, its types checked."""
    return {
        "image": str(found["image"]),
        "file": str(found["file"]),
        "row": int(found["row"]),
        "why": str(found["why"]),
        "miou": _number(found["miou"]),
        "truth": int(found["truth"]),
        "predicted": int(found["predicted"]),
    }
