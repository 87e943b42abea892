"""The true masks of training images, where a run's oracle has them: to judge pseudo-labels by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s4al.data import open_dataset
from s4al.data.ingest import read_row_mask
from s4al.data.masks import resize_mask
from s4al.data.pool import Row
from s4al.errors import ConfigError, DataError
from s4al.report.labels import is_in, usable_rows
from s4al.report.sources import read_batches

if TYPE_CHECKING:
    from s4al.data import Dataset
    from s4al.run.state import Run

_LARGEST_POOL = 100_000  # images; the folder of a larger one is not listed, for which memory would grow with it
_COLUMNS = ("id", "split", "image", "mask", "mask_sha256", "height", "width", "reason")


class Truth:
    """Masks at the network's size.

    Attributes
    ----------
    why_not : why there are none; "" where there are.
    """

    def __init__(self, run: Run, train_images: int) -> None:
        self._run = run
        self._dataset: Dataset | None = None
        self.why_not = self._open(train_images)

    def _open(self, train_images: int) -> str:
        data = self._run.config.data
        if data.oracle == "people":
            return "people are the oracle, so no mask tells."
        if train_images > _LARGEST_POOL:
            return f"masks are looked up in pools of up to {_LARGEST_POOL:,} images."
        if data.adapter in ("scenes", "coco") and not self._run.scenes.is_dir():
            return "the rendered masks are gone."  # opening the data set would render them, and a report only reads
        try:
            self._dataset = open_dataset(self._run.config, self._run.scenes)
        except (ConfigError, DataError) as error:
            return f"the data cannot be read. {error.what}"
        return ""

    def masks(self, images: Iterable[str]) -> dict[str, NDArray[np.uint8]]:
        """uint8 (H, W) of the named training images, 255 where ignored; images without a mask are left out.

        Raises MaskError where one was changed since, RunStateError.
        """
        wanted, size = set(images), (self._run.config.data.height, self._run.config.data.width)
        found: dict[str, NDArray[np.uint8]] = {}
        if self._dataset is None or not wanted:
            return found
        for batch in read_batches(self._run.pool_file, _COLUMNS):
            usable_N, split_N = usable_rows(batch)
            for index in np.flatnonzero(usable_N & (split_N == "train") & is_in(batch["id"], wanted)):
                row = Row(bytes=0, **{name: batch[name][int(index)].as_py() for name in _COLUMNS})
                if row.mask:
                    found[row.id] = resize_mask(read_row_mask(row, self._dataset), *size)
        return found
