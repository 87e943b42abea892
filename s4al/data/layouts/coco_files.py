"""Which annotation files of COCO a folder has: by the names that COCO and annotation tools give them, else by content.

Files are looked into for the keys that COCO's have, and are not parsed. They are untrusted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from s4al.data.layouts.folders import base_of, group_folders
from s4al.data.layouts.pairing import Reading
from s4al.data.layouts.patterns import compile_pattern, match_names
from s4al.data.layouts.splits import ANY_ALIAS
from s4al.data.layouts.tree import Tree, some
from s4al.errors import DataError

BACKGROUND = "background"
MAX_BYTES = 2**31
_MOST_LOOKED_INTO = 100  # JSON files: a folder of more holds one for each image
_CHUNK = 2**20
_LONGEST_KEY = 64  # bytes of a key and the blanks around it
_KEYS = [re.compile(rb'"%s"\s{0,16}:\s{0,16}\[' % key) for key in (b"images", b"annotations", b"categories")]
_PUBLISHED = re.compile(
    rf"(?i:((?:.*/)?(?:panoptic|instances|stuff)_)({ANY_ALIAS})(\d*\.json)|"
    rf"((?:.*/)?)({ANY_ALIAS})(/_annotations\.coco\.json))"
)
_SPLIT_WORD = re.compile(rf"(?i:(?<![a-z0-9])({ANY_ALIAS})(?![a-z]))")
_PANOPTIC_FOLDER = re.compile(r"(?i:(?:.*/)?panoptic_[^/]*/.*)")


def coco_layouts(tree: Tree, masks: str = "", *, asked: bool = False) -> list[Reading]:
    """The readings of `tree` as COCO: one for each way to name its annotation files, and each folder of images.

    Parameters
    ----------
    masks : `data.masks` where it is given: the annotation files are those that fit.
    asked : whether the adapter coco was asked for; else there are no such readings where there are folders of masks.
    """
    pictures = [name for name in tree.pictures if not is_panoptic(name)]
    groups = group_folders(pictures, 0)
    if not (masks or asked) and any(group.kind == "masks" for group in groups):
        return []
    patterns = {masks} if masks else _published(tree) or _by_content(tree)
    chosen = [g for g in groups if g.kind == "images"] or [g for g in groups if g.aliases]
    bases = [group.bases()[0] for group in chosen] or [base_of(pictures)] * bool(pictures)
    return [
        Reading(f"{base}*", pattern, adapter="coco", name=_name(pattern))
        for pattern in sorted(patterns)
        for base in bases
    ]


def is_panoptic(name: str) -> bool:
    """Whether a picture's name is that of a panoptic PNG."""
    return _PANOPTIC_FOLDER.fullmatch(name) is not None


def annotation_files(tree: Tree, pattern: str) -> dict[str, str]:
    """`{split: name}` of the annotation files that fit `data.masks`. Raises DataError where there are none."""
    names = match_names(compile_pattern(pattern, "data.masks"), tree.others, tree.root)
    if not names:
        raise DataError(f"No file in {tree.root} fits data.masks={pattern!r}.", remedy="Check the pattern.")
    found: dict[str, str] = {}
    for (split, _), name in names.items():
        if found.setdefault(split or "train", name) != name:
            what = f"{found[split or 'train']} and {name} in {tree.root} both annotate one split."
            raise DataError(what, remedy="Narrow data.masks to one of them.")
    return found


def no_annotations(tree: Tree) -> DataError:
    """What to say where the adapter coco was asked for, and there is no such file."""
    names = [name for name in tree.others if name.lower().endswith(".json")]
    what = f"{tree.root} holds no annotation file of COCO: "
    if not names:
        return DataError(f"{what}there is no .json.", remedy="Export the annotations as COCO, into the data folder.")
    what += f"none of its {some(names, 'JSON file')} has the lists images, annotations and categories."
    return DataError(what, remedy="Export the annotations as COCO.")


def _name(pattern: str) -> str:
    if "panoptic" in pattern.lower():
        return "COCO panoptic (pixels of no segment are not labelled)"
    return f"COCO annotations (pixels of none are the class {BACKGROUND!r})"


def _published(tree: Tree) -> set[str]:
    patterns: set[str] = set()
    for name in tree.others:
        if name.isprintable() and (found := _PUBLISHED.fullmatch(name)):
            before, _, after = found.groups()[:3] if found[2] else found.groups()[3:]
            patterns.add(f"{before}{{split}}{after}")
    return patterns


# --- by content ---


def _by_content(tree: Tree) -> set[str]:
    names = [name for name in _candidates(tree) if _has_keys(tree.root / name)]
    return {_with_split(name, names) for name in names}


def _candidates(tree: Tree) -> list[str]:
    """JSON files that no image has for itself, those nearest to the top first."""
    own = {name.rpartition("/")[2] for name in tree.pictures}
    own |= {name.rpartition(".")[0] for name in own}
    names = [name for name in tree.others if name.lower().endswith(".json") and name.isprintable()]
    names = [name for name in names if PurePosixPath(name).stem not in own and not set("*{}") & set(name)]
    return sorted(names, key=lambda name: (name.count("/"), name))[:_MOST_LOOKED_INTO]


def _has_keys(path: Path) -> bool:
    """Whether a file looks like an object with COCO's lists; one that cannot be read does not."""
    missing = list(_KEYS)
    try:
        if path.stat().st_size > MAX_BYTES or not path.is_file():
            return False
        with path.open("rb") as stream:
            before = b""
            while missing and (chunk := stream.read(_CHUNK)):
                text = before + chunk
                if not before and not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
                    return False
                missing = [key for key in missing if not key.search(text)]
                before = chunk[-_LONGEST_KEY:]
    except OSError:
        return False
    return not missing


def _with_split(name: str, names: Iterable[str]) -> str:
    """A file's name as a pattern: with {split} in the place of the last split's name in it, if there is one.

    What else names the split in front of it is * where another file has another there.
    """
    found = list(_SPLIT_WORD.finditer(name))
    if not found:
        return name
    *others, last = found
    pattern = f"{name[: last.start()]}{{split}}{name[last.end() :]}"
    for other in reversed(others):
        wild = f"{pattern[: other.start()]}*{pattern[other.end() :]}"
        if _num_fitting(wild, names) > _num_fitting(pattern, names):
            pattern = wild
    return pattern


def _num_fitting(pattern: str, names: Iterable[str]) -> int:
    compiled = compile_pattern(pattern, "data.masks")
    return sum(compiled.key(name) is not None for name in names)
