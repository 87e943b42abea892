"""What to say of a folder that is not understood: the folders seen in it, settings that would read it, formats that are
not read. All settings that are offered have been tried on its names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import permutations
from pathlib import PurePosixPath

from s4al.data.layouts.folders import MASK_WORD, literal_part, role_of
from s4al.data.layouts.listing import list_records
from s4al.data.layouts.pairing import LOSSY, SAME, NotUnderstood, Reading
from s4al.data.layouts.readings import is_drawn, pair_names
from s4al.data.layouts.tree import Tree
from s4al.errors import DataError, S4alError

_MOST_NAMED = 8  # folders
_MOST_TRIED = 12  # folders, each with each
_MOST_OFFERED = 3
_SAME = 0.9  # of the names in one folder are in the other
CONVERT = "Save images as PNG or JPEG, and masks as PNG of class ids"


def explained(tree: Tree, error: NotUnderstood) -> DataError:
    """`error` with the folders that were seen, and with settings that work where some do."""
    offers = likely_pairs(tree)
    remedy = error.remedy
    if offers:
        remedy = f"Set {', or '.join(reading.settings for reading in offers)}."
    if unread := unread_files(tree):
        remedy = f"{CONVERT}: {unread} cannot be read. {remedy}"
    what = f"{error.what.removesuffix('.')}; pictures are in {seen_folders(tree)}."
    return DataError(what, remedy=remedy if offers or "data." in remedy else f"{remedy}{_example(tree)}")


def seen_folders(tree: Tree) -> str:
    """Folders that hold pictures, with how many of which format: "imgs/ (8 .jpg), lbls/ (8 .png)"."""
    return _by_folder(tree.pictures)


def unread_files(tree: Tree) -> str:
    """Files of formats that are not read, as `seen_folders`; "" without any."""
    return _by_folder(tree.unread)


def unread_masks(tree: Tree) -> str:
    """Those of them that lie in folders which are called like masks'; "" without any."""
    return _by_folder(name for name in tree.unread if _kind(_base(name)) == "masks")


def likely_pairs(tree: Tree) -> list[Reading]:
    """Readings of two folders whose names do not say that they are images and masks, but whose files' names agree."""
    names = _by_base(tree)
    found: list[tuple[tuple[bool, ...], Reading]] = []
    for image, mask in permutations(_largest(names), 2):
        if _kind(image) == "masks" or _kind(mask) == "images" or _is_drawn(image) or _is_lossy(names[mask]):
            continue
        reading = _paired(tree, names, image, mask)
        if reading and not _says_mask(reading.rule.affix_of_images):
            found.append((_order(reading, image, mask, names), reading))
    readings = [reading for _, reading in sorted(found, key=lambda item: item[0])]
    return readings[:_MOST_OFFERED]


def same_named(tree: Tree) -> Reading | None:
    """A pair of folders that may be images and masks: the files have the same names, and either there are no other
    folders, or the images are lossy and the masks are not."""
    names = _by_base(tree)
    for image, mask in permutations(_largest(names), 2):
        lossy = _is_lossy(names[image])
        if _is_lossy(names[mask]) or not (lossy or len(names) == 2) or _kind(image) == "masks":
            continue
        stems = [{PurePosixPath(name).stem for name in names[base]} for base in (image, mask)]
        if len(stems[0] & stems[1]) >= _SAME * min(map(len, stems)) and (found := _paired(tree, names, image, mask)):
            return found
    return None


def with_splits(tree: Tree, reading: Reading) -> Reading | None:
    """`reading` with the splits that folders' names begin or end with (train_day, test_day), where all is found so."""
    num = len(list_records(tree, reading.images, reading.masks).records)
    for part in ("{split}*", "*{split}"):
        images, masks = (pattern.replace("**", part, 1) for pattern in (reading.images, reading.masks))
        try:
            records = list_records(tree, images, masks).records
        except S4alError:  # nothing to offer
            continue
        splits = {record.split for record in records}
        if len(records) == num and "train" in splits and len(splits) > 1 and any(record.mask for record in records):
            return Reading(images, masks)
    return None


def _by_base(tree: Tree) -> dict[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for name in tree.pictures:
        names[_base(name)].append(name)
    return names


def _largest(names: dict[str, list[str]]) -> list[str]:
    return sorted(names, key=lambda base: (-len(names[base]), base))[:_MOST_TRIED]


def _paired(tree: Tree, names: dict[str, list[str]], image: str, mask: str) -> Reading | None:
    try:
        reading = pair_names(tree.root, names[image], names[mask], (image, mask))
        records = list_records(tree, reading.images, reading.masks).records if reading else ()
    except S4alError:  # two files of one id, patterns that cannot be told apart: nothing to offer
        return None
    return reading if any(record.mask and record.split == "train" for record in records) else None


def _order(reading: Reading, image: str, mask: str, names: dict[str, list[str]]) -> tuple[bool, ...]:
    """The most likely first."""
    return (
        _kind(mask) != "masks" and not _says_mask(reading.rule.affix_of_masks),
        _kind(image) != "images",
        reading.rule != SAME,
        not _is_lossy(names[image]),
    )


def _base(name: str) -> str:
    """The folders of a file in a pattern, with {split} in the place of the first split's name."""
    parts: list[str] = []
    for part in name.split("/")[:-1]:
        role = role_of(part, loose=True)
        split = role is not None and role.split and not any("{split}" in before for before in parts)
        parts.append(role.text if role and split else literal_part(part))
    return "".join(f"{part}/" for part in parts)


def _kind(base: str) -> str:
    roles = [role_of(part.replace("{split}", "train"), loose=True) for part in base.split("/")[:-1]]
    return next((role.kind for role in roles if role and role.kind), "")


def _says_mask(affix: str) -> bool:
    return MASK_WORD.fullmatch(affix.strip("_-. ").lower()) is not None


def _is_drawn(base: str) -> bool:
    return any(is_drawn(part) for part in base.split("/")[:-1])


def _is_lossy(names: Iterable[str]) -> bool:
    return all(PurePosixPath(name).suffix.lower() in LOSSY for name in names)


def _example(tree: Tree) -> str:
    """How the settings are written, with names of the folder itself."""
    bases = Counter(base for name in tree.pictures if not _is_drawn(base := _base(name)))
    if len(bases) < 2:
        return ""
    (first, _), (second, _) = bases.most_common(2)
    image, mask = sorted((first, second), key=lambda base: _kind(base) == "masks")
    return f' As an example: data.images="{image}*" data.masks="{mask}*".'


def _by_folder(names: Iterable[str]) -> str:
    folders: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        path = PurePosixPath(name)
        folders[path.parent.as_posix()][path.suffix.lower()] += 1
    shown: list[str] = []
    for folder, suffixes in sorted(folders.items()):
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in suffixes.most_common())
        shown.append(f"{folder if folder.isprintable() else ascii(folder)}/ ({counts})")
    more = f" and {len(shown) - _MOST_NAMED:,} more folders" if len(shown) > _MOST_NAMED else ""
    return ", ".join(shown[:_MOST_NAMED]) + more
