"""Names below a data folder -> records: which image has which mask, and which split it belongs to.

Nothing is opened here but list files. An id is what the wildcards of a pattern match, in Unicode form NFC, so that
names written by another operating system still match.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from s4al.data.dataset import SPLITS, Record
from s4al.data.layouts.patterns import Key, Pattern, compile_pattern, match_names
from s4al.data.layouts.tree import Tree, checked_id, is_picture, some
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
        found = _by_lists(tree, lists, found, images)
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


def find_lists(tree: Tree, pattern: str) -> dict[str, str]:
    """`{split: name}` of the list files that fit. Raises ConfigError, DataError for two lists of one split."""
    compiled = compile_pattern(pattern, "data.lists")
    found: dict[str, str] = {}
    for name in tree.others:
        key = compiled.key(name)
        if key is None:
            continue
        if key[0] in found:
            what = f"{found[key[0]]} and {name} in {tree.root} both list the {key[0]} split."
            raise DataError(what, remedy="Remove one of them, or set data.lists to a pattern that only fits the other.")
        found[key[0]] = name
    return found


def _by_lists(tree: Tree, pattern: str, found: dict[Key, str], images: str) -> dict[Key, str]:
    """The images that the lists name, in their splits; all others are for training where no list says what is."""
    chosen: dict[Key, str] = {}
    lists = find_lists(tree, pattern)
    if not lists:
        raise DataError(f"No list in {tree.root} fits data.lists={pattern!r}.", remedy="Check the pattern.")
    whose: dict[str, str] = {}
    for split, list_name in sorted(lists.items()):
        for key in _listed(tree, split, list_name, found, images):
            if whose.setdefault(found[key], split) != split:
                what = f"{found[key]} is listed for {whose[found[key]]} and for {split} in {tree.root}."
                raise DataError(what, remedy=f"Remove it from {list_name} or from {lists[whose[found[key]]]}.")
            chosen[split, key[1]] = found[key]
    if "train" not in lists:
        chosen |= {("train", id): name for (split, id), name in found.items() if not split and name not in whose}
    return chosen


def _listed(tree: Tree, split: str, list_name: str, found: Mapping[Key, str], images: str) -> list[Key]:
    path = tree.root / list_name
    compiled = compile_pattern(images, "data.images")
    entries = read_list(path)
    keys = {line: entry_key(line, split, found, compiled) for line in entries}
    twice = [line for line, count in Counter(entries).items() if count > 1]
    if twice:
        raise DataError(f"{path} lists {some(twice, 'id')} more than once.", remedy="Remove the second ones.")
    missing = sorted(line for line, key in keys.items() if key is None)
    if missing:
        what = f"{path} lists {some(missing, 'image')} not found as {images} in {tree.root}."
        raise DataError(what, remedy="Add the images, or remove them from the list.")
    return [key for key in keys.values() if key is not None]


def entry_key(line: str, split: str, found: Mapping[Key, str], images: Pattern) -> Key | None:
    """What a line of a list names: an id, a file name, or an image's path below the data folder."""
    ids = [line, line.rpartition(".")[0]] if is_picture(line) else [line]
    keys = [(where, id) for id in ids for where in (split, "")]
    if is_picture(line) and (key := images.key(line.removeprefix("./"))):
        keys.append(key)
    return next((key for key in keys if key in found), None)


def read_list(path: Path) -> list[str]:
    """The lines of a list file, without empty ones.

    Raises DataError where it cannot be read, is not UTF-8, or names what is not below the data folder.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", remedy="Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).", remedy="Check its permissions.") from error
    lines = [checked_id(line.strip()) for line in text.split("\n") if line.strip()]
    for line in lines:
        if ".." in PurePosixPath(line).parts:
            remedy = "Use paths inside the data folder."
            raise DataError(f"The path {line!r} in {path} leaves the folder {path.parent}.", remedy=remedy)
    return lines
