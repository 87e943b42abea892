"""The classes of a round: those the run has, and those that people added while they labelled."""

from __future__ import annotations

import threading
import unicodedata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.colours import next_colour
from s4al.annotate.journal import Journal
from s4al.data.palettes import Colour
from s4al.errors import AnswerError
from s4al.run.classes import MOST_CLASSES, Classes

UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}  # Unicode categories; what joins letters in some scripts (Cf) is not among them
_MAX_NAME = 100  # characters


class RoundClasses:
    """Names and colours by class id; an id never changes its class."""

    def __init__(self, before: Classes, added: Path) -> None:
        self._names = list(before.names)
        self._colours: list[Colour] = [(int(r), int(g), int(b)) for r, g, b in before.palette]
        self._journal, self._mutex = Journal(added), threading.Lock()

    @property
    def names(self) -> list[str]:
        self._read()
        return list(self._names)

    @property
    def palette(self) -> NDArray[np.uint8]:
        """uint8 (C, 3)."""
        self._read()
        return np.array(self._colours, np.uint8).reshape(-1, 3)

    def add(self, name: str, colour: Colour | None = None) -> int:
        """Append a class, durably; returns its id. Only under the round's lock.

        Parameters
        ----------
        colour : RGB, 0 to 255; None takes the one that is most unlike the others.

        Raises
        ------
        AnswerError : the name is empty, too long, no text, or taken, perhaps in another case; the colour is none or
            taken; there are too many classes. OSError.
        """
        name = unicodedata.normalize("NFC", name).strip()
        self._read()
        self._check_name(name)
        if len(self._names) >= MOST_CLASSES:
            raise _refused(f"The class {name!r} would be number {len(self._names) + 1}; there can be {MOST_CLASSES}.")
        if colour is None:
            colour = next_colour(np.array(self._colours, np.uint8).reshape(-1, 3))
        elif len(colour) != 3 or any(not 0 <= value <= 255 for value in colour):
            raise _refused(f"The colour {colour!r} of the class {name!r} is not three numbers from 0 to 255.")
        elif colour in self._colours:
            raise _refused(f"The class {name!r} would have the colour of {self._names[self._colours.index(colour)]!r}.")
        self._journal.append({"name": name, "colour": list(colour)})
        self._read()
        return self._names.index(name)

    def _check_name(self, name: str) -> None:
        if not name or len(name) > _MAX_NAME:
            raise _refused(f"A class needs a name of 1 to {_MAX_NAME} characters, not of {len(name):,}.")
        if any(unicodedata.category(char) in UNPRINTABLE for char in name):
            raise _refused(f"The name {name!r} has characters that cannot be printed.")
        if name.casefold() == "ignore":
            raise _refused('A class cannot be named "ignore": it is the word for pixels without a class.')
        same = next((other for other in self._names if other.casefold() == name.casefold()), None)
        if same is not None:
            how = "exists already" if same == name else f"differs from {same!r} in case only"
            raise _refused(f"The class {name!r} {how}.")

    def _read(self) -> None:
        with self._mutex:
            for number, line in self._journal.news():
                try:
                    name, (red, green, blue) = line["name"], line["colour"]
                except (KeyError, TypeError, ValueError) as error:
                    raise self._journal.damaged(number, "it is no class") from error
                self._names.append(name)
                self._colours.append((red, green, blue))


def _refused(what: str) -> AnswerError:
    return AnswerError(what, kept="No class was added.", remedy="Give another name or colour.")
