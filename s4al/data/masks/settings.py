"""The setting `data.mask_values`, from value or colour to class name: parsed, and written so that it can be copied."""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.data.masks.class_files import MAX_VALUE, ClassTable
from s4al.data.masks.reader import IGNORE, VOID, MaskCode, identity_code
from s4al.data.masks.samples import colour_text
from s4al.data.palettes import CAMVID, CITYSCAPES, Colour, distinct_palette
from s4al.errors import ConfigError

IGNORE_NAME = "ignore"

_KEY = "data.mask_values"
_FORM = 'Write {0="background", 255="object"}, or {"128,64,0"="road", "#000000"="ignore"}.'


def parse_values(mask_values: Mapping[str, str]) -> dict[int, str] | dict[Colour, str]:
    """The setting with its keys as values 0 to 65535, or as RGB.

    Raises ConfigError for keys of another form, of both forms, and for a value with two meanings.
    """
    values: dict[int, str] = {}
    colours: dict[Colour, str] = {}
    for text, name in mask_values.items():
        key = _parse_key(text)
        before = values.setdefault(key, name) if isinstance(key, int) else colours.setdefault(key, name)
        if before != name:
            raise ConfigError(f"{_KEY} gives {text!r} two meanings, {before!r} and {name!r}.", remedy=_FORM)
    if values and colours:
        what = f"{_KEY} mixes values ({next(iter(values))}) and colours ({colour_text(next(iter(colours)))})."
        raise ConfigError(what, remedy="Masks are read by the one or by the other; palette masks by either.")
    return colours or values


def _parse_key(text: str) -> int | Colour:
    text = text.strip()
    if re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        red, green, blue = bytes.fromhex(text[1:])
        return red, green, blue
    parts = text.split(",")
    if all(re.fullmatch(r"\s*[0-9]{1,5}\s*", part) for part in parts):
        numbers = [int(part) for part in parts]
        if len(numbers) == 1 and numbers[0] <= MAX_VALUE:
            return numbers[0]
        if len(numbers) == 3 and max(numbers) <= 255:
            return numbers[0], numbers[1], numbers[2]
    what = f"{_KEY} has the key {text!r}, which is neither a value from 0 to {MAX_VALUE} nor a colour."
    raise ConfigError(what, remedy=_FORM)


def classes_of(mask_values: Mapping[str, str]) -> tuple[str, ...]:
    """The class names of a setting, in its order."""
    return tuple(name for name in dict.fromkeys(mask_values.values()) if name != IGNORE_NAME)


def build_code(classes: Sequence[str], mask_values: Mapping[str, str]) -> MaskCode:
    """What masks mean, by the settings of a run.

    Parameters
    ----------
    classes : `data.classes`, names in the order of the train ids; where empty, those of `mask_values` in their order.
    mask_values : `data.mask_values`; where empty, a mask's value is the train id. 255 is ignore unless it says
        otherwise.

    Raises
    ------
    ConfigError : names the key, and the right form.
    """
    names = tuple(classes) or classes_of(mask_values)
    check_classes(names)
    if not mask_values:
        return identity_code(len(names), class_names=names)
    ids = {IGNORE_NAME: IGNORE, **{name: id for id, name in enumerate(names)}}
    for text, name in mask_values.items():
        if name not in ids:
            nearest = difflib.get_close_matches(name, list(ids), n=1)
            hint = f"Did you mean {nearest[0]!r}?" if nearest else f"Classes: {', '.join(names)}; or {IGNORE_NAME}."
            raise ConfigError(f"{_KEY} reads {text!r} as {name!r}, which is not in data.classes.", remedy=hint)
    values, colours = np.full(MAX_VALUE + 1, -1, np.int16), dict[Colour, int]()
    values[IGNORE] = IGNORE
    for key, name in parse_values(mask_values).items():
        if isinstance(key, int):
            values[key] = ids[name]
        else:
            colours[key] = ids[name]
    return MaskCode(values, colours, names)


def check_classes(names: Sequence[str]) -> None:
    """Raise ConfigError where the class names cannot be used: none, too many, one twice, or the reserved one."""
    if not names:
        raise ConfigError("The data set needs class names.", remedy="Set data.classes=background,object.")
    if len(names) > VOID:
        remedy = f"Leave classes out, or give several values one name in {_KEY}."
        raise ConfigError(f"{len(names):,} class names; up to {VOID} can be had.", remedy=remedy)
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        different = len(set(names))
        what = f"{len(names)} class names, {different} of them different: data.classes has {twice!r} twice."
        raise ConfigError(what, remedy=f"Name it once; several values can have one name in {_KEY}.")
    if IGNORE_NAME in names or "" in names:
        odd = IGNORE_NAME if IGNORE_NAME in names else ""
        remedy = f"The word {IGNORE_NAME} in {_KEY} means pixels without a label; name the class otherwise."
        raise ConfigError(f"data.classes has the name {odd!r}, which no class can have.", remedy=remedy)


def class_palette(
    classes: Sequence[str], mask_values: Mapping[str, str], table: ClassTable | None = None
) -> NDArray[np.uint8]:
    """(C, 3) uint8 for people's eyes.

    The colours of the masks where each class has one, else those of the class file, else those that a published data
    set gives these names, else distinct ones.
    """
    entries = table.entries if table else ()
    of_table = {entry.name: entry.colour for entry in entries if entry.colour}
    of_masks = {name: key for key, name in reversed(parse_values(mask_values).items()) if not isinstance(key, int)}
    cityscapes = {name: colour for name, (_, colour) in CITYSCAPES.items()}
    for known in (of_masks, of_table, CAMVID, cityscapes):
        if all(name in known for name in classes):
            return np.array([known[name] for name in classes], np.uint8).reshape(-1, 3)
    return distinct_palette(len(classes))


# --- settings in messages ---


def value_text(value: int | Colour) -> str:
    """A key of `data.mask_values`."""
    return str(value) if isinstance(value, int) else colour_text(value)


def values_setting(meanings: Mapping[Any, str]) -> str:
    """`data.mask_values=...` as it can be pasted into a shell."""
    pairs = [
        f"{key if isinstance(key, int) else json.dumps(colour_text(key))}={json.dumps(name, ensure_ascii=False)}"
        for key, name in meanings.items()
    ]
    return shlex.quote(f"{_KEY}={{{', '.join(pairs)}}}")


def classes_setting(names: Iterable[str]) -> str:
    """`data.classes=...` as it can be pasted into a shell."""
    return shlex.quote(f"data.classes={json.dumps(list(names), ensure_ascii=False)}")
