"""The class files people have, read into one table of names, values and colours.

    labelmap.txt      CVAT           name:r,g,b:parts:actions
    class_dict.csv    Kaggle         a header, then name,r,g,b
    _classes.csv      Roboflow       a header, then value, name
    label_colors.txt  CamVid         r g b name, with spaces or tabs, the name first or last
    classes.txt       everybody      name | value name | name,r,g,b | value,name,r,g,b
    codes.txt         fastai         name

All are UTF-8, with or without a byte order mark; blank lines and lines that start with # are passed over. A name in
quotes is a name, whatever it holds. Files and the names in them are untrusted input.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from s4al.data.headers import Refused
from s4al.data.images import read_bytes
from s4al.data.palettes import Colour
from s4al.errors import DataError

# Where several lie in a folder and say equally much, the first of these is taken.
CLASS_FILES = (
    "labelmap.txt",
    "class_dict.csv",
    "_classes.csv",
    "label_colors.txt",
    "classes.txt",
    "codes.txt",
    "class_names.txt",  # labelme
    "label_names.txt",  # labelme, beside each image
)
MAX_VALUE = 2**16 - 1

_MAX_LINES = 4096
_MAX_LINE = 1000  # characters
_NO_CLASS = re.compile(r"_*(void|unlabell?ed|ignored?|unknown|dont?care)_*", re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d+)\s*:\s*")  # "7: road"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_REPLACE = "Replace or remove the file; data.classes names the classes as well."
_CORRECT = "Correct the line; or remove the file, and set data.classes."
_COLUMNS = {
    "name": ("name", "class", "label", "class_name", "classname", "category"),
    "value": ("pixel value", "value", "id", "index", "class_id", "label_id"),
    "red": ("r", "red"),
    "green": ("g", "green"),
    "blue": ("b", "blue"),
}
_FORMS = "name | value name | name,r,g,b | value,name,r,g,b"


@dataclass(frozen=True)
class ClassEntry:
    """One line: `value` is a mask's sample, `colour` its RGB; None where the file does not say."""

    name: str
    value: int | None = None
    colour: Colour | None = None

    @property
    def is_class(self) -> bool:
        """Whether the name is a class, and not a word for "nothing is said about these pixels"."""
        return not _NO_CLASS.fullmatch(re.sub(r"[\s_'’-]", "", self.name))


@dataclass(frozen=True)
class ClassTable:
    """A class file.

    Attributes
    ----------
    path : the file.
    entries : in the order of the file; names, values and colours are unique. Values and colours are those of all
        entries or of none.
    note : a sentence about other files that were found beside it; empty where there was none.
    """

    path: Path
    entries: tuple[ClassEntry, ...]
    note: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes; words for pixels without a class are left out."""
        return tuple(entry.name for entry in self.entries if entry.is_class)

    @property
    def has_values(self) -> bool:
        return self.entries[0].value is not None

    @property
    def has_colours(self) -> bool:
        return self.entries[0].colour is not None


# --- finding ---


def find_class_table(root: Path) -> ClassTable | None:
    """The class file of a data folder: in `root` itself, else one level down; None where there is none.

    Of files that agree, the one that says more is taken.

    Raises
    ------
    DataError : two files that disagree, or a file that cannot be read, with its line.
    """
    for folders in ([root], _folders_in(root)):
        tables = [read_class_table(path) for folder in folders for path in _class_files_in(folder)]
        if tables:
            return _one_of(tables)
    return None


def _folders_in(root: Path) -> list[Path]:
    return [path for path in _listed(root) if path.is_dir() and not path.name.startswith(".")]


def _class_files_in(folder: Path) -> list[Path]:
    by_name = {path.name.lower(): path for path in _listed(folder) if path.name.lower() in CLASS_FILES}
    return [by_name[name] for name in CLASS_FILES if name in by_name]


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder} cannot be listed ({error.strerror}).", remedy="Check its permissions.") from error


def _one_of(tables: list[ClassTable]) -> ClassTable:
    best = max(tables, key=lambda table: table.has_values + table.has_colours)  # the first of equals
    others = [table for table in tables if table is not best]
    for other in others:
        if not _agree(best, other):
            raise DataError(
                f"Two class files disagree: {best.path} ({_short(best)}) and {other.path} ({_short(other)}).",
                remedy="Remove one of them, or set data.classes and data.mask_values.",
            )
    if not others:
        return best
    paths = ", ".join(str(table.path) for table in others)
    verbs = ("agrees", "says") if len(others) == 1 else ("agree", "say")
    return replace(best, note=f"{paths} {verbs[0]} with it and {verbs[1]} no more.")


def _agree(a: ClassTable, b: ClassTable) -> bool:
    """Whether nothing that one file says is denied by the other."""
    return (
        [entry.name for entry in a.entries] == [entry.name for entry in b.entries]
        and (not (a.has_values and b.has_values) or [e.value for e in a.entries] == [e.value for e in b.entries])
        and (not (a.has_colours and b.has_colours) or [e.colour for e in a.entries] == [e.colour for e in b.entries])
    )


def _short(table: ClassTable) -> str:
    names = [entry.name for entry in table.entries]
    return f"{len(names)} names: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


# --- reading ---


def read_class_table(path: Path) -> ClassTable:
    """Read one class file.

    Parameters
    ----------
    path : its name decides how its lines are read: those of `CLASS_FILES` as above, others as classes.txt.

    Raises
    ------
    DataError : not UTF-8, no names, a line that is not understood, or a name, value or colour that is there twice;
        names the file and the line.
    """
    lines = [(number, line) for number, line in _lines(path) if not line.startswith("#")]
    if not lines:
        raise DataError(f"{path} holds no class names.", remedy=f"Write one class a line: {_FORMS}.")
    kind = path.name.lower()
    if kind == "codes.txt":
        entries = [ClassEntry(_name(line, path, number)) for number, line in lines]
    elif kind == "labelmap.txt" and any(":" in line for _, line in lines):
        entries = [_cvat(line, path, number) for number, line in lines]
    else:
        header = _header(lines[0][1])
        lines = lines[1:] if header else lines
        entries = [_under(header, line, path, n) if header else _free(line, path, n) for n, line in lines]
    numbers = [number for number, _ in lines]
    _check(path, entries, numbers)
    return ClassTable(path, tuple(entries))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are not blank."""
    try:
        data, _ = read_bytes(path, path.name, 0.0, None)
    except Refused as refusal:
        raise DataError(f"{path}: {refusal}.", remedy=_REPLACE) from refusal
    if data.startswith(_UTF_16):
        raise DataError(f"{path} is UTF-16 text; class files are UTF-8.", remedy="Save it again as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 text.", remedy="Save the file again as UTF-8.") from error
    lines = [line.strip() for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    if len(lines) > _MAX_LINES:
        raise DataError(f"{path} has {len(lines):,} lines; a class file has one for each class.", remedy=_REPLACE)
    for number, line in enumerate(lines, 1):
        if len(line) > _MAX_LINE:
            _fail(path, number, f"{len(line):,} characters, which is no class")
        if line:
            yield number, line


def _fail(path: Path, number: int, what: str, remedy: str = _CORRECT) -> NoReturn:
    raise DataError(f"{path}, line {number}: {what}.", remedy=remedy)


def _name(text: str, path: Path, number: int) -> str:
    name = unicodedata.normalize("NFC", text.strip())
    if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'":
        name = name[1:-1].strip()
    if not name:
        _fail(path, number, "has no class name")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        _fail(path, number, f"the name {name!r} holds control characters")
    return name


def _cvat(line: str, path: Path, number: int) -> ClassEntry:
    name, *rest = line.rsplit(":", 3) if line.count(":") >= 3 else line.split(":")
    if not rest:
        _fail(path, number, f"{line!r} is not understood", "Write name:r,g,b::, as on the other lines.")
    colour = rest[0].strip()
    numbers = colour.split(",") if colour else []
    return _entry(_name(name, path, number), None, numbers, path, number)


def _header(line: str) -> dict[str, int] | None:
    """Column of each thing, where the first line names columns; else None."""
    fields = [field.strip().lower() for field in _split(line) or ()]
    found = {key: fields.index(word) for key, words in _COLUMNS.items() for word in words if word in fields}
    return found if "name" in found and len(found) > 1 else None


def _under(header: dict[str, int], line: str, path: Path, number: int) -> ClassEntry:
    fields = _split(line) or [line]
    if len(fields) <= max(header.values()):
        _fail(path, number, f"has {len(fields)} columns, and the first line names {max(header.values()) + 1} or more")
    colour = [fields[header[key]] for key in ("red", "green", "blue") if key in header]
    value = fields[header["value"]] if "value" in header else None
    return _entry(_name(fields[header["name"]], path, number), value, colour, path, number)


def _free(line: str, path: Path, number: int) -> ClassEntry:
    """A line without a header: numbers before and after the name tell what they are by how many they are."""
    if line[0] in "\"'" and line.count(line[0]) == 2 and line.endswith(line[0]):
        return ClassEntry(_name(line, path, number))
    line = _NUMBERED.sub(r"\1 ", line)
    fields = _split(line)
    separated = fields is not None
    words = line.split() if fields is None else _words(fields)
    first = next((i for i, word in enumerate(words) if not word.isdecimal()), len(words))
    last = next((i for i in range(len(words), first, -1) if not words[i - 1].isdecimal()), first)
    before, name, after = words[:first], words[first:last], words[last:]
    if separated and len(name) > 1:
        _fail(path, number, f"{line!r} has two names", f"Write {_FORMS}; a name with a comma stands in quotes.")
    match len(before), len(after):
        case 0, 0:
            return ClassEntry(_name(line, path, number))
        case 0, 1 if not separated:  # "class 1" is a name
            return ClassEntry(_name(line, path, number))
        case (1, 0) | (1, 3):
            value, colour = before[0], after
        case (0, 1) | (0, 4):
            value, colour = after[0], after[1:]
        case (3, 0) | (0, 3):
            value, colour = None, before or after
        case 4, 0:
            value, colour = before[0], before[1:]
        case _:
            _fail(path, number, f"{line!r} is not understood", f"Write {_FORMS}.")
    return _entry(_name(" ".join(name), path, number), value, colour, path, number)


def _split(line: str) -> list[str] | None:
    """The fields of a line with commas, semicolons or tabs; None of a line without."""
    separator = next((each for each in ",;\t" if each in line), None)
    if separator is None:
        return None
    return next(csv.reader([line], delimiter=separator, skipinitialspace=True))


def _words(fields: list[str]) -> list[str]:
    """Spaces part numbers, not names: "128 64 128<tab><tab>road" are four words."""
    return [word for field in fields for word in (field.split() if _is_numbers(field) else [field.strip()])]


def _is_numbers(text: str) -> bool:
    return all(word.isdecimal() for word in text.split())


def _entry(name: str, value: str | None, colour: list[str], path: Path, number: int) -> ClassEntry:
    if len(colour) not in (0, 3):
        _fail(path, number, f"{name!r} has {len(colour)} of the three numbers of a colour")
    channels = [_number(each, 255, "a colour's number", path, number) for each in colour]
    return ClassEntry(
        name,
        None if value is None else _number(value, MAX_VALUE, "a mask's value", path, number),
        (channels[0], channels[1], channels[2]) if channels else None,
    )


def _number(text: str, top: int, what: str, path: Path, number: int) -> int:
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and int(text) <= top):
        _fail(path, number, f"{text!r} is not {what}, which is from 0 to {top}")
    return int(text)


def _check(path: Path, entries: list[ClassEntry], numbers: list[int]) -> None:
    if not entries:
        raise DataError(f"{path} holds no class names.", remedy="Write one class a line below its header.")
    for kind in ("name", "value", "colour"):
        seen: dict[object, int] = {}
        for entry, number in zip(entries, numbers, strict=True):
            thing = getattr(entry, kind)
            if thing is not None and thing in seen:
                _fail(path, number, f"the {kind} {thing!r} is on line {seen[thing]} too")
            seen[thing] = number
    for (before, _), (entry, number) in pairwise(zip(entries, numbers, strict=True)):
        for kind in ("value", "colour"):
            if (getattr(before, kind) is None) != (getattr(entry, kind) is None):
                has = "has no" if getattr(entry, kind) is None else "has a"
                remedy = "Give it to all lines or to none; a name that starts with a number stands in quotes."
                _fail(path, number, f"{entry.name!r} {has} {kind}, unlike the line before", remedy)
