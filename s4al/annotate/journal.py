"""An append-only file of JSON lines that several processes read and write, and that survives the death of any of them.

A line counts once its end is on the disk. What follows the last line end is a write that was cut short: nobody was told
that it is saved, so nobody reads it, and the next line takes its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from s4al import files
from s4al.errors import RunStateError


class Journal:
    """What was written to a file since this object last looked. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._end = 0  # of the last whole line that was read
        self._lines = 0

    def news(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """The lines since the last call, with their numbers; none where the file is not there (yet).

        A line at which the reader raises is reported again by the next call. Raises RunStateError where one is
        damaged, OSError.
        """
        try:
            if self.path.stat().st_size == self._end:
                return
            stream = self.path.open("rb")
        except FileNotFoundError:
            return
        with stream:
            stream.seek(self._end)
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                yield self._lines + 1, self._parse(line, self._lines + 1)
                self._end += len(line)
                self._lines += 1

    def append(self, *lines: dict[str, Any]) -> None:
        """Add lines, durable when this returns; `news` will report them. Only under a lock, and after `news`.

        Raises OSError. The lines may then be there all the same, or may not.
        """
        data = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
        files.append(self.path, self._end, data)

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError as error:
            raise self.damaged(number, str(error)) from error
        if not isinstance(value, dict):
            raise self.damaged(number, "it is no JSON object")
        return value

    def damaged(self, number: int, reason: str) -> RunStateError:
        """What to say of a whole line that cannot be read: no crash leaves one."""
        return RunStateError(
            f"Line {number:,} of {self.path} is damaged: {reason}.",
            kept="All other lines are unchanged.",
            remedy="Take that line out of the file; its region is then asked for again.",
        )
