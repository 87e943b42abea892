"""Which mask belongs to which image, by their names alone: the same id, or one constant affix on either side.

A rule is believed where it pairs at least nine in ten of the masks, or of the images: data sets miss a few files, and a
wrong affix pairs few names by chance; an affix on both sides must pair two. No rule cuts a number in two: frame_0001
and frame_1001 are no pair.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from s4al.errors import DataError

_BELIEVED = 0.9
LOSSY = frozenset({".jpg", ".jpeg", ".webp"})  # a mask is never saved as one of these
_SAMPLE = 300  # masks from which rules are proposed; they are then counted over all
_PROPOSALS = 8  # the most frequent ones are counted
_WORD_AT_END = re.compile(r"(?<=.)[_\-. ][A-Za-z]*$")


class NotUnderstood(DataError):
    """Names that no reading explains. Whoever catches it knows the folder, and says which settings would."""


@dataclass(frozen=True)
class Rule:
    """What stands before and after the common part of a name. An id's folders are no part of its name."""

    image_prefix: str = ""
    image_suffix: str = ""
    mask_prefix: str = ""
    mask_suffix: str = ""

    @property
    def affix_of_images(self) -> str:
        return self.image_prefix or self.image_suffix

    @property
    def affix_of_masks(self) -> str:
        return self.mask_prefix or self.mask_suffix

    def of_image(self, id: str) -> str | None:
        """The common part of an image's id, None where the id lacks the affix."""
        return _core(id, self.image_prefix, self.image_suffix)

    def of_mask(self, id: str) -> str | None:
        return _core(id, self.mask_prefix, self.mask_suffix)

    def __str__(self) -> str:
        if self == SAME:
            return "masks are named as their images"
        if self.affix_of_images:
            image = f"`{self.image_prefix}*{self.image_suffix}`"
            return f"images are named {image}, masks `{self.mask_prefix}*{self.mask_suffix}`"
        return f"masks are named as images + `{self.affix_of_masks}`" + (" in front" if self.mask_prefix else "")


SAME = Rule()


@dataclass(frozen=True)
class Reading:
    """One way to read a data folder: the settings, and how names pair. `masks` and `lists` may be ""."""

    images: str
    masks: str = ""
    rule: Rule = SAME
    adapter: str = "folder"
    lists: str = ""
    name: str = ""  # of a published layout

    @property
    def settings(self) -> str:
        """As one types it."""
        given = {"images": self.images, "masks": self.masks, "lists": self.lists}
        return " ".join(f'data.{key}="{value}"' for key, value in given.items() if value)


def pairing_rules(images: Collection[str], masks: Collection[str]) -> list[Rule]:
    """The rules that pair these ids, the best first: one where names are clear, more where they are not, none."""
    if not images or not masks:
        return []
    enough = _BELIEVED * min(len(masks), len(images))
    same = len(pairs_of(SAME, images, masks))
    if same >= enough:
        return [SAME]
    paired = {rule: pairs_of(rule, images, masks) for rule in _proposals(sorted(images), sorted(masks))}
    different: list[Rule] = []
    for rule in sorted(paired, key=lambda rule: -len(paired[rule])):
        believed = len(paired[rule]) >= max(enough, 2 if rule.affix_of_images and rule.affix_of_masks else 1)
        if believed and all(paired[rule] != paired[other] for other in different):
            different.append(rule)
    return different or [SAME] * bool(same)


def pairs_of(rule: Rule, images: Iterable[str], masks: Iterable[str]) -> set[tuple[str, str]]:
    """The (image id, mask id) that a rule brings together."""
    by_core = {core: id for id in images if (core := rule.of_image(id)) is not None}
    cores = ((rule.of_mask(id), id) for id in masks)
    return {(by_core[core], id) for core, id in cores if core in by_core}


def _core(id: str, prefix: str, suffix: str) -> str | None:
    folder, slash, name = id.rpartition("/")
    if len(name) <= len(prefix) + len(suffix) or not (name.startswith(prefix) and name.endswith(suffix)):
        return None
    core = name[len(prefix) : len(name) - len(suffix)]
    if _cuts_a_number(prefix, core) or _cuts_a_number(core, suffix):
        return None
    return f"{folder}{slash}{core}"


def _cuts_a_number(left: str, right: str) -> bool:
    return left[-1:].isdigit() and right[:1].isdigit()


def _proposals(images: list[str], masks: list[str]) -> list[Rule]:
    seen: Counter[Rule] = Counter()
    known = set(images)
    backwards = sorted(_flip(id) for id in images)
    for mask in masks[:: max(1, len(masks) // _SAMPLE)]:
        folder, slash, name = mask.rpartition("/")
        whole = {name[:k] for k in range(1, len(name)) if f"{folder}{slash}{name[:k]}" in known}
        seen.update(Rule(mask_suffix=name[len(start) :]) for start in whole)
        whole = {name[k:] for k in range(1, len(name)) if f"{folder}{slash}{name[k:]}" in known}
        seen.update(Rule(mask_prefix=name[: -len(end)]) for end in whole)
        seen.update(Rule(image_suffix=a, mask_suffix=b) for a, b in _tails(mask, images))
        seen.update(Rule(image_prefix=a[::-1], mask_prefix=b[::-1]) for a, b in _tails(_flip(mask), backwards))
    return [rule for rule, _ in seen.most_common(_PROPOSALS) if rule != SAME]


def _flip(id: str) -> str:
    folder, slash, name = id.rpartition("/")
    return f"{folder}{slash}{name[::-1]}"


def _tails(mask: str, images: list[str]) -> Iterator[tuple[str, str]]:
    """What follows the common beginning of a mask and of the images next to it in sorted order."""
    place = bisect_left(images, mask)
    for image in images[max(0, place - 1) : place + 1]:
        common = 0
        while common < min(len(mask), len(image)) and mask[common] == image[common]:
            common += 1
        if image[common:]:  # "_map" and "_mask" rather than "p" and "sk"
            word = _WORD_AT_END.search(mask[:common])
            common = word.start() if word else common
        if "/" not in mask[common:] + image[common:]:
            yield image[common:], mask[common:]
