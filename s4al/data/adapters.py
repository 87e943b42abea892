"""Data set folders as people have them -> one list of records with ids, splits, classes and the meaning of mask values.

    folder       <split>/images/* <split>/masks/*.png, or images/<split>/* masks/<split>/*.png; classes.txt
    camvid       images/<split> masks/<split> with <split>.txt, or SegNet's train/ trainannot/ ... (11 = void)
    cityscapes   leftImg8bit/<split>/<city>/*_leftImg8bit.png gtFine/<split>/<city>/*_gtFine_label{TrainIds,Ids}.png
    voc          JPEGImages SegmentationClass ImageSets/Segmentation/<split>.txt
    scenes       procedural, rendered into a folder of the first kind

Only names are read here; files are opened by `data.ingest`. An id is the image's path without folder prefix and
extension, in Unicode form NFC, so that names written by another operating system still match.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s4al.config import Config
from s4al.data.images import IGNORE, VOID
from s4al.data.palettes import CAMVID, CITYSCAPES, VOC, distinct_palette, voc_palette
from s4al.data.scenes import scenes
from s4al.errors import ConfigError, DataError
from s4al.files import contained

SPLITS = ("train", "val", "test")
_NOT_DATA = frozenset({"thumbs.db", "desktop.ini"})  # and every name that starts with a dot


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
    mask_lut : (65536,) int16, raw mask value -> train id, 255 = ignore, -1 = not allowed.
    """

    root: Path
    class_names: tuple[str, ...]
    palette: NDArray[np.uint8]
    records: tuple[Record, ...]
    mask_lut: NDArray[np.int16]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def open_dataset(config: Config, scenes_folder: Path) -> Dataset:
    """List the data set that `config.data` names.

    Parameters
    ----------
    scenes_folder : where the embedded data set is rendered (once) when the adapter is `scenes`.

    Raises
    ------
    DataError : missing folders (with the layout that was looked for), an empty split, images and masks that do not
        pair up, duplicate ids, paths that leave the folder.
    ConfigError : no root, no class names, or a test split that the data set does not publish.
    """
    if config.data.adapter == "scenes":
        scenes.render_folder(scenes_folder, config.scenes)
        dataset = _open_folder(scenes_folder, config)
    else:
        dataset = _ADAPTERS[config.data.adapter](_existing_root(config), config)
    records = _unique_ids(_choose_test_split(dataset.records, config.data.test_split))
    _check_splits(records, dataset.root)
    _check_pairs(records, config.data.oracle, dataset.root)
    return replace(dataset, records=records)


def open_images(root: Path, class_names: Iterable[str]) -> Dataset:
    """Every image below `root` as one unlabelled pool (split "train"), for scoring a folder. Raises DataError."""
    names = tuple(class_names)
    images = _list_folder(root)
    if not images:
        raise DataError(f"{root} holds no images.")
    records = tuple(Record(id, "train", path, None) for id, path in sorted(images.items()))
    return Dataset(root, names, distinct_palette(len(names)), records, identity_lut(len(names)))


def identity_lut(num_classes: int, void: Iterable[int] = ()) -> NDArray[np.int16]:
    """Mask value = train id; `void` values and 255 are ignored, all others are not allowed."""
    lut = np.full(2**16, -1, np.int16)
    lut[:num_classes] = np.arange(num_classes)
    lut[[*void, IGNORE]] = IGNORE
    return lut


def _existing_root(config: Config) -> Path:
    if not config.data.root:
        what = f"The adapter {config.data.adapter!r} needs the folder of its data."
        raise ConfigError(what, remedy="Pass --data DIR or set data.root.")
    root = Path(config.data.root).expanduser()
    if not root.is_dir():
        raise DataError(f"The data folder {root} does not exist.", remedy="Check --data or data.root.")
    return root


# --- adapters ---


def _open_folder(root: Path, config: Config) -> Dataset:
    if config.data.adapter == "scenes":
        names, palette = tuple(scenes.CLASSES), np.array(list(scenes.CLASSES.values()), np.uint8)
    else:
        names = _class_names(root, config)
        palette = distinct_palette(len(names))
    by_split = [(root / split / "images", root / split / "masks", split) for split in SPLITS]
    by_kind = [(root / "images" / split, root / "masks" / split, split) for split in SPLITS]
    layout = by_split if (root / "train").is_dir() else by_kind
    _require(root, layout[0][0].is_dir(), "<split>/images/* <split>/masks/*, or images/<split>/* masks/<split>/*")
    return Dataset(root, names, palette, _list_pairs(layout), identity_lut(len(names)))


def _class_names(root: Path, config: Config) -> tuple[str, ...]:
    names = config.data.classes
    if not names and (root / "classes.txt").is_file():
        names = tuple(_read_list(root / "classes.txt"))
    if not names:
        remedy = f"Set data.classes, or write {root}/classes.txt with one name a line."
        raise ConfigError("The folder adapter needs class names.", remedy=remedy)
    different = len(set(names))
    if different != len(names) or different > VOID:
        raise ConfigError(f"{len(names)} class names, {different} of them different; up to {VOID} can be had.")
    return names


def _open_camvid(root: Path, config: Config) -> Dataset:
    names, palette = tuple(CAMVID), np.array(list(CAMVID.values()), np.uint8)
    if (root / "trainannot").is_dir():
        records = _list_pairs([(root / split, root / f"{split}annot", split) for split in SPLITS])
        return Dataset(root, names, palette, records, identity_lut(len(names), void=(11,)))
    layout = "images/<split> masks/<split> <split>.txt, or train/ trainannot/ val/ valannot/ test/ testannot/"
    _require(root, (root / "images" / "train").is_dir(), layout)
    records = tuple(
        record
        for split in SPLITS
        for record in _listed(root, split, f"{split}.txt", f"images/{split}", f"masks/{split}")
    )
    return Dataset(root, names, palette, records, identity_lut(len(names)))


def _open_cityscapes(root: Path, config: Config) -> Dataset:
    _require_val_as_test(config, "Cityscapes")
    _require(
        root,
        (root / "leftImg8bit" / "train").is_dir() and (root / "gtFine" / "train").is_dir(),
        "leftImg8bit/<split>/<city>/*_leftImg8bit.png gtFine/<split>/<city>/*_gtFine_label{TrainIds,Ids}.png",
    )
    # one meaning of mask values for the whole run: train ids where they were made, else the label ids
    suffix = "_gtFine_labelTrainIds"
    if not any((root / "gtFine" / "train").glob(f"*/*{suffix}.png")):
        suffix = "_gtFine_labelIds"
    records: list[Record] = []
    for split in ("train", "val"):
        images = _strip_suffix(_list_folder(root / "leftImg8bit" / split), "_leftImg8bit")
        masks = _strip_suffix(_list_folder(root / "gtFine" / split), suffix)
        records += _pair(images, masks, split, root)
    names = tuple(CITYSCAPES)
    lut = identity_lut(len(names))
    if suffix == "_gtFine_labelIds":
        lut[:34] = IGNORE  # the published ids end at 33
        lut[[label_id for label_id, _ in CITYSCAPES.values()]] = np.arange(len(names))
    palette = np.array([colour for _, colour in CITYSCAPES.values()], np.uint8)
    return Dataset(root, names, palette, tuple(records), lut)


def _open_voc(root: Path, config: Config) -> Dataset:
    _require_val_as_test(config, "Pascal VOC")
    lists = "ImageSets/Segmentation"
    _require(root, (root / lists).is_dir(), f"JPEGImages SegmentationClass {lists}/train.txt {lists}/val.txt")
    records = tuple(
        record
        for split in ("train", "val")
        for record in _listed(root, split, f"{lists}/{split}.txt", "JPEGImages", "SegmentationClass")
    )
    return Dataset(root, VOC, voc_palette(len(VOC)), records, identity_lut(len(VOC)))


_ADAPTERS: Mapping[str, Callable[[Path, Config], Dataset]] = {
    "folder": _open_folder,
    "camvid": _open_camvid,
    "cityscapes": _open_cityscapes,
    "voc": _open_voc,
}


# --- listing ---


def _list_folder(folder: Path) -> dict[str, Path]:
    """`{id: path}` of every file below `folder`; a missing folder is empty.

    Raises DataError for two files of one id, and for names that cannot be ids.
    """
    found: dict[str, Path] = {}
    for parent, folders, files in os.walk(folder, onerror=_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.startswith(".") or name.lower() in _NOT_DATA:
                continue
            path = Path(parent, name)
            id = _id(path.relative_to(folder).with_suffix("").as_posix())
            if id in found:
                what = f"Two files have the id {id!r}: {found[id].name} and {name} in {folder}."
                raise DataError(what, remedy="Rename or remove one of them.")
            found[id] = path
    return found


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a missing folder is empty
        raise DataError(f"{error.filename} cannot be listed ({error.strerror}).") from error


def _id(name: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise DataError(f"The name {name!r} holds control characters or is not UTF-8.", remedy="Rename the file.")
    return unicodedata.normalize("NFC", name)


def _list_pairs(layout: Iterable[tuple[Path, Path, str]]) -> tuple[Record, ...]:
    return tuple(
        record
        for images, masks, split in layout
        for record in _pair(_list_folder(images), _list_folder(masks), split, images.parent)
    )


def _pair(images: Mapping[str, Path], masks: Mapping[str, Path], split: str, root: Path) -> list[Record]:
    alone = sorted(masks.keys() - images.keys())
    if alone:
        what = f"{_some(alone, 'mask')} of the {split} split without an image in {root}."
        raise DataError(what, remedy="Add the images or remove the masks.")
    return [Record(id, split, images[id], masks.get(id)) for id in sorted(images)]


def _listed(root: Path, split: str, list_name: str, images: str, masks: str) -> list[Record]:
    """Records of the ids in a list file; the list decides what belongs to the split."""
    if not (root / list_name).is_file():
        return []
    ids = [_id(line) for line in _read_list(root / list_name)]
    for id in ids:
        contained(root, f"{images}/{id}")
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(f"{root / list_name} lists {_some(twice, 'id')} more than once.")
    found, labels = _list_folder(root / images), _list_folder(root / masks)
    missing = sorted(set(ids) - found.keys())
    if missing:
        raise DataError(f"{root / list_name} lists {_some(missing, 'image')} not found in {root / images}.")
    return [Record(id, split, found[id], labels.get(id)) for id in sorted(ids)]


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.") from error
    return [line.strip() for line in lines if line.strip()]


def _strip_suffix(files: Mapping[str, Path], suffix: str) -> dict[str, Path]:
    return {id.removesuffix(suffix): path for id, path in files.items() if id.endswith(suffix)}


# --- checks ---


def _require(root: Path, found: bool, layout: str) -> None:
    if not found:
        raise DataError(f"{root} does not have the expected layout.", remedy=f"Looked for: {layout}.")


def _require_val_as_test(config: Config, name: str) -> None:
    if config.data.test_split != "val":
        raise ConfigError(f"{name} publishes no masks of its test split.", remedy='Set data.test_split="val".')


def _choose_test_split(records: tuple[Record, ...], test_split: str) -> tuple[Record, ...]:
    """With `test_split = "val"` the validation images are the test split, and there is no other validation."""
    if test_split == "test":
        return records
    return tuple(replace(r, split="test") if r.split == "val" else r for r in records if r.split != "test")


def _unique_ids(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Put the split in front of all ids where an id is used in two splits."""
    if len({record.id for record in records}) == len(records):
        return records
    return tuple(replace(record, id=f"{record.split}/{record.id}") for record in records)


def _check_splits(records: tuple[Record, ...], root: Path) -> None:
    present = {record.split for record in records}
    for split in ("train", "test"):
        if split not in present:
            raise DataError(f"The {split} split of {root} holds no images.")


def _check_pairs(records: tuple[Record, ...], oracle: str, root: Path) -> None:
    """The test and validation images need masks; those to be queried need them only when masks answer the queries."""
    for split in SPLITS:
        bare = [record.id for record in records if record.split == split and record.mask is None]
        if bare and (split != "train" or oracle == "masks"):
            remedy = "Add the masks" + (', or set data.oracle="people".' if split == "train" else ".")
            raise DataError(f"{_some(bare, 'image')} of the {split} split without a mask in {root}.", remedy=remedy)


def _some(names: list[str], noun: str) -> str:
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names):,} {noun}{'s' if len(names) > 1 else ''} ({listed})"
