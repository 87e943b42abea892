"""Lists of the splits: which files of a folder their lines name. Lists are untrusted input, and so are their lines.

A line names an image by its id, its file name or a path: below the data folder, below the list's own folder, or the end
of either where one image alone ends so. In front of that may stand where the data lay elsewhere: /, ./ or the folders
of another machine. Behind it may stand the image's mask, after a tab, a comma, a semicolon or blanks.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from s4al.data.layouts.patterns import Key, compile_pattern
from s4al.data.layouts.tree import Tree, checked_id, is_picture
from s4al.errors import DataError

_MAX_BYTES = 2**26
_MAX_LINE = 8192  # characters: two paths
_MAX_CUTS = 32  # places at which a line is cut in two
_BETWEEN = re.compile(r"\s*[\t,;]\s*|\s+")


class Names:
    """Files of a folder by all that a line may call them.

    Parameters
    ----------
    found : `{(split, id): path below the data folder}`.
    """

    def __init__(self, found: Mapping[Key, str]) -> None:
        self._found = found

    def key(self, text: str, split: str = "", folder: str = "", *, moved: bool = True) -> Key | None:
        """Which file `text` names, None where it is none or several.

        Parameters
        ----------
        split : the list's; files of other splits are only meant where their whole path is given.
        folder : the list's own, with a slash at its end, "" at the top.
        moved : whether folders in front may be those of another place.
        """
        key = self._key(text, split, folder, moved)
        return key or (self._key(text.replace("\\", "/"), split, folder, moved) if "\\" in text else None)

    def _key(self, text: str, split: str, folder: str, moved: bool) -> Key | None:
        plain = _stem(text)
        for id in dict.fromkeys((text, plain)):
            for key in ((split, id), ("", id)):
                if key in self._found:
                    return key
        path = posixpath.normpath(text.lstrip("/"))
        if ".." in PurePosixPath(text).parts and not text.startswith("/"):
            path = posixpath.normpath(folder + text)
        for whole in (path, folder + path):
            if key := self._paths.get(whole) or self._paths.get(_stem(whole)):
                return key
        parts = path.split("/")
        for start in range(len(parts) if moved else 1):
            end = "/".join(parts[start:])
            key = self._ends.get(end) or self._ends.get(_stem(end))
            # of what another place's folders stood before, a bare name says too little, but at the top
            if key and key[0] in (split, "") and (start == 0 or start < len(parts) - 1 or "/" not in self._found[key]):
                return key
        return None

    @cached_property
    def _paths(self) -> dict[str, Key | None]:
        """With and without their extensions; None where several are called so."""
        return _unambiguous((path, key) for name, key in self._names for path in {name, _stem(name)})

    @cached_property
    def _ends(self) -> dict[str, Key | None]:
        ends: list[tuple[str, Key]] = []
        for name, key in self._names:
            for path in {name, _stem(name)}:
                parts = path.split("/")
                ends += [("/".join(parts[start:]), key) for start in range(len(parts))]
        return _unambiguous(ends)

    @property
    def _names(self) -> list[tuple[str, Key]]:
        return [(checked_id(name), key) for key, name in self._found.items()]


def _unambiguous(named: Iterable[tuple[str, Key]]) -> dict[str, Key | None]:
    keys: dict[str, Key | None] = {}
    for name, key in named:
        keys[name] = key if keys.get(name, key) == key else None
    return keys


def _stem(text: str) -> str:
    return text.rpartition(".")[0] if is_picture(text) else text


@dataclass(frozen=True)
class Entry:
    """A line of a list. `key` is None where it names no image, or several; `mask` is what it names beside it, or ""."""

    line: str
    key: Key | None
    mask: str = ""


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


def read_entries(tree: Tree, name: str, split: str, images: Names, masks: Names) -> list[Entry]:
    """The lines of a list of `split`. Raises DataError, see `read_list`."""
    folder = name[: name.rfind("/") + 1]
    return [_read_line(line, split, folder, images, masks) for line in read_list(tree.root, name)]


def _read_line(line: str, split: str, folder: str, images: Names, masks: Names) -> Entry:
    if len(line) > _MAX_LINE:
        return Entry(line, None)
    if key := images.key(line, split, folder, moved=False):
        return Entry(line, key)
    for image, mask in _cuts(line):
        key = images.key(image, split, folder)
        if key and (is_picture(mask) or masks.key(mask, split, folder)):
            return Entry(line, key, mask)
    return Entry(line, images.key(line, split, folder))


def _cuts(line: str) -> Iterator[tuple[str, str]]:
    for count, between in enumerate(_BETWEEN.finditer(line)):
        if count == _MAX_CUTS:
            return
        yield line[: between.start()], line[between.end() :]


def read_list(root: Path, name: str) -> list[str]:
    """The lines of the list `name` below `root`, without empty ones.

    Raises DataError where it cannot be read, is too long, is not UTF-8, or names what is not below the data folder.
    """
    path = root / name
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path} has more than {_MAX_BYTES:,} bytes: it is no list of a split.", remedy="Split it.")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text.", remedy="Save it as UTF-8.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).", remedy="Check its permissions.") from error
    lines = ["\t".join(map(checked_id, line.strip().split("\t"))) for line in text.split("\n") if line.strip()]
    folder = posixpath.dirname(name)
    for line in lines:
        if ".." in PurePosixPath(line).parts and posixpath.normpath(posixpath.join(folder, line)).startswith(".."):
            remedy = "Use paths inside the data folder."
            raise DataError(f"The path {line!r} in {path} leaves the folder {root}.", remedy=remedy)
    return lines
