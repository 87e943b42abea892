"""The score table: one row an image and region, in the columns that architecture.md names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s4al.data.regions import Grid

if TYPE_CHECKING:
    import pyarrow as pa

    from s4al.scorer.batch import ScoredBatch

BOX = ("y0", "x0", "y1", "x1")


class ScoreRows:
    """Collects the scores of some images, and makes a table of them.

    Parameters
    ----------
    further : the name of a column beside those that the kernel fills; none for "".
    """

    def __init__(self, grid: Grid, further: str = "") -> None:
        self._grid, self._further = grid, further
        self._images: list[str] = []
        self._boxes: list[NDArray[np.int32]] = []
        self._scores: dict[str, list[NDArray[np.float32]]] = {name: [] for name in _SCORES}
        self._predicted: list[NDArray[np.int16]] = []
        self._further_values: list[NDArray[np.float32]] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(self, image: str, size: tuple[int, int], batch: ScoredBatch, slot: int) -> None:
        """One image of original `size` (height, width), from slot `slot` of a batch."""
        self._images.append(image)
        self._boxes.append(self._grid.original_boxes(*size))
        for name, column in self._scores.items():
            column.append(getattr(batch, f"{name}_NR")[slot].copy())
        self._predicted.append(batch.predicted_NR[slot].copy())

    def add_mirrored(self, batch: ScoredBatch, slot: int) -> None:
        """The mirror image of the image that was added last. The regions of a row must be a whole number."""
        assert self._grid.width % self._grid.region_width == 0, self._grid
        entropy = batch.entropy_NR[slot].reshape(self._grid.rows, self._grid.cols)[:, ::-1]
        self.add_further(self._scores["entropy"][-1] + entropy.reshape(-1))

    def add_further(self, value_R: NDArray[np.float32]) -> None:
        """The further column of the next image that has none yet."""
        self._further_values.append(value_R)

    def table(self) -> pa.Table:
        """`image, region, y0, x0, y1, x1, entropy, least_confidence, margin, labelled, predicted`.

        And the further column; `flip_entropy` is the entropy of a region plus that of its mirror image (EquAL).
        """
        import pyarrow as pa

        regions = self._grid.num_regions
        boxes = np.concatenate([np.empty((0, 4), np.int32), *self._boxes])
        columns: dict[str, pa.Array] = {"image": pa.array(_repeat(self._images, regions), pa.string())}
        columns["region"] = pa.array(np.tile(np.arange(regions, dtype=np.int32), len(self)))
        columns |= {name: pa.array(boxes[:, index]) for index, name in enumerate(BOX)}
        columns |= {name: pa.array(_join(column, np.float32)) for name, column in self._scores.items()}
        columns["predicted"] = pa.array(_join(self._predicted, np.int16))
        if self._further:
            assert len(self._further_values) == len(self), (len(self._further_values), len(self))
            columns[self._further] = pa.array(_join(self._further_values, np.float32))
        return pa.table(columns)


def quarantine_table(rows: Sequence[tuple[str, str, str]]) -> pa.Table:
    """(image id, path, reason) of images that could not be read."""
    import pyarrow as pa

    names = ("image", "path", "reason")
    return pa.table({name: pa.array([row[index] for row in rows], pa.string()) for index, name in enumerate(names)})


def _repeat(values: Sequence[str], times: int) -> list[str]:
    return [value for value in values for _ in range(times)]


_SCORES = ("entropy", "least_confidence", "margin", "labelled")


def _join(arrays: Sequence[NDArray[np.generic]], dtype: type[np.generic]) -> NDArray[np.generic]:
    return np.concatenate([np.empty(0, dtype), *arrays])
