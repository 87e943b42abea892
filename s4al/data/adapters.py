"""A data set that settings describe -> one list of records with ids, splits, classes and the meaning of mask values.

    folder       data.images and data.masks, patterns below the root; found out where they are not set
    camvid       images/<split> masks/<split> with <split>.txt, or SegNet's train/ trainannot/ ... (11 = void)
    cityscapes   leftImg8bit/<split>/<city>/*_leftImg8bit.png gtFine/<split>/<city>/*_gtFine_label{TrainIds,Ids}.png
    voc          JPEGImages SegmentationClass ImageSets/Segmentation/<split>.txt
    coco         panoptic, instances or stuff: data.masks names the JSON, the masks are rendered
    scenes       procedural, rendered into a folder of the first kind

The patterns that are set are those of every adapter but scenes. Only names are read here; files are opened by
`data.ingest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from s4al.config import Config
from s4al.data import palettes
from s4al.data.dataset import SPLITS, Dataset, Progress, Record, unseen
from s4al.data.images import IMAGE_SUFFIXES
from s4al.data.layouts.advice import unread_files
from s4al.data.layouts.coco import render
from s4al.data.layouts.find import find_layout
from s4al.data.layouts.folders import LOOKED_FOR
from s4al.data.layouts.known import CAMVID_LISTED, CITYSCAPES, VOC, known_layout
from s4al.data.layouts.listing import list_records
from s4al.data.layouts.pairing import Reading
from s4al.data.layouts.splits import drawn_test
from s4al.data.layouts.tree import Tree, some, walk
from s4al.data.masks import IGNORE, identity_code
from s4al.data.masks.class_files import find_class_table
from s4al.data.masks.settings import build_code, class_palette, classes_of
from s4al.data.palettes import distinct_palette
from s4al.data.scenes import scenes
from s4al.errors import ConfigError, DataError

_SCENES = Reading("{split}/images/*", "{split}/masks/*", adapter="scenes")


def open_dataset(config: Config, rendered: Path, tree: Tree | None = None, progress: Progress = unseen) -> Dataset:
    """List the data set that `config.data` names, by its settings. Adapter "auto" is the scenes where there is no root.

    Parameters
    ----------
    rendered : where the embedded data set, or COCO's masks, are rendered (once).
    tree : what is in the folder `config.data.root`, where it has been listed before.
    progress : called after every mask of COCO that is rendered.

    Raises
    ------
    DataError : missing folders (with the layout that was looked for), an empty split, images and masks that do not
        pair up, duplicate ids, lists that leave the folder.
    ConfigError : no root, no class names, a pattern that is none, or a test split that the data set does not publish.
    """
    data = config.data
    adapter = data.adapter
    if adapter == "auto" and not data.root:
        adapter = "scenes"
    if adapter == "scenes":
        dataset, tree = _open_scenes(rendered, config), None
    else:
        tree = tree or walk(_existing_root(config), data.links)
        adapter = _found_adapter(tree, config) if adapter == "auto" else adapter
        if adapter == "coco":
            dataset = _open_coco(tree, config, rendered, progress)
        else:
            dataset = _ADAPTERS[adapter](tree, config)
    records = _unique_ids(_without_bare_splits(_choose_test_split(dataset.records, config), data.oracle))
    dataset = replace(dataset, records=records, links=config.data.links)
    unread = unread_files(tree) if tree else ""
    _check_labelled(dataset, config.data.oracle, unread)
    _check_pairs(dataset, config.data.oracle, unread)
    return dataset


def open_images(root: Path, class_names: Iterable[str]) -> Dataset:
    """Every image below `root` as one unlabelled pool (split "train"), for scoring a folder. Raises DataError."""
    names = tuple(class_names)
    records = list_records(walk(root), "**/*", "").records
    if not records:
        raise DataError(f"{root} holds no images.", remedy=f"Names of images end in {', '.join(IMAGE_SUFFIXES)}.")
    return Dataset(root, names, distinct_palette(len(names)), records, identity_code(len(names)))


def _found_adapter(tree: Tree, config: Config) -> str:
    data = config.data
    return find_layout(tree.root, images=data.images, masks=data.masks, lists=data.lists, tree=tree).adapter


def _existing_root(config: Config) -> Path:
    if not config.data.root:
        what = f"The adapter {config.data.adapter!r} needs the folder of its data."
        raise ConfigError(what, remedy="Pass --data DIR or set data.root.")
    root = Path(config.data.root).expanduser()
    if not root.is_dir():
        raise DataError(f"The data folder {root} does not exist.", remedy="Check --data or data.root.")
    return root


def _by_settings(tree: Tree, config: Config, default: Reading) -> tuple[Record, ...]:
    """The records of the adapter's layout, each of its patterns replaced by the one that is set."""
    data = config.data
    images, masks = data.images or default.images, data.masks or default.masks
    listing = list_records(tree, images, masks, data.lists or default.lists)
    if not listing.records:
        what = f"{tree.root} does not have the expected layout."
        raise DataError(what, remedy=f"Looked for: images {images}, masks {masks}.")
    if listing.alone and default.adapter != "folder":
        split = listing.alone[0][0] or "train"
        alone = [id for where, id in listing.alone if (where or "train") == split]
        what = f"{some(alone, 'mask')} of the {split} split without an image in {tree.root}."
        raise DataError(what, remedy="Add the images or remove the masks.")
    return listing.records


# --- adapters ---


def _open_scenes(folder: Path, config: Config) -> Dataset:
    scenes.render_folder(folder, config.scenes)
    palette = np.array(list(scenes.CLASSES.values()), np.uint8)
    records = list_records(walk(folder), _SCENES.images, _SCENES.masks).records
    return Dataset(folder, tuple(scenes.CLASSES), palette, records, identity_code(len(palette)))


def _open_folder(tree: Tree, config: Config) -> Dataset:
    data = config.data
    if data.images:
        found = Reading(data.images, data.masks, lists=data.lists)
    else:
        layout = find_layout(tree.root, adapter="folder", masks=data.masks, lists=data.lists, tree=tree)
        found = Reading(layout.settings["images"], layout.settings["masks"], lists=layout.settings["lists"])
    records = _by_settings(tree, config, found)
    table = find_class_table(tree.root)
    names = data.classes or classes_of(data.mask_values) or (table.names if table else ())
    if not names and data.oracle == "people" and not any(record.mask for record in records):
        return Dataset(tree.root, (), distinct_palette(0), records, identity_code(0))  # people name them
    if not names:
        remedy = f"Set data.classes, or write {tree.root}/classes.txt with one name a line."
        raise ConfigError("The folder adapter needs class names.", remedy=remedy)
    code, palette = build_code(names, data.mask_values), class_palette(names, data.mask_values, table)
    return Dataset(tree.root, names, palette, records, code)


def _open_camvid(tree: Tree, config: Config) -> Dataset:
    names, palette = tuple(palettes.CAMVID), np.array(list(palettes.CAMVID.values()), np.uint8)
    default = known_layout(tree, "camvid") or CAMVID_LISTED
    segnet = "annot/" in (config.data.masks or default.masks)
    code = identity_code(len(names), void=(11,) if segnet else ())
    return Dataset(tree.root, names, palette, _by_settings(tree, config, default), code)


def _open_cityscapes(tree: Tree, config: Config) -> Dataset:
    _require_other_test_split(config, "Cityscapes")
    default = known_layout(tree, "cityscapes") or CITYSCAPES
    names = tuple(palettes.CITYSCAPES)
    code = identity_code(len(names))
    if "labelTrainIds" not in (config.data.masks or default.masks):
        code.values[:34] = IGNORE  # the published ids end at 33
        code.values[[label_id for label_id, _ in palettes.CITYSCAPES.values()]] = np.arange(len(names))
    palette = np.array([colour for _, colour in palettes.CITYSCAPES.values()], np.uint8)
    return Dataset(tree.root, names, palette, _by_settings(tree, config, default), code)


def _open_voc(tree: Tree, config: Config) -> Dataset:
    _require_other_test_split(config, "Pascal VOC")
    names = palettes.VOC
    records = _by_settings(tree, config, known_layout(tree, "voc") or VOC)
    return Dataset(tree.root, names, palettes.voc_palette(len(names)), records, identity_code(len(names)))


def _open_coco(tree: Tree, config: Config, rendered: Path, progress: Progress) -> Dataset:
    data = config.data
    if data.images and data.masks:
        images, masks = data.images, data.masks
    else:
        settings = find_layout(tree.root, adapter="coco", images=data.images, masks=data.masks, tree=tree).settings
        images, masks = settings["images"], settings["masks"]
    found = render(tree, images, masks, rendered, data.max_megapixels, progress)
    names = found.class_names
    if data.classes and data.classes != names:
        what = f"data.classes is not what the categories of {masks} are: {', '.join(names)}."
        raise ConfigError(what, remedy="Leave data.classes out, or rename the categories.")
    palette, code = distinct_palette(len(names)), identity_code(len(names))
    return Dataset(tree.root, names, palette, found.records, code, rendered=found.folder)


_ADAPTERS: Mapping[str, Callable[[Tree, Config], Dataset]] = {
    "folder": _open_folder,
    "camvid": _open_camvid,
    "cityscapes": _open_cityscapes,
    "voc": _open_voc,
}


# --- splits and checks ---


def _require_other_test_split(config: Config, name: str) -> None:
    if config.data.test_split == "test":
        raise ConfigError(f"{name} publishes no masks of its test split.", remedy="Set data.test_split=val.")


def _choose_test_split(records: tuple[Record, ...], config: Config) -> tuple[Record, ...]:
    """With `test_split` "val" the validation images are the test split, and there is no other validation; with "drawn"
    training images with a mask are. A test split that the folder has is then not used."""
    if config.data.test_split == "test":
        return records
    if config.data.test_split == "val":
        moved = {record.id for record in records if record.split == "val"}
        source = "val"
    else:
        moved = drawn_test([r.id for r in records if r.split == "train" and r.mask], config.data.test_fraction)
        source = "train"
    kept = [record for record in records if record.split != "test"]
    chosen = [replace(r, split="test") if r.split == source and r.id in moved else r for r in kept]
    return tuple(sorted(chosen, key=lambda record: (SPLITS.index(record.split), record.id)))


def _without_bare_splits(records: tuple[Record, ...], oracle: str) -> tuple[Record, ...]:
    """A val split none of whose images has a mask is of no use; one where some have none is a mistake. So is a test
    split, but where nothing at all has a mask: then people's answers are tested on."""
    masked = {record.split for record in records if record.mask}
    bare = {"val"} - masked
    if oracle == "people" and not masked:
        bare = {"val", "test"}
    return tuple(record for record in records if record.split not in bare)


def _unique_ids(records: tuple[Record, ...]) -> tuple[Record, ...]:
    """Put the split in front of all ids where an id is used in two splits."""
    if len({record.id for record in records}) == len(records):
        return records
    return tuple(replace(record, id=f"{record.split}/{record.id}") for record in records)


def _check_labelled(dataset: Dataset, oracle: str, unread: str) -> None:
    """Images without splits and masks are a pool for people; else there have to be images to test on. `unread` are
    files of formats that are not read."""
    present = {record.split for record in dataset.records}
    masked = sum(record.mask is not None for record in dataset.records)
    if present == {"train"} and not masked:
        if oracle == "people":
            return
        what = f"Nothing is labelled in {dataset.root}: no masks were found{_not_read(unread)}."
        raise DataError(what, remedy=f"Looked for {LOOKED_FOR}. Set data.masks, or data.oracle=people.")
    for split in ("train", "test"):
        if split not in present:
            remedy = _how_to_fill(split, dataset.records)
            raise DataError(f"The {split} split of {dataset.root} holds no images.", remedy=remedy)


def _how_to_fill(split: str, records: tuple[Record, ...]) -> str:
    """What gives a run images to train on, or to test on."""
    if split == "train":
        return "Put the images to learn from into a folder named train, with their masks as the others have theirs."
    if any(record.split == "val" and record.mask for record in records):
        return "Set data.test_split=val to test on the val split."
    if sum(record.split == "train" and record.mask is not None for record in records) > 1:
        return "Set data.test_split=drawn to test on some of the images with a mask, or name a folder of them test."
    return "Add images with masks: at least one to learn from and one to test on are needed."


def _check_pairs(dataset: Dataset, oracle: str, unread: str) -> None:
    """The test and validation images need masks; those to be queried need them only when masks answer the queries."""
    for split in SPLITS:
        bare = [record.id for record in dataset.records if record.split == split and record.mask is None]
        if bare and (split != "train" or oracle == "masks"):
            remedy = "Add the masks" + (", or set data.oracle=people." if split == "train" else ".")
            what = f"{some(bare, 'image')} of the {split} split without a mask in {dataset.root}{_not_read(unread)}."
            raise DataError(what, remedy=remedy)


def _not_read(unread: str) -> str:
    return f"; of formats that are not read: {unread}" if unread else ""
