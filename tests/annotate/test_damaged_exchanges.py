"""Files of every format, damaged at random: each is read, or refused with a reason, and never more than that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from s4al.annotate.exchange.receiving import import_answers
from s4al.annotate.store import AnswerStore
from s4al.errors import DataError
from tests.annotate.label_maps import label_maps, send, sixty_classes

FILES = {
    "cvat": "annotations.xml",
    "cvat-mask": "labelmap.txt",
    "coco": "annotations/instances_default.json",
    "coco-panoptic": "annotations/panoptic_default.json",
    "labelme": "images/*.json",
    "yolo": "data.yaml",
}
LABELS = {
    "cvat-mask": "SegmentationClass/*.png",
    "coco-panoptic": "annotations/panoptic_default/*.png",
    "yolo": "labels/*.txt",
}
TRIES = 40


def _damage(data: bytes, generator: np.random.Generator) -> bytes:
    """A piece replaced, doubled, cut out, or the end cut off; by bytes that mean something in text half of the time."""
    start, stop = sorted(generator.integers(0, len(data) + 1, 2).tolist())
    stop = min(stop, start + int(generator.integers(1, 20)))
    match int(generator.integers(4)):
        case 0:
            return data[:start]
        case 1:
            return data[:start] + data[stop:]
        case 2:
            return data[:stop] + data[start:]
        case _:
            alphabet = b'"{}[]<>/&;:,.-019 \n' if generator.integers(2) else bytes(range(256))
            return data[:start] + bytes(generator.choice(list(alphabet), stop - start).tolist()) + data[stop:]


@pytest.mark.parametrize("format", FILES)
def test_damaged_files_are_read_or_refused(format: str, tmp_path: Path) -> None:
    generator = np.random.default_rng(len(format))
    round = sixty_classes(tmp_path)
    send(round, label_maps(5, undecided=True), format, tmp_path / "out")
    (tmp_path / "out" / "queries.json").unlink()
    refused = 0
    for i in range(TRIES):
        pattern = LABELS[format] if i % 2 and format in LABELS else FILES[format]
        path = sorted((tmp_path / "out").glob(pattern))[0]
        whole = path.read_bytes()
        path.write_bytes(_damage(whole, generator))
        try:
            import_answers(round, AnswerStore(round), tmp_path / "out", format=format)
        except DataError as error:
            refused += 1
            assert error.kept == "Nothing was imported."
            assert error.remedy
        path.write_bytes(whole)
    assert refused > TRIES // 4
