"""Which layout a data folder has, found out from its names alone, and said in sentences and settings.

    <split>/<images>/*  <split>/<masks>/*      <images>/<split>/*  <masks>/<split>/*      <images>/*  <masks>/*
    <split>/*  <split>_labels/*                a.jpg a_mask.png in one folder             *.txt lists of the splits
    CamVid, Cityscapes, Pascal VOC, COCO       images alone: a pool without masks

Nothing is chosen between two readings that both pair images with masks: the settings that decide are named.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from s4al.data.dataset import SPLITS, Links, Record
from s4al.data.layouts.coco import annotation_files, coco_layouts, is_panoptic
from s4al.data.layouts.folders import LOOKED_FOR, shared_parts
from s4al.data.layouts.known import known_layout
from s4al.data.layouts.listing import Listing, entry_key, find_lists, list_records, match_pairs, read_list
from s4al.data.layouts.pairing import Reading
from s4al.data.layouts.patterns import compile_pattern
from s4al.data.layouts.readings import read_folders
from s4al.data.layouts.splits import ALIASES, ANY_ALIAS, drawn_test
from s4al.data.layouts.tree import Tree, checked_id, some, walk
from s4al.data.pool import first_few
from s4al.errors import DataError

_TEST_KEPT_BACK = ("cityscapes", "voc")  # whose authors keep the masks of the test split
_LIKE_A_SPLIT = re.compile(rf"(?i:(?:.*[_\-. \d])?(?:{ANY_ALIAS})(?:[_\-. \d].*|(?:data)?set)?)")
_OF_ITS_OWN = (
    "Classes and mask values are those that were published with it; with data.adapter=folder they are your own."
)
_MOSTLY = 0.9  # of a list's lines name images, else it is no list of images


@dataclass(frozen=True)
class Layout:
    """What a data folder was understood to be.

    Attributes
    ----------
    adapter : folder, camvid, cityscapes, voc or coco.
    settings : the keys of `data` that describe it (adapter, images, masks, lists, test_split) and their values.
    lines : what was understood, a sentence each.
    counts : split -> (images, those of them with a mask), as the folder has them, before any test split is drawn. Of
        COCO, whose annotations are not read here, all images of a split with annotations count as having a mask.
    unpaired_images, unpaired_masks : ids without the other, of splits that have masks at all.
    unused : folders that hold pictures which are not used, with how many, "previews/ (3)".
    skipped : suffix -> how many files that are no images, the most frequent first.
    """

    adapter: str
    settings: dict[str, str]
    lines: tuple[str, ...]
    counts: dict[str, tuple[int, int]]
    unpaired_images: tuple[str, ...]
    unpaired_masks: tuple[str, ...]
    unused: tuple[str, ...]
    skipped: dict[str, int]


def find_layout(
    root: Path,
    *,
    adapter: str = "auto",
    images: str = "",
    masks: str = "",
    lists: str = "",
    test_fraction: float = 0.2,
    links: Links = "anywhere",
) -> Layout:
    """Understand the folder `root`; the adapter and the patterns that are given are kept.

    Raises
    ------
    DataError : no images, two readings of one folder (names both, and the settings of each), no mask that has the
        name of an image, two files of one id, names that cannot be ids.
    ConfigError : a pattern that is none.
    """
    tree = walk(root, links)
    if not tree.pictures:
        what = f"{root} holds no images"
        raise DataError(f"{what} ({_counts(tree.skipped)}).", remedy=f"Looked for: {LOOKED_FOR}.")
    for name in tree.pictures:  # patterns and messages are made of them
        checked_id(name)
    reading = _choose(tree, adapter, images, masks)
    reading = replace(reading, lists=lists or reading.lists or _find_lists(tree, reading))
    listing = _list_coco(tree, reading) if reading.adapter == "coco" else list_records(tree, *_patterns(reading))
    if not listing.records:
        raise DataError(f"No image in {root} fits data.images={reading.images!r}.", remedy="Check the pattern.")
    test_split, said = _choose_test_split(listing.records, test_fraction, reading.adapter)
    settings = {"adapter": reading.adapter, "images": reading.images, "masks": reading.masks, "lists": reading.lists}
    return _describe(tree, reading, listing, settings | {"test_split": test_split}, said)


def _patterns(reading: Reading) -> tuple[str, str, str]:
    return reading.images, reading.masks, reading.lists


def _list_coco(tree: Tree, reading: Reading) -> Listing:
    """The images, each with its split's annotation file for a mask."""
    files = annotation_files(tree, reading.masks)
    records = list_records(tree, reading.images, "").records
    masks = {split: tree.root / name for split, name in files.items()}
    return Listing(tuple(replace(record, mask=masks.get(record.split)) for record in records), ())


def _choose(tree: Tree, adapter: str, images: str, masks: str) -> Reading:
    if adapter == "coco" or (adapter == "auto" and (masks.endswith(".json") or not masks)):
        readings = [replace(reading, images=images or reading.images) for reading in coco_layouts(tree, masks)]
        if readings or adapter == "coco":
            return _only(tree, list(dict.fromkeys(readings)))
    if images and masks and adapter in ("auto", "folder"):
        return Reading(images, masks)
    known = None if adapter == "folder" or (images and adapter == "auto") else known_layout(tree, adapter)
    # other masks of Pascal VOC, say those of SegmentationClassAug, have the same classes
    if known and (adapter != "auto" or not masks or known.adapter == "voc"):
        return replace(known, images=images or known.images, masks=masks or known.masks)
    if adapter not in ("auto", "folder"):
        return _only(tree, [])
    return _only(tree, read_folders(tree, images, masks))


def _only(tree: Tree, readings: list[Reading]) -> Reading:
    if not readings:
        raise DataError(f"{tree.root} does not have the expected layout.", remedy=f"Looked for: {LOOKED_FOR}.")
    if len(readings) > 1:
        first, second = readings[:2]
        what = f"{tree.root} can be read as {first.settings}, or as {second.settings}."
        splits = ["{split}" in reading.images for reading in (first, second)]
        more = " Folders that are splits have to be named train, val or test." if any(splits) != all(splits) else ""
        raise DataError(what, remedy=f"Add the right one to the command.{more}")
    return readings[0]


def _find_lists(tree: Tree, reading: Reading) -> str:
    """Text files that say which image belongs to which split, where the folders do not."""
    if "{split}" in reading.images + reading.masks:
        return ""
    found, _ = match_pairs(tree, reading.images, reading.masks)
    pattern = compile_pattern(reading.images, "data.images")
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in _named_as_lists(tree):
        by_folder[name[: name.rfind("/") + 1]].append(name)

    def names_images(names: Iterable[str]) -> bool:
        try:
            lines = [line for name in names for line in read_list(tree.root / name)]
        except DataError:  # it is called like a list, and is said not to be used
            return False
        known = sum(entry_key(line, "", found, pattern) is not None for line in lines)
        return known > 0 and known >= _MOSTLY * len(lines)

    folders = [folder for folder, names in sorted(by_folder.items()) if names_images(names)]
    folders = [folder for folder in folders if folder.endswith("ImageSets/Segmentation/")] or folders
    if len(folders) > 1:
        first, second = (f'data.lists="{folder}{{split}}.txt"' for folder in folders[:2])
        what = f"{tree.root} has lists of splits in several folders: {first}, or {second}."
        raise DataError(what, remedy="Add the right one to the command.")
    return f"{folders[0]}{{split}}.txt" if folders else ""


def _named_as_lists(tree: Tree) -> list[str]:
    """Text files that are called as a split is."""
    files = ((name, name.rpartition("/")[2].lower()) for name in tree.others if name.isprintable())
    return [name for name, file in files if file.endswith(".txt") and file.removesuffix(".txt") in ALIASES]


def _choose_test_split(records: Iterable[Record], fraction: float, adapter: str) -> tuple[str, str]:
    """`data.test_split`, and the sentence that says why."""
    records = list(records)
    present = {record.split for record in records}
    masked = {split: [r.id for r in records if r.split == split and r.mask] for split in SPLITS}
    published = adapter not in _TEST_KEPT_BACK
    if masked["test"] and published:
        return "test", ""
    none = "The test split has no masks and is not used" if "test" in present else "There is no test split"
    if masked["test"]:
        none = "The masks of the test split are not published, what lies in their place is not used"
    if masked["val"]:
        return "val", f"{none}: the val split ({_number(len(masked['val']), 'image')} with a mask) is tested on."
    drawn = drawn_test(masked["train"], fraction)
    if not drawn:
        return "test", ""
    return "drawn", (
        f"{none}, nor a val split. Drawn for testing: {len(drawn):,} of the {len(masked['train']):,} images with a "
        f"mask (data.test_fraction={fraction:g}), by a hash of their ids: stable when images are added."
    )


def _describe(tree: Tree, reading: Reading, listing: Listing, settings: dict[str, str], said: str) -> Layout:
    counts = {
        split: (len(records), sum(record.mask is not None for record in records))
        for split in SPLITS
        if (records := [record for record in listing.records if record.split == split])
    }
    bare = tuple(record.id for record in listing.records if not record.mask and counts[record.split][1])
    alone = tuple(id for _, id in listing.alone)
    found, labels = match_pairs(tree, reading.images, reading.masks)
    unused = _unused(tree, {*found.values(), *labels.values()}, reading.adapter)
    unlisted = len(found) - len(listing.records)
    used_lists = find_lists(tree, reading.lists).values() if reading.lists else ()
    other_lists = [name for name in _named_as_lists(tree) if name not in used_lists]
    lines = [
        *_layout_lines(tree, reading),
        "Splits: " + ", ".join(f"{s} {_number(n, 'image')} ({m:,} with a mask)" for s, (n, m) in counts.items()) + ".",
        said,
        "The val split has no masks and is not used." if "val" in counts and not counts["val"][1] else "",
        f"{_number(unlisted, 'image')} in no list: not used." if unlisted else "",
        f"{some(bare, 'image')} without a mask." if bare else "",
        f"{some(alone, 'mask')} without an image: not used." if alone else "",
        _split_like(listing, reading, tree.root),
        f"Pictures that are not used: {first_few(list(unused))}." if unused else "",
        f"Lists that are not used: {first_few(other_lists)}." if other_lists else "",
        f"Files that are no images, passed over: {_counts(tree.skipped)}." if tree.skipped else "",
    ]
    sentences = tuple(line for line in lines if line)
    return Layout(reading.adapter, settings, sentences, counts, bare, alone, unused, tree.skipped)


def _split_like(listing: Listing, reading: Reading, root: Path) -> str:
    """Folders that say train or test in a form that is not known are all read as one; that has to be seen."""
    if reading.lists or "{split}" in reading.images + reading.masks:
        return ""
    folders = {part for record in listing.records for part in record.image.relative_to(root).parts[:-1]}
    folders = {folder for folder in folders if ALIASES.get(folder.lower()) != "train"}  # as which all is read
    alike = sorted(folder for folder in folders if _LIKE_A_SPLIT.fullmatch(folder))
    if not alike:
        return ""
    return f"WARNING: {', '.join(alike)} look like splits, and all is read as train. Name them train, val and test."


def _layout_lines(tree: Tree, reading: Reading) -> list[str]:
    name = reading.name or "a folder of images"
    if not reading.masks:
        return [f"Layout: {name} without masks, images={reading.images}. Looked for: {LOOKED_FOR}."]
    shared = shared_parts([pattern.split("/")[:-1] for pattern in (reading.images, reading.masks)])
    base = "/".join(takewhile(lambda part: not set("{*") & set(part), shared))
    lists = f", splits by the lists {reading.lists}" if reading.lists else ""
    return [
        f"Layout: {name}{'' if reading.name else ' and masks'}, images={reading.images}, masks={reading.masks}{lists}.",
        f"Everything is in the folder {base}/." if base else "",
        _OF_ITS_OWN if reading.adapter in ("camvid", "cityscapes", "voc") else "",
        "" if reading.adapter == "coco" else f"Pairs: {reading.rule}.",
    ]


def _unused(tree: Tree, used: set[str], adapter: str) -> tuple[str, ...]:
    """Folders of pictures that are neither images nor masks, nor COCO's annotations."""
    rest = [name for name in tree.pictures if name not in used and not (adapter == "coco" and is_panoptic(name))]
    folders = Counter(PurePosixPath(name).parent.as_posix() for name in rest)
    return tuple(f"{folder}/ ({count:,})" for folder, count in sorted(folders.items()))


def printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def _counts(skipped: dict[str, int]) -> str:
    if not skipped:
        return "the folder is empty"
    return ", ".join(f"{count:,} {printable(suffix) or 'without a suffix'}" for suffix, count in skipped.items())


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
