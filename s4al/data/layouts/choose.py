"""Which reading of a folder is taken, and which are refused because a person has to say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from s4al.data.dataset import Record
from s4al.data.layouts.advice import CONVERT, explained, same_named, seen_folders, unread_files, unread_masks
from s4al.data.layouts.coco_files import coco_layouts, no_annotations
from s4al.data.layouts.folders import LOOKED_FOR, role_of
from s4al.data.layouts.known import known_layout
from s4al.data.layouts.pairing import NotUnderstood, Reading
from s4al.data.layouts.patterns import compile_pattern
from s4al.data.layouts.readings import read_folders
from s4al.data.layouts.split_lists import agrees_with_lists, reading_of_lists
from s4al.data.layouts.tree import Tree
from s4al.errors import DataError

_MOST_READINGS = 4  # are named


def choose_reading(tree: Tree, adapter: str, images: str, masks: str) -> Reading:
    """The one reading of `tree`, with the adapter and the patterns that are given.

    Raises DataError where there is none, or more than one: names the folders that were seen, and settings that decide.
    """
    if adapter == "coco" or (adapter == "auto" and (masks.endswith(".json") or not masks)):
        found = coco_layouts(tree, masks, asked=adapter == "coco")
        readings = [replace(reading, images=images or reading.images) for reading in found]
        if adapter == "coco" and not readings:
            raise no_annotations(tree)
        if readings:
            return _only(tree, list(dict.fromkeys(readings)))
    if images and masks and adapter in ("auto", "folder"):
        return Reading(images, masks)
    known = None if adapter == "folder" or (images and adapter == "auto") else known_layout(tree, adapter)
    # other masks of Pascal VOC, say those of SegmentationClassAug, have the same classes
    if known and (adapter != "auto" or not masks or known.adapter == "voc"):
        return replace(known, images=images or known.images, masks=masks or known.masks)
    if adapter not in ("auto", "folder"):
        what = f"{tree.root} does not have the layout of data.adapter={adapter}; pictures are in {seen_folders(tree)}."
        raise DataError(what, remedy=f"Set data.adapter=auto, which looks for: {LOOKED_FOR}.")
    try:
        readings = read_folders(tree, images, masks)
    except NotUnderstood as error:
        raise explained(tree, error) from error
    if len(readings) > 1:
        readings = [reading for reading in readings if agrees_with_lists(tree, reading)] or readings
    reading = _only(tree, readings)
    return reading if images or reading.masks else reading_of_lists(tree, reading) or reading


def _only(tree: Tree, readings: list[Reading]) -> Reading:
    if len(readings) > 1:
        ways = [reading.settings for reading in readings[:_MOST_READINGS]]
        rest = f", or in {len(readings) - len(ways):,} more ways" if len(readings) > len(ways) else ""
        what = f"{tree.root} can be read as {', or as '.join(ways)}{rest}."
        splits = ["{split}" in reading.images for reading in readings]
        more = " Folders that are splits have to be named train, val or test." if any(splits) != all(splits) else ""
        raise DataError(what, remedy=f"Add the right one to the command.{more}")
    return readings[0]


def check_has_images(tree: Tree) -> None:
    """Raises DataError where there is no picture of a format that is read."""
    if tree.pictures:
        return
    if unread := unread_files(tree):
        raise DataError(f"{tree.root} holds no images of a format that is read: {unread}.", remedy=f"{CONVERT}.")
    counts = ", ".join(f"{n:,} {printable(suffix) or 'without a suffix'}" for suffix, n in tree.skipped.items())
    what = f"{tree.root} holds no images ({counts or 'the folder is empty'})."
    raise DataError(what, remedy=f"Looked for: {LOOKED_FOR}.")


def printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)


def check_images_alone(tree: Tree, reading: Reading, records: Sequence[Record]) -> None:
    """Raises DataError where a folder is read as images alone, and there are pictures or files which may be masks."""
    train = next((record for record in records if record.split == "train"), records[0])
    alone = f"set {_as_train(tree, reading, train).settings}"
    if unread := unread_masks(tree):
        what = f"The masks of {tree.root} are of a format that is not read: {unread}."
        raise DataError(what, remedy=f"{CONVERT}; to go on without masks {alone}.")
    pair = same_named(tree)
    if pair:
        what = (
            f"No folder in {tree.root} is called like one of masks, and the names in {pair.images} and {pair.masks} "
            f"agree; pictures are in {seen_folders(tree)}."
        )
        raise DataError(what, remedy=f"If the latter are the masks set {pair.settings}; for images alone {alone}.")


def check_has_train(tree: Tree, reading: Reading, records: Sequence[Record], *, given: bool) -> None:
    """Raises DataError where all images are of val or of test, which are not for training; where their folder is only
    called so, if no pattern was given for them."""
    splits = list(dict.fromkeys(record.split for record in records))
    if "train" not in splits:
        offered = _as_train(tree, reading, next((r for r in records if r.mask), records[0]))
        said = " and ".join(f"the {split} split" for split in splits)
    elif not given and (split := _named_as(reading)):
        offered, said = reading, f"the {split} split"
    else:
        return
    what = f"{tree.root} holds {said} alone ({len(records):,} images, {reading.images}), and no images for training."
    raise DataError(what, remedy=f"Add a train split, or to train on these images set {offered.settings}.")


def _named_as(reading: Reading) -> str:
    """The split that a folder around all images stands for, "" where it is none, or that for training."""
    roles = [role_of(part, loose=True) for part in reading.images.split("/")[:-1] if not set("*{}") & set(part)]
    splits = [role.split for role in roles if role and role.split]
    return splits[0] if splits and "train" not in splits else ""


def _as_train(tree: Tree, reading: Reading, record: Record) -> Reading:
    """The reading of one record's split alone: its name as it stands there, in the place of {split}."""
    files = [record.image, record.mask]
    patterns = [reading.images, reading.masks]
    for i, (pattern, file) in enumerate(zip(patterns, files, strict=True)):
        if "{split}" in pattern and file is not None:
            found = compile_pattern(pattern, "pattern").regex.fullmatch(file.relative_to(tree.root).as_posix())
            patterns[i] = pattern.replace("{split}", found["split"]) if found else pattern
    return replace(reading, images=patterns[0], masks=patterns[1] if record.mask else "", lists="")
