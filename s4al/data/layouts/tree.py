"""One walk over a data folder: the names in it, and where links may lead. Nothing is opened."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from s4al.data.dataset import Links
from s4al.data.images import IMAGE_SUFFIXES
from s4al.errors import DataError

# Pictures and arrays of formats that are not read, in lower case.
_UNREAD = "gif heic heif avif jp2 j2k jpx jxl ppm pgm pnm tga psd svg exr dng nef cr2 arw dcm nii npy npz mat"
UNREAD_SUFFIXES = frozenset(f".{name}" for name in _UNREAD.split())
_NOT_DATA = frozenset({"thumbs.db", "desktop.ini"})  # and every name that starts with a dot
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # surrogates stand for bytes that are no UTF-8
_MAX_LINKED_FOLDERS = 10_000  # links to folders of links multiply


@dataclass(frozen=True)
class Tree:
    """The files below `root` as sorted POSIX paths relative to it, hidden ones left out."""

    root: Path
    names: tuple[str, ...]

    @cached_property
    def pictures(self) -> tuple[str, ...]:
        """Names that end like an image's."""
        return tuple(name for name in self.names if is_picture(name))

    @cached_property
    def others(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if not is_picture(name))

    @cached_property
    def unread(self) -> tuple[str, ...]:
        """Names of the others that end like pictures or arrays of formats that are not read."""
        return tuple(name for name in self.others if PurePosixPath(name).suffix.lower() in UNREAD_SUFFIXES)

    @cached_property
    def skipped(self) -> dict[str, int]:
        """How many of the others there are by suffix, the most first."""
        return dict(Counter(PurePosixPath(name).suffix.lower() for name in self.others).most_common())


def is_picture(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rpartition("/")[2].startswith(".")  # ".png" has none


def walk(root: Path, links: Links = "anywhere") -> Tree:
    """List `root` with one scan of every folder; a missing folder is empty.

    Links to folders are followed, unless they lead to a folder that is being listed. Links to files are files.

    Raises
    ------
    DataError : a folder that cannot be listed; with `links` "inside", a link to a folder outside of `root`.
    """
    return Tree(root, tuple(sorted(_files(root, links))))


def _files(root: Path, links: Links) -> Iterator[str]:
    top = os.path.realpath(root)
    followed = 0
    # (relative path, real path, real paths of the folders whose links led here)
    waiting: list[tuple[str, str, tuple[str, ...]]] = [("", top, ())]
    while waiting:
        relative, real, led = waiting.pop()
        for entry in _scan(root / relative):
            name = f"{relative}{entry.name}"
            if not _is_folder(entry):
                yield name
            elif not entry.is_symlink():
                waiting.append((f"{name}/", f"{real}/{entry.name}", led))
            else:
                target = os.path.realpath(entry.path)
                if links == "inside" and not _holds(top, target):
                    what = f"The folder {name} in {root} is a link that leaves the data folder."
                    raise DataError(what, remedy="Copy the files in, or set data.links=anywhere.")
                if not any(_holds(target, folder) for folder in (*led, real)):
                    waiting.append((f"{name}/", target, (*led, real)))
                    followed += 1
        if followed > _MAX_LINKED_FOLDERS:
            what = f"{root} holds more than {_MAX_LINKED_FOLDERS:,} links to folders, counted as they are followed."
            raise DataError(what, remedy="Remove links that lead to folders of links.")


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _NOT_DATA]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror}).", remedy="Check its permissions.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that goes round in circles: whoever reads it as a file says so
        return False


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def checked_id(name: str) -> str:
    """`name` in Unicode form NFC. Raises DataError where it holds control characters or is not UTF-8."""
    if _UNPRINTABLE.search(name):
        raise DataError(f"The name {name!r} holds control characters or is not UTF-8.", remedy="Rename the file.")
    return unicodedata.normalize("NFC", name)


def some(names: Iterable[str], noun: str) -> str:
    """ "5 images (a, b, c, ...)"."""
    listed = list(names)
    few = ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
    return f"{len(listed):,} {noun}{'s' if len(listed) != 1 else ''} ({few})"
