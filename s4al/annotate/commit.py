"""The end of a round: answers become the labels of its cycle, with where each came from.

cycles/NNN/labels/regions.parquet, masks/, test/    as for every cycle (`s4al.run.labels`)
                  classes.json                      what the class ids mean from now on
                  answers.jsonl                     a line an answer, second answers and skips too
                  people.json                       what people did (`s4al.annotate.ledger`)
"""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from s4al import files
from s4al.annotate.agreement import measure_agreement
from s4al.annotate.ledger import PEOPLE, people_of_round
from s4al.annotate.queries import Query, Round
from s4al.annotate.store import AnswerStore, Progress
from s4al.annotate.tally import Answer
from s4al.data import Pool
from s4al.data.masks import IGNORE
from s4al.errors import AnnotationsNeeded
from s4al.run.classes import Classes
from s4al.run.labels import ANSWERS, LabelledRegion
from s4al.run.state import NOT_LABELLED, Run


@dataclass(frozen=True)
class Committed:
    """A round that is over.

    Attributes
    ----------
    regions, tests : answered ones to learn from, and to test with.
    skipped, returned : regions that go back to the pool: left out by people, and not answered.
    pixels, seconds : what all answers cost.
    """

    cycle: int
    regions: int
    tests: int
    skipped: int
    returned: int
    pixels: int
    seconds: float
    people: int


def commit_answers(run: Run, pool: Pool, *, finish: bool = False) -> Committed:
    """Commit the answers of the round that is open as the labels of its cycle. Only under the run's lock.

    Nobody can change an answer while this goes on, nor afterwards.

    Parameters
    ----------
    finish : take what is there; regions without an answer go back to the pool, as skipped ones do.

    Raises
    ------
    AnnotationsNeeded : regions are left (without `finish`); there is no answer at all; or there would be nothing to
        learn from.
    AnswerError : the round was committed this moment; RunStateError : nothing is asked, or an answer is damaged.
    StorageError.
    """
    round = Round.open(run)
    store = AnswerStore(round)
    with store.locked(f"committing the answers of cycle {round.cycle}"):
        progress = store.progress()
        if progress.left and not (finish and progress.answered):
            raise answers_needed(round, progress)
        answered = [(query, answer) for query in round.queries if (answer := _taken(store, query))]
        _check_there_is_something_to_learn(round, store, answered)
        _commit(round, store, progress, answered, pool)
        # Here, so that nobody makes the folder again for an answer that comes too late.
        shutil.rmtree(store.folder, ignore_errors=True)
    return Committed(
        cycle=round.cycle,
        regions=sum(query.purpose == "train" for query, _ in answered),
        tests=sum(query.purpose == "test" for query, _ in answered),
        skipped=progress.skipped,
        returned=progress.left,
        pixels=progress.pixels,
        seconds=progress.seconds,
        people=len(progress.by_annotator),
    )


def answers_needed(round: Round, progress: Progress) -> AnnotationsNeeded:
    """What to say while people are still needed, and how they can answer."""
    run = shlex.quote(str(round.run.root))
    ways = [
        f"Label them in the browser: s4al label serve {run}",
        f"or in another tool: s4al label export {run} --format FORMAT --out FOLDER",
    ]
    if progress.answered:
        ways.append(f"or go on with the answers that are there: s4al label finish {run}")
    return AnnotationsNeeded(
        f"Cycle {round.cycle} waits for people: {progress.answered:,} of {progress.asked:,} regions answered, "
        f"{progress.skipped:,} skipped, {progress.left:,} left.",
        kept="Every answer is saved, and everything before is committed.",
        remedy="; ".join(ways),
    )


def _taken(store: AnswerStore, query: Query) -> Answer | None:
    answer = store.first(query)
    return None if answer is None or answer.skipped else answer


def _check_there_is_something_to_learn(
    round: Round, store: AnswerStore, answered: Iterable[tuple[Query, Answer]]
) -> None:
    """A run's first labels have to hold a pixel with a class; later ones may be empty. Raises AnnotationsNeeded."""
    if round.cycle > 0:
        return
    answers = (answer for query, answer in answered if query.purpose == "train")
    if not any((store.labels(answer) != IGNORE).any() for answer in answers):
        raise AnnotationsNeeded(
            "There is nothing to learn from yet: no pixel of the regions to learn from has a class.",
            kept="Every answer is saved.",
            remedy=f"Label some, or reopen skipped ones: s4al label serve {shlex.quote(str(round.run.root))}",
        )


def _commit(
    round: Round, store: AnswerStore, progress: Progress, answered: list[tuple[Query, Answer]], pool: Pool
) -> None:
    people = people_of_round(progress, measure_agreement(store))
    by_image = sorted(answered, key=lambda pair: pair[0].image)
    round.run.commit_labels(
        round.cycle,
        [_region(round, store, query, answer) for query, answer in answered],
        _masks(store, [pair for pair in by_image if pair[0].purpose != "test"], pool),
        Classes(tuple(round.class_names), round.palette),
        tests=_masks(store, [pair for pair in by_image if pair[0].purpose == "test"], pool),
        records={ANSWERS: _provenance(round, store), PEOPLE: files.json_bytes(people)},
    )


def _region(round: Round, store: AnswerStore, query: Query, answer: Answer) -> LabelledRegion:
    """Its time is that of all who answered it."""
    second = store.second(query)
    seconds = answer.seconds + (second.seconds if second and not second.skipped else 0.0)
    source = "test" if query.purpose == "test" else "people"
    box = {name: getattr(query, name) for name in ("image", "region", "y0", "x0", "y1", "x1")}
    return LabelledRegion(**box, cycle=round.cycle, source=source, seconds=seconds, annotator=answer.annotator)


def _masks(
    store: AnswerStore, by_image: list[tuple[Query, Answer]], pool: Pool
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(image id, uint8 (H, W) at original size), one image at a time."""
    sizes = {row.id: (row.height, row.width) for row in pool.train.rows}
    for image, pairs in groupby(by_image, key=lambda pair: pair[0].image):
        mask_HW = np.full(sizes[image], NOT_LABELLED, np.uint8)
        for query, answer in pairs:
            mask_HW[query.box] = store.labels(answer)
        yield image, mask_HW


def _provenance(round: Round, store: AnswerStore) -> bytes:
    """`answers.jsonl`: in the order of the queries, the first answer before the second."""
    lines = []
    for query in round.queries:
        about = {"image": query.image, "region": query.region, "purpose": query.purpose}
        answers = (store.first(query), store.second(query))
        lines += [json.dumps({**about, **asdict(answer)}, sort_keys=True) + "\n" for answer in answers if answer]
    return "".join(lines).encode()
