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

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from s4al.config import Config
from s4al.data.dataset import SPLITS, Dataset, Record
from s4al.data.listing import list_folder, list_pairs, listed, pair, read_list, some, strip_suffix
from s4al.data.masks import IGNORE, VOID, identity_code
from s4al.data.palettes import CAMVID, CITYSCAPES, VOC, distinct_palette, voc_palette
from s4al.data.scenes import scenes
from s4al.errors import ConfigError, DataError


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
    if config.data.adapter == "scenes" or (config.data.adapter == "auto" and not config.data.root):
        dataset = _open_scenes(scenes_folder, config)
    else:
        dataset = _ADAPTERS[config.data.adapter](_existing_root(config), config)
    records = _unique_ids(_choose_test_split(dataset.records, config.data.test_split))
    _check_splits(records, dataset.root)
    _check_pairs(records, config.data.oracle, dataset.root)
    return replace(dataset, records=records)


def open_images(root: Path, class_names: Iterable[str]) -> Dataset:
    """Every image below `root` as one unlabelled pool (split "train"), for scoring a folder. Raises DataError."""
    names = tuple(class_names)
    images = list_folder(root)
    if not images:
        raise DataError(f"{root} holds no images.")
    records = tuple(Record(id, "train", path, None) for id, path in sorted(images.items()))
    return Dataset(root, names, distinct_palette(len(names)), records, identity_code(len(names)))


def _existing_root(config: Config) -> Path:
    if not config.data.root:
        what = f"The adapter {config.data.adapter!r} needs the folder of its data."
        raise ConfigError(what, remedy="Pass --data DIR or set data.root.")
    root = Path(config.data.root).expanduser()
    if not root.is_dir():
        raise DataError(f"The data folder {root} does not exist.", remedy="Check --data or data.root.")
    return root


# --- adapters ---


def _open_scenes(folder: Path, config: Config) -> Dataset:
    scenes.render_folder(folder, config.scenes)
    palette = np.array(list(scenes.CLASSES.values()), np.uint8)
    return Dataset(folder, tuple(scenes.CLASSES), palette, _list_folder_splits(folder), identity_code(len(palette)))


def _open_folder(root: Path, config: Config) -> Dataset:
    names = _class_names(root, config)
    return Dataset(root, names, distinct_palette(len(names)), _list_folder_splits(root), identity_code(len(names)))


def _list_folder_splits(root: Path) -> tuple[Record, ...]:
    by_split = [(root / split / "images", root / split / "masks", split) for split in SPLITS]
    by_kind = [(root / "images" / split, root / "masks" / split, split) for split in SPLITS]
    layout = by_split if (root / "train").is_dir() else by_kind
    _require(root, layout[0][0].is_dir(), "<split>/images/* <split>/masks/*, or images/<split>/* masks/<split>/*")
    return list_pairs(layout)


def _class_names(root: Path, config: Config) -> tuple[str, ...]:
    names = config.data.classes
    if not names and (root / "classes.txt").is_file():
        names = tuple(read_list(root / "classes.txt"))
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
        records = list_pairs([(root / split, root / f"{split}annot", split) for split in SPLITS])
        return Dataset(root, names, palette, records, identity_code(len(names), void=(11,)))
    layout = "images/<split> masks/<split> <split>.txt, or train/ trainannot/ val/ valannot/ test/ testannot/"
    _require(root, (root / "images" / "train").is_dir(), layout)
    records = tuple(
        record
        for split in SPLITS
        for record in listed(root, split, f"{split}.txt", f"images/{split}", f"masks/{split}")
    )
    return Dataset(root, names, palette, records, identity_code(len(names)))


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
        images = strip_suffix(list_folder(root / "leftImg8bit" / split), "_leftImg8bit")
        masks = strip_suffix(list_folder(root / "gtFine" / split), suffix)
        records += pair(images, masks, split, root)
    names = tuple(CITYSCAPES)
    code = identity_code(len(names))
    if suffix == "_gtFine_labelIds":
        code.values[:34] = IGNORE  # the published ids end at 33
        code.values[[label_id for label_id, _ in CITYSCAPES.values()]] = np.arange(len(names))
    palette = np.array([colour for _, colour in CITYSCAPES.values()], np.uint8)
    return Dataset(root, names, palette, tuple(records), code)


def _open_voc(root: Path, config: Config) -> Dataset:
    _require_val_as_test(config, "Pascal VOC")
    lists = "ImageSets/Segmentation"
    _require(root, (root / lists).is_dir(), f"JPEGImages SegmentationClass {lists}/train.txt {lists}/val.txt")
    records = tuple(
        record
        for split in ("train", "val")
        for record in listed(root, split, f"{lists}/{split}.txt", "JPEGImages", "SegmentationClass")
    )
    return Dataset(root, VOC, voc_palette(len(VOC)), records, identity_code(len(VOC)))


_ADAPTERS: Mapping[str, Callable[[Path, Config], Dataset]] = {
    "folder": _open_folder,
    "camvid": _open_camvid,
    "cityscapes": _open_cityscapes,
    "voc": _open_voc,
}


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
            raise DataError(f"{some(bare, 'image')} of the {split} split without a mask in {root}.", remedy=remedy)
