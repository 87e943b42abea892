"""What whoever runs the round sees: who labelled what, in which time, how far people agree, and the answers small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from s4al.annotate.agreement import compare_labels, measure_agreement
from s4al.annotate.page.pictures import painted

if TYPE_CHECKING:
    from s4al.annotate.page.desk import Desk
    from s4al.annotate.queries import Query
    from s4al.annotate.store import Answer

_A_PAGE = 60  # answers


def overview(desk: Desk, page: int) -> dict[str, Any]:
    """What the template shows; answers newest first, `_A_PAGE` at a time. Raises RunStateError."""
    store = desk.store
    progress = store.progress()
    answered = [(query, first) for query in desk.round.queries if (first := store.first(query)) is not None]
    answered.sort(key=lambda pair: pair[1].time, reverse=True)
    pages = max(1, -(-len(answered) // _A_PAGE))
    page = min(max(page, 1), pages)
    shown = answered[(page - 1) * _A_PAGE : page * _A_PAGE]
    return {
        "progress": progress,
        "people": sorted(progress.by_annotator.items(), key=lambda pair: -pair[1].regions),
        "classes": _classes(desk, progress.by_class),
        "agreement": measure_agreement(store) if progress.twice else None,
        "answers": [row for query, first in shown for row in _rows(desk, query, first)],
        "page": page,
        "pages": pages,
    }


def painted_answer(desk: Desk, number: int, which: str) -> bytes:
    """PNG of a region with its answer over it. Raises UnknownRegion, AnswerError, DataError, RunStateError."""
    query = desk.query(number)
    answer = desk.store.second(query) if which == "second" else desk.store.first(query)
    labels_HW = np.full(query.shape, 255, np.uint8)
    if answer is not None and not answer.skipped:
        labels_HW = desk.store.labels(answer)
    return painted(desk.pictures.crop(query), labels_HW, desk.round.palette)


def _classes(desk: Desk, pixels: dict[str, int]) -> list[tuple[str, str, float]]:
    """(name, colour as #rrggbb, share of the decided pixels), largest first."""
    total = max(1, sum(pixels.values()))
    colours = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in desk.round.palette.tolist()]
    rows = [(name, colour, pixels[name] / total) for name, colour in zip(desk.round.class_names, colours, strict=True)]
    return sorted(rows, key=lambda row: -row[2])


def _rows(desk: Desk, query: Query, first: Answer) -> list[dict[str, Any]]:
    answers = [("first", first), ("second", desk.store.second(query))]
    return [
        {"query": query, "which": which, "answer": answer, "agreement": _pair_agreement(desk, first, answer)}
        for which, answer in answers
        if answer is not None
    ]


def _pair_agreement(desk: Desk, first: Answer, answer: Answer) -> float | None:
    """Of the pixels that both decided on, None where there is nothing to compare."""
    if answer is first or first.skipped or answer.skipped:
        return None
    pair = (desk.store.labels(first), desk.store.labels(answer))
    return compare_labels([pair], desk.round.class_names).pixel_agreement
