"""A sample of what was asked of people, with what they said, and what is hard and was not asked yet."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from s4al.report.labels import BOX, box_pixels, encoded, find_train_rows
from s4al.report.model import Asked, Box, Selection
from s4al.report.scores import ScoreTables
from s4al.report.sources import Sample, digest64, read_batches

if TYPE_CHECKING:
    import pyarrow as pa

    from s4al.run.state import Run

_HARDEST_KEPT = 256  # regions, of which the images below are made
HARDEST_IMAGES = 8
_BOXES = 24  # of one image; more are not told apart in a small picture
_FILTER_BITS = 26


def read_selection(run: Run, cycle: int, about: dict[str, Any], most: int) -> tuple[Selection, list[Asked]]:
    """What a cycle asked for, and `most` of its images: half those with the highest scores, the rest by hash.

    Parameters
    ----------
    about : the stage's manifest.

    Raises
    ------
    RunStateError.
    """
    path = run.stage(cycle, "select") / "selections.parquet"
    selection = Selection(strategy=str(about.get("strategy", "")), metric=str(about.get("metric", "")))
    highest: dict[str, float] = {}  # of the best images so far, never more than twice as many as are kept
    drawn, total = Sample(most), 0.0
    for batch in read_batches(path, ("image", "score", *BOX)):
        score_N = np.nan_to_num(batch["score"].to_numpy().astype(np.float64))
        selection.regions += batch.num_rows
        selection.pixels += int(box_pixels(batch).sum())
        total += float(score_N.sum())
        names, code_N = encoded(batch, "image")
        best_N = np.full(len(names), -np.inf)
        np.maximum.at(best_N, code_N, score_N)
        for name, best in zip(names, best_N.tolist(), strict=True):
            drawn.offer(name)
            highest[name] = max(best, highest.get(name, best))
        highest = dict(heapq.nsmallest(most, highest.items(), key=lambda item: (-item[1], item[0])))
    selection.mean_score = total / selection.regions if selection.regions else None
    best = list(highest)[: (most + 1) // 2]
    rest = sorted(set(drawn.names) - set(best), key=digest64)[: most - len(best)]
    return selection, _asked_of(path, cycle, {*best, *rest})


def _asked_of(path: Any, cycle: int, images: set[str]) -> list[Asked]:
    """The regions of some images, as cards without pictures, those with the highest score first."""
    boxes: dict[str, list[Box]] = defaultdict(list)
    for batch in read_batches(path, ("image", "region", *BOX, "score", "reason")):
        names, code_N = encoded(batch, "image")
        wanted = [code for code, name in enumerate(names) if name in images]
        for index in np.flatnonzero(np.isin(code_N, wanted)):
            row = {name: batch[name][int(index)].as_py() for name in ("region", *BOX, "score", "reason")}
            if len(boxes[names[code_N[index]]]) < _BOXES:
                boxes[names[code_N[index]]].append(Box(**row))
    cards = [Asked(image, cycle, found, highest=_highest(found)) for image, found in boxes.items()]
    return sorted(cards, key=lambda card: (-(card.highest or 0.0), card.image))


def read_hardest(run: Run, cycle: int, metric: str) -> list[Asked]:
    """The images with the hardest regions that are neither labelled nor asked for, from the scores of `cycle`.

    Which regions were asked is remembered in a filter of fixed size: among four million asked regions it takes six in
    a hundred others for asked, among a hundred thousand one or two in a thousand.

    Raises RunStateError.
    """
    scores = ScoreTables(run, cycle)
    asked = _AskedFilter()
    if run.is_committed(cycle, "select"):
        for batch in read_batches(run.stage(cycle, "select") / "selections.parquet", ("image", "region")):
            asked.add(batch)
    best: list[tuple[float, str, int, tuple[int, ...]]] = []
    for batch in scores.batches(("image", "region", *BOX, metric, "labelled")):
        best = heapq.nsmallest(_HARDEST_KEPT, [*best, *_hardest_of(batch, metric, asked)])
    cards: dict[str, Asked] = {}
    for score, image, region, box in best:
        if image not in cards and len(cards) == HARDEST_IMAGES:
            continue
        card = cards.setdefault(image, Asked(image, cycle, [], highest=-score))
        if len(card.boxes) < _BOXES:
            card.boxes.append(Box(*box, region=region, score=-score))
    return list(cards.values())


def _hardest_of(
    batch: pa.RecordBatch, metric: str, asked: _AskedFilter
) -> Iterator[tuple[float, str, int, tuple[int, ...]]]:
    """(negated score, image, region, box) of the best rows that are neither labelled nor asked."""
    names, code_N = encoded(batch, "image")
    score_N = batch[metric].to_numpy()
    labelled_N = batch["labelled"].to_numpy()
    free = np.flatnonzero((labelled_N < 0.5) & (score_N > 0) & ~asked.holds(batch))
    if len(free) > _HARDEST_KEPT:
        free = free[np.argpartition(-score_N[free], _HARDEST_KEPT)[:_HARDEST_KEPT]]
    for index in free.tolist():
        box = tuple(batch[name][index].as_py() for name in BOX)
        yield -float(score_N[index]), names[code_N[index]], batch["region"][index].as_py(), box


class _AskedFilter:
    """Which (image, region) were asked for: one bit each, in a table of fixed size."""

    def __init__(self) -> None:
        self._bits_B = np.zeros(2 ** (_FILTER_BITS - 3), np.uint8)

    def add(self, batch: pa.RecordBatch) -> None:
        place_N = _places(batch)
        np.bitwise_or.at(self._bits_B, place_N >> np.uint64(3), _bit(place_N))

    def holds(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        place_N = _places(batch)
        return (self._bits_B[place_N >> np.uint64(3)] & _bit(place_N)) != 0


def _places(batch: pa.RecordBatch) -> NDArray[np.uint64]:
    names, code_N = encoded(batch, "image")
    of_image = np.array([digest64(name) for name in names], np.uint64)[code_N]
    mixed_N = of_image + batch["region"].to_numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed_N = (mixed_N ^ (mixed_N >> np.uint64(31))) * np.uint64(0xBF58476D1CE4E5B9)
    return mixed_N >> np.uint64(64 - _FILTER_BITS)


def _bit(place_N: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.left_shift(1, (place_N & np.uint64(7)).astype(np.uint8), dtype=np.uint8)


def describe(run: Run, cards: list[Asked], metric: str, class_names: list[str]) -> None:
    """Fill in what the pictures of the cards of one cycle need: sizes, rows, scores and predicted classes.

    Raises RunStateError.
    """
    images = {card.image for card in cards}
    rows = find_train_rows(run.pool_file, images)
    scored = ScoreTables(run, cards[0].cycle).of_images(images, metric) if cards else {}
    for card in cards:
        if card.image in rows:
            card.row, card.height, card.width = rows[card.image]
        if (found := scored.get(card.image)) is None:
            continue
        card.scored_as = found.position
        card.scores = [round(score, 4) for score in found.score_R.tolist()]
        for box in card.boxes:
            box.predicted = class_names[int(found.predicted_R[box.region])]
        card.classes = sorted({box.predicted for box in card.boxes if box.predicted})


def add_answers(run: Run, card: Asked, class_names: list[str]) -> None:
    """What people said, from the labels of the next cycle: the class most of each box is. Raises RunStateError."""
    if not run.is_committed(card.cycle + 1, "labels"):
        return
    mask_HW = run.shown_mask(card.cycle + 1, card.image)
    card.answered = True
    seen = set(card.classes)
    for box in card.boxes:
        counts_C = np.bincount(mask_HW[box.y0 : box.y1, box.x0 : box.x1].ravel(), minlength=256)[: len(class_names)]
        if counts_C.sum():
            box.answer = class_names[int(counts_C.argmax())]
            box.answer_share = float(counts_C.max() / counts_C.sum())
            seen |= {class_names[int(index)] for index in np.flatnonzero(counts_C)}
    card.classes = sorted(seen)


def _highest(boxes: list[Box]) -> float | None:
    return max((box.score for box in boxes if box.score is not None), default=None)
