"""A batch of scored images, and what the pipelines of CPU and GPU do alike.

Shape suffixes: N images of a batch, H W input pixels, R regions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from s4al.errors import NumericsError
from s4al.scorer.read_ahead import Span

SLOTS = 3  # batches in memory: one being read, one waiting, one being scored


@dataclass(frozen=True)
class ScoredBatch:
    """Scores of one span. The arrays are reused: valid until the next batch is asked for.

    Attributes
    ----------
    entropy_NR, least_confidence_NR, margin_NR, labelled_NR : float32, see `kernels.RegionScores`.
    label_NHW : uint8 pseudo-labels, 255 where the network is not confident.
    predicted_NR : int16, the class that most pixels of a region are given, whatever the confidence.
    """

    span: Span
    entropy_NR: NDArray[np.float32]
    least_confidence_NR: NDArray[np.float32]
    margin_NR: NDArray[np.float32]
    labelled_NR: NDArray[np.float32]
    label_NHW: NDArray[np.uint8]
    predicted_NR: NDArray[np.int16]


def mark_labelled(
    labelled_NHW: NDArray[np.uint8],
    boxes: NDArray[np.int32],
    span: Span,
    labelled_regions: Callable[[int], Sequence[int]] | None,
) -> bool:
    """Draw the labelled regions of a span; False where there are none."""
    regions = [labelled_regions(span.first + slot) if labelled_regions else () for slot in range(span.count)]
    if not any(regions):
        return False
    labelled_NHW.fill(0)
    for slot, of_image in enumerate(regions):
        for y0, x0, y1, x1 in boxes[list(of_image)]:
            labelled_NHW[slot, y0:y1, x0:x1] = 1
    return True


def check_finite(entropy_NR: NDArray[np.float32], span: Span, ids: Sequence[str]) -> None:
    """The kernel turns logits that are not finite into NaN scores of their regions."""
    bad = ~np.isfinite(entropy_NR).all(axis=1)
    if bad.any():
        names = ", ".join(ids[span.first + int(slot)] for slot in np.flatnonzero(bad))
        raise NumericsError(
            f"The network's output is not finite for {names}.",
            kept="What was scored before is kept.",
            remedy="The weights of this cycle are broken: look at its training, lower trainer.lr in a new run.",
        )
