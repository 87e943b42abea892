"""How many pixels got a pseudo-label, and how many of those are right, where the truth is at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s4al.data.masks import IGNORE
from s4al.errors import RunStateError
from s4al.report.model import Pseudo
from s4al.report.scores import ScoreTables
from s4al.report.sources import Rows, spread_over
from s4al.report.truth import Truth

if TYPE_CHECKING:
    from s4al.run.state import Run

_PIXELS = 100_000_000  # a cycle, that are looked at
_FEWEST, _MOST = 16, 400  # images a cycle
_JUDGED = 48  # images a cycle whose true masks are read, at their own size


class _Counts:
    """Pixels by class, over the images that were looked at."""

    def __init__(self, num_classes: int) -> None:
        self.pixels = 0
        self.given, self.judged, self.right, self.true, self.found = np.zeros((5, num_classes), np.int64)

    def add(self, label_HW: NDArray[np.uint8]) -> None:
        """The pseudo-labels of one image, `IGNORE` where there is none."""
        self.pixels += label_HW.size
        self.given += self._by_class(label_HW)

    def judge(self, label_HW: NDArray[np.uint8], truth_HW: NDArray[np.uint8]) -> None:
        """Those of an image whose truth is at hand."""
        both_HW = (label_HW != IGNORE) & (truth_HW != IGNORE)
        self.judged += self._by_class(label_HW[both_HW])
        self.right += self._by_class(label_HW[both_HW & (label_HW == truth_HW)])
        self.true += self._by_class(truth_HW)
        self.found += self._by_class(truth_HW[both_HW])

    def _by_class(self, label: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(label.ravel(), minlength=256)[: len(self.given)]


def read_pseudo(run: Run, cycle: int, num_classes: int, truth: Truth) -> Pseudo | None:
    """Count a cycle's pseudo-labels in images evenly spread over those it scored; None where it scored none.

    Raises RunStateError, MaskError.
    """
    scores = ScoreTables(run, cycle)
    folder = run.stage(cycle, "pseudo")
    counts = _Counts(num_classes)
    with Rows(folder / "masks.npy") as labels:
        if labels.count != scores.images:
            raise RunStateError(f"{folder} has {labels.count:,} images, and {scores.images:,} were scored.")
        if not labels.count:
            return None
        positions = spread_over(labels.count, _how_many(labels.shape))
        for position in positions:
            counts.add(labels.read(position))
        judged = scores.names_at(spread_over(labels.count, _JUDGED))
        true = truth.masks(judged.values())
        for position, image in judged.items():
            if image in true:
                counts.judge(labels.read(position), true[image])
    return _summary(labels.count, len(positions), len(true), counts)


def _how_many(shape: tuple[int, ...]) -> int:
    return max(_FEWEST, min(_MOST, _PIXELS // max(1, int(np.prod(shape)))))


def _summary(images: int, images_read: int, images_judged: int, counts: _Counts) -> Pseudo:
    given, judged = int(counts.given.sum()), int(counts.judged.sum())
    return Pseudo(
        images=images,
        images_read=images_read,
        images_judged=images_judged,
        coverage=given / counts.pixels,
        correct=int(counts.right.sum()) / judged if judged else None,
        share=[value / given if given else 0.0 for value in counts.given.tolist()],
        correct_by_class=_shares(counts.right, counts.judged),
        found_by_class=_shares(counts.found, counts.true),
    )


def _shares(part_C: NDArray[np.int64], whole_C: NDArray[np.int64]) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(part_C.tolist(), whole_C.tolist(), strict=True)]
