"""The ways to read a folder of no published layout: pairs of folders, or images and masks in one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path, PurePosixPath

from s4al.data.layouts.folders import IMAGE_WORD, MASK_WORD, Group, base_of, group_folders, shared_parts
from s4al.data.layouts.one_folder import last_part, read_one_folder
from s4al.data.layouts.pairing import LOSSY, SAME, NotUnderstood, Reading, pairing_rules, pairs_of
from s4al.data.layouts.patterns import Key, compile_pattern, match_names
from s4al.data.layouts.tree import Tree
from s4al.errors import DataError

_BELIEVED = 0.9
# What annotation tools put beside masks: drawn from them, and no photographs.
_DRAWN = re.compile(r"segmentation.*|.*visuali[sz]ations?|.*_viz|viz|overlays?|previews?", re.IGNORECASE)


@dataclass(frozen=True)
class _Side:
    """Where the images may be, or the masks: one or two ways to write the folder, or the pattern that was given."""

    names: list[str]
    bases: tuple[str, ...] = ()
    given: str = ""

    @property
    def patterns(self) -> list[str]:
        return [self.given] if self.given else [f"{base}*" for base in self.bases]

    def with_affix(self, pattern: str, prefix: str, suffix: str) -> str:
        return self.given or pattern[:-1] + last_part(prefix, suffix)


def read_folders(tree: Tree, images: str = "", masks: str = "") -> list[Reading]:
    """The readings that pair images with masks; more than one where the names do not say; images alone where no masks
    are found. Patterns that are given are kept.

    Raises
    ------
    DataError : masks without images, no mask that has the name of an image, or two files of one id.
    """
    given_images, given_masks = _given(tree, images, "data.images"), _given(tree, masks, "data.masks")
    taken = {name for side in (given_images, given_masks) if side for name in side.names}
    rest = [name for name in tree.pictures if name not in taken]
    groups = _group(rest, bool(given_images), bool(given_masks))
    mask_sides = [given_masks] if given_masks else _sides(groups, "masks")
    image_sides = [given_images] if given_images else _sides(groups, "images")
    plain = [] if given_images else _sides([group for group in groups if not _is_drawn(group)], "")
    if not mask_sides:
        return _without_mask_folder(tree.root, groups, given_images)
    if not image_sides and not plain:
        readings = [reading for group in groups for reading in read_one_folder(group, tree.root)]
        if readings:
            return readings
        mask = mask_sides[0].patterns[0]
        what = f"{tree.root} holds masks ({mask}) and no images."
        raise NotUnderstood(what, remedy=f'Add the images; if {mask} are the images, set data.images="{mask}".')
    for sides in (image_sides, plain):
        readings = _pairs(tree.root, sides, mask_sides)
        if readings:
            return readings
    raise _no_pairs(tree.root, (image_sides or plain)[0], mask_sides[0])


def pair_names(
    root: Path, images: Collection[str], masks: Collection[str], bases: tuple[str, str] | None = None
) -> Reading | None:
    """The one reading that pairs these images with these masks; None where there is none, or several.

    Parameters
    ----------
    bases : the folder parts of the two patterns, with a slash at their ends; else the folders that all have in common.
    """
    image_base, mask_base = bases or (base_of(images), base_of(masks))
    image, mask = _Side(sorted(images), (image_base,)), _Side(sorted(masks), (mask_base,))
    found = [reading for share, reading in _options(root, image, mask) if share >= _BELIEVED]
    return found[0] if len(found) == 1 else None


def is_drawn(folder: str) -> bool:
    """Whether a folder is called like one of pictures that were drawn from masks."""
    return _DRAWN.fullmatch(folder) is not None


def _is_drawn(group: Group) -> bool:
    return not group.kind and any(is_drawn(role) for role in group.roles)


def _given(tree: Tree, pattern: str, setting: str) -> _Side | None:
    if not pattern:
        return None
    names = list(match_names(compile_pattern(pattern, setting), tree.pictures, tree.root).values())
    if not names:
        raise DataError(f"No file in {tree.root} fits {setting}={pattern!r}.", remedy="Check the pattern.")
    return _Side(names, given=pattern)


def _group(names: list[str], has_images: bool, has_masks: bool) -> list[Group]:
    """Groups of the pictures. The folder that holds all may be called anything: it is tried without a role first. Names
    of several words count where no others do."""
    common = shared_parts([name.split("/")[:-1] for name in names])
    for loose, skip in product((False, True), (len(common), 0)):
        groups = group_folders(names, skip, loose=loose)
        kinds = {group.kind for group in groups}
        if (has_masks or "masks" in kinds) and (has_images or kinds & {"images", ""}):
            return groups
    groups = group_folders(names, 0)
    return groups if any(group.kind == "masks" for group in groups) else group_folders(names, len(common))


def _sides(groups: Iterable[Group], kind: str) -> list[_Side]:
    return [_Side(group.names, tuple(group.bases())) for group in groups if group.kind == kind]


# --- two folders ---


def _pairs(root: Path, image_sides: list[_Side], mask_sides: list[_Side]) -> list[Reading]:
    """Readings that pair nine in ten of what they could, by the same names first; else all that pair anything."""
    found = [option for image, mask in product(image_sides, mask_sides) for option in _options(root, image, mask)]
    believed = [reading for share, reading in found if share >= _BELIEVED]
    same = [reading for reading in believed if reading.rule == SAME]
    chosen = same or believed or [reading for _, reading in found]
    return [reading for reading in chosen if _side_by_side(reading)] or chosen


def _side_by_side(reading: Reading) -> bool:
    """Whether the folders differ in nothing but the words for images and masks: a/images is not paired with b/masks."""
    images, masks = (
        ["" if word.fullmatch(part.lower()) else part for part in pattern.split("/")[:-1]]
        for pattern, word in ((reading.images, IMAGE_WORD), (reading.masks, MASK_WORD))
    )
    return images == masks


def _options(root: Path, image: _Side, mask: _Side) -> list[tuple[float, Reading]]:
    """(share of pairs, reading) by each rule, with the way to write the folders that pairs the most."""
    best: list[tuple[float, Reading]] = []
    for image_pattern, mask_pattern in product(image.patterns, mask.patterns):
        images, masks = _ids(root, image, image_pattern), _ids(root, mask, mask_pattern)
        if not (all(split for split, _ in images) and all(split for split, _ in masks)):
            images, masks = {("", id) for _, id in images}, {("", id) for _, id in masks}
        image_ids, mask_ids = {"/".join(key) for key in images}, {"/".join(key) for key in masks}
        options: list[tuple[float, Reading]] = []
        for rule in pairing_rules(image_ids, mask_ids):
            if (image.given and rule.affix_of_images) or (mask.given and rule.affix_of_masks):
                continue  # a pattern that was given says all there is to a name
            share = len(pairs_of(rule, image_ids, mask_ids)) / min(len(image_ids), len(mask_ids))
            reading = Reading(
                image.with_affix(image_pattern, rule.image_prefix, rule.image_suffix),
                mask.with_affix(mask_pattern, rule.mask_prefix, rule.mask_suffix),
                rule,
            )
            options.append((share, reading))
        if options and (not best or options[0][0] > best[0][0]):
            best = options
    return best


def _ids(root: Path, side: _Side, pattern: str) -> set[Key]:
    return set(match_names(compile_pattern(pattern, "data.images"), side.names, root))


def _no_pairs(root: Path, image: _Side, mask: _Side) -> NotUnderstood:
    image_pattern, mask_pattern = image.patterns[0], mask.patterns[0]
    first_image, first_mask = min(_ids(root, image, image_pattern))[1], min(_ids(root, mask, mask_pattern))[1]
    what = (
        f"No mask of {root} has the name of an image: the first of {image_pattern} is {first_image!r}, "
        f"the first of {mask_pattern} is {first_mask!r}."
    )
    remedy = (
        f"Rename them, so that {first_image} has a mask of its name; or set patterns whose * match the same, as "
        f'data.images="{image_pattern}" data.masks="{mask_pattern}" then do.'
    )
    return NotUnderstood(what, remedy=remedy)


# --- one folder, or images alone ---


def _without_mask_folder(root: Path, groups: list[Group], given: _Side | None) -> list[Reading]:
    if given:
        return [Reading(given.given)]
    imagery = (
        [group for group in groups if group.kind == "images"]
        or [group for group in groups if group.aliases]
        or ([_merged(groups)] if len(groups) > 1 else groups)
    )
    readings = [reading for group in imagery for reading in read_one_folder(group, root)]
    if not readings and len(groups) == 2 and not any(group.kind or group.aliases for group in groups):
        first, second = _sides(groups, "")  # photos and their masks, in folders whose names do not say which is which
        readings = _believed(root, first, second) + _believed(root, second, first)
    return readings or [Reading(f"{group.bases()[0]}*") for group in imagery]


def _believed(root: Path, image: _Side, mask: _Side) -> list[Reading]:
    """Readings of folders that say nothing: an affix on both sides is then not enough, and no mask is lossy."""
    if all(PurePosixPath(name).suffix.lower() in LOSSY for name in mask.names):
        return []
    return [
        reading
        for share, reading in _options(root, image, mask)
        if share >= _BELIEVED and not (reading.rule.affix_of_images and reading.rule.affix_of_masks)
    ]


def _merged(groups: list[Group]) -> Group:
    """Folders of no known names are one folder with sub-folders."""
    merged = Group("", ())
    for group in groups:
        for name in group.names:
            merged.add(name, [tuple(name.split("/")[:-1])], "", "")
    return merged
