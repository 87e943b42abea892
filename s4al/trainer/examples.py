"""Which test images to show to people: the best, the median, the worst, and one for each of the largest confusions.

What is known of an image is its confusion matrix; only its mIoU and, for each pair of classes, the image with most of
it are kept, so that a test of any length needs the same memory but for one number an image.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from s4al.trainer.confusion import ConfusionMatrix

_OF_EACH = 3  # best, median and worst images
_CONFUSIONS = 10


@dataclass(frozen=True)
class Example:
    """One test image: row `row` of the test cache, and why it is shown.

    `why` is best, median, worst or confusion; for a confusion `truth` and `predicted` are its classes, else -1. `miou`
    is of this image alone, over the classes in its truth or prediction.
    """

    row: int
    why: str
    miou: float
    truth: int = -1
    predicted: int = -1

    def about(self, image: str, file: str) -> dict[str, object]:
        """As JSON values, with the image's id and the name of the file that holds its prediction."""
        return {"image": image, "file": file, **asdict(self)}


class ExampleChoice:
    """Looks at every test image as it is tested, and afterwards says which to keep."""

    def __init__(self, num_classes: int) -> None:
        self._miou: dict[int, float] = {}
        self._most_CC: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)
        self._row_CC: NDArray[np.int64] = np.full((num_classes, num_classes), -1, np.int64)

    def add(self, row: int, image: ConfusionMatrix) -> None:
        """The confusion matrix of one image. Images without a labelled pixel are never shown."""
        if not image.counts_CC.any():
            return
        self._miou[row] = image.miou()
        more_CC = image.counts_CC > self._most_CC  # the first image wins where two are equal
        self._most_CC[more_CC] = image.counts_CC[more_CC]
        self._row_CC[more_CC] = row

    def examples(self, total: ConfusionMatrix) -> list[Example]:
        """Best, median and worst images without repetition, then the largest confusions of the whole test.

        Parameters
        ----------
        total : the confusion matrix of all images.
        """
        ranked = sorted(self._miou, key=lambda row: (-self._miou[row], row))
        middle = max(0, len(ranked) // 2 - _OF_EACH // 2)
        chosen: dict[int, str] = {}
        for why, rows in (
            ("best", ranked[:_OF_EACH]),
            ("worst", ranked[::-1][:_OF_EACH]),
            ("median", ranked[middle : middle + _OF_EACH]),
        ):
            for row in rows:
                chosen.setdefault(row, why)
        kept = [Example(row, chosen[row], self._miou[row]) for row in ranked if row in chosen]
        return kept + [
            Example(row, "confusion", self._miou[row], truth, predicted)
            for truth, predicted in largest_confusions(total)
            if (row := int(self._row_CC[truth, predicted])) >= 0
        ]


def largest_confusions(matrix: ConfusionMatrix) -> list[tuple[int, int]]:
    """The pairs (truth, prediction) off the diagonal with most pixels, the largest first; pairs without any are left
    out."""
    counts_CC = matrix.counts_CC.copy()
    np.fill_diagonal(counts_CC, 0)
    order = np.argsort(-counts_CC, axis=None, kind="stable")[:_CONFUSIONS]
    pairs = [divmod(int(index), matrix.num_classes) for index in order]
    return [pair for pair in pairs if counts_CC[pair]]
