"""YOLO as other tools write it: names in the forms of YAML that occur, boxes, polygons, and lines that are neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s4al.annotate.exchange.contract import Unusable
from s4al.annotate.exchange.yolo_names import read_names, write_names
from s4al.errors import DataError
from tests.annotate.label_maps import receive
from tests.annotate.rounds import make_round

Q = "r001-000000"  # without an export, the picture is the region: 10 x 15
POLYGON = "0.133333 0.1 0.4 0.1 0.4 0.4 0.133333 0.4"  # rows 1 to 3, columns 2 to 5


@pytest.mark.parametrize(
    "text",
    [
        "nc: 3\nnames: [road, 'car', \"sky\"]\n",
        "names: ['road', 'car',\n  'sky' ]  # comment\ntrain: images",
        "names:\n- road\n- 'car'\n- \"sky\" # blue\nnc: 3",
        "path: x\nnames:\n  0: road\n  1: car\n\n  # none\n  2: sky\n",
        "names:\n  2: sky\n  0: road\n  1: car",
        "names: {0: road, 1: 'car', 2: sky}",
        "names: [\nroad,\ncar,\nsky,\n]",
    ],
)
def test_names_in_the_forms_that_tools_write(text: str) -> None:
    assert read_names(text) == {0: "road", 1: "car", 2: "sky"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("names: ['it''s']", "it's"),
        ('names: ["a\\"b\\\\ é\\u00e9"]', 'a"b\\ éé'),
        ("names:\n- a: b", "a: b"),
        ("names:\n  0: traffic light", "traffic light"),
    ],
)
def test_names_with_signs(text: str, name: str) -> None:
    assert read_names(text) == {0: name}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nc: 3",
        "names:\n",
        "names: []",
        "names: road",
        "names: [road",
        "names: {road}",
        "names: [[road]]",
        "names:\n  road: 0",
        "names:\n  - &a road",
        'names: ["a\\x41"]',
        "names: !!python/object x",
    ],
)
def test_names_that_would_have_to_be_guessed_are_refused(text: str) -> None:
    with pytest.raises(Unusable):
        read_names(text)


_CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029")


@given(st.lists(st.text(_CHARACTERS), min_size=1, max_size=9))
def test_written_names_come_back(names: list[str]) -> None:
    assert read_names("train: images\n" + write_names(names)) == dict(enumerate(names))


def _write(path: Path, lines: str, **files: str) -> Path:
    (path / "labels" / "train").mkdir(parents=True)
    (path / "labels" / "train" / f"{Q}.txt").write_text(lines)
    for name, text in (files or {"data_yaml": "names: [car, sky, road]"}).items():
        (path / name.replace("_", ".")).write_text(text)
    return path


@pytest.mark.parametrize("line", [f"0 {POLYGON}", "0 0.266667 0.25 0.266667 0.3"])
def test_polygons_and_boxes_in_order_by_the_names(line: str, tmp_path: Path) -> None:
    whole = "2 0 0 1 0 1 1 0 1"
    found, notes = receive(make_round(tmp_path), _write(tmp_path / "x", f"{whole}\n\n{line}\n"))
    expected = np.zeros((10, 15), np.uint8)
    expected[1:4, 2:6] = 1
    assert np.array_equal(found[0], expected)
    assert "150 pixels were drawn, and 12 times a later polygon of another class took one over" in notes[0]


def test_frames_are_no_answers(tmp_path: Path) -> None:
    path = _write(tmp_path / "x", f"1 0 0 1 0 1 1\n0 {POLYGON}\n1 0 0 1 0 1 1", data_yaml="names: [car, QUERY]")
    found, _ = receive(make_round(tmp_path), path)
    assert np.count_nonzero(found[0] == 1) == 12
    assert np.count_nonzero(found[0] != 255) == 12


def test_names_of_a_classes_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "x", f"1 {POLYGON}", classes_txt="sky\nroad\ncar\n")
    found, _ = receive(make_round(tmp_path), path)
    assert np.count_nonzero(found[0] == 0) == 12


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0 0.1 0.1 0.2", "no class and a polygon"),
        ("0 0.1 0.1 0.2 0.2 0.3", "no class and a polygon"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "no list of three or more points"),
        ("0 10 20 30 40 50 60", "in shares of width and height"),
        ("0 nan 0.1 0.2 0.2 0.3 0.3", "in shares of width and height"),
        ("road 0.1 0.1 0.2 0.2 0.3 0.3", "no class and coordinates"),
        (f"3 {POLYGON}", "class number 3 has no name"),
        ("é", "no text of numbers"),
    ],
)
def test_lines_that_cannot_be_taken_stop_the_import(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        receive(make_round(tmp_path), _write(tmp_path / "x", f"0 {POLYGON}\n{line}\n"))
    assert reason in caught.value.what


@pytest.mark.parametrize("names", ["names: [Car, sky, road]", "nc: 3", "\udcff"])
def test_names_that_are_not_the_runs(names: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "x", f"0 {POLYGON}")
    (path / "data.yaml").write_bytes(names.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"'car' is: names must|it has no names|no text in UTF-8"):
        receive(make_round(tmp_path), path)
