"""Many answers at once, as an import brings them: the disk is waited for once, and either all of them count or none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from s4al import files
from s4al.annotate.journal import Journal


class Batch:
    """Pictures that are written but named by no line yet, and the lines that are going to name them.

    Attributes
    ----------
    names : of the pictures that may not be written again: those of the batch, and those that count until it ends.
    """

    def __init__(self, pictures: Path) -> None:
        self.names: set[str] = set()
        self._pictures, self._lines = pictures, list[dict[str, Any]]()
        self._written: list[Path] = []

    def write(self, name: str, data: bytes) -> None:
        """Raises OSError."""
        path = self._pictures / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self._written.append(path)
        self.names.add(name)

    def add(self, line: dict[str, Any]) -> None:
        self._lines.append(line)

    def finish(self, journal: Journal) -> None:
        """Make all of it durable, the lines last. Raises OSError; then nothing counts."""
        top = self._pictures.parent
        folders = {folder for path in self._written for folder in path.parents if folder.is_relative_to(top)}
        files.sync(self._written, folders)
        if self._lines:
            journal.append(*self._lines)
