"""What a data set is once its folder is listed: images, their masks, and what the masks mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from s4al.data.masks import MaskCode
from s4al.errors import DataError, ImageError, MaskError
from s4al.files import contained

SPLITS = ("train", "val", "test")
# Called with (what is done, done, total) after every file, from the caller's thread; it may raise to stop the work.
Progress = Callable[[str, int, int], None]
Links = Literal["anywhere", "inside"]  # where links in a data folder may lead


def unseen(task: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass(frozen=True)
class Record:
    """One image. `mask` is None where nobody has labelled it yet."""

    id: str
    split: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class Dataset:
    """A data set folder, listed but not read.

    Attributes
    ----------
    class_names : C names; train ids are their positions.
    palette : (C, 3) uint8 RGB, for people's eyes.
    records : sorted by split (train, val, test), then id; ids are unique.
    mask_code : what the masks' samples mean.
    links : where links in the folder may lead, "anywhere" or "inside" of it.
    rendered : the folder below which all masks lie where they were rendered; None where they lie below `root`.
    """

    root: Path
    class_names: tuple[str, ...]
    palette: NDArray[np.uint8]
    records: tuple[Record, ...]
    mask_code: MaskCode
    links: Links = "anywhere"
    rendered: Path | None = None

    @property
    def masks_root(self) -> Path:
        """What the paths of the masks are relative to, in a pool."""
        return self.rendered or self.root

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def source_file(root: Path, relative: str, links: Links, kind: type[ImageError | MaskError]) -> Path:
    """`root / relative`, a file of a data folder.

    Raises an error of `kind` for a link that leaves the folder where none may: it is like a file that cannot be read.
    """
    try:
        return contained(root, relative, links_may_leave=links == "anywhere")
    except DataError as error:
        what = f"{relative}: a link that leaves the data folder {root}"
        remedy = "Copy the files in, or set data.links=anywhere."
        raise kind(f"{what} (copy the files in, or set data.links=anywhere)", remedy=remedy) from error
    except RuntimeError as error:  # pathlib's word for links that go round in circles
        raise kind(f"{relative}: a link that leads nowhere") from error
