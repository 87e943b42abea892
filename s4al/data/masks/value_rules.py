"""The rules for masks that are read by value: which value is which class, or why that cannot be known.

The order matters: what a class file states comes first, then values that are known of published data sets, then what
the number of names decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from s4al.data.masks.counted import from_one, one_class, read_counted
from s4al.data.masks.known import Known, Reading, listing, plain
from s4al.data.masks.reader import IGNORE, VOID
from s4al.data.masks.settings import IGNORE_NAME, classes_setting, values_setting
from s4al.data.masks.survey import Survey, plural
from s4al.data.palettes import CAMVID, CITYSCAPES
from s4al.errors import ConfigError, DataError


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
        last = known.classes[-1]
        white = values_setting({**dict(enumerate(known.classes[:-1])), IGNORE: last})
        raise DataError(what, remedy=f"Label some images; or, if 255 is a class, such as {last}, set {white}.")
    if values == {0, IGNORE} and IGNORE not in known.stated:
        return _read_black_and_white(survey, known)
    if known.stated:
        return _read_stated(survey, known)
    _refuse_two_conventions(survey, known)
    return _read_published(survey, known) or read_counted(survey, known)


def _refuse_without_names(survey: Survey) -> NoReturn:
    survey.refuse_smoothed()
    values = list(survey.values)
    inner = [value for value in values if value != IGNORE]
    what = f"The masks hold the value{'s' if len(values) > 1 else ''} {listing(values)}, and no class is named."
    named = {value: f"name-of-{value}" for value in values}
    if len(values) <= 2 and set(values) <= {0, 1, IGNORE}:
        remedy = f"Set {classes_setting(['background', 'object'])} with your names, or write them into classes.txt, one"
        raise ConfigError(what, remedy=f"{remedy} a line.")
    if inner == list(range(len(inner))) and len(inner) <= VOID:
        remedy = f"Set {classes_setting(named[value] for value in inner)} with your names, or write them into"
        white = "; 255 is read as not labelled, unless data.mask_values names it" if IGNORE in values else ""
        raise ConfigError(what, remedy=f"{remedy} classes.txt, one a line{white}.")
    survey.refuse_measurements(inner)
    remedy = f"Set {values_setting(named)} with your names, or write them into classes.txt, a value and its name a line"
    if IGNORE in values:
        remedy += f"; if 255 is not labelled, set {values_setting({**named, IGNORE: IGNORE_NAME})}"
    raise ConfigError(what, remedy=f"{remedy}.")


def _read_black_and_white(survey: Survey, known: Known) -> Reading:
    """Every mask holds 0 and 255 only: drawn in black and white, or nothing but the first class and void."""
    listed = tuple(known.stated[value] for value in sorted(known.stated)) or known.listed
    if len(listed) == 2 and IGNORE_NAME not in listed and set(known.stated) <= {0, 1}:
        line = (
            f"The masks hold 0 and 255 only, and there are two classes: 0 is {listed[0]}, and 255 is {listed[1]} "
            f"({survey.share(survey.values[IGNORE])})."
        )
        return Reading(known.classes, {0: listed[0], IGNORE: listed[1]}, (line,))
    names = known.classes
    if len(names) == 1:
        raise one_class(known, {0: "background", IGNORE: names[0]})
    what = f"The masks hold 0 and 255 only, and {known.source} names {plural(len(names), 'class')}"
    white = values_setting({**dict(enumerate(names[:-1])), IGNORE: names[-1]})
    void = values_setting({**dict(enumerate(names)), IGNORE: IGNORE_NAME})
    remedy = f"If 255 is a class, such as {names[-1]}, set {white}; if 255 is not labelled, set {void}."
    raise DataError(f"{what} ({listing(names)}): 255 may be a class, or not labelled.", remedy=remedy)


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
        survey.refuse_measurements(unknown)
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
    ade = len(names) == 150 and plain(names[0]).startswith("wall") and plain(names[1]).startswith("building")
    if ade and found <= set(range(151)) and IGNORE not in survey.values:
        return _with_void(survey, names, from_one(names), 0, "ADE20K")
    return None


def _with_void(survey: Survey, names: tuple[str, ...], meanings: dict[int, str], void: int, of: str) -> Reading:
    share = survey.share(survey.values.get(void, 0))
    return Reading(names, meanings, (f"The names are those of {of}, where {void} is void (ignore): {share}.",))


def _same_names(names: Iterable[str], published: Iterable[str]) -> bool:
    return [plain(name) for name in names] == [plain(name) for name in published]
