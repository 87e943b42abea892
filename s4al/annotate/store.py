"""Where all answers land, from the page and from every other tool, until the round is committed.

    cycles/NNN/.work-labels/answers.jsonl                   a line an answer; its order is the history
                            answers/<image>/<region>.png    class ids inside the region, 255 = left open
                            classes.jsonl                   classes that people added
                            .lock                           held for the moment of a change

An answer is saved once its line is: the picture is durable before the line names it, and no file that a counting line
names is ever written again. A replaced answer goes to another name (`<region>-1.png`), so a death at any moment leaves
the old one or the new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.batch import Batch
from s4al.annotate.checks import KEPT, check_labels, checked_texts
from s4al.annotate.journal import Journal
from s4al.annotate.queries import Query, Round
from s4al.annotate.tally import Answer, Entry, Progress, Tally
from s4al.data.masks import write_mask
from s4al.data.masks.reader import read_own_mask
from s4al.data.palettes import Colour
from s4al.errors import AnswerError, RunStateError

_MAX_SECONDS = 24 * 3600.0


class AnswerStore:
    """The answers of one round. Several threads and processes may have one open on the same round at once."""

    def __init__(self, round: Round) -> None:
        self.round = round
        self.folder = round.run.answers_folder(round.cycle)
        self._pictures = self.folder / "answers"
        self._journal, self._tally = Journal(self.folder / "answers.jsonl"), Tally()
        self._batch: Batch | None = None
        self._mutex, self._is_locked = threading.RLock(), False
        self._ask = _identity(round.folder)

    # ------------------------------------------------------------------------------------------------ changes

    def save(
        self,
        query: Query,
        labels_hw: NDArray[np.uint8],
        *,
        annotator: str,
        seconds: float,
        tool: str,
        guess: str = "",
        source: str = "",
        updated: str = "",
    ) -> Answer:
        """Store an answer; it is durable when this returns.

        It replaces an earlier one of the same person, and anybody's skip. Where somebody else has answered it is the
        second answer.

        Parameters
        ----------
        labels_hw : uint8 (h, w) class ids inside the region, 255 = not decided.
        seconds : of active time; what cannot be a time (a clock was set back) counts as 0, a day at most.
        source, updated : id and time of the answer in another tool. The same pair again changes nothing, even where
            the answer was replaced since.

        Raises
        ------
        AnswerError : another size, an unknown class, answered by two other people, or the round is committed.
        StorageError.
        """
        check_labels(query, labels_hw, len(self.round.class_names))
        texts = checked_texts(annotator=annotator, tool=tool, guess=guess, source=source, updated=updated)
        buffer = io.BytesIO()
        write_mask(buffer, labels_hw, self.round.palette)
        data = buffer.getvalue()
        ids, counts = np.unique(labels_hw, return_counts=True)
        with self._changing(f"saving the answer to {query.id}"):
            if self._tally.has_seen(query.id, texts["source"], texts["updated"]):
                return self._current(query, texts["annotator"])
            second = self._place(query, texts["annotator"], skipped=False)
            name = self._free_name(query)
            if self._batch:
                self._batch.write(name, data)
            else:
                files.write_new(self._pictures / name, data)
            answer = _answer(query, texts, seconds, second=second, sha256=hashlib.sha256(data).hexdigest())
            self._append(Entry(answer, name, dict(zip(ids.tolist(), counts.tolist(), strict=True))).line())
        return answer

    def skip(
        self, query: Query, *, annotator: str, seconds: float, tool: str, source: str = "", updated: str = ""
    ) -> Answer:
        """Store that a person leaves a region out; it takes back an answer of the same person.

        As durable as `save`, with the same meaning of `source` and `updated`. Raises AnswerError, StorageError.
        """
        texts = checked_texts(annotator=annotator, tool=tool, source=source, updated=updated)
        with self._changing(f"skipping {query.id}"):
            if self._tally.has_seen(query.id, texts["source"], texts["updated"]):
                return self._current(query, texts["annotator"])
            second = self._place(query, texts["annotator"], skipped=True)
            answer = _answer(query, texts, seconds, second=second, skipped=True)
            self._append(Entry(answer, "", {}).line())
        return answer

    def reopen(self, query: Query) -> None:
        """Ask for a region again: its answers and skips count no more. Raises AnswerError, StorageError."""
        with self._changing(f"reopening {query.id}"):
            if query.id in self._tally.first or query.id in self._tally.second:
                self._append({"query": query.id, "reopened": True})

    @contextlib.contextmanager
    def together(self, doing: str) -> Iterator[None]:
        """What this thread saves, skips and reopens inside the block is durable when it ends, and not before.

        Much faster than one by one. Where the block raises, or the disk is full, nothing of it counts. All others wait.

        Raises AnswerError where the round is not open any more, StorageError.
        """
        with self.locked(doing):
            self._batch = Batch(self._pictures)
            try:
                yield
                self._batch.finish(self._journal)
            finally:
                self._batch = None
                # What was counted in advance is on the disk now, or never will be.
                self._journal, self._tally = Journal(self._journal.path), Tally()

    def add_class(self, name: str, colour: Colour | None = None) -> int:
        """Add a class to the round; returns its id. See `RoundClasses.add`. Raises AnswerError, StorageError."""
        with self._changing(f"adding the class {name!r}"):
            return self.round.classes.add(name, colour)

    # ------------------------------------------------------------------------------------------------ reading

    def first(self, query: Query) -> Answer | None:
        """The answer that is taken, or the skip. Raises RunStateError where the answers are damaged."""
        with self._mutex:
            self._read()
            entry = self._tally.first.get(query.id)
        return entry.answer if entry else None

    def second(self, query: Query) -> Answer | None:
        """What a second person said."""
        with self._mutex:
            self._read()
            entry = self._tally.second.get(query.id)
        return entry.answer if entry else None

    def answered_twice(self) -> list[tuple[Answer, Answer]]:
        """(first, second) answers of the regions that two people answered, by query."""
        with self._mutex:
            self._read()
            tally = self._tally
            pairs = [(tally.first[query].answer, tally.second[query].answer) for query in sorted(tally.second)]
        return [pair for pair in pairs if not any(answer.skipped for answer in pair)]

    def labels(self, answer: Answer) -> NDArray[np.uint8]:
        """uint8 (h, w): class ids inside the region, 255 = not decided.

        Raises AnswerError where it is a skip, or was replaced since; RunStateError where its file is damaged.
        """
        with self._mutex:
            self._read()
            entry = (self._tally.second if answer.second else self._tally.first).get(answer.query)
        if answer.skipped or entry is None or entry.answer != answer:
            reason = "skipped" if answer.skipped else "replaced or taken back"
            raise AnswerError(f"The answer to {answer.query} by {answer.annotator!r} was {reason}.", kept=KEPT)
        return self._read_labels(entry)

    def progress(self) -> Progress:
        """Raises RunStateError where the answers are damaged."""
        with self._mutex:
            self._read()
            return self._tally.progress(len(self.round.queries), self.round.class_names)

    # ------------------------------------------------------------------------------------------------- inside

    @contextlib.contextmanager
    def locked(self, doing: str) -> Iterator[None]:
        """While the block runs no other thread or process changes the answers, which are read anew at its start.

        Inside of it this thread may go on saving. Raises AnswerError where the round is not open any more,
        StorageError.
        """
        with self._mutex, files.storage_errors(doing, kept=KEPT):
            if self._is_locked:
                yield
                return
            with self._lock():
                self._is_locked = True
                try:
                    self._check_open()
                    self._read()
                    yield
                finally:
                    self._is_locked = False

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        self._check_open()  # before a folder is made that whoever committed the round has removed
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as lock:
            try:
                lock.enter_context(files.waiting_lock(self.folder / ".lock"))
            except FileNotFoundError:  # it was committed in between
                self._check_open()
                raise
            yield

    @contextlib.contextmanager
    def _changing(self, doing: str) -> Iterator[None]:
        with self.locked(doing):
            yield
            self._read()

    def _check_open(self) -> None:
        cycle = self.round.cycle
        if self.round.run.is_committed(cycle, "labels"):
            what = f"The answers of cycle {cycle} are committed; they cannot be changed any more."
        elif self._ask is None or _identity(self.round.folder) != self._ask:
            what = f"Cycle {cycle} does not ask for these regions any more: its settings were changed."
        else:
            return
        raise AnswerError(what, kept=KEPT, remedy="Open the newest round of the run, and answer that.")

    def _read(self) -> None:
        """Take in what this and other processes wrote since."""
        for number, line in self._journal.news():
            try:
                self._tally.add(line)
            except (KeyError, TypeError, ValueError) as error:
                raise self._journal.damaged(number, f"{type(error).__name__} {error}") from error

    def _append(self, line: dict[str, Any]) -> None:
        if self._batch:
            self._batch.add(line)
            self._tally.add(line)
        else:
            self._journal.append(line)

    def _place(self, query: Query, annotator: str, *, skipped: bool) -> bool:
        """Whether what `annotator` says about a region is the second answer to it. Raises AnswerError for a third."""
        first, second = self._tally.first.get(query.id), self._tally.second.get(query.id)
        if first is None or first.answer.skipped or first.answer.annotator == annotator:
            return False
        if second is None or second.answer.skipped or second.answer.annotator == annotator:
            return True
        raise AnswerError(
            f"{query.id} has the answers of two people, {first.answer.annotator!r} and {second.answer.annotator!r}; "
            f"{'a skip' if skipped else 'an answer'} by {annotator!r} would be a third.",
            kept=KEPT,
            remedy="Reopen the region to have it answered anew.",
        )

    def _current(self, query: Query, annotator: str) -> Answer:
        return (self._tally.entry_of(query.id, annotator) or self._tally.first[query.id]).answer

    def _free_name(self, query: Query) -> str:
        """A file that no counting answer has; at most three for a region."""
        entries = (place.get(query.id) for place in (self._tally.first, self._tally.second))
        taken = {entry.file for entry in entries if entry}
        if self._batch:
            taken = self._batch.names = self._batch.names | taken
        names = (f"{query.image}/{query.region}{f'-{n}' if n else ''}.png" for n in count())
        return next(name for name in names if name not in taken)

    def _read_labels(self, entry: Entry) -> NDArray[np.uint8]:
        path = files.contained(self._pictures, entry.file)
        with files.storage_errors(f"reading {path}", kept=KEPT):
            sound = path.is_file() and files.sha256_file(path) == entry.answer.sha256
        if sound:
            return read_own_mask(path)
        raise RunStateError(
            f"{path} is not the file that was saved (sha256 differs).",
            kept="All other answers are unchanged.",
            remedy=f"Reopen {entry.answer.query} on the page and label it again.",
        )


def _identity(folder: Path) -> tuple[int, int, int] | None:
    """Of a committed folder's manifest; as good as its digest for telling whether it was replaced, and cheap."""
    try:
        status = (folder / files.MANIFEST).stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _answer(
    query: Query, texts: Mapping[str, str], seconds: float, *, second: bool, sha256: str = "", skipped: bool = False
) -> Answer:
    return Answer(
        query.id,
        texts["annotator"],
        round(min(max(float(seconds), 0.0), _MAX_SECONDS), 3) if math.isfinite(seconds) else 0.0,
        texts["tool"],
        datetime.now(UTC).isoformat(timespec="milliseconds"),
        sha256,
        texts.get("guess", ""),
        second,
        skipped,
        texts["source"],
        texts["updated"],
    )
