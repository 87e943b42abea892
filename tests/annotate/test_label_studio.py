"""Label Studio's tasks and annotations: what a person draws there is what lands here, and all else is refused."""

from __future__ import annotations

import base64
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s4al.annotate.exchange.brush_rle import encode_brush
from s4al.annotate.exchange.receiving import import_answers
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.errors import DataError
from tests.annotate.rounds import make_round

NAMES = ("road", 'a <b> & "c"', "straße")
SIZE = (10, 15)  # of the region that is answered, and of its crop


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return make_round(tmp_path, names=NAMES)


@pytest.fixture
def store(round: Round) -> AnswerStore:
    return AnswerStore(round)


@pytest.fixture
def sent(round: Round, store: AnswerStore, tmp_path: Path) -> list[dict[str, Any]]:
    """The tasks of crops without a margin."""
    export_regions(round, store, "label-studio", tmp_path / "out", margin=0)
    return json.loads((tmp_path / "out" / "tasks.json").read_text())


def _result(kind: str, value: dict[str, Any], name: str = "road", **more: Any) -> dict[str, Any]:
    value = {**value, kind: [name]}
    size = {"original_height": SIZE[0], "original_width": SIZE[1], "image_rotation": 0}
    return {"id": "x", "type": kind, "from_name": "seg", "to_name": "image", **size, "value": value, **more}


def _png_url(pixels: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def _bitmask(mask_HW: np.ndarray) -> dict[str, Any]:
    """As the page makes them: colours under a soft edge."""
    pixels = np.zeros((*mask_HW.shape, 4), np.uint8)
    pixels[mask_HW] = (9, 9, 9, 1)
    return {"imageDataURL": _png_url(pixels)}


def _rectangle(x: float, y: float, width: float, height: float, rotation: float = 0) -> dict[str, Any]:
    """In pixels."""
    high, wide = SIZE
    percent = {"x": 100 * x / wide, "y": 100 * y / high, "width": 100 * width / wide, "height": 100 * height / high}
    return {**percent, "rotation": rotation}


def _annotation(*results: dict[str, Any], **more: Any) -> dict[str, Any]:
    about = {"id": 7, "unique_id": "u7", "completed_by": 3, "lead_time": 12.5, "updated_at": "2026-01-01T00:00:00Z"}
    return {**about, "was_cancelled": False, "result": list(results), **more}


def _import(tmp_path: Path, round: Round, store: AnswerStore, *tasks: Any) -> dict[str, Any]:
    path = tmp_path / "project-1-at-2026.json"
    path.write_text(json.dumps(tasks))
    return import_answers(round, store, path)


def _labels(store: AnswerStore, number: int = 0) -> np.ndarray:
    answer = store.first(store.round.query(number))
    assert answer is not None
    return store.labels(answer)


# --------------------------------------------------------------------------------------------------------- what is sent


def test_the_configuration_is_xml_with_every_class(sent: list[Any], tmp_path: Path) -> None:
    view = ET.fromstring((tmp_path / "out" / "config.xml").read_text(encoding="utf-8"))  # noqa: S314 - ours
    for tag in ("BitmaskLabels", "PolygonLabels"):
        control = view.find(tag)
        assert control is not None
        assert [label.get("value") for label in control] == list(NAMES)
    assert [label.get("value") for label in view.iter("Label")][-1] == "QUERY"
    assert view[1][0].get("background") == "#804080"


@pytest.mark.parametrize("name", ["a\x01b", "a\nb", " a"])
def test_names_that_xml_would_change_are_refused(name: str, tmp_path: Path) -> None:
    round = make_round(tmp_path, names=("road", name, "sky"))
    with pytest.raises(DataError, match=r"cannot be written to config\.xml"):
        export_regions(round, AnswerStore(round), "label-studio", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_task_carries_its_picture_and_the_guess_as_its_prediction(sent: list[Any], round: Round) -> None:
    assert len(sent) == 4
    for task, query in zip(sent, round.queries, strict=True):
        assert task["data"]["query_id"] == query.id
        assert task["data"]["image"] == f"/data/local-files/?d=images/{task['data']['picture']}.png"
        (prediction,) = task["predictions"]
        uncertainty = round.uncertainty(query)
        assert uncertainty is not None
        assert prediction["score"] == pytest.approx(1 - uncertainty.mean() / 255)
        guess, shown = round.guess(query), np.full(query.shape, 255, np.uint8)
        for result in prediction["result"]:
            data = base64.b64decode(result["value"]["imageDataURL"].partition(",")[2])
            with Image.open(io.BytesIO(data)) as picture:
                shown[np.asarray(picture.convert("RGBA"))[:, :, 3] == 255] = NAMES.index(
                    result["value"]["bitmasklabels"][0]
                )
        np.testing.assert_array_equal(shown, guess)


def test_regions_inside_a_picture_have_a_frame_that_cannot_be_moved(
    round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    export_regions(round, store, "label-studio", tmp_path / "out", mode="full")
    task = json.loads((tmp_path / "out" / "tasks.json").read_text())[0]
    frames = [result for result in task["predictions"][0]["result"] if result["type"] == "rectanglelabels"]
    found = [[result["value"][key] for key in ("x", "y", "width", "height")] for result in frames]
    np.testing.assert_allclose(found, [[100 / 6, 25, 25, 25], [75, 75, 25, 25]])
    assert all(result["readonly"] and result["value"]["rectanglelabels"] == ["QUERY"] for result in frames)


def test_the_first_cycle_has_frames_alone(tmp_path: Path) -> None:
    round = make_round(tmp_path, cycle=0)
    export_regions(round, AnswerStore(round), "label-studio", tmp_path / "out", margin=3)
    for task in json.loads((tmp_path / "out" / "tasks.json").read_text()):
        (prediction,) = task["predictions"]
        assert [result["type"] for result in prediction["result"]] == ["rectanglelabels"]
        assert "score" not in prediction


def test_what_was_sent_is_no_answer(sent: list[Any], round: Round, store: AnswerStore, tmp_path: Path) -> None:
    """Somebody imports the export, not what Label Studio made of it."""
    with pytest.raises(DataError):
        import_answers(round, store, tmp_path / "out")
    with pytest.raises(DataError):
        import_answers(round, store, tmp_path / "out" / "tasks.json", format="label-studio")
    assert store.progress().answered == 0


# -------------------------------------------------------------------------------------------------------- what is drawn

BLOCK = np.zeros(SIZE, np.bool_)
BLOCK[2:5, 3:9] = True
HOLE = BLOCK.copy()
HOLE[3, 4] = False
ALL = np.ones(SIZE, np.bool_)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("bitmasklabels", _bitmask(HOLE), HOLE),
        ("brushlabels", {"format": "rle", "rle": list(encode_brush(HOLE))}, HOLE),
        ("rectanglelabels", _rectangle(3, 2, 6, 3), BLOCK),
        ("rectanglelabels", _rectangle(9, 5, 6, 3, 180), BLOCK),
        ("rectanglelabels", _rectangle(9, 2, 3, 6, 90), BLOCK),
        ("rectanglelabels", _rectangle(-5, -5, 50, 50), ALL),
        ("polygonlabels", {"points": [[20, 20], [60, 20], [60, 50], [20, 50]], "closed": True}, BLOCK),
    ],
    ids=["bitmask", "brush", "rectangle", "turned by 180", "turned by 90", "beyond the edges", "polygon"],
)
def test_shapes(kind: str, value: dict[str, Any], expected: np.ndarray, sent, round, store, tmp_path: Path) -> None:
    task = {**sent[0], "annotations": [_annotation(_result(kind, value, "straße"))]}
    assert _import(tmp_path, round, store, task)["saved"] == 1
    np.testing.assert_array_equal(_labels(store), np.where(expected, 2, 255))


def test_polygons_agree_with_a_reference(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    """scikit-image's polygon, by its vertices half a pixel up and left: it takes pixels whose centres are inside."""
    from skimage.draw import polygon2mask

    generator = np.random.default_rng(5)
    for i in range(20):
        points_P2 = generator.uniform(-10, 110, (7, 2))
        polygon = _result("polygonlabels", {"points": points_P2.tolist()})
        annotation = _annotation(ALL_SKY, polygon, updated_at=f"2026-02-{i + 1:02d}")
        assert _import(tmp_path, round, store, {**sent[0], "annotations": [annotation]})["saved"] == 1
        expected_HW = polygon2mask(SIZE, points_P2[:, ::-1] / 100 * SIZE - 0.5)
        np.testing.assert_array_equal(_labels(store) == 0, expected_HW)


ALL_SKY = _result("rectanglelabels", _rectangle(0, 0, 15, 10), "straße")


def test_later_shapes_lie_above(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    block = _result("bitmasklabels", _bitmask(BLOCK))
    frame = _result("rectanglelabels", _rectangle(0, 0, 15, 10), "QUERY", from_name="query")
    _import(tmp_path, round, store, {**sent[0], "annotations": [_annotation(ALL_SKY, block, frame)]})
    np.testing.assert_array_equal(_labels(store), np.where(BLOCK, 0, 2))


def test_results_without_a_shape_are_passed_over(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    comment = {"type": "textarea", "from_name": "comment", "value": {"text": ["hard"]}}
    relation = {"type": "relation", "from_id": "a", "to_id": "b"}
    _import(tmp_path, round, store, {**sent[0], "annotations": [_annotation(comment, ALL_SKY, relation)]})
    assert (_labels(store) == 2).all()


# ------------------------------------------------------------------------------------------------- whose answer it is


def test_people_seconds_and_versions(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    _import(tmp_path, round, store, {**sent[0], "annotations": [_annotation(ALL_SKY)]})
    answer = store.first(round.query(0))
    assert answer is not None
    assert (answer.annotator, answer.seconds, answer.tool) == ("user 3", 12.5, "label-studio")
    assert (answer.source, answer.updated) == ("label-studio:u7", "2026-01-01T00:00:00Z")
    assert answer.guess


@pytest.mark.parametrize(
    ("about", "person", "seconds"),
    [
        ({"completed_by": {"id": 3, "email": "ann@example.org"}}, "ann@example.org", 12.5),
        ({"completed_by": {"id": 3}}, "user 3", 12.5),
        ({"completed_by": None}, "unknown", 12.5),
        ({"lead_time": None}, "user 3", 0.0),
        ({"lead_time": -4}, "user 3", 0.0),
        ({"lead_time": 10**400}, "user 3", 0.0),
        ({"lead_time": "long"}, "user 3", 0.0),
    ],
)
def test_people_and_times_of_all_kinds(
    about: dict[str, Any], person: str, seconds: float, sent, round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    _import(tmp_path, round, store, {**sent[0], "annotations": [_annotation(ALL_SKY, **about)]})
    answer = store.first(round.query(0))
    assert answer is not None
    assert (answer.annotator, answer.seconds) == (person, seconds)


def test_the_names_of_people_may_lie_beside(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    (tmp_path / "pulled").mkdir()
    (tmp_path / "pulled" / "users.json").write_text('{"3": "ann@example.org"}')
    task = {**sent[0], "annotations": [_annotation(ALL_SKY)]}
    (tmp_path / "pulled" / "project.json").write_text(json.dumps([task]))
    import_answers(round, store, tmp_path / "pulled")
    answer = store.first(round.query(0))
    assert answer is not None
    assert answer.annotator == "ann@example.org"


def test_a_cancelled_annotation_is_a_skip_and_an_empty_one_is_no_answer(
    sent, round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    tasks = [
        {**sent[0], "annotations": [_annotation(ALL_SKY, was_cancelled=True)]},
        {**sent[1], "annotations": [_annotation()]},
        {**sent[2], "annotations": []},
    ]
    result = _import(tmp_path, round, store, *tasks)
    found = {key: result[key] for key in ("saved", "skipped", "open", "missing")}
    assert found == {"saved": 0, "skipped": 1, "open": 2, "missing": 1}


def test_a_changed_annotation_replaces_its_answer(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    _import(tmp_path, round, store, {**sent[0], "annotations": [_annotation(ALL_SKY)]})
    block = _result("bitmasklabels", _bitmask(ALL))
    newer = _annotation(block, updated_at="2026-01-02T00:00:00Z")
    assert _import(tmp_path, round, store, {**sent[0], "annotations": [newer]})["saved"] == 1
    assert (_labels(store) == 0).all()
    assert store.second(round.query(0)) is None
    assert _import(tmp_path, round, store, {**sent[0], "annotations": [newer]})["unchanged"] == 1


def test_a_task_is_found_by_its_image_where_its_data_were_lost(
    sent, round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    name = sent[1]["data"]["picture"]
    shape = _result("rectanglelabels", _rectangle(0, 0, 15, 10))
    task = {"id": 1, "data": {"image": f"/data/upload/1/0a1b2c3d-{name}.png"}, "annotations": [_annotation(shape)]}
    assert _import(tmp_path, round, store, task)["saved"] == 1
    assert (_labels(store, 1) == 0).all()


def test_tasks_of_other_projects_are_left_out(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    other = {"id": 9, "data": {"image": "/data/upload/1/cat.png"}, "annotations": [_annotation(ALL_SKY)]}
    result = _import(tmp_path, round, store, {**sent[0], "annotations": [_annotation(ALL_SKY)]}, other)
    assert (result["saved"], [problem["where"] for problem in result["left_out"]]) == (1, ["cat.png (task 9)"])


# ----------------------------------------------------------------------------------------------------- what is refused

RGB = {"imageDataURL": _png_url(np.zeros((*SIZE, 3), np.uint8))}
SMALL = _bitmask(BLOCK[:5])
CUT = {"imageDataURL": _bitmask(BLOCK)["imageDataURL"][:-20]}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (_result("ellipselabels", {"x": 1}), "a shape of the kind 'ellipselabels' is not read"),
        (_result("bitmasklabels", _bitmask(BLOCK), "Road"), "class 'Road' is not one of this run's, but 'road' is"),
        (_result("bitmasklabels", SMALL), "a bitmask is 15 x 5, its picture is 15 x 10"),
        (_result("bitmasklabels", RGB), "no alpha channel"),
        (_result("bitmasklabels", CUT), "a bitmask"),
        (_result("bitmasklabels", {"imageDataURL": "http://example.org/a.png"}), "no PNG in a data URL"),
        (_result("bitmasklabels", {"imageDataURL": "data:image/png;base64,?"}), "damaged"),
        (_result("bitmasklabels", _bitmask(BLOCK), original_width=16), "it is 16 x 10, its picture is 15 x 10"),
        (_result("bitmasklabels", _bitmask(BLOCK), original_width=None), "does not say the size of its picture"),
        (_result("bitmasklabels", _bitmask(BLOCK), image_rotation=90), "turned round"),
        (_result("brushlabels", {"format": "rle", "rle": [1, 2]}), "damaged run lengths: it has 2 bytes"),
        (_result("brushlabels", {"format": "rle", "rle": [1, 256]}), "not numbers from 0 to 255"),
        (_result("brushlabels", {"format": "rle", "rle": "x"}), "holds no run lengths"),
        (_result("polygonlabels", {"points": [[1, 2], [3, "4"]]}), "coordinate that is no number"),
        (_result("polygonlabels", {"points": [[1, 2, 3]]}), "not two numbers"),
        (_result("polygonlabels", {"points": None}), "has no points"),
        (_result("rectanglelabels", {"x": 1, "y": 1, "width": 10**400, "height": 1}), "far outside"),
        (_result("rectanglelabels", {"x": float("nan"), "y": 1, "width": 1, "height": 1}), "no number"),
        ({**_result("bitmasklabels", {}), "value": {"bitmasklabels": ["road", "sky"]}}, "2 labels"),
        ({**_result("bitmasklabels", {}), "value": {}}, "has no label"),
        ({**_result("bitmasklabels", {}), "value": 1}, "has no value"),
        ("x", "kind None"),
    ],
)
def test_what_cannot_be_an_answer_stops_the_import(
    result: Any, reason: str, sent, round: Round, store: AnswerStore, tmp_path: Path
) -> None:
    good = {**sent[1], "annotations": [_annotation(_result("rectanglelabels", _rectangle(0, 0, 15, 10)))]}
    with pytest.raises(DataError) as caught:
        _import(tmp_path, round, store, good, {**sent[0], "annotations": [_annotation(result)]})
    assert reason in caught.value.what
    assert sent[0]["data"]["picture"] in caught.value.what
    assert store.progress().answered == 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "expected"),
        ("[1]", "not a task"),
        ('[{"data": 1}]', "not a task"),
    ],
)
def test_files_that_are_no_export(content: str, reason: str, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(content)
    with pytest.raises(DataError, match=reason):
        import_answers(round, store, path, format="label-studio")


def test_json_min_is_named(sent, round: Round, store: AnswerStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not as JSON-MIN"):
        _import(tmp_path, round, store, {"id": 1, "annotations": 5, "data": sent[0]["data"]})
