"""Images and masks in one folder, told apart by their format or by a word in their names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from s4al.data.layouts.folders import IMAGE_WORD, MASK_WORD, Group
from s4al.data.layouts.pairing import LOSSY, SAME, NotUnderstood, Reading, pairing_rules
from s4al.data.layouts.patterns import compile_pattern, match_names
from s4al.data.layouts.tree import some

_MANY = 0.1  # of the pictures named like masks: no accident
_DRAWN = re.compile(r".*[_\-. ](viz|visuali[sz]ation|overlay|preview)", re.IGNORECASE)  # of an image and its mask


def read_one_folder(group: Group, root: Path) -> list[Reading]:
    """The ways to read the pictures of `group` as images and masks; none where they are images alone."""
    if found := _one_folder_each(group):
        return found
    base = group.bases()[0]
    lossy = [name for name in group.names if _suffix(name) in LOSSY]
    lossless = [name for name in group.names if _suffix(name) not in LOSSY]
    if lossy and lossless:
        found = _readings(base, lossy, lossless, root)
        if found:
            return found
    for word, named_are_masks in ((MASK_WORD, True), (IMAGE_WORD, False)):
        named = [name for name in group.names if _has_word(name, word)]
        others = sorted(set(group.names) - set(named))
        found = _readings(base, *((others, named) if named_are_masks else (named, others)), root)
        if found:
            return found
        if named_are_masks and len(named) >= _MANY * len(group.names):
            what = f"{some(named, 'picture')} in {root} are named like masks, but not as other pictures."
            raise NotUnderstood(what, remedy="Set patterns for images and masks, or for images alone if all are such.")
    return []


def _one_folder_each(group: Group) -> list[Reading]:
    """Folders that each hold one image and one mask, which are called so: 07/image.png 07/mask.png, 07/mask_viz.png."""
    stems = {stem for name in group.names if not _DRAWN.fullmatch(stem := PurePosixPath(name).stem)}
    images, masks = ([s for s in stems if word.fullmatch(s.lower())] for word in (IMAGE_WORD, MASK_WORD))
    if len(stems) == 2 and len(images) == len(masks) == 1:
        return [Reading(f"**/{images[0]}.*", f"**/{masks[0]}.*")]
    return []


def _readings(base: str, images: Collection[str], masks: Collection[str], root: Path) -> list[Reading]:
    rules = pairing_rules(_ids(base, images, root), _ids(base, masks, root))
    by_format = not {_suffix(name) for name in images} & {_suffix(name) for name in masks}
    return [
        Reading(
            base + last_part(rule.image_prefix, rule.image_suffix, images if by_format else ()),
            base + last_part(rule.mask_prefix, rule.mask_suffix, masks if by_format else ()),
            rule,
        )
        for rule in rules
        if by_format or rule != SAME
    ]


def _ids(base: str, names: Iterable[str], root: Path) -> set[str]:
    keys = match_names(compile_pattern(f"{base}*", "data.images"), names, root)
    return {f"{split}/{id}" if split else id for split, id in keys}


def last_part(prefix: str, suffix: str, names: Collection[str] = ()) -> str:
    """The last part of a pattern; the extension is spelled out where `names` are given and have one."""
    extensions = {_suffix(name)[1:] for name in names}
    if len(extensions) == 1:
        return f"{prefix}*{suffix}.{extensions.pop()}"
    if extensions == {"jpg", "jpeg"}:
        return f"{prefix}*{suffix}.jp*g"
    return f"{prefix}*{suffix}.*" if prefix or suffix else "*"


def _has_word(name: str, word: re.Pattern[str]) -> bool:
    """Whether the name's first or last word, in any case, is such a word: scan_07_mask, GT-07, 07.label."""
    parts = [part for part in re.split(r"[_\-. ]+", PurePosixPath(name).stem.lower()) if part]
    return len(parts) > 1 and bool(word.fullmatch(parts[0]) or word.fullmatch(parts[-1]))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
