"""What CVAT exports: shapes above one another, turned boxes, other people's habits, and files that are no exports."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from s4al.annotate.exchange.receiving import import_answers
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.store import AnswerStore
from s4al.errors import DataError
from tests.annotate.label_maps import receive
from tests.annotate.rounds import make_round

Q = "r001-000000"  # rows 10 to 19 and columns 10 to 24 of the image a; without an export, the picture is the region
HEIGHT, WIDTH = 10, 15


def _xml(path: Path, shapes: str, *, image: str = f'name="{Q}.png" width="15" height="10"', before: str = "") -> Path:
    path.mkdir()
    text = f'<?xml version="1.0"?><annotations>{before}<image id="0" {image}>{shapes}</image></annotations>'
    (path / "default.xml").write_text(text, "utf-8")
    return path


def _shape(kind: str, label: str, z_order: int | str = 0, **attributes: object) -> str:
    given = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f'<{kind} label="{label}" source="manual" occluded="0" z_order="{z_order}" {given}/>'


BOX = _shape("box", "road", xtl=2, ytl=1, xbr=6, ybr=4)


@pytest.mark.parametrize(
    ("shape", "rows", "cols"),
    [
        (BOX, (1, 4), (2, 6)),
        (_shape("box", "road", xtl=6, ytl=4, xbr=2, ybr=1), (1, 4), (2, 6)),  # drawn from the other corner
        (_shape("box", "road", xtl=-9, ytl=-9, xbr=99, ybr=99), (0, 10), (0, 15)),
        (_shape("box", "road", xtl=4, ytl=4, xbr=10, ybr=6, rotation=90), (2, 8), (6, 8)),
        (_shape("polygon", "road", points="2.00,1.00;6,1;6.0,4.0;2,4"), (1, 4), (2, 6)),
        (_shape("polygon", "road", points="2.5,1.5;6.4,1.5;6.4,4.4;2.5,4.4"), (1, 4), (2, 6)),
        (_shape("mask", "road", left=2, top=1, width=4, height=3, rle="0, 12"), (1, 4), (2, 6)),
        (_shape("ellipse", "road", cx=4, cy=4, rx=0.6, ry=1.6), (3, 5), (3, 5)),
    ],
)
def test_shapes(shape: str, rows: tuple[int, int], cols: tuple[int, int], tmp_path: Path) -> None:
    found, _ = receive(make_round(tmp_path), _xml(tmp_path / "x", shape))
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[slice(*rows), slice(*cols)] = 0
    assert np.array_equal(found[0], expected)


def test_a_turned_ellipse_lies_on_its_side(tmp_path: Path) -> None:
    upright, _ = receive(
        make_round(tmp_path / "1"), _xml(tmp_path / "x", _shape("ellipse", "car", cx=5, cy=5, rx=2, ry=4))
    )
    shape = _shape("ellipse", "car", cx=5, cy=5, rx=4, ry=2, rotation=90)
    turned, _ = receive(make_round(tmp_path / "2"), _xml(tmp_path / "y", shape))
    assert np.array_equal(upright[0], turned[0])
    assert np.count_nonzero(upright[0] == 1) in range(22, 29)  # pi * 2 * 4 = 25.1


@pytest.mark.parametrize(("road", "car", "above"), [(0, 0, 1), (1, 0, 0), (0, 1, 1), (2, 2, 1), (-1, -2, 0)])
def test_the_higher_z_order_lies_above_and_then_the_later(road: int, car: int, above: int, tmp_path: Path) -> None:
    mask = _shape("mask", "road", road, left=0, top=0, width=15, height=10, rle="0, 150")
    polygon = _shape("polygon", "car", car, points="0,0;15,0;15,10;0,10")
    found, _ = receive(make_round(tmp_path), _xml(tmp_path / "x", mask + polygon))
    assert (found[0] == above).all()


def test_tags_are_left_out_and_the_assignee_is_the_annotator(tmp_path: Path) -> None:
    people = "<owner><username>boss</username></owner><assignee><username>ann</username></assignee>"
    round = make_round(tmp_path)
    tag, before = '<tag label="blurred" source="manual"/>', f"<meta><job>{people}</job></meta>"
    path = _xml(tmp_path / "x", tag + BOX, before=before)
    import_answers(round, AnswerStore(round), path)
    answer = AnswerStore(round).first(round.query(Q))
    assert answer is not None
    assert (answer.annotator, answer.tool) == ("ann", "cvat")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (_shape("polyline", "road", points="0,0;3,3"), "a polyline of 'road' has no area"),
        (_shape("points", "road", points="0,0"), "a points of 'road' has no area"),
        (_shape("blob", "road"), "<blob> is not known"),
        (_shape("box", "road", xtl=2, ytl="nan", xbr=6, ybr=4), "no numbers, or far outside"),
        (_shape("box", "road", xtl=2, ytl=1, xbr=6), "ybr='' is no number"),
        (_shape("box", "road", "x", xtl=2, ytl=1, xbr=6, ybr=4), "z_order='x' is no number"),
        (_shape("polygon", "road", points="0,0;1"), "no list of three or more points"),
        (_shape("polygon", "road", points="0,0;1,a;2,2"), "points are no numbers"),
        (_shape("polygon", "road", points=";".join(["1,1"] * 100_001)), "100,001 points"),
        (_shape("mask", "road", left=9, top=1, width=8, height=3, rle="24"), "leaves its picture of 15 x 10"),
        (_shape("mask", "road", left=0, top=0, width=4, height=3, rle="11"), "11 pixels instead of 12"),
        (_shape("mask", "road", left=0, top=0, width=4, height=3), "no numbers with commas"),
        (_shape("box", "ROAD", xtl=2, ytl=1, xbr=6, ybr=4), "'road' is: names must agree in case"),
        (_shape("box", "dog", xtl=2, ytl=1, xbr=6, ybr=4), "class 'dog' is not one of this run's"),
    ],
)
def test_shapes_that_cannot_be_taken_stop_the_import(shape: str, reason: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    with pytest.raises(DataError) as caught:
        receive(round, _xml(tmp_path / "x", BOX + shape))
    assert reason in caught.value.what
    assert caught.value.kept == "Nothing was imported."
    assert AnswerStore(round).first(round.query(Q)) is None


@pytest.mark.parametrize(
    ("image", "before", "reason"),
    [
        (f'name="{Q}.png" width="15" height="11"', "", "it is 15 x 11, its picture is 15 x 10"),
        (f'name="{Q}.png" width="15"', "", "height='' is no number"),
        ('name="other.png" width="15" height="10"', "", "no region asked for has this name"),
        (f'name="{Q}-0a1b2c3d.png" width="15" height="10"', "", "export 0a1b2c3d"),
        ('name="r001-000009.png" width="15" height="10"', "", "asks for no region"),
        (f'name="{Q}.png" width="15" height="10"', '<track id="0" label="road"/>', "tracks of a video"),
    ],
)
def test_frames_that_are_not_ours_or_not_the_size(image: str, before: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        receive(make_round(tmp_path), _xml(tmp_path / "x", BOX, image=image, before=before))
    assert reason in caught.value.what


def test_xml_of_something_else_and_hostile_xml_are_refused(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    for name, text, reason in (
        ("a.xml", "<html/>", "outermost element is <html>"),
        ("b.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "DOCTYPE"),
        ("c.xml", "<annotations><image", "cut off"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError) as caught:
            receive(round, tmp_path / name, "cvat")
        assert reason in caught.value.what


def test_what_is_written_is_one_image_a_picture_with_labels_of_the_run(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    export_regions(round, AnswerStore(round), "cvat", tmp_path / "out", margin=5, guesses=True)
    root = ElementTree.parse(tmp_path / "out" / "annotations.xml").getroot()  # noqa: S314 - our own
    assert [label.text for label in root.findall("meta/task/labels/label/name")] == ["road", "car", "sky", "QUERY"]
    image = root.findall("image")[0]
    assert Path(image.get("name", "")).stem.startswith(Q)
    box = image.findall("box")[0]
    assert (box.get("xtl"), box.get("ytl"), box.get("xbr"), box.get("ybr")) == ("5.00", "5.00", "20.00", "15.00")
    assert box.find("attribute").text == Q  # type: ignore[union-attr]
    assert {mask.get("label") for mask in image.findall("mask")} == {"road", "car", "sky"}


def test_a_frame_has_a_colour_of_its_own(tmp_path: Path) -> None:
    round = make_round(tmp_path, colours=((255, 255, 0), (0, 0, 0), (7, 7, 7)))
    export_regions(round, AnswerStore(round), "cvat", tmp_path / "out", margin=5)
    labels = json.loads((tmp_path / "out" / "labels.json").read_bytes())
    assert labels[0]["color"] == "#ffff00"
    assert len({label["color"] for label in labels}) == 4
    assert "#000000" not in {label["color"] for label in labels}
