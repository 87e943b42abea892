"""The classes of a run. People may add some between cycles; an id never changes its meaning, and none is taken away.

RUN/classes.json                    what the data set says, perhaps nothing
cycles/NNN/labels/classes.json      what was known when people's answers were committed, where they answer
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.data.masks import VOID
from s4al.errors import DataError, RunStateError
from s4al.sealed import open_json, seal_json

CLASSES_FILE = "classes.json"
MOST_CLASSES = VOID  # ids are bytes, and the two above mean void and not labelled


@dataclass(frozen=True)
class Classes:
    """Names by class id, and uint8 (C, 3) RGB colours for people's eyes."""

    names: tuple[str, ...]
    palette: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.names)

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "palette": self.palette.tolist()}

    def check_extends(self, earlier: Classes) -> None:
        """Raises DataError where a class of an earlier cycle is gone, or has another id, or there are too many."""
        if len(self) > MOST_CLASSES:
            raise DataError(f"There are {len(self)} classes; a run can have {MOST_CLASSES}.", remedy="Merge some.")
        for index, name in enumerate(earlier.names):
            found = self.names[index] if index < len(self) else None
            if found != name:
                now = "is gone" if found is None else f"is {found!r} now"
                raise DataError(
                    f"Class {index} was {name!r} when earlier labels were committed, and {now}.",
                    kept="Nothing was committed.",
                    remedy="Classes can be added between cycles, but neither removed, renamed nor moved.",
                )


def write_classes(path: Path, classes: Classes) -> None:
    """Write the file, with its digest. Raises OSError."""
    files.write_atomic(path, seal_json(classes.to_json()))


def read_classes(path: Path) -> Classes:
    """Raises RunStateError where the file is missing or damaged."""
    try:
        about = open_json(path.read_bytes())
        return Classes(tuple(about["names"]), np.array(about["palette"], np.uint8).reshape(-1, 3))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunStateError(f"{path} cannot be read: {error}.", remedy="Start a new run.") from error
