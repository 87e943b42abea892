"""The desk: who labels which region of a round, and the way of an answer into the store. It knows no HTTP."""

from __future__ import annotations

import hashlib
import threading
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.colours import next_colour
from s4al.annotate.page.leases import Leases
from s4al.annotate.page.pictures import Pictures, Prepared
from s4al.errors import AnswerError, ConfigError, DataError
from s4al.files import manifest_digest, storage_errors

if TYPE_CHECKING:
    from s4al.annotate.queries import Query, Round
    from s4al.annotate.store import Answer, AnswerStore

MOST_NEW = 8  # leases given to a page at once
MOST_HELD = 256  # answers may wait in a browser for a server that is away
_LONGEST_NAME = 64
_LONGEST_S = 86_400.0


class StaleLease(DataError):
    """An answer to a region that has gone to somebody else meanwhile."""


class UnknownRegion(DataError):
    """A number that this round does not have."""


@dataclass(frozen=True)
class Person:
    """Who answers: `client` is the open page, `name` the person in front of it."""

    client: str
    name: str


class Desk:
    """Thread-safe.

    Parameters
    ----------
    blank : people start from nothing; no guess is shown.
    leases : the round's own where not given.
    overlap : the share of the regions that is asked of a second person; None takes the run's.
    on_complete : called once, when the last region is answered or skipped.
    """

    def __init__(
        self,
        round: Round,
        store: AnswerStore,
        *,
        blank: bool = False,
        overlap: float | None = None,
        leases: Leases | None = None,
        on_complete: Callable[[], None] | None = None,
    ) -> None:
        self.round, self.store, self.blank, self.overlap = round, store, blank, overlap
        self.pictures = Pictures(round, with_guess=not blank)
        self._leases = leases or Leases(store.folder / "leases.json")
        self._on_complete = on_complete
        self._lock = threading.RLock()
        digest = f"{round.run.root.resolve()} {round.cycle} {manifest_digest(round.folder)}"
        self.round_id = hashlib.sha256(digest.encode()).hexdigest()[:24]
        # In the order of their numbers, which is that of their ranks; what is done is dropped when it is met.
        self._pending = dict.fromkeys(query.number for query in round.queries)

    def query(self, number: int) -> Query:
        """Raises UnknownRegion."""
        try:
            return self.round.query(number)
        except AnswerError as error:
            remedy = "Reload the page: it may be of another round."
            raise UnknownRegion(f"This round has no region {number}.", remedy=remedy) from error

    def check_round(self, id: object) -> None:
        """Raises StaleLease: the page was opened for another round, or another run; or the round is over."""
        if id != self.round_id:
            raise StaleLease(
                f"The page belongs to another round than cycle {self.round.cycle} of {self.round.run.root.name}.",
                kept="Nothing was stored.",
                remedy="Reload the page.",
            )
        if self.round.run.is_committed(self.round.cycle, "labels"):
            raise StaleLease(
                f"Cycle {self.round.cycle} of {self.round.run.root.name} is over: its answers are committed.",
                kept="Nothing was stored.",
                remedy="Start `s4al label serve` again when the run asks for more.",
            )

    # ------------------------------------------------------------------------------------------------ leases

    def lease(self, person: Person, holding: list[int], more: int) -> dict[str, Any]:
        """Renew what a page holds and give it up to `more` regions, best rank first.

        Returns
        -------
        `{"regions": [...], "lost": [numbers], "progress": {...}}`: what it holds now; what it held and has no more.

        Raises
        ------
        UnknownRegion, StorageError.
        """
        holding = holding[:MOST_HELD]
        with self._lock, storage_errors("keeping who labels what", kept="All answers that were saved are kept."):
            self._leases.release_others(person.client, set(holding))
            held = [n for n in holding if self._may_answer(self.query(n), person) and self._take(n, person)]
            lost = [n for n in holding if n not in held]
            held += self._more(person, set(holding), min(more, MOST_NEW))
            self._leases.keep()
            return {
                "regions": [self._about(self.query(n), person) for n in held],
                "lost": lost,
                "progress": self.progress(person.name),
            }

    def leave(self, person: Person) -> None:
        """A page was closed: what it held goes to others soon. Raises StorageError."""
        with self._lock, storage_errors("keeping who labels what", kept="All answers that were saved are kept."):
            self._leases.leave(person.client)
            self._leases.keep()

    def _more(self, person: Person, held: set[int], most: int) -> list[int]:
        found: list[int] = []
        done: list[int] = []
        for number in self._pending:
            if len(found) >= most:
                break
            query = self.query(number)
            if self._is_done(query):
                done.append(number)
            elif number not in held and self._is_asked(query, person) and self._take(number, person):
                found.append(number)
        for number in done:
            del self._pending[number]
        return found

    def _take(self, number: int, person: Person) -> bool:
        return self._leases.take(number, person.client, person.name)

    def _is_done(self, query: Query) -> bool:
        first = self.store.first(query)
        return first is not None and not (self._is_doubled(query, first) and self.store.second(query) is None)

    def _is_asked(self, query: Query, person: Person) -> bool:
        """Whether a person who has not seen it yet is to answer a region that is not done."""
        first = self.store.first(query)
        return first is None or first.annotator != person.name

    def _may_answer(self, query: Query, person: Person) -> bool:
        """Whether a person may answer: nobody has, or she has, or she is the second of two who are asked."""
        answers = (self.store.first(query), self.store.second(query))
        if any(answer is not None and answer.annotator == person.name for answer in answers):
            return True
        first, second = answers
        return first is None or (second is None and self._is_doubled(query, first))

    def _is_doubled(self, query: Query, first: Answer) -> bool:
        return not first.skipped and self.round.is_for_two(query, self.overlap)

    def _about(self, query: Query, person: Person) -> dict[str, Any]:
        first = self.store.first(query)
        return {
            "number": query.number,
            "image": query.image,
            "region": query.region,
            "rank": query.rank,
            "score": query.score,
            "reason": query.reason,
            "purpose": query.purpose,
            "height": query.shape[0],
            "width": query.shape[1],
            "second": first is not None and first.annotator != person.name,
        }

    # ----------------------------------------------------------------------------------------------- answers

    def prepared(self, number: int, person: Person) -> tuple[Prepared, NDArray[np.uint8] | None, float]:
        """A region ready to be sent; what this person answered before, uint8 (h, w), and in how many seconds.

        Raises UnknownRegion; DataError: its image cannot be read.
        """
        query = self.query(number)
        mine = self._answer_of(query, person.name)
        labels_HW = None if mine is None or mine.skipped else self.store.labels(mine)
        return self.pictures.prepared(query), labels_HW, 0.0 if mine is None else mine.seconds

    def answer(self, number: int, person: Person, labels: bytes, seconds: float, tool: str) -> dict[str, Any]:
        """Store class ids, a byte a pixel in row-major order (255 = not decided); durable when this returns.

        Raises UnknownRegion, StaleLease, AnswerError, StorageError.
        """
        query = self.query(number)
        height, width = query.shape
        if len(labels) != height * width:
            raise DataError(
                f"The answer to region {number} has {len(labels):,} pixels; the region has {height:,} x {width:,}.",
                kept="Nothing was stored.",
                remedy="Reload the page.",
            )
        labels_HW = np.frombuffer(labels, np.uint8).reshape(height, width)
        with self._lock:
            self._check_lease(query, person)
            self.store.save(
                query,
                labels_HW,
                annotator=person.name,
                seconds=_checked_seconds(seconds),
                tool=tool,
                guess=self._guess_digest(query),
            )
            return self._finished(number, person)

    def skip(self, number: int, person: Person, seconds: float, tool: str) -> dict[str, Any]:
        """Raises UnknownRegion, StaleLease, AnswerError, StorageError."""
        query = self.query(number)
        with self._lock:
            self._check_lease(query, person)
            self.store.skip(query, annotator=person.name, seconds=_checked_seconds(seconds), tool=tool)
            return self._finished(number, person)

    def reopen(self, number: int) -> None:
        """Take back the answers to a region; it is asked again. Raises UnknownRegion, AnswerError, StorageError."""
        query = self.query(number)
        with self._lock:
            self.store.reopen(query)
            self._pending = dict.fromkeys(sorted([*self._pending, number]))

    def add_class(self, name: str) -> int:
        """The id of a new class, whose colour is unlike all others. Raises AnswerError, StorageError."""
        with self._lock:
            return self.store.add_class(name, next_colour(self.round.palette))

    def progress(self, name: str = "") -> dict[str, Any]:
        """Counts of the round, of its classes, and of the person called `name`."""
        progress = asdict(self.store.progress())
        mine = progress.pop("by_annotator").get(name)
        return {**progress, "mine": mine, "classes": len(self.round.class_names)}

    def _finished(self, number: int, person: Person) -> dict[str, Any]:
        self._leases.release(number, person.client)
        progress = self.progress(person.name)
        if progress["left"] == 0 and self._on_complete is not None:
            self._on_complete()
            self._on_complete = None
        return {"saved": number, "progress": progress}

    def _check_lease(self, query: Query, person: Person) -> None:
        other = self._leases.holder(query.number, other_than=person.client)
        if other is not None and other.annotator != person.name:  # one's own closed tab stands in nobody's way
            raise _stale(query, f"is with {other.annotator} now")
        if not self._may_answer(query, person):
            first = self.store.first(query)
            raise _stale(query, f"was answered by {first.annotator if first else 'somebody else'} meanwhile")

    def _answer_of(self, query: Query, name: str) -> Answer | None:
        answers = (self.store.first(query), self.store.second(query))
        return next((answer for answer in answers if answer is not None and answer.annotator == name), None)

    def _guess_digest(self, query: Query) -> str:
        guess_HW = None if self.blank else self.round.guess(query)
        return "" if guess_HW is None else hashlib.sha256(guess_HW.tobytes()).hexdigest()


def checked_name(name: object) -> str:
    """The name of a person, as it is stored. Raises ConfigError."""
    text = " ".join(name.split()) if isinstance(name, str) else ""
    hidden = any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text)
    if not text or len(text) > _LONGEST_NAME or hidden:
        raise ConfigError(
            f"A name has 1 to {_LONGEST_NAME} visible characters.", remedy="Type your name at the top of the page."
        )
    return text


def _checked_seconds(seconds: float) -> float:
    """Active time as the page measured it: never negative, at most a day, 0 where it is no number."""
    return round(min(max(seconds, 0.0), _LONGEST_S), 2) if np.isfinite(seconds) else 0.0


def _stale(query: Query, what: str) -> StaleLease:
    return StaleLease(
        f"Region {query.number} {what}: it was not touched here for ten minutes.",
        kept="The other answer stands; yours was not stored.",
        remedy="Go on with the next region.",
    )
