"""What a run starts with: which images are labelled at first, and which classes have no pixel there or in the test."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s4al.data.cache import ImageCache
from s4al.data.pool import Pool, Row
from s4al.errors import ConfigError, DataError

_LINES = "It is UTF-8 text with one image id a line, as they are in RUN/pool.parquet."
_INITIAL = 0x1ABE1  # keeps the draw of the first labels apart from other uses of the run's seed


def initial_labelled(pool: Pool, fraction: float, seed: int, list_file: str = "") -> NDArray[np.int64]:
    """Which training images are labelled at the start: sorted indices into `pool.train`.

    Parameters
    ----------
    fraction : round(fraction * N) images, at least one, drawn among those whose mask holds a label.
    list_file : a text file of ids, one a line, taken instead of a draw; "" for none.

    Raises
    ------
    ConfigError : an id of the list is not a usable training image with a mask (names the nearest one), or its mask
        holds no label.
    DataError : no training image has a mask, or no mask holds a label.
    """
    rows = pool.train.rows
    with_mask = [row for row in rows if row.mask]
    if not with_mask:
        what = "No training image has a mask, so there is nothing to learn from."
        raise DataError(what, remedy="Label a few images first.")
    labelled = {row.id: i for i, row in enumerate(rows) if row.labelled_pixels}
    if not labelled:
        what = f"No training mask holds a label: every pixel of all {len(with_mask):,} is ignored."
        raise DataError(what, remedy="Check data.mask_values, or label a few images first.")
    if list_file:
        return np.array(sorted(_index_of(id, labelled, with_mask, list_file) for id in _read_ids(list_file)), np.int64)
    count = min(max(1, round(fraction * len(rows))), len(labelled))
    generator = np.random.Generator(np.random.Philox(key=[seed, _INITIAL]))
    return np.sort(generator.permutation(np.fromiter(labelled.values(), np.int64))[:count])


def _read_ids(list_file: str) -> set[str]:
    try:
        lines = Path(list_file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        what = f"data.labelled_list {list_file!r} cannot be read: {error}."
        raise ConfigError(what, remedy=f"Check the path. {_LINES}") from error
    ids = {unicodedata.normalize("NFC", line.strip()) for line in lines if line.strip()}
    if not ids:
        raise ConfigError(f"data.labelled_list {list_file!r} names no images.", remedy=_LINES)
    return ids


def _index_of(id: str, labelled: dict[str, int], with_mask: list[Row], list_file: str) -> int:
    if id not in labelled:
        if any(row.id == id for row in with_mask):
            what = f"{list_file} names {id!r}, whose mask holds no label: every pixel is ignored."
            raise ConfigError(what, remedy="Take it out of the list, or label it.")
        nearest = difflib.get_close_matches(id, labelled, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else f" The first one is {next(iter(labelled))!r}."
        what = f"{list_file} names {id!r}, which is not a usable training image with a mask.{hint}"
        raise ConfigError(what, remedy=_LINES)
    return labelled[id]


def cached_class_pixels(cache: Path, num_classes: int) -> NDArray[np.int64]:
    """(C,) pixels of each class in the masks of a cache folder (val or test), at the network's size.

    Raises RunStateError where the cache is damaged.
    """
    pixels_C = np.zeros(num_classes, np.int64)
    with ImageCache.open(cache, "masks") as masks:
        for index in range(len(masks)):
            pixels_C += _count(masks.read(index), num_classes)
    return pixels_C


def missing_classes(pixels_C: NDArray[np.int64], class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes without a pixel, in the order of their ids."""
    return tuple(name for name, count in zip(class_names, pixels_C.tolist(), strict=True) if not count)


def _count(mask_HW: NDArray[np.uint8], num_classes: int) -> NDArray[np.int64]:
    return np.bincount(mask_HW.ravel(), minlength=256)[:num_classes]
