"""A watch that remembers."""

from __future__ import annotations

from s4al.watch import Watch


class Notes(Watch):
    """Remembers what a person would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)
