"""Names in folders and in list files -> ids, paths, pairs. Nothing is opened here but list files.

An id is the image's path without folder prefix and extension, in Unicode form NFC, so that names written by another
operating system still match.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from s4al.data.dataset import Record
from s4al.errors import DataError
from s4al.files import contained

_NOT_DATA = frozenset({"thumbs.db", "desktop.ini"})  # and every name that starts with a dot


def list_folder(folder: Path) -> dict[str, Path]:
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
            id = checked_id(path.relative_to(folder).with_suffix("").as_posix())
            if id in found:
                what = f"Two files have the id {id!r}: {found[id].name} and {name} in {folder}."
                raise DataError(what, remedy="Rename or remove one of them.")
            found[id] = path
    return found


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):  # a missing folder is empty
        raise DataError(f"{error.filename} cannot be listed ({error.strerror}).") from error


def checked_id(name: str) -> str:
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        raise DataError(f"The name {name!r} holds control characters or is not UTF-8.", remedy="Rename the file.")
    return unicodedata.normalize("NFC", name)


def list_pairs(layout: Iterable[tuple[Path, Path, str]]) -> tuple[Record, ...]:
    return tuple(
        record
        for images, masks, split in layout
        for record in pair(list_folder(images), list_folder(masks), split, images.parent)
    )


def pair(images: Mapping[str, Path], masks: Mapping[str, Path], split: str, root: Path) -> list[Record]:
    alone = sorted(masks.keys() - images.keys())
    if alone:
        what = f"{some(alone, 'mask')} of the {split} split without an image in {root}."
        raise DataError(what, remedy="Add the images or remove the masks.")
    return [Record(id, split, images[id], masks.get(id)) for id in sorted(images)]


def listed(root: Path, split: str, list_name: str, images: str, masks: str) -> list[Record]:
    """Records of the ids in a list file; the list decides what belongs to the split."""
    if not (root / list_name).is_file():
        return []
    ids = [checked_id(line) for line in read_list(root / list_name)]
    for id in ids:
        contained(root, f"{images}/{id}")
    twice = [id for id, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(f"{root / list_name} lists {some(twice, 'id')} more than once.")
    found, labels = list_folder(root / images), list_folder(root / masks)
    missing = sorted(set(ids) - found.keys())
    if missing:
        raise DataError(f"{root / list_name} lists {some(missing, 'image')} not found in {root / images}.")
    return [Record(id, split, found[id], labels.get(id)) for id in sorted(ids)]


def read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.") from error
    return [line.strip() for line in lines if line.strip()]


def strip_suffix(files: Mapping[str, Path], suffix: str) -> dict[str, Path]:
    return {id.removesuffix(suffix): path for id, path in files.items() if id.endswith(suffix)}


def some(names: list[str], noun: str) -> str:
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names):,} {noun}{'s' if len(names) > 1 else ''} ({listed})"
