"""The score tables of a cycle: shards in the order of the pool, one row a region, equally many rows an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.errors import RunStateError
from s4al.report.labels import encoded
from s4al.report.sources import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

    from s4al.run.state import Run


class ImageScores(NamedTuple):
    """Of one image: its position among those scored, and for each region the score and the class predicted."""

    position: int
    score_R: NDArray[np.float32]
    predicted_R: NDArray[np.int16]


class ScoreTables:
    """Raises RunStateError where a shard is damaged.

    Attributes
    ----------
    images : how many were scored; their order is that of the pseudo-labels.
    regions : of an image.
    """

    def __init__(self, run: Run, cycle: int) -> None:
        self._shards = sorted(run.stage(cycle, "score").glob("shard-*.parquet"))
        self.regions = run.grid.num_regions
        about = [_about(shard) for shard in self._shards]
        uneven = [shard for shard, (rows, _) in zip(self._shards, about, strict=True) if rows % self.regions]
        if uneven:
            raise RunStateError(f"{uneven[0]} does not hold {self.regions} regions an image.")
        self._names = [names for _, names in about]
        # The image that each shard begins with, and the one after the last.
        self._first = np.cumsum([0, *(rows for rows, _ in about)]) // self.regions
        self.images = int(self._first[-1])

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows, in order."""
        for shard in self._shards:
            yield from read_batches(shard, columns)

    def names_at(self, positions: Iterable[int]) -> dict[int, str]:
        """The image ids at some positions."""
        found: dict[int, str] = {}
        wanted = sorted(positions)
        for shard, first, end in zip(self._shards, self._first, self._first[1:], strict=False):
            inside = [position for position in wanted if first <= position < end]
            if inside:
                names = files.read_table(shard, ["image"])["image"]
                found |= {position: names[int(position - first) * self.regions].as_py() for position in inside}
        return found

    def of_images(self, images: set[str], metric: str) -> dict[str, ImageScores]:
        """The scores of some images, as far as they were scored."""
        found: dict[str, ImageScores] = {}
        for shard, (least, greatest), first in zip(self._shards, self._names, self._first, strict=False):
            if any(least <= image <= greatest for image in images - found.keys()):
                found |= self._in_shard(shard, int(first), images, metric)
        return found

    def _in_shard(self, shard: Path, first: int, images: set[str], metric: str) -> Iterator[tuple[str, ImageScores]]:
        """Shards are small by design: one is read as a whole."""
        table = files.read_table(shard, ["image", metric, "predicted"]).combine_chunks()
        for batch in table.to_batches():
            names, code_N = encoded(batch, "image")
            score_N, predicted_N = (batch[name].to_numpy() for name in (metric, "predicted"))
            for code in [code for code, name in enumerate(names) if name in images]:
                rows = np.flatnonzero(code_N == code)
                yield names[code], ImageScores(first + int(rows[0]) // self.regions, score_N[rows], predicted_N[rows])


def _about(shard: Path) -> tuple[int, tuple[str, str]]:
    """How many rows a shard has, and its least and greatest image id; anything where those are not recorded."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(shard)
    except (OSError, ValueError) as error:  # ArrowInvalid is a ValueError
        raise RunStateError(f"{shard} cannot be read: {error}.") from error
    column = metadata.schema.to_arrow_schema().get_field_index("image")
    bounds = [metadata.row_group(group).column(column).statistics for group in range(metadata.num_row_groups)]
    if any(each is None or not each.has_min_max for each in bounds):
        return metadata.num_rows, ("", "\U0010ffff")
    names = (min((each.min for each in bounds), default=""), max((each.max for each in bounds), default=""))
    return metadata.num_rows, names
