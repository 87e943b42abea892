"""What is labelled: the boxes somebody looked at, what they cost, and the masks of one cycle's labels.

labels/regions.parquet      a row a box
labels/masks/<image>.png    class ids inside the boxes to learn from
labels/test/<image>.png     class ids inside the boxes that are only tested on
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.errors import RunStateError

if TYPE_CHECKING:
    import pyarrow as pa

NOT_LABELLED = 255
REGIONS = "regions.parquet"
ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class LabelledRegion:
    """One box of one image that was labelled, in original pixels, ends exclusive. `region` is -1 for a whole image."""

    image: str
    region: int
    y0: int
    x0: int
    y1: int
    x1: int
    cycle: int
    source: str  # initial, oracle, people, or test: people's answers that are only tested on
    seconds: float = 0.0  # of people's time
    annotator: str = ""  # whose answer it is

    @property
    def pixels(self) -> int:
        return (self.y1 - self.y0) * (self.x1 - self.x0)

    @property
    def only_tests(self) -> bool:
        """Whether nothing may learn from it."""
        return self.source == "test"


@dataclass(frozen=True)
class Ledger:
    """What has been labelled: pixels count ignore pixels too, because somebody had to look at them."""

    labelled_pixels: int
    total_pixels: int
    regions: int  # asked for, whole images not counted
    images: int  # labelled whole at the start
    seconds: float

    @property
    def labelled_fraction(self) -> float:
        return self.labelled_pixels / self.total_pixels


def labels_folder(labels: Path, only_tests: bool) -> Path:
    """Where the masks of a committed stage `labels` are."""
    return labels / ("test" if only_tests else "masks")


def write_labels(
    folder: Path,
    regions: Iterable[LabelledRegion],
    masks: Iterable[tuple[str, NDArray[np.uint8]]],
    tests: Iterable[tuple[str, NDArray[np.uint8]]],
    palette: NDArray[np.uint8],
) -> None:
    """Fill a stage's folder, see `Run.commit_labels`. Raises OSError."""
    from s4al.data.masks import write_mask

    files.write_table(folder / REGIONS, _regions_table(regions))
    for only_tests, images in ((False, masks), (True, tests)):
        for image, mask_HW in images:
            path = files.contained(labels_folder(folder, only_tests), f"{image}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            write_mask(path, mask_HW, palette)


@contextlib.contextmanager
def reading(labels: Path) -> Iterator[None]:
    """While the block runs, damage of a stage `labels` that holds people's answers is not answered by "delete it".

    All other labels can be made again. Raises RunStateError.
    """
    try:
        yield
    except RunStateError as error:
        if not (labels / ANSWERS).exists():
            raise
        raise RunStateError(
            error.what,
            kept="The labels of all other cycles are unchanged.",
            remedy=f"Restore {labels} from a copy of the run: what people answered cannot be made again.",
        ) from error


def _regions_table(regions: Iterable[LabelledRegion]) -> pa.Table:
    import pyarrow as pa

    whole_number = pa.int32()
    schema = pa.schema(
        [("image", pa.string())]
        + [(name, whole_number) for name in ("region", "y0", "x0", "y1", "x1", "cycle")]
        + [("source", pa.string()), ("seconds", pa.float64()), ("annotator", pa.string())]
    )
    return pa.Table.from_pylist([vars(region) for region in regions], schema=schema)
