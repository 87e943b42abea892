"""Which layout a data folder has, found out from its names alone, and said in sentences and settings.

    <split>/<images>/*  <split>/<masks>/*      <images>/<split>/*  <masks>/<split>/*      <images>/*  <masks>/*
    <split>/*  <split>_labels/*                a.jpg a_mask.png in one folder             07/image.png 07/mask.png
    CamVid, Cityscapes, Pascal VOC, COCO       images alone: a pool without masks         *.txt lists of the splits

Nothing is chosen between two readings that both pair images with masks: the settings that decide are named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath

from s4al.data.dataset import SPLITS, Links, Record
from s4al.data.layouts.advice import CONVERT, unread_files, unread_masks, with_splits
from s4al.data.layouts.choose import (
    check_has_images,
    check_has_train,
    check_images_alone,
    choose_reading,
    printable,
)
from s4al.data.layouts.coco import listed_images
from s4al.data.layouts.coco_files import annotation_files, is_panoptic
from s4al.data.layouts.folders import LOOKED_FOR, shared_parts
from s4al.data.layouts.list_files import Names, find_lists
from s4al.data.layouts.listing import Listing, list_records, match_pairs
from s4al.data.layouts.pairing import Reading
from s4al.data.layouts.split_lists import check_listed_masks, find_split_lists
from s4al.data.layouts.splits import ALIASES, ANY_ALIAS, drawn_test
from s4al.data.layouts.tree import UNREAD_SUFFIXES, Tree, checked_id, some, walk
from s4al.data.pool import first_few
from s4al.errors import DataError

_TEST_KEPT_BACK = ("cityscapes", "voc")  # whose authors keep the masks of the test split
_LIKE_A_SPLIT = re.compile(rf"(?i:(?:.*[_\-. \d])?(?:{ANY_ALIAS})(?:[_\-. \d].*|(?:data)?set)?)")
_OF_ITS_OWN = (
    "Classes and mask values are those that were published with it; with data.adapter=folder they are your own."
)


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
    records : the images, and with what masks. Of COCO, the annotation files are in the place of masks.
    """

    adapter: str
    settings: dict[str, str]
    lines: tuple[str, ...]
    counts: dict[str, tuple[int, int]]
    unpaired_images: tuple[str, ...]
    unpaired_masks: tuple[str, ...]
    unused: tuple[str, ...]
    skipped: dict[str, int]
    records: tuple[Record, ...]


def find_layout(
    root: Path,
    *,
    adapter: str = "auto",
    images: str = "",
    masks: str = "",
    lists: str = "",
    test_fraction: float = 0.2,
    links: Links = "anywhere",
    tree: Tree | None = None,
) -> Layout:
    """Understand the folder `root`; the adapter and the patterns that are given are kept.

    Parameters
    ----------
    tree : what is in the folder, where it has been listed before; `links` is then of no account.

    Raises
    ------
    DataError : no images, two readings of one folder (names both, and the settings of each), no mask that has the
        name of an image, two files of one id, names that cannot be ids.
    ConfigError : a pattern that is none.
    """
    tree = tree or walk(root, links)
    check_has_images(tree)
    for name in tree.pictures:  # patterns and messages are made of them
        checked_id(name)
    reading = choose_reading(tree, adapter, images, masks)
    split_lists = find_split_lists(tree, reading, lists)
    reading = replace(reading, lists=split_lists.pattern)
    listing = _list_coco(tree, reading) if reading.adapter == "coco" else list_records(tree, *_patterns(reading))
    if not listing.records:
        raise DataError(f"No image in {root} fits data.images={reading.images!r}.", remedy="Check the pattern.")
    if not (images or reading.masks):
        check_images_alone(tree, reading, listing.records)
    check_has_train(tree, reading, listing.records, given=bool(images))
    warning = ""
    if reading.adapter != "coco":
        warning = check_listed_masks(tree, reading, listing.records, masks_given=bool(masks))
    test_split, tested = _choose_test_split(listing.records, test_fraction, reading.adapter)
    settings = {"adapter": reading.adapter, "images": reading.images, "masks": reading.masks, "lists": reading.lists}
    settings["test_split"] = test_split
    return _describe(tree, reading, listing, settings, [warning, tested], split_lists.unread)


def _patterns(reading: Reading) -> tuple[str, str, str]:
    return reading.images, reading.masks, reading.lists


def _list_coco(tree: Tree, reading: Reading) -> Listing:
    """The images, each with its split's annotation file for a mask. Where only the annotation files have splits, their
    images are in them, and no others are used."""
    files = annotation_files(tree, reading.masks)
    records = list_records(tree, reading.images, "").records
    if "{split}" in reading.masks and "{split}" not in reading.images:
        by_id = {record.id: record for record in records}
        known = Names({("", id): record.image.relative_to(tree.root).as_posix() for id, record in by_id.items()})
        listed = [(split, listed_images(tree.root / file, file)) for split, file in files.items()]
        keys = [(split, key) for split, names in listed for name in names if (key := known.key(name))]
        records = tuple(replace(by_id[id], split=split) for split, (_, id) in keys)
    masks = {split: tree.root / name for split, name in files.items()}
    return Listing(tuple(replace(record, mask=masks.get(record.split)) for record in records), ())


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
        bare = "test" in present and not masked["train"]  # no mask anywhere: people are asked, and tested on
        return "test", "The test split has no masks and is not used." if bare else ""
    return "drawn", (
        f"{none}, nor a val split. Drawn for testing: {len(drawn):,} of the {len(masked['train']):,} images with a "
        f"mask (data.test_fraction={fraction:g}), by a hash of their ids: stable when images are added."
    )


def _describe(
    tree: Tree,
    reading: Reading,
    listing: Listing,
    settings: dict[str, str],
    said: list[str],
    other_lists: tuple[str, ...],
) -> Layout:
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
    unread, passed_over = unread_files(tree), _passed_over(tree, reading)
    missing = bare or not reading.masks or unread != unread_masks(tree)
    warned = "WARNING: " if missing else "Files "  # arrays beside masks: labelme writes both
    lines = [
        *_layout_lines(tree, reading),
        "Splits: " + ", ".join(f"{s} {_number(n, 'image')} ({m:,} with a mask)" for s, (n, m) in counts.items()) + ".",
        *said,
        "The val split has no masks and is not used." if "val" in counts and not counts["val"][1] else "",
        f"{_number(unlisted, 'image')} in no list: not used." if unlisted else "",
        f"{some(bare, 'image')} without a mask." if bare else "",
        f"{some(alone, 'mask')} without an image: not used." if alone else "",
        _split_like(listing, reading, tree),
        f"Pictures that are not used: {first_few(list(unused))}." if unused else "",
        f"Lists that are not used: {first_few(list(other_lists))}." if other_lists else "",
        f"{warned}of formats that are not read: {unread}. {CONVERT}." if unread else "",
        f"Files that are no images, passed over: {passed_over}." if passed_over else "",
    ]
    sentences = tuple(line for line in lines if line)
    return Layout(reading.adapter, settings, sentences, counts, bare, alone, unused, tree.skipped, listing.records)


def _split_like(listing: Listing, reading: Reading, tree: Tree) -> str:
    """Folders that say train or test in a form that is not known are all read as one; that has to be seen."""
    if reading.lists or "{split}" in reading.images + reading.masks:
        return ""
    folders = {part for record in listing.records for part in record.image.relative_to(tree.root).parts[:-1]}
    folders = {folder for folder in folders if ALIASES.get(folder.lower()) != "train"}  # as which all is read
    alike = sorted(folder for folder in folders if _LIKE_A_SPLIT.fullmatch(folder))
    if not alike:
        return ""
    said = f"WARNING: {', '.join(alike)} look like splits, and all is read as train. Name them train, val and test"
    offered = with_splits(tree, reading) if reading.masks else None
    return f"{said}, or set {offered.settings}." if offered else f"{said}."


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


def _passed_over(tree: Tree, reading: Reading) -> str:
    used = set(find_lists(tree, reading.lists).values()) if reading.lists else set()
    used |= set(annotation_files(tree, reading.masks).values()) if reading.adapter == "coco" else set()
    skipped = Counter(PurePosixPath(name).suffix.lower() for name in tree.others if name not in used)
    skipped = {suffix: count for suffix, count in skipped.most_common() if suffix not in UNREAD_SUFFIXES}
    return ", ".join(f"{count:,} {printable(suffix) or 'without a suffix'}" for suffix, count in skipped.items())


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
