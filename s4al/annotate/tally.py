"""What the lines of `answers.jsonl` come to: who answered which region, and what all answers cost.

The order of the lines decides, never their times: clocks are set back.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from s4al.data.masks import IGNORE


@dataclass(frozen=True, slots=True)
class Answer:
    """What one person said about one region.

    Attributes
    ----------
    query : the region's id in its round.
    seconds : of the person's active time.
    time : UTC, ISO 8601, by the clock of the machine that stored it.
    sha256 : of the PNG file of the labels; "" where the region was skipped.
    guess : which guess was shown; "" for none.
    second : whether somebody else had answered before, so that it serves to tell how far people agree.
    source, updated : id and time of the answer in the tool that it came from; "" for our own.
    """

    query: str
    annotator: str
    seconds: float
    tool: str
    time: str
    sha256: str = ""
    guess: str = ""
    second: bool = False
    skipped: bool = False
    source: str = ""
    updated: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer, its file below the folder of answers, and its pixels by class id (255: left open)."""

    answer: Answer
    file: str
    pixels: Mapping[int, int]

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Entry:
        """Raises KeyError, TypeError, ValueError for what `line` never wrote."""
        fields = {name: line[name] for name in _ANSWER}
        for name in ("annotator", "tool", "guess"):  # the same of many answers: kept once
            fields[name] = sys.intern(fields[name])
        answer = Answer(**fields)
        return cls(answer, line["file"], {int(id): int(count) for id, count in line["pixels"].items()})

    def line(self) -> dict[str, Any]:
        """As JSON values."""
        answer = {name: getattr(self.answer, name) for name in _ANSWER}
        return {**answer, "file": self.file, "pixels": {str(id): count for id, count in self.pixels.items()}}


@dataclass
class Share:
    """What one person did: answers (also second ones), the pixels in them, the time they took."""

    regions: int = 0
    pixels: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far a round is. Every region counts once, by its first answer; the time of second answers is time, too.

    Attributes
    ----------
    asked, answered, skipped, left : regions.
    pixels : in answered regions, left open or not.
    by_annotator : what each person did, second answers included.
    by_class : pixels by class name, of all classes; undecided: those left open.
    twice : regions that two people answered.
    """

    asked: int
    answered: int
    skipped: int
    left: int
    pixels: int
    seconds: float
    by_annotator: dict[str, Share]
    by_class: dict[str, int]
    undecided: int
    twice: int


@dataclass
class Tally:
    """The answers that count now. Totals are kept along the way: nobody goes through all answers for them."""

    first: dict[str, Entry] = field(default_factory=dict)  # by query
    second: dict[str, Entry] = field(default_factory=dict)
    skipped: int = 0
    pixels: int = 0
    milliseconds: int = 0  # whole numbers: taking away what was added leaves no trace
    by_annotator: dict[str, Counter[str]] = field(default_factory=dict)
    by_class: Counter[int] = field(default_factory=Counter)
    _seen: dict[str, set[tuple[str, str]]] = field(default_factory=dict)  # by query: (source, updated)

    def add(self, line: Mapping[str, Any]) -> None:
        """Take a line into account. Raises KeyError, TypeError, ValueError for what was never written."""
        query = line["query"]
        if line.get("reopened"):
            self._take(self.first, query)
            self._take(self.second, query)
            self._seen.pop(query, None)
            return
        entry = Entry.from_line(line)
        place = self.second if entry.answer.second else self.first
        self._take(place, query)
        place[query] = entry
        self._count(entry, 1)
        if not entry.answer.second:
            self._settle_second(query, entry.answer)
        if entry.answer.source:
            self._seen.setdefault(query, set()).add((entry.answer.source, entry.answer.updated))

    def entry_of(self, query: str, annotator: str) -> Entry | None:
        """The answer of one person."""
        entries = (place.get(query) for place in (self.first, self.second))
        return next((entry for entry in entries if entry and entry.answer.annotator == annotator), None)

    def has_seen(self, query: str, source: str, updated: str) -> bool:
        """Whether this state of an answer in another tool was stored before, though it may be replaced by now."""
        return bool(source) and (source, updated) in self._seen.get(query, ())

    def shares(self) -> dict[str, Share]:
        """By annotator, in the order of their names."""
        return {
            name: Share(done["regions"], done["pixels"], done["milliseconds"] / 1000)
            for name, done in sorted(self.by_annotator.items())
            if done["regions"]
        }

    def progress(self, asked: int, names: list[str]) -> Progress:
        """Of a round that asks for `asked` regions; `names` are those of the class ids."""
        said = len(self.first)
        return Progress(
            asked=asked,
            answered=said - self.skipped,
            skipped=self.skipped,
            left=asked - said,
            pixels=self.pixels,
            seconds=self.milliseconds / 1000,
            by_annotator=self.shares(),
            by_class={name: self.by_class[id] for id, name in enumerate(names)},
            undecided=self.by_class[IGNORE],
            twice=sum(not entry.answer.skipped for entry in self.second.values()),
        )

    def _settle_second(self, query: str, first: Answer) -> None:
        """What a new first answer makes of the second one."""
        second = self.second.get(query)
        if second is None or not (first.skipped or first.annotator == second.answer.annotator):
            return
        self._take(self.second, query)
        if not second.answer.skipped and first.skipped:  # now it is the only one, and taken
            self._take(self.first, query)
            self.first[query] = replace(second, answer=replace(second.answer, second=False))
            self._count(self.first[query], 1)

    def _take(self, place: dict[str, Entry], query: str) -> None:
        entry = place.pop(query, None)
        if entry is not None:
            self._count(entry, -1)

    def _count(self, entry: Entry, sign: int) -> None:
        answer = entry.answer
        if answer.skipped:  # costs nothing
            self.skipped += sign * (not answer.second)
            return
        pixels, milliseconds = sum(entry.pixels.values()), round(1000 * answer.seconds)
        self.milliseconds += sign * milliseconds
        done = self.by_annotator.setdefault(answer.annotator, Counter())
        for name, amount in (("regions", 1), ("pixels", pixels), ("milliseconds", milliseconds)):
            done[name] += sign * amount
        if not answer.second:
            self.pixels += sign * pixels
            for id, count in entry.pixels.items():
                self.by_class[id] += sign * count


_ANSWER = tuple(field.name for field in fields(Answer))
