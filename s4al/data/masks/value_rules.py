"""The rules for masks that are read by value: which value is which class, or why that cannot be known.

The order matters: what a class file states comes first, then values that are known of published data sets, then what
the number of names decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from s4al.data.masks.class_files import ClassEntry
from s4al.data.masks.reader import IGNORE, VOID
from s4al.data.masks.settings import IGNORE_NAME, classes_setting, values_setting
from s4al.data.masks.survey import Survey, plural
from s4al.data.palettes import CAMVID, CITYSCAPES, Colour
from s4al.errors import ConfigError, DataError

_BACKGROUND = {"background", "bg", "other", "others", "rest", "none"}
_SHOWN = 8


@dataclass(frozen=True)
class Known:
    """What is known before the masks are looked at.

    Attributes
    ----------
    classes : names in the order of the train ids; may be empty.
    entries : of the class file, words for ignore included; empty where the names are `data.classes` alone.
    source : where the names are from, for messages.
    warning : a class file that is passed over; empty where there is none.
    hints : of such a file, the classes of its colours.
    """

    classes: tuple[str, ...]
    entries: tuple[ClassEntry, ...]
    source: str
    warning: str = ""
    hints: Mapping[Colour, str] = field(default_factory=dict)

    @property
    def stated(self) -> dict[int, str]:
        """The values that the class file states."""
        return {entry.value: meaning(entry) for entry in self.entries if entry.value is not None}

    @property
    def listed(self) -> tuple[str, ...]:
        """Meanings in the order of the list, which is that of the values where none are stated.

        That is the file's order, words for ignore included, unless `data.classes` has another one.
        """
        in_file = tuple(meaning(entry) for entry in self.entries)
        return in_file if tuple(name for name in in_file if name != IGNORE_NAME) == self.classes else self.classes


@dataclass(frozen=True)
class Reading:
    """What the masks' values, or all their colours, mean; 255 is ignore where it has no entry."""

    classes: tuple[str, ...]
    meanings: Mapping[Any, str]
    lines: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def by_colour(self) -> bool:
        return not isinstance(next(iter(self.meanings)), int)


def meaning(entry: ClassEntry) -> str:
    """The name of a class, or "ignore" for the words for no class."""
    return entry.name if entry.is_class else IGNORE_NAME


def read_by_value(survey: Survey, known: Known) -> Reading:
    """Find out what the values mean.

    Raises
    ------
    ConfigError : no class names.
    DataError : values with two readings, or with none.
    """
    values = set(survey.values)
    if not known.classes:
        _refuse_without_names(survey)
    if values == {IGNORE}:
        what = f"None of the {plural(len(survey.samples), 'mask')} looked at holds a label: every pixel is 255."
        raise DataError(what, remedy="Say what 255 is in data.mask_values, or label some images.")
    if values == {0, IGNORE} and IGNORE not in known.stated:
        return _read_black_and_white(survey, known)
    if known.stated:
        return _read_stated(survey, known)
    _refuse_two_conventions(survey, known)
    return _read_published(survey, known) or _read_counted(survey, known)


def _refuse_without_names(survey: Survey) -> NoReturn:
    survey.refuse_smoothed()
    values = list(survey.values)
    inner = [value for value in values if value != IGNORE]
    what = f"The masks hold the value{'s' if len(values) > 1 else ''} {listing(values)}, and no class is named"
    lines = "one a line"
    if len(values) <= 2 and set(values) <= {0, 1, IGNORE}:
        setting = classes_setting(["background", "object"])
    elif inner == list(range(len(inner))) and len(inner) <= VOID:
        setting = classes_setting(f"name-of-{value}" for value in inner)
    else:
        lines = "a value and its name a line"
        setting = values_setting({value: f"name-of-{value}" for value in inner})
    raise ConfigError(f"{what}.", remedy=f"Set {setting} with your names, or write them into classes.txt, {lines}.")


def _read_black_and_white(survey: Survey, known: Known) -> Reading:
    """Every mask holds 0 and 255 only: drawn in black and white, or nothing but the first class and void."""
    listed = tuple(known.stated[value] for value in sorted(known.stated)) or known.listed
    if len(listed) == 2 and IGNORE_NAME not in listed and set(known.stated) <= {0, 1}:
        line = (
            f"The masks hold 0 and 255 only, and there are two classes: 0 is {listed[0]}, and 255 is {listed[1]} "
            f"({survey.share(survey.values[IGNORE])})."
        )
        return Reading(known.classes, {0: listed[0], IGNORE: listed[1]}, (line,))
    names = pair = known.classes
    if len(names) == 1:
        raise _one_class(known, {0: "background", IGNORE: names[0]})
    what = f"The masks hold 0 and 255 only, and {known.source} names {plural(len(names), 'class')}"
    two = values_setting({0: pair[0], IGNORE: pair[1]})
    one = values_setting({0: pair[0], IGNORE: IGNORE_NAME})
    remedy = f"If 255 is a class, set {two} with your names; if 255 is not labelled, set {one}."
    raise DataError(f"{what} ({listing(names)}): 255 may be a class, or not labelled.", remedy=remedy)


def _one_class(known: Known, meanings: Mapping[int, str]) -> DataError:
    """With one class there is nothing to tell apart, so the other value must be one that nobody named."""
    name = known.classes[0]
    return DataError(
        f"The masks hold {listing(meanings)}, and {known.source} names 1 class ({name}): the other value may be a "
        "class too, such as background, or not labelled, and then nothing is left to tell apart.",
        remedy=f"If 0 is background, set {values_setting(meanings)}.",
    )


def _read_stated(survey: Survey, known: Known) -> Reading:
    stated = known.stated
    unknown = [value for value in survey.values if value not in stated and value != IGNORE]
    lines = [f"Values are read as {known.source} states them."]
    if unknown == [0]:
        stated[0] = IGNORE_NAME
        share = survey.share(survey.values[0])
        lines.append(f"0, which {known.source} does not name, is not labelled (ignore): {share}.")
    elif unknown:
        survey.refuse_smoothed(stated.keys())
        file, pixels = survey.first_with(unknown[0])
        what = f"mask {file} holds the value {unknown[0]} at {plural(pixels, 'pixel')}"
        more = f" (nor is {listing(unknown[1:])})" if len(unknown) > 1 else ""
        added = {**stated, **dict.fromkeys(unknown, IGNORE_NAME)}
        raise DataError(
            f"{what}, which is not in {known.source}{more}.",
            remedy=f"Add it there; or, if it is no class, set {values_setting(added)}.",
        )
    return Reading(known.classes, stated, tuple(lines))


def _refuse_two_conventions(survey: Survey, known: Known) -> None:
    """With two classes, masks of 0 and 1 beside masks of 0 and 255 are drawn by two conventions, it seems."""
    if len(known.listed) != 2 or set(survey.values) != {0, 1, IGNORE}:
        return
    labelled = [sample for sample in survey.samples if set(sample.by_value or {}) != {IGNORE}]
    ones = [sample.name for sample in labelled if 1 in (sample.by_value or {})]
    whites = [sample.name for sample in labelled if IGNORE in (sample.by_value or {})]
    if whites and not set(ones) & set(whites):
        first, second = known.listed
        what = f"Some masks hold 0 and 1 ({ones[0]}), others 0 and 255 ({whites[0]}), and none holds 1 and 255"
        same = values_setting({0: first, 1: second, IGNORE: second})
        void = values_setting({0: first, 1: second, IGNORE: IGNORE_NAME})
        remedy = f"If both are {second}, set {same}; if 255 is not labelled, set {void}."
        raise DataError(f"{what}: 255 may be {second}, or not labelled.", remedy=remedy)


# --- published data sets ---


def _read_published(survey: Survey, known: Known) -> Reading | None:
    """Values that only knowledge of a data set explains, told by its class names."""
    names, found = known.classes, set(survey.values) - {IGNORE}
    if known.listed != names:  # a list with a word for void says itself which value that is
        return None
    identity = dict(enumerate(names))
    if _same_names(names, CAMVID) and found <= set(range(12)):
        return _with_void(survey, names, {**identity, 11: IGNORE_NAME}, 11, "CamVid")
    if _same_names(names, CITYSCAPES) and found <= set(range(20)):
        return _with_void(survey, names, {**identity, 19: IGNORE_NAME}, 19, "Cityscapes' train ids")
    if _same_names(names, CITYSCAPES) and found <= set(range(34)):
        label_ids = {id: name for (id, _), name in zip(CITYSCAPES.values(), names, strict=True)}
        meanings = {id: label_ids.get(id, IGNORE_NAME) for id in range(34)}
        return Reading(names, meanings, ("The values are Cityscapes' label ids; those without a train id are ignore.",))
    ade = len(names) == 150 and _plain(names[0]).startswith("wall") and _plain(names[1]).startswith("building")
    if ade and found <= set(range(151)) and IGNORE not in survey.values:
        return _with_void(survey, names, _from_one(names), 0, "ADE20K")
    return None


def _with_void(survey: Survey, names: tuple[str, ...], meanings: dict[int, str], void: int, of: str) -> Reading:
    share = survey.share(survey.values.get(void, 0))
    return Reading(names, meanings, (f"The names are those of {of}, where {void} is void (ignore): {share}.",))


def _same_names(names: Iterable[str], published: Iterable[str]) -> bool:
    return [_plain(name) for name in names] == [_plain(name) for name in published]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


# --- by the number of names ---


def _read_counted(survey: Survey, known: Known) -> Reading:
    listed, names = known.listed, known.classes
    found = sorted(set(survey.values) - {IGNORE})
    background_first = _plain(listed[0]) in _BACKGROUND or listed[0] == IGNORE_NAME
    if found[-1] < len(listed):
        if found[0] > 0 and len(listed) > 1 and not background_first:
            raise _shifted(found, known)
        line = f"Values are the positions in the list of classes: {listing(found)} of 0 to {len(listed) - 1} found."
        return Reading(names, dict(enumerate(listed)), (line,))
    top = len(names)
    if listed == names and top > 1 and found[0] <= 1 and found == list(range(found[0], top + 1)):
        if found[0] == 1:
            line = f"The masks hold 1 to {top} and there are {top} classes: 1 is {names[0]}, and 0 would be ignore."
            return Reading(names, _from_one(names), (line,))
        if not background_first:
            share = survey.share(survey.values[0])
            line = f"The masks hold 0 to {top} and there are {top} classes: 0 is not labelled (ignore), {share}."
            return Reading(names, _from_one(names), (line,))
    raise _miscounted(survey, found, known)


def _from_one(names: tuple[str, ...]) -> dict[int, str]:
    return {0: IGNORE_NAME, **dict(enumerate(names, 1))}


def _shifted(found: list[int], known: Known) -> DataError:
    listed = known.listed
    what = f"The masks hold {listing(found)} and never 0, and {known.source} names {plural(len(listed), 'class')}"
    zero, one = values_setting(dict(enumerate(listed))), values_setting(_from_one(listed))
    return DataError(
        f"{what}: {listed[0]} may be 0 and not be in these masks, or be 1.",
        remedy=f"If {listed[0]} is 0, set {zero}; if it is 1, set {one}.",
    )


def _miscounted(survey: Survey, found: list[int], known: Known) -> DataError:
    names = known.classes
    if len(names) == 1 and found == [0, 1]:
        return _one_class(known, {0: "background", 1: names[0]})
    survey.refuse_smoothed(frozenset(range(len(names) + 1)))
    what = f"The masks hold {plural(len(found), 'value')} ({listing(found)}), and {known.source} names "
    what += f"{plural(len(names), 'class')} ({listing(names)})"
    beyond = [value for value in found if value >= len(names)]
    if beyond:
        rarest = min(beyond, key=lambda value: survey.values[value])
        file, pixels = survey.first_with(rarest)
        what += f"; mask {file} has {rarest} at {plural(pixels, 'pixel')}"
    readings = []
    if len(found) == len(names):
        in_order = values_setting(dict(zip(found, names, strict=True)))
        readings.append(("the classes may be in the order of the values", f"For classes in this order set {in_order}"))
    if found[-1] == len(names) and len(names) > 1:
        shifted = values_setting(_from_one(names))
        readings.append(("0 may be not labelled and 1 the first class", f"for 0 = not labelled set {shifted}"))
    if found[-1] < IGNORE and found == list(range(len(found))):
        more = [*names, *(f"name-of-{value}" for value in found[len(names) :])]
        in_list = classes_setting(more)
        readings.append(("names may be missing from the list", f"for a longer list set {in_list}"))
    else:
        every = {value: names[value] if value < len(names) else f"name-of-{value}" for value in found}
        readings.append(("names may be missing from the list", f"to name each value set {values_setting(every)}"))
    if len(readings) == 1:
        extra = {v: names[v] if v < len(names) else IGNORE_NAME for v in found}
        readings.append(("some values may be no class", f"to leave values out set {values_setting(extra)}"))
    says, settings = ("; ".join(part) for part in zip(*readings, strict=True))
    return DataError(f"{what}: {says}.", remedy=f"{settings[0].upper()}{settings[1:]}.")


def listing(things: Iterable[int | str]) -> str:
    """Names or values in a sentence: "0-3, 7 and 255", "road, car, sky, ... and bus"."""
    texts = _ranges(list(things))
    shown = texts if len(texts) <= _SHOWN else [*texts[: _SHOWN - 2], "...", texts[-1]]
    return " and ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)


def _ranges(things: list[int | str]) -> list[str]:
    """[0, 1, 2, 7] -> ["0-2", "7"]; names stay as they are."""
    runs: list[list[int | str]] = []
    for thing in things:
        if runs and isinstance(thing, int) and runs[-1][-1] == thing - 1:
            runs[-1].append(thing)
        else:
            runs.append([thing])
    return [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
