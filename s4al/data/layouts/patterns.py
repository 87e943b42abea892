"""The language of `data.images`, `data.masks` and `data.lists`: POSIX paths below the data folder, with wildcards.

    *         any characters within one part of the path
    **        as a whole part: any number of folders, none too; as the last part, everything below
    {split}   a name of a split, in any case: train training default; val valid validation dev; test testing

What follows the last dot of the last part is an extension, compared in any case; without one, any extension fits:
"labels/**/*_mask.png", "labels/*_mask.*" and "labels/*_mask". Everything else stands for itself, brackets too.

The id of a file is what the wildcards match, without the extension: of "gt/**/*_mask.png", gt/ulm/07_mask.png has the
id "ulm/07". So an image and its mask have one id where the patterns are right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from s4al.data.dataset import Links
from s4al.data.images import IMAGE_SUFFIXES
from s4al.data.layouts.splits import ALIASES, ANY_ALIAS
from s4al.data.layouts.tree import checked_id, walk
from s4al.errors import ConfigError, DataError

Key = tuple[str, str]  # (split, or "" where the pattern has none; id)

_MAX_WILDCARDS = 8  # each multiplies the time that matching may take
_EXTENSIONS = [suffix[1:] for suffix in sorted(IMAGE_SUFFIXES)] + ["txt", "json"]
_SPLIT = "{split}"


@dataclass(frozen=True)
class Pattern:
    """A compiled pattern; `weight` is the number of characters that stand for themselves."""

    text: str
    regex: re.Pattern[str]
    weight: int

    def key(self, name: str) -> Key | None:
        """The split and id of a relative path, None where it does not fit. Raises DataError, see `checked_id`."""
        found = self.regex.fullmatch(name)
        if found is None:
            return None
        groups = found.groupdict()
        split = ALIASES[groups.pop("split").lower()] if "split" in groups else ""
        id = "/".join(part.strip("/") for part in groups.values() if part and part.strip("/"))
        return split, checked_id(id or PurePosixPath(name).stem)


def compile_pattern(text: str, setting: str) -> Pattern:
    """Parse a pattern; messages call it the value of `setting`. Raises ConfigError where it is none."""
    parts = text.split("/")
    if parts[-1] == "**":
        parts.append("*")
    _check(text, parts, setting)
    *folders, last = parts
    regex = "".join(_folder(part, i) for i, part in enumerate(folders)) + _file(last)
    literal = re.sub(r"\*+|\{split\}", "", text)
    return Pattern(text, re.compile(regex), len(literal))


def _check(text: str, parts: list[str], setting: str) -> None:
    reason = ""
    if not text or text.startswith("/") or any(part in ("", ".", "..") for part in parts):
        reason = "it is a path below the data folder, without '..', empty parts or a slash at the ends"
    elif any("**" in part and part != "**" for part in parts):
        reason = "** stands alone between slashes"
    elif "{" in text.replace(_SPLIT, "", 1) or "}" in text.replace(_SPLIT, "", 1):
        reason = "the only braces are {split}, once"
    elif text.count("*") - parts.count("**") > _MAX_WILDCARDS:
        reason = f"up to {_MAX_WILDCARDS} wildcards can be had"
    if reason:
        example = '"images/**/*.jpg" or "{split}/images/*"'
        raise ConfigError(f"{setting}={text!r} is no pattern: {reason}.", remedy=f"Write one such as {example}.")


def _folder(part: str, index: int) -> str:
    return f"(?P<p{index}>(?:[^/]+/)*)" if part == "**" else _part(part, f"p{index}") + "/"


def _file(part: str) -> str:
    stem, dot, extension = part.rpartition(".")
    wanted = re.compile(_wild(extension), re.IGNORECASE)
    if not dot or not any(wanted.fullmatch(known) for known in _EXTENSIONS):
        stem, extension = part, "*"
    extension_regex = re.escape(extension).replace(r"\*", "[^/.]*")
    return _part(stem, "name") + rf"\.(?i:{extension_regex})"


def _part(part: str, group: str) -> str:
    """A part's expression; the group runs from its first wildcard to its last."""
    if "*" not in part:
        return _wild(part)
    before, after = part.partition("*")[0], part.rpartition("*")[2]
    middle = part[len(before) : len(part) - len(after)]
    return f"{_wild(before)}(?P<{group}>{_wild(middle)}){_wild(after)}"


def _wild(text: str) -> str:
    escaped = re.escape(text).replace(r"\*", "[^/]*")
    return escaped.replace(re.escape(_SPLIT), f"(?P<split>(?i:{ANY_ALIAS}))")


def match_names(pattern: Pattern, names: Iterable[str], root: Path) -> dict[Key, str]:
    """`{(split, id): name}` of the names that fit. Raises DataError for two files of one id, see also `checked_id`."""
    found: dict[Key, str] = {}
    for name in names:
        key = pattern.key(name)
        if key is None:
            continue
        if key in found:
            first, second = PurePosixPath(found[key]), PurePosixPath(name)
            same_folder = first.parent == second.parent
            both = f"{first.name} and {second.name}" if same_folder else f"{first} and {second}"
            where = root / first.parent if same_folder else root
            what = f"Two files have the id {key[1]!r}: {both} in {where}."
            raise DataError(what, remedy=f"Rename or remove one of them, or narrow the pattern {pattern.text!r}.")
        found[key] = name
    return found


def list_by_pattern(root: Path, pattern: str, links: Links = "anywhere") -> dict[Key, Path]:
    """Images below `root` that fit: `{(split or "", id): path}`.

    Raises
    ------
    ConfigError : not a pattern.
    DataError : two files of one id, names that cannot be ids, folders that cannot be listed.
    """
    names = walk(root, links).pictures
    return {key: root / name for key, name in match_names(compile_pattern(pattern, "pattern"), names, root).items()}
