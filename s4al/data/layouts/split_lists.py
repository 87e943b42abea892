"""Which lists of splits a folder has, and whether the masks that their lines name are those found by names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from s4al.data.dataset import Record
from s4al.data.layouts.list_files import Entry, Names, find_lists, read_entries
from s4al.data.layouts.listing import match_pairs
from s4al.data.layouts.pairing import Reading
from s4al.data.layouts.patterns import Key
from s4al.data.layouts.readings import pair_names
from s4al.data.layouts.splits import ANY_ALIAS
from s4al.data.layouts.tree import Tree
from s4al.errors import DataError

_NAMED_AS_LIST = re.compile(
    rf"(?i:((?:.*/)?(?:list[_\-])?)(?:{ANY_ALIAS})((?:[_\-]?(?:list|ids|names|files|images|set))?)\.txt)"
)
_MOSTLY = 0.9  # of a list's lines name images, else it is no list of images


@dataclass(frozen=True)
class SplitLists:
    """`pattern` is that of `data.lists`, "" where no lists are read; `unread` names the others, with why."""

    pattern: str = ""
    unread: tuple[str, ...] = ()


@dataclass
class _Lists:
    """The lists that one pattern fits: how many lines name images, and the first that does not."""

    names: list[str] = field(default_factory=list)
    lines: int = 0
    known: int = 0
    problem: str = ""

    @property
    def names_images(self) -> bool:
        return self.known > 0 and self.known >= _MOSTLY * self.lines


def find_split_lists(tree: Tree, reading: Reading, given: str = "") -> SplitLists:
    """Text files that say which image belongs to which split, where the folders do not. `given` is kept.

    Raises DataError where several patterns fit such lists.
    """
    named = _named_as_lists(tree)
    pattern = given or reading.lists
    if pattern or "{split}" in reading.images + reading.masks:
        used = find_lists(tree, pattern).values() if pattern else ()
        return SplitLists(pattern, tuple(name for name in named if name not in used))
    if not named:
        return SplitLists()
    read = _read_all(tree, reading, named)
    chosen = [pattern for pattern, lists in sorted(read.items()) if lists.names_images]
    chosen = [pattern for pattern in chosen if "ImageSets/Segmentation/" in pattern] or chosen
    if len(chosen) > 1:
        first, second = (f'data.lists="{pattern}"' for pattern in chosen[:2])
        what = f"{tree.root} has more than one set of lists of the splits: {first}, or {second}."
        raise DataError(what, remedy="Add the right one to the command.")
    unread = [
        f"{name} ({lists.problem})" if lists.problem else name
        for pattern, lists in read.items()
        for name in lists.names
        if pattern not in chosen
    ]
    return SplitLists(chosen[0] if chosen else "", tuple(sorted(unread)))


def _named_as_lists(tree: Tree) -> dict[str, str]:
    """`{name: pattern}` of text files that are called as a split is: train.txt, val_list.txt, list_test.txt."""
    named = {name: found for name in tree.others if name.isprintable() and (found := _NAMED_AS_LIST.fullmatch(name))}
    # some folders no pattern can spell
    return {name: f"{found[1]}{{split}}{found[2]}.txt" for name, found in named.items() if not set("*{}") & set(name)}


def _read_all(tree: Tree, reading: Reading, named: Mapping[str, str]) -> dict[str, _Lists]:
    found, labels = match_pairs(tree, reading.images, reading.masks)
    images, masks = Names(found), Names(labels)
    read: dict[str, _Lists] = defaultdict(_Lists)
    for name, pattern in named.items():
        seen = read[pattern]
        seen.names.append(name)
        try:
            entries = read_entries(tree, name, "", images, masks)
        except DataError as error:
            seen.problem = seen.problem or error.what.removeprefix(f"{tree.root / name} ").removesuffix(".")
            seen.lines += 1
            continue
        seen.lines += len(entries)
        unknown = [entry.line for entry in entries if entry.key is None]
        seen.known += len(entries) - len(unknown)
        if unknown:
            shown = unknown[0] if len(unknown[0]) <= 60 else unknown[0][:57] + "..."
            seen.problem = seen.problem or f"no image in {len(unknown):,} of {len(entries):,} lines, as {shown!r}"
    return read


# --- masks that lines name ---


@dataclass(frozen=True)
class _Pair:
    """An image, what a list names beside it, the file that this is or "", and the mask by names or ""."""

    list: str
    image: str
    said: str
    listed: str
    by_name: str


def agrees_with_lists(tree: Tree, reading: Reading) -> bool:
    """Whether lists name masks beside images, and they are the masks that `reading` finds."""
    found, labels = match_pairs(tree, reading.images, reading.masks)
    by_name = {found[key]: labels[key] for key in found.keys() & labels.keys()}
    pairs = list(_listed_pairs(tree, reading, find_split_lists(tree, reading).pattern, by_name))
    return bool(pairs) and all(pair.listed == pair.by_name for pair in pairs)


def reading_of_lists(tree: Tree, reading: Reading) -> Reading | None:
    """What `reading`, of images alone, becomes with the masks that lists name beside them; None where they name none,
    or no pattern fits them."""
    pairs = _listed_pairs(tree, reading, find_split_lists(tree, reading).pattern, {})
    listed = {pair.image: pair.listed for pair in pairs}
    found = pair_names(tree.root, listed.keys(), listed.values()) if listed else None
    return found if found and _gives(tree, found, listed) else None


def check_listed_masks(tree: Tree, reading: Reading, records: tuple[Record, ...], *, masks_given: bool) -> str:
    """See that the masks which lists name are those of the records; "", or what is otherwise where masks are given.

    Raises DataError where they are others, with the settings for either.
    """
    if not reading.lists:
        return ""
    by_name = {
        record.image.relative_to(tree.root).as_posix(): record.mask.relative_to(tree.root).as_posix()
        for record in records
        if record.mask
    }
    pairs = list(_listed_pairs(tree, reading, reading.lists, by_name))
    other = [pair for pair in pairs if pair.listed != pair.by_name]
    if not other:
        return ""
    first = other[0]
    listed = first.listed or f"{first.said}, which is not there,"
    more = f" ({len(other):,} of {len(pairs):,} pairs are such)" if len(other) > 1 else ""
    if masks_given:
        return (
            f"WARNING: {first.list} names {listed} as the mask of {first.image}{more}; "
            f"data.masks is read, which gives it {first.by_name or 'none'}."
        )
    what = f"{first.list} in {tree.root} names {listed} as the mask of {first.image}, by names it is "
    raise DataError(f"{what}{first.by_name or 'none'}{more}.", remedy=_remedy(tree, reading, pairs))


def _remedy(tree: Tree, reading: Reading, pairs: list[_Pair]) -> str:
    setting = f'data.masks="{reading.masks}"' if reading.masks else f'data.images="{reading.images}"'
    by_names = f"To go by names set {setting}"
    listed = {pair.image: pair.listed for pair in pairs if pair.listed}
    found = pair_names(tree.root, listed.keys(), listed.values()) if listed else None
    if found is None or not _gives(tree, found, listed):
        return f"{by_names}; for the masks of the lists rename them as their images."
    setting = f'data.masks="{found.masks}"'
    if found.images != reading.images:
        setting = f'data.images="{found.images}" {setting}'
    return f"{by_names}; for the masks of the lists set {setting}."


def _gives(tree: Tree, reading: Reading, listed: Mapping[str, str]) -> bool:
    found, labels = match_pairs(tree, reading.images, reading.masks)
    by_name = {found[key]: labels[key] for key in found.keys() & labels.keys()}
    return all(by_name.get(image) == mask for image, mask in listed.items())


def _listed_pairs(tree: Tree, reading: Reading, lists: str, by_name: Mapping[str, str]) -> Iterator[_Pair]:
    """Of all lines that name a mask, but for those whose mask is nowhere and not found by names either."""
    if not lists:
        return
    found, labels = match_pairs(tree, reading.images, reading.masks)
    images, masks = Names(found), Names(labels)
    pictures = Names({("", name): name for name in tree.pictures})
    for split, name in sorted(find_lists(tree, lists).items()):
        folder = name[: name.rfind("/") + 1]
        for entry in read_entries(tree, name, split, images, masks):
            if not entry.mask or entry.key is None:
                continue
            image = found[entry.key]
            mask = _mask_of(entry, split, folder, labels, masks, pictures)
            if mask or image in by_name:
                yield _Pair(name, image, entry.mask, mask, by_name.get(image, ""))


def _mask_of(entry: Entry, split: str, folder: str, labels: Mapping[Key, str], masks: Names, pictures: Names) -> str:
    """The file that a line names as the mask: a path is one of any picture, a bare name first one of the masks."""
    key = None if "/" in entry.mask else masks.key(entry.mask, split, folder)
    if key is None and (picture := pictures.key(entry.mask, split, folder)):
        return picture[1]
    key = key or masks.key(entry.mask, split, folder)
    return labels[key] if key else ""
