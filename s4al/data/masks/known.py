"""What is known of masks before their values are looked at, and what they were found to mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from s4al.data.masks.class_files import ClassEntry
from s4al.data.masks.settings import IGNORE_NAME
from s4al.data.palettes import Colour

BACKGROUND_NAMES = {"background", "bg", "other", "others", "rest", "none"}  # as `plain` writes them

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


def plain(name: str) -> str:
    """A class name to compare with others: in lower case, letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


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
