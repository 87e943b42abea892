"""How a data set's masks are encoded, found out from a few of them and from its class file.

What can be known becomes the settings `data.classes` and `data.mask_values`, with a printed line for each inference;
what cannot be known is refused with the two readings and the setting that decides. What the user has set is taken as it
is. The rules for masks that are read by value are in `data.masks.value_rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.data.masks.class_files import ClassEntry, ClassTable
from s4al.data.masks.known import Known, Reading, listing, meaning
from s4al.data.masks.reader import IGNORE, nearest_colour
from s4al.data.masks.samples import MaskSample as MaskSample
from s4al.data.masks.samples import colour_text
from s4al.data.masks.samples import sample_mask as sample_mask
from s4al.data.masks.settings import (
    IGNORE_NAME,
    build_code,
    check_classes,
    class_palette,
    classes_of,
    parse_values,
    value_text,
    values_setting,
)
from s4al.data.masks.survey import Survey, plural
from s4al.data.masks.value_rules import read_by_value
from s4al.data.palettes import Colour
from s4al.errors import ConfigError, DataError

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
_SHOWN = 12  # colours that a message lists


@dataclass(frozen=True)
class ValueRow:
    """One value or colour that masks hold.

    Attributes
    ----------
    value : as in `data.mask_values`: "7", or "128,64,0".
    colour : of its class in figures; of a colour mask the colour itself; black of ignore.
    meaning : class name, or "ignore".
    pixels, share : in the masks that were looked at.
    """

    value: str
    colour: Colour
    meaning: str
    pixels: int
    share: float


@dataclass(frozen=True, eq=False)
class Encoding:
    """What masks mean.

    Attributes
    ----------
    classes, mask_values : the settings `data.classes` and `data.mask_values` to store; `mask_values` is empty where a
        mask's value is the train id and 255 is ignore.
    palette : (C, 3) uint8 RGB, for people's eyes.
    lines : what was understood, a sentence each.
    warnings : what may be a mistake, a sentence each.
    values : the values found, in the order of the train ids, ignore last.
    """

    classes: tuple[str, ...]
    mask_values: dict[str, str]
    palette: NDArray[np.uint8]
    lines: tuple[str, ...]
    warnings: tuple[str, ...]
    values: tuple[ValueRow, ...]


def infer_encoding(
    samples: Sequence[MaskSample],
    table: ClassTable | None,
    classes: tuple[str, ...] = (),
    mask_values: Mapping[str, str] | None = None,
) -> Encoding:
    """Find out what the masks of a data set mean.

    Parameters
    ----------
    samples : of the masks that were looked at.
    table : the class file, if there is one.
    classes, mask_values : the settings, empty where the user gave none.

    Raises
    ------
    ConfigError : no class names, or no colours of the classes; settings that cannot be used.
    DataError : values that the class names do not explain, values with two readings, masks that hold no labels.
    """
    if not samples:
        raise DataError("There is no mask to look at.", remedy="Set data.masks to where they are.")
    survey = Survey(tuple(samples))
    if mask_values:
        reading = _read_as_set(survey, classes, mask_values)
        known = Known(reading.classes, (), "data.mask_values")
    else:
        known = _known(table, classes)
        if known.classes:
            check_classes(known.classes)
        reading = _read_by_colour(survey, known) if _is_by_colour(survey, known) else read_by_value(survey, known)
    return _encoding(survey, reading, known, table, dict(mask_values or {}))


def _known(table: ClassTable | None, classes: tuple[str, ...]) -> Known:
    """The names in the order of the train ids, and what the class file says of them where it is about the same ones."""
    if table is None:
        void = [name for name in classes if not ClassEntry(name).is_class]
        doubt = f"data.classes counts {listing(void)} as a class; if it is none, data.mask_values can make it ignore."
        return Known(classes, (), "data.classes", doubt if void else "")
    if not classes:
        return Known(table.names, table.entries, table.path.name)
    says_more = table.has_values or table.has_colours
    if table.names == classes or (says_more and set(table.names) == set(classes)):
        return Known(classes, table.entries, table.path.name)
    warning = f"{table.path.name} has other classes than data.classes ({listing(table.names)}), and is passed over."
    hints = {entry.colour: entry.name for entry in table.entries if entry.colour and entry.name in classes}
    return Known(classes, (), "data.classes", warning, hints)


# --- by the settings ---


def _read_as_set(survey: Survey, classes: tuple[str, ...], mask_values: Mapping[str, str]) -> Reading:
    build_code(classes, mask_values)  # its errors
    meanings, names = parse_values(mask_values), classes or classes_of(mask_values)
    by_colour = isinstance(next(iter(meanings)), tuple)
    odd = survey.uncoloured if by_colour else survey.coloured
    if odd is not None:
        given, held = ("colours", "without") if by_colour else ("values", "a picture with")
        what = f"data.mask_values gives {given}, and mask {odd.name} is {held} colours ({odd.mode})."
        raise ConfigError(what, remedy=f"Give {'values' if by_colour else 'colours'}, or make all masks of one kind.")
    _refuse_unknown(survey, meanings, "data.mask_values")
    given = plural(len(meanings), "colour" if by_colour else "value")
    line = f"{given} of data.mask_values, for {plural(len(names), 'class')}."
    return Reading(names, meanings, (line,))


def _refuse_unknown(survey: Survey, meanings: Mapping[Any, str], source: str) -> None:
    """Raise DataError for the most frequent value or colour without a meaning."""
    colours = {key: name for key, name in meanings.items() if not isinstance(key, int)}
    found = survey.colours if colours else survey.values
    unknown = {value: n for value, n in found.items() if value not in meanings and (colours or value != IGNORE)}
    if not unknown:
        return
    survey.refuse_smoothed(meanings.keys())
    survey.refuse_measurements(unknown)
    value = max(unknown, key=lambda each: unknown[each])
    file, pixels = survey.first_with(value)
    kind = "value" if isinstance(value, int) else "colour"
    what = (
        f"mask {file} holds the {kind} {value_text(value)} at {plural(pixels, 'pixel')}, without a meaning in {source}"
    )
    nearest = ""
    if not isinstance(value, int):
        close = nearest_colour(value, colours)
        nearest = f"; the nearest known colour is {colour_text(close)} = {colours[close]}"
    more = f" ({len(unknown) - 1} more are unknown.)" if len(unknown) > 1 else ""
    setting = values_setting({**meanings, **dict.fromkeys(unknown, IGNORE_NAME)})
    remedy = f"Add it to {source}; or, if it is no class, set {setting}."
    raise DataError(f"{what}{nearest}.{more}", remedy=remedy)


# --- by colour ---


def _is_by_colour(survey: Survey, known: Known) -> bool:
    """Masks with colours are; others where their colours are all the class file's, and their values say less."""
    if survey.coloured is not None:
        return True
    colours = {entry.colour for entry in known.entries if entry.colour}
    if not colours or known.stated or survey.uncoloured is not None:
        return False
    used = {(i, colour) for sample in survey.samples for i, colour in sample.palette.items() if i != IGNORE}
    if used:
        in_order = all(i < len(known.entries) and known.entries[i].colour == colour for i, colour in used)
        return not in_order and {colour for _, colour in used} <= colours | {_BLACK}
    # Black and white: 0 and 255, or 1 bit. A file that says which of them is white is not read by its order.
    return _WHITE in survey.colours and survey.colours.keys() <= colours | {_BLACK}


def _read_by_colour(survey: Survey, known: Known) -> Reading:
    odd = survey.uncoloured
    if odd is not None:
        what = f"Some masks are pictures with colours, and mask {odd.name} ({odd.mode}) has none that can be seen."
        raise DataError(what, remedy="Make all masks of one kind.")
    meanings = {entry.colour: meaning(entry) for entry in known.entries if entry.colour}
    if not meanings:
        _refuse_without_colours(survey, known)
    lines = [f"Masks are read by colour, with the {plural(len(meanings), 'colour')} of {known.source}."]
    if all(sample.mode == "palette" for sample in survey.samples):
        lines[0] += " (The palette has these colours, in another order.)"
    if _BLACK not in meanings:
        meanings[_BLACK] = IGNORE_NAME
        share = survey.share(survey.colours.get(_BLACK, 0))
        lines.append(f"Black (0,0,0), which {known.source} does not name, is {IGNORE_NAME}: {share}.")
    _refuse_unknown(survey, meanings, known.source)
    return Reading(known.classes, meanings, tuple(lines))


def _refuse_without_colours(survey: Survey, known: Known) -> None:
    odd = [sample for sample in survey.samples if sample.by_value is None]
    if 2 * len(odd) < len(survey.samples):
        kinds = f"{plural(len(survey.samples) - len(odd), 'mask')} hold values"
        what = f"mask {odd[0].name} is a {odd[0].mode} picture with colours ({len(odd):,} such), and {kinds}."
        raise DataError(what, remedy="Make all masks of one kind.")
    survey.refuse_smoothed()
    survey.refuse_measurements(survey.colours)
    found = list(survey.colours.items())
    shares = [f"{colour_text(colour)} ({survey.share(pixels)})" for colour, pixels in found[:_SHOWN]]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    names = {c: known.hints.get(c, IGNORE_NAME if known.hints else f"name-{i}") for i, (c, _) in enumerate(found, 1)}
    what = (
        f"The masks are pictures with colours, and nothing says which class each colour is: {', '.join(shares)}{more}."
    )
    raise ConfigError(
        what,
        remedy=f"Set {values_setting(names)} with your names ({IGNORE_NAME} for no class), or add a class_dict.csv.",
    )


# --- what is told ---


def _encoding(
    survey: Survey, reading: Reading, known: Known, table: ClassTable | None, as_set: dict[str, str]
) -> Encoding:
    classes, meanings = reading.classes, dict(reading.meanings)
    identity = dict(enumerate(classes))
    mask_values = {} if meanings == identity else {value_text(key): name for key, name in meanings.items()}
    mask_values = as_set or mask_values
    palette = class_palette(classes, mask_values, table)
    rows = _rows(survey, reading, palette)
    lines = [f"Masks looked at: {survey.describe}.", *_names_lines(known, table), *reading.lines]
    if not reading.by_colour and IGNORE in survey.values and IGNORE not in meanings:
        lines.append(f"255 is not labelled (ignore): {survey.share(survey.values[IGNORE])}.")
    empty = _without_label(survey, reading)
    if empty == len(survey.samples):
        what = f"None of the {plural(empty, 'mask')} looked at holds a label: every pixel is {IGNORE_NAME}."
        raise DataError(what, remedy="Check data.mask_values, or label some images.")
    if empty:
        lines.append(f"{empty:,} of {plural(len(survey.samples), 'mask')} hold{'s' if empty == 1 else ''} no label.")
    absent = [name for name in classes if name not in {row.meaning for row in rows}]
    warnings = [known.warning] if known.warning else []
    if len(classes) == 1:
        warnings.append(f"There is one class only ({classes[0]}), and so nothing to tell it from: name the others too.")
    if absent:
        warnings.append(f"No pixel of {listing(absent)} in the {plural(len(survey.samples), 'mask')} looked at.")
    return Encoding(classes, mask_values, palette, tuple(lines), (*reading.warnings, *warnings), rows)


def _names_lines(known: Known, table: ClassTable | None) -> list[str]:
    lines = [f"{plural(len(known.classes), 'class')} from {known.source}: {listing(known.classes)}."]
    void = [entry.name for entry in known.entries if not entry.is_class]
    if void:
        lines.append(f"{listing(void)} of {known.source} is read as {IGNORE_NAME}, and is no class.")
    return [*lines, table.note] if table and table.note and known.entries else lines


def _rows(survey: Survey, reading: Reading, palette: NDArray[np.uint8]) -> tuple[ValueRow, ...]:
    order = {name: id for id, name in enumerate(reading.classes)}
    rows: list[ValueRow] = []
    for value, pixels in (survey.colours if reading.by_colour else survey.values).items():
        name = reading.meanings.get(value, IGNORE_NAME)  # of 255; all others have a meaning, or were refused
        red, green, blue = palette[order[name]].tolist() if name in order else _BLACK
        colour = (red, green, blue) if isinstance(value, int) else value
        rows.append(ValueRow(value_text(value), colour, name, pixels, pixels / survey.num_pixels))
    return tuple(sorted(rows, key=lambda row: order.get(row.meaning, len(order))))


def _without_label(survey: Survey, reading: Reading) -> int:
    """How many masks hold nothing but ignore."""
    return sum(
        all(reading.meanings.get(value, IGNORE_NAME) == IGNORE_NAME for value in held)
        for sample in survey.samples
        if (held := sample.by_colour if reading.by_colour else sample.by_value)
    )
