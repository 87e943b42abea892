"""Values that no class file states: what the number of class names says of them.

255 is ignore everywhere, and white where people draw in greys. It is a class where the values go evenly from 0 to 255
and there are as many names; where the names do not say it, both readings are named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from s4al.data.masks.known import BACKGROUND_NAMES, Known, Reading, listing, plain
from s4al.data.masks.reader import IGNORE, VOID
from s4al.data.masks.settings import IGNORE_NAME, classes_setting, values_setting
from s4al.data.masks.survey import Survey, plural
from s4al.errors import DataError

_FEW_GREYS = 26  # so far apart that values lie on them by more than chance


def read_counted(survey: Survey, known: Known) -> Reading:
    """What the values mean by the order of the names. Raises DataError where it does not say."""
    listed, names = known.listed, known.classes
    found = sorted(set(survey.values) - {IGNORE})
    background_first = plain(listed[0]) in BACKGROUND_NAMES or listed[0] == IGNORE_NAME
    if found[-1] < len(listed):
        if found[0] > 0 and len(listed) > 1 and not background_first:
            raise _shifted(survey, known)
        line = f"Values are the positions in the list of classes: {listing(found)} of 0 to {len(listed) - 1} found."
        return Reading(names, dict(enumerate(listed)), (line + _last_may_be_white(survey, listed),))
    top = len(names)
    if listed == names and top > 1 and found[0] <= 1 and found == list(range(found[0], top + 1)):
        if found[0] == 1:
            line = f"The masks hold 1 to {top} and there are {top} classes: 1 is {names[0]}, and 0 would be ignore."
            return Reading(names, from_one(names), (line,))
        if not background_first:
            share = survey.share(survey.values[0])
            line = f"The masks hold 0 to {top} and there are {top} classes: 0 is not labelled (ignore), {share}."
            return Reading(names, from_one(names), (line,))
    if len(survey.values) == len(listed) and _are_greys(survey.values, len(listed)):
        return _read_greys(survey, known)
    raise _miscounted(survey, known)


def from_one(names: Iterable[str]) -> dict[int, str]:
    """Values from 1 on, 0 is ignore."""
    return {0: IGNORE_NAME, **dict(enumerate(names, 1))}


def one_class(known: Known, meanings: Mapping[int, str]) -> DataError:
    """With one class there is nothing to tell apart, so the other value must be one that nobody named."""
    name = known.classes[0]
    return DataError(
        f"The masks hold {listing(meanings)}, and {known.source} names 1 class ({name}): the other value may be a "
        "class too, such as background, or not labelled, and then nothing is left to tell apart.",
        remedy=f"If 0 is background, set {values_setting(meanings)}.",
    )


# --- 255 ---


def _last_may_be_white(survey: Survey, listed: Sequence[str]) -> str:
    """Values in the order of the list, 255 and one name that is left over: it is ignore, which has to be seen."""
    if IGNORE not in survey.values or len(survey.values) != len(listed) or listed[-1] == IGNORE_NAME:
        return ""
    white = values_setting({**dict(enumerate(listed[:-1])), IGNORE: listed[-1]})
    return f" 255 is read as not labelled; if it is {listed[-1]}, set {white}."


def _are_greys(values: Iterable[int], count: int) -> bool:
    """Whether all values are among `count` greys that go evenly from 0 to 255, rounded up or down."""
    return count > 2 and all(value <= IGNORE and _grey_index(value, count) is not None for value in values)


def _grey_index(value: int, count: int) -> int | None:
    index = round(value * (count - 1) / IGNORE)
    return index if abs(value * (count - 1) - index * IGNORE) < count - 1 else None


def _greys(found: Iterable[int], listed: Sequence[str]) -> dict[int, str]:
    """Every class with its grey: the value that was found, else the nearest one."""
    count = len(listed)
    values = {index: round(index * IGNORE / (count - 1)) for index in range(count)}
    values |= {index: value for value in found if (index := _grey_index(value, count)) is not None}
    return {values[index]: name for index, name in enumerate(listed)}


def _read_greys(survey: Survey, known: Known) -> Reading:
    meanings = _greys(survey.values, known.listed)
    each = listing([f"{value} is {name}" for value, name in meanings.items()])
    line = (
        f"The masks hold {listing(meanings)}, evenly from 0 to 255, and there are as many names: {each} "
        f"({survey.share(survey.values[IGNORE])}). If 255 is not labelled, data.mask_values can say so."
    )
    return Reading(known.classes, meanings, (line,))


# --- refusals ---


def _shifted(survey: Survey, known: Known) -> DataError:
    listed, void = known.listed, _void(survey)
    what = f"The masks hold {listing(survey.values)} and never 0, and {known.source} names "
    what += plural(len(listed), "class")
    zero, one = values_setting({**dict(enumerate(listed)), **void}), values_setting({**from_one(listed), **void})
    return DataError(
        f"{what}: {listed[0]} may be 0 and not be in these masks, or be 1.",
        remedy=f"If {listed[0]} is 0, set {zero}; if it is 1, set {one}.",
    )


def _void(survey: Survey) -> dict[int, str]:
    """255 as it is read unless it is a class: said in offers wherever masks hold it."""
    return {IGNORE: IGNORE_NAME} if IGNORE in survey.values else {}


def _miscounted(survey: Survey, known: Known) -> DataError:
    names, values = known.classes, list(survey.values)
    found = [value for value in values if value != IGNORE]
    if len(names) == 1 and found == [0, 1]:
        return one_class(known, {0: "background", 1: names[0]})
    survey.refuse_smoothed(frozenset(range(len(names) + 1)))
    beyond = [value for value in found if value >= len(names)]
    in_a_row = found == list(range(len(found))) and found[-1] < IGNORE - 1
    readings = _by_order(survey, names, found)
    if not readings and not in_a_row:
        survey.refuse_measurements(beyond)
    what = f"The masks hold {plural(len(values), 'value')} ({listing(values)}), and {known.source} names "
    what += f"{plural(len(names), 'class')} ({listing(names)})"
    if beyond:
        rarest = min(beyond, key=lambda value: survey.values[value])
        file, pixels = survey.first_with(rarest)
        what += f"; mask {file} has {rarest} at {plural(pixels, 'pixel')}"
    if len(readings) < 2 and len(names) + len(beyond) <= VOID:
        readings.append(_longer_list(names, found) if in_a_row else _each_named(survey, names, beyond))
    if len(readings) < 2:
        extra = values_setting({**dict(enumerate(names)), **dict.fromkeys(beyond, IGNORE_NAME), **_void(survey)})
        readings.append(("some values may be no class", f"to leave values out set {extra}"))
    says, settings = ("; ".join(part) for part in zip(*readings, strict=True))
    return DataError(f"{what}: {says}.", remedy=f"{settings[0].upper()}{settings[1:]}.")


def _by_order(survey: Survey, names: Sequence[str], found: list[int]) -> list[tuple[str, str]]:
    """(what may be, the setting if it is) for the orders that would make as many values as names."""
    readings: list[tuple[str, str]] = []
    values, void = list(survey.values), _void(survey)
    if len(found) == len(names):
        in_order = values_setting({**dict(zip(found, names, strict=True)), **void})
        readings.append(("the classes may be in the order of the values", f"for classes in this order set {in_order}"))
    count = len(values)
    if void and (count == len(names) or (count > len(names) and _are_greys(values, count))):
        white = [*names, *(f"name-of-{value}" for value in values[len(names) :])]
        last = values_setting(dict(zip(values, white, strict=True)))
        readings.append(("255 may be a class", f"for 255 = {white[-1]} set {last}"))
    elif count < len(names) <= _FEW_GREYS and _are_greys(values, len(names)):
        greys = values_setting(_greys(values, names))
        readings.append(
            ("the classes may be greys from 0 to 255, some of them not in these masks", f"for these {greys}")
        )
    if found[-1] == len(names) and len(names) > 1:
        shifted = values_setting({**from_one(names), **void})
        readings.append(("0 may be not labelled and 1 the first class", f"for 0 = not labelled set {shifted}"))
    return readings


def _longer_list(names: Sequence[str], found: Sequence[int]) -> tuple[str, str]:
    in_list = classes_setting([*names, *(f"name-of-{value}" for value in found[len(names) :])])
    return "names may be missing from the list", f"for a longer list set {in_list}"


def _each_named(survey: Survey, names: Sequence[str], beyond: Iterable[int]) -> tuple[str, str]:
    """All names are kept, at their positions: which of them is another value, only a person knows."""
    every = {**dict(enumerate(names)), **{value: f"name-of-{value}" for value in beyond}, **_void(survey)}
    return "names may be missing from the list", f"to name each value set {values_setting(every)}"
