"""Names below a data folder -> records: which image has which mask, and which split it belongs to.

Nothing is opened here but list files. An id is what the wildcards of a pattern match, in Unicode form NFC, so that
names written by another operating system still match.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from s4al.data.dataset import SPLITS, Record
from s4al.data.layouts.list_files import Entry, Names, find_lists, read_entries
from s4al.data.layouts.patterns import Key, compile_pattern, match_names
from s4al.data.layouts.tree import Tree, some
from s4al.errors import ConfigError, DataError


@dataclass(frozen=True)
class Listing:
    """The records of a data folder, sorted by split and id, and the masks that no image has, as (split, id)."""

    records: tuple[Record, ...]
    alone: tuple[Key, ...]


def list_records(tree: Tree, images: str, masks: str, lists: str = "") -> Listing:
    """List what the patterns `data.images`, `data.masks` and `data.lists` name in a folder.

    A file that fits both patterns belongs to the one that spells out more of its path. Where only one of the patterns
    has {split}, it decides; without any, and not in a list, an image is for training. `masks` may be "".

    Raises
    ------
    ConfigError : no pattern, or patterns that cannot be told apart.
    DataError : two files of one id, names that cannot be ids, lists that name what is not there.
    """
    found, labels = match_pairs(tree, images, masks)
    if lists:
        found = _by_lists(tree, lists, found, labels, images)
    elsewhere = {id: split for split, id in labels} if all(split == "" for split, _ in found) else {}
    records: list[Record] = []
    used: set[Key] = set()
    for (split, id), name in found.items():
        mask_key = next((key for key in ((split, id), ("", id), (elsewhere.get(id, ""), id)) if key in labels), None)
        mask = None
        if mask_key is not None:
            used.add(mask_key)
            mask, split = tree.root / labels[mask_key], split or mask_key[0]
        records.append(Record(id, split or "train", tree.root / name, mask))
    records.sort(key=lambda record: (SPLITS.index(record.split), record.id))
    return Listing(tuple(records), () if lists else tuple(sorted(labels.keys() - used)))


def match_pairs(tree: Tree, images: str, masks: str) -> tuple[dict[Key, str], dict[Key, str]]:
    """The names of images and of masks that fit, each by (split, id)."""
    image, mask = compile_pattern(images, "data.images"), compile_pattern(masks, "data.masks") if masks else None
    if mask is None:
        return match_names(image, tree.pictures, tree.root), {}
    both = {name for name in tree.pictures if image.regex.fullmatch(name) and mask.regex.fullmatch(name)}
    if both and image.weight == mask.weight:
        what = f"data.images={images!r} and data.masks={masks!r} both fit {some(sorted(both), 'file')}."
        raise ConfigError(what, remedy="Spell out what only the one or the other have in their names.")
    return (
        match_names(image, _without(tree, both if mask.weight > image.weight else set()), tree.root),
        match_names(mask, _without(tree, both if image.weight > mask.weight else set()), tree.root),
    )


def _without(tree: Tree, names: set[str]) -> list[str]:
    return [name for name in tree.pictures if name not in names]


# --- lists ---


def _by_lists(tree: Tree, pattern: str, found: dict[Key, str], labels: dict[Key, str], images: str) -> dict[Key, str]:
    """The images that the lists name, in their splits; all others are for training where no list says what is."""
    chosen: dict[Key, str] = {}
    lists = find_lists(tree, pattern)
    if not lists:
        raise DataError(f"No list in {tree.root} fits data.lists={pattern!r}.", remedy="Check the pattern.")
    whose: dict[str, str] = {}
    names, masks = Names(found), Names(labels)
    for split, list_name in sorted(lists.items()):
        for key in _listed(tree, read_entries(tree, list_name, split, names, masks), list_name, images):
            if whose.setdefault(found[key], split) != split:
                what = f"{found[key]} is listed for {whose[found[key]]} and for {split} in {tree.root}."
                raise DataError(what, remedy=f"Remove it from {list_name} or from {lists[whose[found[key]]]}.")
            chosen[split, key[1]] = found[key]
    if "train" not in lists:
        chosen |= {("train", id): name for (split, id), name in found.items() if not split and name not in whose}
    return chosen


def _listed(tree: Tree, entries: list[Entry], list_name: str, images: str) -> list[Key]:
    path = tree.root / list_name
    missing = sorted(entry.line for entry in entries if entry.key is None)
    if missing:
        what = f"{path} lists {some(missing, 'image')} not found as {images} in {tree.root}."
        raise DataError(what, remedy="Add the images, or remove them from the list.")
    keys = [entry.key for entry in entries if entry.key is not None]
    twice = [id for (_, id), count in Counter(keys).items() if count > 1]
    if twice:
        raise DataError(f"{path} lists {some(twice, 'id')} more than once.", remedy="Remove the second ones.")
    return keys
