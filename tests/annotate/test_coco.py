"""COCO as other tools write it: shapes of every kind, categories numbered anyhow, panoptic segments, damaged files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from s4al.annotate.exchange.receiving import import_answers
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.store import AnswerStore
from s4al.errors import DataError
from tests.annotate.label_maps import receive
from tests.annotate.rounds import make_round

Q = "r001-000000"  # without an export, the picture is the region: 10 x 15
SIZE = (10, 15)
IMAGE = {"id": 71, "file_name": f"sub/{Q}.png", "height": 10, "width": 15}
CATEGORIES = [{"id": 90, "name": "car"}, {"id": 0, "name": "sky"}, {"id": 7, "name": "road"}]  # the run: road, car, sky
WHOLE = {"image_id": 71, "category_id": 7, "segmentation": {"size": [10, 15], "counts": [0, 150]}}


def _write(path: Path, annotations: list[Any], **other: Any) -> Path:
    path.mkdir()
    document = {"images": [IMAGE], "categories": CATEGORIES, "annotations": annotations, **other}
    (path / "result.json").write_text(json.dumps(document))
    return path


def _expected(rows: slice, cols: slice, class_id: int, around: int = 255) -> np.ndarray:
    labels_HW = np.full(SIZE, around, np.uint8)
    labels_HW[rows, cols] = class_id
    return labels_HW


def _compressed() -> dict[str, Any]:
    mask = np.asfortranarray(_expected(np.s_[1:4], np.s_[2:6], 1, 0))
    encoded = coco_mask.encode(mask)
    return {"size": [10, 15], "counts": encoded["counts"].decode()}


@pytest.mark.parametrize(
    "shape",
    [
        {"segmentation": _compressed()},
        {"segmentation": {"size": [10, 15], "counts": [21, 3, 7, 3, 7, 3, 7, 3, 96]}},
        {"segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]},
        {"segmentation": [[2, 1, 4, 1, 4, 4, 2, 4], [4.0, 1.0, 6.0, 1.0, 6.0, 4.0, 4.0, 4.0]]},
        {"segmentation": [], "bbox": [2, 1, 4, 3.0]},
        {"bbox": [2, 1, 4, 3]},
    ],
)
def test_shapes_lie_above_earlier_ones_and_categories_go_by_name(shape: dict[str, Any], tmp_path: Path) -> None:
    annotation = {"image_id": 71, "category_id": 90, **shape}
    found, _ = receive(make_round(tmp_path), _write(tmp_path / "x", [WHOLE, annotation]))
    assert np.array_equal(found[0], _expected(np.s_[1:4], np.s_[2:6], 1, around=0))
    hidden, _ = receive(make_round(tmp_path / "2"), _write(tmp_path / "y", [annotation, WHOLE]))
    assert (hidden[0] == 0).all()


def test_frames_are_no_answers(tmp_path: Path) -> None:
    frame = {"image_id": 71, "category_id": 8, "segmentation": [[0, 0, 9, 0, 9, 9, 0, 9]]}
    path = _write(tmp_path / "x", [WHOLE, frame], categories=[*CATEGORIES, {"id": 8, "name": "QUERY"}])
    found, _ = receive(make_round(tmp_path), path)
    assert (found[0] == 0).all()


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({**WHOLE, "segmentation": {"size": [10, 15], "counts": [0, 149]}}, "add up to 149 pixels"),
        ({**WHOLE, "segmentation": {"size": [15, 10], "counts": [0, 150]}}, "of size [15, 10], its image is [10, 15]"),
        ({**WHOLE, "segmentation": {"size": [10, 15], "counts": "~"}}, "damaged"),
        ({**WHOLE, "segmentation": [[0, 0, 1, 1]]}, "no list of three or more points"),
        ({**WHOLE, "segmentation": [[0, 0, 1, 1, 2, None]]}, "coordinates that are no numbers"),
        ({**WHOLE, "segmentation": [0, 0, 1, 1, 2, 2]}, "no list of three or more points"),
        ({**WHOLE, "segmentation": "x"}, "neither polygons nor run lengths"),
        ({**WHOLE, "segmentation": []}, "without a segmentation has no 'bbox'"),
        ({**WHOLE, "segmentation": [], "bbox": [1, 2, 3]}, "no list of four numbers"),
        ({**WHOLE, "category_id": 1}, "category 1, which the file does not list"),
        ({**WHOLE, "category_id": "7"}, "no 'category_id' that is a whole number"),
        ({**WHOLE, "image_id": 72}, "image 72, which the file does not list"),
        ({**WHOLE, "segments_info": []}, "say --format coco-panoptic"),
        (3, "no object"),
    ],
)
def test_annotations_that_cannot_be_taken_stop_the_import(annotation: Any, reason: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    with pytest.raises(DataError) as caught:
        receive(round, _write(tmp_path / "x", [WHOLE, annotation]))
    assert reason in caught.value.what
    assert AnswerStore(round).first(round.query(Q)) is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"images": [{**IMAGE, "height": 11}]}, "it is 15 x 11, its picture is 15 x 10"),
        ({"images": [{**IMAGE, "width": 1e1}]}, "no 'width' that is a whole number"),
        ({"images": {}}, "no 'images' that is a list"),
        ({"categories": [{"id": 7, "name": "Road"}]}, "class 'Road' is not one of this run's, but 'road' is"),
        ({"images": [{**IMAGE, "file_name": "other.png"}]}, "no region asked for has this name"),
    ],
)
def test_files_that_do_not_fit(other: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        receive(make_round(tmp_path), _write(tmp_path / "x", [WHOLE], **other))
    assert reason in caught.value.what


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"images": [', "cut off"),
        ('{"images": ' + "[" * 100_000, "no JSON"),
        ("[]", "no answer"),
        ("\xff", "no answer"),
    ],
)
def test_files_that_are_no_coco(text: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text, "latin-1")
    with pytest.raises(DataError, match=reason):
        receive(make_round(tmp_path), tmp_path / "x.json", "coco")


def test_the_same_file_again_changes_nothing(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    path = _write(tmp_path / "x", [WHOLE])
    first, again = (import_answers(round, AnswerStore(round), path) for _ in range(2))
    assert (first["saved"], first["unchanged"], again["saved"], again["unchanged"]) == (1, 0, 0, 1)


def test_pycocotools_reads_what_is_written(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    export_regions(round, AnswerStore(round), "coco", tmp_path / "out", margin=5, guesses=True)
    document = json.loads((tmp_path / "out" / "annotations" / "instances_default.json").read_bytes())
    image = next(image for image in document["images"] if image["file_name"].startswith(Q))
    names = {category["id"]: category["name"] for category in document["categories"]}
    labels_HW = np.full((image["height"], image["width"]), 255, np.uint8)
    for annotation in document["annotations"]:
        if annotation["image_id"] == image["id"]:
            mask = coco_mask.decode(annotation["segmentation"])
            assert (annotation["area"], annotation["bbox"]) == (
                mask.sum(),
                coco_mask.toBbox(annotation["segmentation"]).tolist(),
            )
            labels_HW[mask == 1] = round.class_names.index(names[annotation["category_id"]])
    expected = round.guess(round.query(Q))
    assert np.array_equal(labels_HW[5:15, 5:20], expected)
    assert np.count_nonzero(labels_HW != 255) == np.size(expected)


# ------------------------------------------------------------------------------------------------------------ panoptic


def _panoptic(
    path: Path, numbers: np.ndarray, segments: list[dict[str, Any]], *, folder: str = "panoptic_x", **other: Any
) -> Path:
    annotation = {"image_id": 71, "file_name": f"{Q}.png", "segments_info": segments}
    _write(path, [annotation], **other)
    (path / "result.json").rename(path / "panoptic_x.json")
    (path / folder).mkdir(exist_ok=True)
    colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=-1).astype(np.uint8)
    Image.fromarray(colours).save(path / folder / f"{Q}.png")
    return path


NUMBERS = np.zeros(SIZE, np.int64)
NUMBERS[:4], NUMBERS[4:8, :5], NUMBERS[4:8, 5:] = 70_000, 257, 1
SEGMENTS = [{"id": 70_000, "category_id": 7}, {"id": 257, "category_id": 90}, {"id": 1, "category_id": 90}]


@pytest.mark.parametrize("folder", ["panoptic_x", "."])
def test_segments_go_by_category_name_and_0_is_not_painted(folder: str, tmp_path: Path) -> None:
    found, _ = receive(make_round(tmp_path), _panoptic(tmp_path / "x", NUMBERS, SEGMENTS, folder=folder))
    expected = np.full(SIZE, 255, np.uint8)
    expected[:4], expected[4:8] = 0, 1
    assert np.array_equal(found[0], expected)


def test_the_pixels_of_frames_are_not_painted(tmp_path: Path) -> None:
    segments = [{"id": 257, "category_id": 8}, *SEGMENTS[::2]]
    path = _panoptic(tmp_path / "x", NUMBERS, segments, categories=[*CATEGORIES, {"id": 8, "name": "QUERY"}])
    found, _ = receive(make_round(tmp_path), path)
    assert (found[0][4:8, :5] == 255).all()
    assert (found[0][:4] == 0).all()


@pytest.mark.parametrize(
    ("segments", "numbers", "reason"),
    [
        (SEGMENTS[:2], NUMBERS, "holds segment 1, which its annotation does not list"),
        ([*SEGMENTS, {"id": 5, "category_id": 4}], NUMBERS, "category 4, which the file does not list"),
        ([*SEGMENTS, {"id": 5}], NUMBERS, "a segment has no 'category_id'"),
        (SEGMENTS, NUMBERS[:-1], "it is 15 x 9, its picture is 15 x 10"),
    ],
)
def test_segments_that_do_not_fit(segments: list[Any], numbers: np.ndarray, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        receive(make_round(tmp_path), _panoptic(tmp_path / "x", numbers, segments))
    assert reason in caught.value.what


@pytest.mark.parametrize("file_name", [f"{Q}.png", "../../../etc/passwd", "/etc/passwd"])
def test_a_missing_png_stops_the_import(file_name: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "x", [{"image_id": 71, "file_name": file_name, "segments_info": SEGMENTS}])
    with pytest.raises(DataError, match=r"its panoptic PNG .* is not in result/"):
        receive(make_round(tmp_path), path, "coco-panoptic")
