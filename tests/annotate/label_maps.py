"""A round whose guesses are the label maps that a test wants to see come back, with names and colours of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from s4al.annotate.exchange.contract import Mode
from s4al.annotate.exchange.receiving import import_answers
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from tests.annotate.rounds import REGIONS, make_round

Maps = list[NDArray[np.uint8]]
HARD_NAMES = (
    "road",
    "Road",
    "a <b> & 'c' \"d\"",
    "straße, größer",
    "日本 🚗",
    "-",
    "12",
    "true",
    "[x]",
    "a\\b",
    "%s",
    "é=ü",
)
NAMES = (*HARD_NAMES, *(f"class {i}" for i in range(60 - len(HARD_NAMES))))
# black, grey, and two of one colour among them
COLOURS = ((0, 0, 0), (7, 7, 7), (9, 9, 9), (9, 9, 9), *((i, 2 * i, 255 - i) for i in range(4, 60)))

SHAPES = tuple((y1 - y0, x1 - x0) for _, (y0, x0, y1, x1) in REGIONS)


def sixty_classes(root: Path, **given: Any) -> Round:
    """`make_round` with the names and colours above."""
    return make_round(root, names=NAMES, colours=COLOURS, **given)


def label_maps(seed: int, *, undecided: bool, shapes: Sequence[tuple[int, int]] = SHAPES) -> Maps:
    """One a region: blocks of classes; the second is one class with a hole, and a pixel in the hole."""
    generator = np.random.default_rng(seed)
    maps = []
    for number, (height, width) in enumerate(shapes):
        blocks_HW = generator.integers(0, len(NAMES), (-(-height // 3), -(-width // 4)), np.uint8)
        labels_HW = np.kron(blocks_HW, np.ones((3, 4), np.uint8))[:height, :width]
        if number == 1:
            labels_HW[:] = 2
            labels_HW[2:5, 3:9] = 255 if undecided else 59
            labels_HW[3, 4] = 7
        elif undecided and number % 2 == 0:
            labels_HW[generator.random(labels_HW.shape) < 0.3] = 255
        maps.append(np.ascontiguousarray(labels_HW))
    return maps


def send(round: Round, maps: Maps, format: str, out: Path, mode: Mode = "crop", margin: int = 5) -> list[str]:
    """Export the regions with `maps` as the network's guesses. Returns the notes."""
    by_id = dict(zip((query.id for query in round.queries), maps, strict=True))
    with mock.patch.object(Round, "guess", lambda _, query: by_id[query.id]):
        return export_regions(round, AnswerStore(round), format, out, mode=mode, margin=margin, guesses=True)["notes"]


def receive(round: Round, path: Path, format: str | None = None) -> tuple[Maps, list[str]]:
    """Import a source; the label maps of the store, all 255 where a region has none, and the notes."""
    store = AnswerStore(round)
    notes = import_answers(round, store, path, format=format)["notes"]
    answers = [(query, store.first(query)) for query in round.queries]
    return [
        np.full(query.shape, 255, np.uint8) if answer is None else store.labels(answer) for query, answer in answers
    ], notes
