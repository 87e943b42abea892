"""What a data folder says about itself: layout, pairs, splits, classes, the meaning of its masks' values, sizes.

Names are read, then a sample of the files (or all of them). Each thing found is a setting, stored in the run as if it
had been typed, and a sentence for people; what was typed is not looked for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from s4al.config import Config, DataConfig
from s4al.data.adapters import open_dataset
from s4al.data.class_files import find_class_table
from s4al.data.dataset import Dataset, Record
from s4al.data.encoding import MaskSample, ValueRow, infer_encoding, sample_mask
from s4al.data.images import load_image, stored_size
from s4al.data.layouts import Layout, find_layout
from s4al.data.listing import list_records
from s4al.data.mask_survey import Survey
from s4al.data.mask_values import IGNORE_NAME
from s4al.data.masks import IGNORE
from s4al.data.pool import first_few
from s4al.data.tree import walk
from s4al.errors import ConfigError, DataError, ImageError, MaskError

_SAMPLE = 64  # images, and masks, that are read where not all are
_WORKERS = 8

Read = TypeVar("Read")


@dataclass(frozen=True)
class Understanding:
    """What was found in a data folder.

    Attributes
    ----------
    settings : `{"data.key": value}`, without what was given.
    lines : what was understood, a sentence each.
    dataset : as those settings describe it; test images drawn where there were none.
    values : what the masks that were looked at hold, and what it means.
    sizes : (height, width) of the images that were looked at, as they are stored.
    read_images, read_masks : how many files were looked at.
    bad : (file, reason) of those that cannot be used.
    """

    settings: dict[str, Any]
    lines: tuple[str, ...]
    layout: Layout
    dataset: Dataset
    values: tuple[ValueRow, ...]
    sizes: tuple[tuple[int, int], ...]
    formats: dict[str, int]
    read_images: int
    read_masks: int
    bad: tuple[tuple[str, str], ...]

    @property
    def train(self) -> list[Record]:
        return [record for record in self.dataset.records if record.split == "train"]


def understand(config: Config, given: Collection[str], *, every_file: bool = False) -> Understanding:
    """Look at the folder `config.data.root`.

    Parameters
    ----------
    given : the `section.key` names that were typed; they are taken as they are.
    every_file : read all images and masks, not a sample.

    Raises
    ------
    DataError : no folder, no images, what has two readings, values that cannot be explained.
    ConfigError : what only a setting can say: class names, the classes of colours.
    """
    data = config.data
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise DataError(f"The data folder {root} does not exist.", remedy="Check --data or data.root.")
    layout = find_layout(
        root,
        images=data.images,
        masks=data.masks,
        lists=data.lists,
        test_fraction=data.test_fraction,
        links=data.links,
    )
    settings = {f"data.{key}": value for key, value in layout.settings.items() if f"data.{key}" not in given}
    data = _with(data, settings)
    records = list_records(walk(root, data.links), data.images, data.masks, data.lists).records
    seen = _Seen(root, data.max_megapixels)
    samples = seen.masks([record for record in records if record.mask], every_file)
    encoding = None
    if data.adapter == "folder" and samples:
        encoding = infer_encoding(samples, find_class_table(root), data.classes, data.mask_values)
        found = {"data.classes": encoding.classes, "data.mask_values": encoding.mask_values}
        settings |= {key: value for key, value in found.items() if key not in given}
        data = _with(data, settings)
    elif data.adapter == "folder" and not data.classes:
        settings |= _classes_alone(root)
        data = _with(data, settings)
    sizes = seen.images(records, every_file, data)
    # Whether masks may be missing is decided later, by who answers the queries.
    lenient = config.model_copy(update={"data": data.model_copy(update={"oracle": "people"})})
    dataset = open_dataset(lenient, root)
    return Understanding(
        settings,
        (*layout.lines, *(encoding.lines + encoding.warnings if encoding else ())),
        layout,
        dataset,
        encoding.values if encoding else _values(samples, dataset),
        tuple(sizes),
        dict(Counter(record.image.suffix.lower().lstrip(".") for record in records).most_common()),
        len(sizes),
        len(samples),
        tuple(seen.bad),
    )


def _with(data: DataConfig, settings: Mapping[str, Any]) -> DataConfig:
    return data.model_copy(update={key.removeprefix("data."): value for key, value in settings.items()})


def _classes_alone(root: Path) -> dict[str, Any]:
    """Class names where no mask shows their values."""
    table = find_class_table(root)
    if table is None:
        remedy = f"Set data.classes=first,second, or write {root}/classes.txt with one name a line."
        raise ConfigError("There are no masks and no class names.", remedy=remedy)
    return {"data.classes": table.names}


def _values(samples: Sequence[MaskSample], dataset: Dataset) -> tuple[ValueRow, ...]:
    """What masks hold whose layout itself says what it means. Values that it does not know are named so."""
    survey = Survey(tuple(samples))
    rows: list[ValueRow] = []
    for value, pixels in survey.values.items():
        id = int(dataset.mask_code.values[value])
        known = 0 <= id < dataset.num_classes
        red, green, blue = dataset.palette[id].tolist() if known else (0, 0, 0)
        meaning = dataset.class_names[id] if known else IGNORE_NAME if id == IGNORE else "unknown"
        rows.append(ValueRow(str(value), (red, green, blue), meaning, pixels, pixels / survey.num_pixels))
    return tuple(rows)


class _Seen:
    """Files of a folder that were read.

    Attributes
    ----------
    bad : (file, reason) of those that cannot be used.
    """

    def __init__(self, root: Path, max_megapixels: float) -> None:
        self._root, self._max_megapixels = root, max_megapixels
        self.bad: list[tuple[str, str]] = []

    def masks(self, records: Sequence[Record], every_file: bool) -> list[MaskSample]:
        """What the masks of some records, or of all, hold. Raises the first's MaskError where none can be used."""
        paths = [record.mask for record in _some_of(records, every_file) if record.mask]
        read = self._read(paths, lambda path, name: sample_mask(path, name, max_megapixels=self._max_megapixels))
        if paths and not read:
            raise MaskError(
                f"No mask of {len(paths):,} looked at can be used: {first_few([why for _, why in self.bad])}.",
                remedy="Save masks without loss, as PNG, TIFF or BMP.",
            )
        return read

    def images(self, records: Sequence[Record], every_file: bool, data: DataConfig) -> list[tuple[int, int]]:
        """(height, width) of some images, or of all, which then are decoded too. Raises ImageError as `masks` does."""

        def size(path: Path, name: str) -> tuple[int, int]:
            if every_file:
                load_image(path, name, max_megapixels=data.max_megapixels, value_range=data.value_range)
            return stored_size(path, name, max_megapixels=data.max_megapixels)

        before = len(self.bad)
        read = self._read([record.image for record in _some_of(records, every_file)], size)
        if not read:
            reasons = [why for _, why in self.bad[before:]]
            raise ImageError(f"No image of {len(reasons):,} looked at can be used: {first_few(reasons)}.")
        return read

    def _read(self, paths: Sequence[Path], read_one: Callable[[Path, str], Read]) -> list[Read]:
        """In the order of the paths, without those that cannot be used."""

        def attempt(path: Path) -> tuple[Read | None, str, str]:
            name = path.relative_to(self._root).as_posix()
            try:
                return read_one(path, name), name, ""
            except (ImageError, MaskError) as error:
                return None, name, error.what

        with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
            results = list(pool.map(attempt, paths))
        self.bad += [(name, reason) for _, name, reason in results if reason]
        return [result for result, _, _ in results if result is not None]


def _some_of(records: Sequence[Record], every: bool) -> Sequence[Record]:
    """All, or a sample spread evenly over them."""
    if every or len(records) <= _SAMPLE:
        return records
    return [records[index * len(records) // _SAMPLE] for index in range(_SAMPLE)]
