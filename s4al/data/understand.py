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
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from s4al.config import Config, DataConfig
from s4al.data.adapters import open_dataset
from s4al.data.dataset import Dataset, Links, Progress, Record, source_file, unseen
from s4al.data.faults import grouped
from s4al.data.images import load_image, stored_size
from s4al.data.layouts.find import Layout, find_layout
from s4al.data.layouts.tree import walk
from s4al.data.masks import IGNORE
from s4al.data.masks.class_files import find_class_table
from s4al.data.masks.encoding import Encoding, MaskSample, ValueRow, infer_encoding, sample_mask
from s4al.data.masks.settings import IGNORE_NAME, classes_of
from s4al.data.masks.survey import Survey
from s4al.errors import DataError, ImageError, MaskError

_SAMPLE = 64  # images, and masks, that are read where not all are
_WORKERS = 8
_REMEDIES = 2  # that a message names

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
    sizes : (height, width) of the images that were looked at, as they are shown on their masks.
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
    def has_masks(self) -> bool:
        return any(record.mask for record in self.dataset.records)

    @property
    def train(self) -> list[Record]:
        return [record for record in self.dataset.records if record.split == "train"]

    @property
    def num_labelled(self) -> int:
        """Training images with a mask."""
        return sum(record.mask is not None for record in self.train)


def understand(
    config: Config, given: Collection[str], *, every_file: bool = False, progress: Progress = unseen
) -> Understanding:
    """Look at the folder `config.data.root`.

    Parameters
    ----------
    given : the `section.key` names that were typed; they are taken as they are.
    every_file : read all images and masks, not a sample.
    progress : called after every mask of COCO that is drawn.

    Raises
    ------
    DataError : no folder, no images, what has two readings, values that cannot be explained.
    ConfigError : what only a setting can say: the classes of values or colours.
    """
    data = config.data
    root = Path(data.root).expanduser()
    if not root.is_dir():
        raise DataError(f"The data folder {root} does not exist.", remedy="Check --data or data.root.")
    tree = walk(root, data.links)
    layout = find_layout(
        root,
        images=data.images,
        masks=data.masks,
        lists=data.lists,
        adapter=data.adapter if "data.adapter" in given else "auto",
        test_fraction=data.test_fraction,
        tree=tree,
    )
    settings = {f"data.{key}": value for key, value in layout.settings.items() if f"data.{key}" not in given}
    seen = _Seen(data.max_megapixels, data.links)
    encoding = None
    if settings.get("data.adapter", data.adapter) == "folder":
        encoding, found = _look_at_masks(root, layout.records, _with(data, settings), seen, every_file)
        settings |= {key: value for key, value in found.items() if key not in given}
    # Whether masks may be missing is decided later, by who answers the queries.
    data = _with(data, settings).model_copy(update={"oracle": "people"})
    with TemporaryDirectory(prefix="s4al-") as rendered:  # COCO's masks
        dataset = open_dataset(config.model_copy(update={"data": data}), Path(rendered), tree, progress)
        values = encoding.values if encoding else _values(seen, dataset, every_file)
    sizes = seen.images(dataset.records, root, every_file, data)
    return Understanding(
        settings,
        (*layout.lines, *(encoding.lines + encoding.warnings if encoding else ())),
        layout,
        dataset,
        values,
        tuple(sizes),
        dict(Counter(record.image.suffix.lower().lstrip(".") for record in dataset.records).most_common()),
        len(sizes),
        seen.num_masks,
        tuple(seen.bad),
    )


def _with(data: DataConfig, settings: Mapping[str, Any]) -> DataConfig:
    return data.model_copy(update={key.removeprefix("data."): value for key, value in settings.items()})


def _look_at_masks(
    root: Path, records: Sequence[Record], data: DataConfig, seen: _Seen, every_file: bool
) -> tuple[Encoding | None, dict[str, Any]]:
    """What a folder's masks mean, and the settings that say so; of images alone only the names of the classes, and
    those only where they are known: people can type them while they label."""
    samples, table = seen.masks(records, root, every_file), find_class_table(root)
    if samples:
        encoding = infer_encoding(samples, table, data.classes, data.mask_values)
        return encoding, {"data.classes": encoding.classes, "data.mask_values": encoding.mask_values}
    names = data.classes or classes_of(data.mask_values) or (table.names if table else ())
    return None, {"data.classes": names} if names else {}


def _values(seen: _Seen, dataset: Dataset, every_file: bool) -> tuple[ValueRow, ...]:
    """What masks hold whose layout itself says what it means. Values that it does not know are named so."""
    samples = seen.masks(dataset.records, dataset.masks_root, every_file)
    if not samples:
        return ()
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
    num_masks : how many masks were read.
    bad : (file, reason) of those that cannot be used.
    """

    def __init__(self, max_megapixels: float, links: Links) -> None:
        self._max_megapixels = max_megapixels
        self._links: Links = links
        self.num_masks = 0
        self.bad: list[tuple[str, str]] = []
        self._remedies: dict[str, str] = {}

    def masks(self, records: Sequence[Record], root: Path, every_file: bool) -> list[MaskSample]:
        """What the masks of some records, or of all, hold. Raises the first's MaskError where none can be used."""
        masked = [record for record in records if record.mask]
        paths = [record.mask for record in _some_of(masked, every_file) if record.mask]

        def sample(path: Path, name: str) -> MaskSample:
            return sample_mask(path, name, max_megapixels=self._max_megapixels)

        read = self._read(paths, root, MaskError, sample)
        if paths and not read:
            raise self._none_left(MaskError, "mask", 0)
        self.num_masks += len(read)
        return read

    def images(
        self, records: Sequence[Record], root: Path, every_file: bool, data: DataConfig
    ) -> list[tuple[int, int]]:
        """(height, width) of some images, or of all, read beside their masks. Raises ImageError as `masks` does."""
        masks = {record.image: record.mask for record in records}

        def size(path: Path, name: str) -> tuple[int, int]:
            mask = masks[path]
            mask_size = self._mask_size(mask) if mask else None
            limits = {"max_megapixels": data.max_megapixels, "value_range": data.value_range}
            height, width = load_image(path, name, mask_size=mask_size, **limits).pixels.shape[:2]
            if mask_size is not None and mask_size != (height, width):
                what = f"{name}: it is {width} x {height}, its mask is {mask_size[1]} x {mask_size[0]}"
                raise ImageError(what, remedy="Give each image a mask of its own size: masks are never resized.")
            return height, width

        before = len(self.bad)
        read = self._read([record.image for record in _some_of(records, every_file)], root, ImageError, size)
        if not read:
            raise self._none_left(ImageError, "image", before)
        return read

    def _none_left(self, kind: type[MaskError | ImageError], noun: str, since: int) -> MaskError | ImageError:
        """All files of one kind are bad: what is wrong, and what to do about the most frequent reasons."""
        bad = self.bad[since:]
        known = Counter(remedy for file, _ in bad if (remedy := self._remedies[file])).most_common(_REMEDIES)
        other = f"Repair them, or set data.{noun}s to the files that are {noun}s."
        what = f"No {noun} of {len(bad):,} looked at can be used: {grouped(bad)}."
        return kind(what, remedy=" ".join(remedy for remedy, _ in known) or other)

    def _mask_size(self, mask: Path) -> tuple[int, int] | None:
        """None where the mask cannot be read, which its own reading says."""
        try:
            return stored_size(mask, mask.name, max_megapixels=self._max_megapixels)
        except ImageError:
            return None

    def _read(
        self,
        paths: Sequence[Path],
        root: Path,
        kind: type[ImageError | MaskError],
        read_one: Callable[[Path, str], Read],
    ) -> list[Read]:
        """In the order of the paths, without those that cannot be used."""

        def attempt(path: Path) -> tuple[str, Read | ImageError | MaskError]:
            name = path.relative_to(root).as_posix()
            try:
                source_file(root, name, self._links, kind)
                return name, read_one(path, name)
            except (ImageError, MaskError) as error:
                return name, error

        with ThreadPoolExecutor(min(_WORKERS, os.cpu_count() or 1)) as pool:
            results = list(pool.map(attempt, paths))
        failed = {name: result for name, result in results if isinstance(result, ImageError | MaskError)}
        self.bad += [(name, error.what) for name, error in failed.items()]
        self._remedies |= {name: error.remedy for name, error in failed.items()}
        return [result for _, result in results if not isinstance(result, ImageError | MaskError)]


def _some_of(records: Sequence[Record], every: bool) -> Sequence[Record]:
    """All, or a sample spread evenly over them."""
    if every or len(records) <= _SAMPLE:
        return records
    return [records[index * len(records) // _SAMPLE] for index in range(_SAMPLE)]
