"""LabelMe's files as the program writes them: its shapes, its rule for masks, its order of keys."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s4al.annotate.exchange.receiving import import_answers
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.store import AnswerStore
from s4al.errors import DataError
from tests.annotate.label_maps import receive
from tests.annotate.rounds import make_round

Q = "r001-000000"  # without an export, the picture is the region: 10 x 15
SIZE = (10, 15)


def _write(path: Path, shapes: list[Any], **other: Any) -> Path:
    document = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": f"{Q}.png", "imageData": None}
    path.mkdir()
    Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(path / f"{Q}.png")
    document |= {"imageHeight": 10, "imageWidth": 15, **other}
    (path / f"{Q}.json").write_text(json.dumps(document, indent=2))
    return path


def _shape(kind: str | None, points: Any, label: str = "car", **other: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **other}


def _png(mask: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


ONES = _png(np.ones((3, 4), np.uint8))


@pytest.mark.parametrize(
    "shape",
    [
        _shape("polygon", [[2, 1], [6, 1], [6.0, 4], [2, 4]]),
        _shape(None, [[2, 1], [6, 1], [6, 4], [2, 4]]),  # of old versions
        _shape("rectangle", [[2, 1], [6, 4]]),
        _shape("rectangle", [[6, 4], [2, 1]]),
        _shape("oriented_rectangle", [[2, 1], [6, 1], [6, 4], [2, 4]]),
        _shape("mask", [[2.0, 1.0], [5.0, 3.0]], mask=ONES),
        _shape("mask", [[2, 1], [5, 3]], mask=_png(np.ones((9, 9), np.uint8))),  # the points cut it
        _shape("mask", [[2.3, 1.4], [9.9, 9.9]], mask=ONES),  # points that were dragged: its own size counts
        _shape("mask", [[2, 1], [5, 3]], mask=_png(np.full((3, 4), True))),  # 1-bit
    ],
)
def test_shapes(shape: dict[str, Any], tmp_path: Path) -> None:
    below = _shape("rectangle", [[-1, -1], [99, 99]], "road")
    expected = np.zeros(SIZE, np.uint8)
    expected[1:4, 2:6] = 1
    found, _ = receive(make_round(tmp_path), _write(tmp_path / "x", [below, shape]))
    assert np.array_equal(found[0], expected)
    hidden, _ = receive(make_round(tmp_path / "2"), _write(tmp_path / "y", [shape, below]))
    assert (hidden[0] == 0).all()


def test_a_mask_keeps_its_holes_and_what_leaves_the_picture_is_cut_off(tmp_path: Path) -> None:
    ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
    found, _ = receive(
        make_round(tmp_path), _write(tmp_path / "x", [_shape("mask", [[-1, 8], [1, 10]], mask=_png(ring))])
    )
    assert np.argwhere(found[0] == 1).tolist() == [[8, 0], [8, 1], [9, 1]]


def test_a_circle_by_centre_and_edge(tmp_path: Path) -> None:
    found, _ = receive(make_round(tmp_path), _write(tmp_path / "x", [_shape("circle", [[5, 5], [5, 3.4]])]))
    rows = ["".join(".x"[pixel] for pixel in row) for row in (found[0][2:8, 2:8] == 1).astype(int)]
    assert rows == ["......", "..xx..", ".xxxx.", ".xxxx.", "..xx..", "......"]


def test_the_flag_skip_hands_a_region_back(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    shapes = [_shape("rectangle", [[2, 1], [6, 4]])]
    outcome = import_answers(round, AnswerStore(round), _write(tmp_path / "x", shapes, flags={"skip": True}))
    assert (outcome["saved"], outcome["skipped"]) == (0, 1)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (_shape("line", [[0, 0], [3, 3]]), "a shape 'line' of 'car' has no area"),
        (_shape("point", [[0, 0]]), "no area"),
        (_shape([], [[0, 0]]), "no area"),  # type: ignore[arg-type]
        (_shape("polygon", [[0, 0], [3, 3]]), "no list of three or more points"),
        (_shape("polygon", [[0, 0], [3, 3], [1]]), "no pairs of numbers"),
        (_shape("polygon", [[0, 0], [3, 3], [1, float("nan")]]), "not finite"),
        (_shape("polygon", [[0, 0], [3, 3], [1, 1e9]]), "far outside"),
        (_shape("rectangle", [[0, 0]]), "1 points instead of two"),
        (_shape("circle", [[2, 2], [2, 2]]), "no area"),
        (_shape("mask", [[0, 0], [3, 2]]), "no 'mask' that is a text"),
        (_shape("mask", [[0, 0], [3, 2]], mask="%%"), "damaged"),
        (_shape("mask", [[0, 0], [3, 2]], mask=ONES[:40]), "damaged"),
        (_shape("mask", [[0, 0], [3, 2]], mask=_png(np.ones((40, 40), np.uint8))), "a mask is 40 x 40"),
        (_shape("rectangle", [[2, 1], [6, 4]], "Car"), "'car' is: names must agree in case"),
        ({"points": []}, "no 'label' that is a text"),
        (7, "no 'label' that is a text"),
    ],
)
def test_shapes_that_cannot_be_taken_stop_the_import(shape: Any, reason: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    with pytest.raises(DataError) as caught:
        receive(round, _write(tmp_path / "x", [_shape("rectangle", [[2, 1], [6, 4]]), shape]))
    assert reason in caught.value.what
    assert AnswerStore(round).first(round.query(Q)) is None


def test_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is 15 x 20, its picture is 15 x 10"):
        receive(make_round(tmp_path), _write(tmp_path / "x", [], imageHeight=20))


def test_a_mask_is_written_as_the_program_reads_it(tmp_path: Path) -> None:
    """By the lines of its own reader: the points name the last row and column, and the PNG has just that size."""
    round = make_round(tmp_path)
    export_regions(round, AnswerStore(round), "labelme", tmp_path / "out", margin=5, guesses=True)
    path = next((tmp_path / "out" / "images").glob(f"{Q}*.json"))
    document = json.loads(path.read_bytes())
    assert (path.parent / document["imagePath"]).is_file()
    labels_HW = np.full((document["imageHeight"], document["imageWidth"]), 255, np.uint8)
    for shape in document["shapes"]:
        if shape["shape_type"] == "mask":
            (x0, y0), (x1, y1) = np.array(shape["points"]).astype(int)
            mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).astype(bool)
            assert mask.shape == (y1 - y0 + 1, x1 - x0 + 1)
            labels_HW[y0 : y1 + 1, x0 : x1 + 1][mask] = round.class_names.index(shape["label"])
    expected = round.guess(round.query(Q))
    assert np.array_equal(labels_HW[5:15, 5:20], expected)
    assert (tmp_path / "out" / "labels.txt").read_text().splitlines() == ["road", "car", "sky", "QUERY"]
