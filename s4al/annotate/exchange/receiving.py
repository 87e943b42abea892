"""`s4al label import`: all is read and checked first, then saved; the same file again changes nothing."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.exchange.all import FORMATS, find_format
from s4al.annotate.exchange.contract import UNPAINTED, Format, Unusable
from s4al.annotate.exchange.manifest import MANIFEST_FILE, round_digest
from s4al.annotate.exchange.reading import UNKNOWN_PERSON, Candidate, Problem, Reading
from s4al.annotate.exchange.source import Source
from s4al.errors import AnswerError, DataError

if TYPE_CHECKING:
    from s4al.annotate.queries import Query, Round
    from s4al.annotate.store import AnswerStore

Unpainted = Literal["ignore", "error", "prediction"]
PROBLEMS_FILE = "label-import.csv"
_MAX_MANIFEST_BYTES = 2**29
_NAMED = 3
_PEOPLE = 2  # who can answer one region: the second for agreement


@dataclass
class Outcome:
    """What became of an import, by region."""

    saved: int = 0
    skipped: int = 0
    unchanged: int = 0
    open: int = 0  # came back without a stroke of anybody
    older: int = 0  # of the same person, with a newer one in the same file
    missing: int = 0  # asked for by the same exports, but did not come back


def import_answers(
    round: Round,
    store: AnswerStore,
    path: Path,
    *,
    format: str | None = None,
    unpainted: Unpainted = "ignore",
    annotator: str = UNKNOWN_PERSON,
) -> dict[str, Any]:
    """Save the answers in a file or folder that another tool wrote.

    Parameters
    ----------
    format : a name of `FORMATS`; None to find out.
    unpainted : what becomes of pixels of a region that nobody painted: not decided, an error, or the network's guess.
    annotator : who answered, where the file does not say.

    Raises
    ------
    ConfigError : there is no such format.
    DataError : what came back cannot be taken as it is; nothing was saved. Every reason is in a CSV file.
    StorageError
    """
    with Source(path) as source:
        chosen = find_format(format) if format else _recognised(source)
        _check_manifest(source, round)
        reading = Reading(round, annotator)
        _read(source, chosen, reading)
    return save_answers(reading, store, chosen, unpainted=unpainted, origin=str(path))


def pull_answers(
    round: Round,
    store: AnswerStore,
    url: str,
    *,
    unpainted: Unpainted = "ignore",
    annotator: str = UNKNOWN_PERSON,
) -> dict[str, Any]:
    """Save the answers of a project of a running Label Studio, see `import_answers`.

    Raises ConfigError (no token, no project's address), DataError, StorageError.
    """
    from s4al.annotate.exchange.label_studio_server import pull

    format, reading = find_format("label-studio"), Reading(round, annotator)
    with files.storage_errors("fetching answers", kept="Nothing was imported."), TemporaryDirectory() as name:
        pull(url, Path(name))
        with Source(Path(name)) as source:
            _read(source, format, reading)
    return save_answers(reading, store, format, unpainted=unpainted, origin=url)


def _read(source: Source, format: Format, reading: Reading) -> None:
    try:
        format.read(source, reading)
    except Unusable as problem:
        raise DataError(
            f"{source.path} cannot be read as {format.title}: {problem}.",
            kept="Nothing was imported.",
            remedy="Export it once more from the tool, or name its format with --format.",
        ) from problem


def save_answers(
    reading: Reading, store: AnswerStore, format: Format, *, unpainted: Unpainted, origin: str
) -> dict[str, Any]:
    """Check everything, then save it: all of it or nothing. Raises DataError, StorageError."""
    outcome = Outcome(open=len(reading.seen), missing=_count_missing(reading))
    answers = _settle(reading, store, outcome, unpainted)
    problems_file = _write_problems(reading)
    if reading.faults:
        raise _cannot_be_taken(reading.faults, origin, problems_file)
    if not reading.seen:
        raise _nothing_found(reading, origin, format)
    expected = len(reading.left_out)
    with store.together(f"importing {origin}"):
        for candidate in answers:
            try:
                _save(reading.round, store, candidate, outcome, format.name, unpainted)
            except AnswerError as problem:  # somebody answered it on the page this moment
                reading.left_out.append(Problem(candidate.where, candidate.part.query, problem.what))
    if len(reading.left_out) > expected:
        problems_file = _write_problems(reading)
    return _describe(reading, outcome, format, origin, problems_file)


def _recognised(source: Source) -> Format:
    found = next((format for format in FORMATS.values() if format.recognises(source)), None)
    if found is None:
        raise DataError(
            f"{source.path} is of no known format.",
            kept="Nothing was imported.",
            remedy=f"Name it with --format; there are {', '.join(FORMATS)}.",
        )
    return found


def _check_manifest(source: Source, round: Round) -> None:
    """Where the export's own manifest came back, it has to be of this round. Raises DataError."""
    name = next((name for name in source.names(MANIFEST_FILE) if PurePosixPath(name).name == MANIFEST_FILE), None)
    if name is None:
        return
    try:
        manifest = json.loads(source.read(name, _MAX_MANIFEST_BYTES))
        asked, cycle = manifest["asked_sha256"], int(manifest["round"])
    except (Unusable, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{source.path}: {name} is not the manifest that was exported ({error}).",
            kept="Nothing was imported.",
            remedy="Put the exported one back, or delete it.",
        ) from error
    if asked != round_digest(round):
        which = f"cycle {cycle}, this run asks for cycle {round.cycle}" if cycle != round.cycle else "another run"
        raise DataError(
            f"{source.path} was exported for {which}: {name} does not match {round.run.root}.",
            kept="Nothing was imported.",
            remedy="Name the run that it was exported from.",
        )


# ------------------------------------------------------------------------------------------------------ what to save


def _settle(reading: Reading, store: AnswerStore, outcome: Outcome, unpainted: Unpainted) -> list[Candidate]:
    """The answers to save: of every person and region the newest. What is wrong is written down in `reading`."""
    newest: dict[tuple[str, str], Candidate] = {}
    for candidate in reading.candidates:
        if not candidate.painted and not candidate.skipped:
            continue
        key = (candidate.part.query, candidate.annotator)
        before = newest.get(key)
        outcome.older += before is not None
        if before is None or candidate.updated >= before.updated:
            newest[key] = candidate
    outcome.open -= len({query for query, _ in newest})
    people: dict[str, set[str]] = {}
    answers = [candidate for candidate in newest.values() if _has_place(reading, store, candidate, people)]
    for candidate in answers:
        fault = _fault(reading.round, candidate, unpainted)
        if fault:
            reading.faults.append(Problem(candidate.where, candidate.part.query, fault))
    return answers


def _has_place(reading: Reading, store: AnswerStore, candidate: Candidate, people: dict[str, set[str]]) -> bool:
    """Whether fewer than two other people have answered the region, before or in this import."""
    query = reading.round.query(candidate.part.query)
    if query.id not in people:
        said = (store.first(query), store.second(query))
        people[query.id] = {answer.annotator for answer in said if answer is not None and not answer.skipped}
    who = people[query.id]
    if candidate.skipped or candidate.annotator in who or len(who) < _PEOPLE:
        who |= set() if candidate.skipped else {candidate.annotator}
        return True
    reason = f"{' and '.join(map(repr, sorted(who)))} have answered it; {candidate.annotator!r} would be a third"
    reading.left_out.append(Problem(candidate.where, query.id, reason))
    return False


def _fault(round: Round, candidate: Candidate, unpainted: Unpainted) -> str:
    height, width = candidate.part.size
    left = height * width - candidate.painted
    if candidate.skipped or not left or unpainted == "ignore":
        return ""
    if unpainted == "error":
        return f"{left:,} of {height * width:,} pixels of the region are not painted"
    if round.guess(round.query(candidate.part.query)) is None:
        return "--unpainted prediction needs a network's guess, and this cycle has none"
    return ""


def _save(
    round: Round, store: AnswerStore, candidate: Candidate, outcome: Outcome, format: str, unpainted: Unpainted
) -> None:
    query = round.query(candidate.part.query)
    before = (store.first(query), store.second(query))
    about: dict[str, Any] = {
        "annotator": candidate.annotator,
        "seconds": candidate.seconds,
        "tool": format,
        "source": f"{format}:{candidate.source}",
    }
    if candidate.skipped and before[0] is not None:
        outcome.unchanged += 1
        return
    if candidate.skipped:
        store.skip(query, **about, updated=candidate.updated)
        outcome.skipped += 1
        return
    labels_HW = _completed(round, query, candidate, unpainted)
    version = _version(candidate, labels_HW, unpainted)
    answer = store.save(query, labels_HW, **about, guess=candidate.guess, updated=version)
    outcome.unchanged += answer in before
    outcome.saved += answer not in before


def _completed(round: Round, query: Query, candidate: Candidate, unpainted: Unpainted) -> NDArray[np.uint8]:
    labels_HW = candidate.labels()
    if unpainted != "prediction" or candidate.painted == labels_HW.size:
        return labels_HW
    guess_HW = round.guess(query)
    assert guess_HW is not None
    return np.where(labels_HW == UNPAINTED, guess_HW, labels_HW)


def _version(candidate: Candidate, labels_HW: NDArray[np.uint8], unpainted: Unpainted) -> str:
    """What has to differ for an answer to be a new one: the tool's own word, or the labels where it has none.

    With another rule for unpainted pixels the same strokes are another answer.
    """
    if not candidate.updated:
        return hashlib.sha256(labels_HW.tobytes()).hexdigest()
    return candidate.updated if unpainted == "ignore" else f"{candidate.updated} unpainted={unpainted}"


# ------------------------------------------------------------------------------------------------------ what to say


def _count_missing(reading: Reading) -> int:
    """Regions of the exports that came back of which nothing did: a task was deleted, or not exported."""
    asked = {part.query for manifest in reading.manifests.values() for pic in manifest.pictures for part in pic.parts}
    return len(asked - reading.seen)


def _write_problems(reading: Reading) -> Path | None:
    """All reasons as a table, `RUN/logs/label-import.csv`; that of an earlier import goes where there are none."""
    path = reading.round.run.logs / PROBLEMS_FILE
    rows = [("not imported at all", *_cells(item)) for item in reading.faults]
    rows += [("left out", *_cells(item)) for item in reading.left_out]
    with files.storage_errors(f"writing {path}", kept="Nothing was imported."):
        if not rows:
            path.unlink(missing_ok=True)
            return None
        text = io.StringIO()
        csv.writer(text).writerows([("what", "where", "query", "reason"), *rows])
        path.parent.mkdir(exist_ok=True)
        files.write_atomic(path, text.getvalue().encode("utf-8", "backslashreplace"))
    return path


def _cells(problem: Problem) -> tuple[str, str, str]:
    return problem.where, problem.query, problem.reason


def _cannot_be_taken(faults: list[Problem], origin: str, problems_file: Path | None) -> DataError:
    count = f"{len(faults):,} answer{'s' if len(faults) > 1 else ''} in {origin} cannot be taken"
    named = "; ".join(f"{item.where}: {item.reason}" for item in faults[:_NAMED])
    more = f"; and {len(faults) - _NAMED:,} more" if len(faults) > _NAMED else ""
    return DataError(
        f"{count}: {named}{more}.",
        kept="Nothing was imported.",
        remedy=f"All are listed in {problems_file}; mend them in the tool and export again.",
    )


def _nothing_found(reading: Reading, origin: str, format: Format) -> DataError:
    reasons = Counter(problem.reason for problem in reading.left_out)
    found = "; ".join(f"{count:,} x {reason}" for reason, count in reasons.most_common(_NAMED))
    return DataError(
        f"{origin} holds no answer to a region of cycle {reading.round.cycle}{f': {found}' if found else ''}.",
        kept="Nothing was imported.",
        remedy=f"Is it what {format.title} exported for {reading.round.run.root}?",
    )


def _describe(
    reading: Reading, outcome: Outcome, format: Format, origin: str, problems_file: Path | None
) -> dict[str, Any]:
    return {
        "run": str(reading.round.run.root),
        "cycle": reading.round.cycle,
        "format": format.name,
        "from": origin,
        "saved": outcome.saved,
        "skipped": outcome.skipped,
        "unchanged": outcome.unchanged,
        "open": outcome.open,
        "older": outcome.older,
        "missing": outcome.missing,
        "left_out": [vars(problem) for problem in reading.left_out],
        "problems_file": str(problems_file) if problems_file else None,
        "notes": reading.notes,
    }
