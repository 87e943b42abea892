"""What a format writes, it reads: every pixel of 60 classes, in crops and whole images, in folders and archives."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from s4al.annotate.exchange.all import FORMATS
from s4al.annotate.exchange.contract import Mode
from s4al.annotate.exchange.sending import export_regions
from s4al.annotate.exchange.source import Source
from s4al.annotate.store import AnswerStore
from s4al.errors import DataError
from tests.annotate.label_maps import label_maps, receive, send, sixty_classes
from tests.annotate.rounds import make_round

EXACT = ("cvat", "cvat-mask", "coco", "coco-panoptic", "labelme")


@pytest.mark.parametrize(("format", "mode"), [*itertools.product((*EXACT, "yolo"), ("crop", "full"))])
def test_decided_pixels_come_back(format: str, mode: Mode, tmp_path: Path) -> None:
    round = sixty_classes(tmp_path)
    maps = label_maps(1, undecided=False)
    send(round, maps, format, tmp_path / "out", mode)
    found, _ = receive(round, tmp_path / "out")
    for sent_HW, found_HW in zip(maps, found, strict=True):
        assert np.array_equal(sent_HW, found_HW)


@pytest.mark.parametrize("format", EXACT)
def test_undecided_pixels_come_back_undecided(format: str, tmp_path: Path) -> None:
    round = sixty_classes(tmp_path)
    maps = label_maps(2, undecided=True)
    send(round, maps, format, tmp_path / "out.zip")
    found, _ = receive(round, tmp_path / "out.zip")
    for sent_HW, found_HW in zip(maps, found, strict=True):
        assert np.array_equal(sent_HW, found_HW)


@pytest.mark.parametrize("format", EXACT)
def test_a_crop_without_context_comes_back(format: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    maps = [np.full(query.shape, 1, np.uint8) for query in round.queries]
    send(round, maps, format, tmp_path / "out", margin=0)
    found, _ = receive(round, tmp_path / "out")
    assert all((found_HW == 1).all() for found_HW in found)


def test_yolo_fills_undecided_holes_and_says_how_many_pixels(tmp_path: Path) -> None:
    round = sixty_classes(tmp_path)
    maps = label_maps(3, undecided=False)
    maps[1][2:5, 3:9] = 255
    maps[1][3, 4] = 7
    sent = send(round, maps, "yolo", tmp_path / "out", margin=5)
    pixels = sum(labels_HW.size for labels_HW in maps)
    assert any(f"(17 of {pixels} do not)" in note for note in sent)
    found, notes = receive(round, tmp_path / "out")
    assert (found[1][2:5, 3:9] == 2).sum() == 17
    assert found[1][3, 4] == 7
    assert "no holes" in notes[0]
    for sent_HW, found_HW in zip(maps, found, strict=True):
        assert np.array_equal(found_HW[sent_HW != 255], sent_HW[sent_HW != 255])


def test_yolo_says_where_all_of_it_comes_back(tmp_path: Path) -> None:
    round = sixty_classes(tmp_path)
    assert "Fidelity: 100 % of" in send(round, label_maps(4, undecided=False), "yolo", tmp_path / "o")[-1]


@pytest.mark.parametrize(("format", "guesses"), [*itertools.product((*EXACT, "yolo"), (True, False))])
def test_each_is_recognised_by_itself_alone(format: str, guesses: bool, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    export_regions(round, AnswerStore(round), format, tmp_path / "out", guesses=guesses)
    with Source(tmp_path / "out") as source:
        found = [name for name, other in FORMATS.items() if other.recognises(source)]
    # Without guesses, YOLO and the masks of CVAT hold no label file: nothing that could come back.
    assert found[:1] == [format] if guesses or format not in ("yolo", "cvat-mask") else format not in found


@pytest.mark.parametrize("format", ["cvat", "coco", "coco-panoptic", "labelme"])
def test_without_guesses_all_comes_back_open(format: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    export_regions(round, AnswerStore(round), format, tmp_path / "out")
    found, _ = receive(round, tmp_path / "out")
    assert all((labels_HW == 255).all() for labels_HW in found)


@pytest.mark.parametrize("format", ["cvat-mask", "yolo"])
def test_without_guesses_there_is_no_label_file(format: str, tmp_path: Path) -> None:
    round = make_round(tmp_path)
    export_regions(round, AnswerStore(round), format, tmp_path / "out")
    with pytest.raises(DataError, match="holds no answer to a region"):
        receive(round, tmp_path / "out", format)


@pytest.mark.parametrize(
    ("format", "name", "file"),
    [
        ("cvat-mask", "a:b", "labelmap.txt"),
        ("cvat-mask", "#1", "labelmap.txt"),
        ("cvat-mask", " a", "labelmap.txt"),
        ("cvat", "a\x01", "annotations.xml"),
        ("labelme", "a\nb", "labels.txt"),
    ],
)
def test_a_name_that_a_file_cannot_hold_is_refused(format: str, name: str, file: str, tmp_path: Path) -> None:
    round = make_round(tmp_path, names=(name, "car", "sky"))
    with pytest.raises(DataError) as caught:
        export_regions(round, AnswerStore(round), format, tmp_path / "out")
    assert f"The class name {name!r} cannot be written to {file}, where a name has no white space" in caught.value.what
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["coco", "coco-panoptic", "yolo"])
def test_json_and_yaml_hold_names_of_any_kind(format: str, tmp_path: Path) -> None:
    round = make_round(tmp_path, names=("a\n:b", " #", "\x01"))
    maps = [np.full(query.shape, 1, np.uint8) for query in round.queries]
    send(round, maps, format, tmp_path / "out")
    found, _ = receive(round, tmp_path / "out")
    assert all((labels_HW == 1).all() for labels_HW in found)


def test_frames_show_what_is_asked_and_are_no_answers(tmp_path: Path) -> None:
    round = make_round(tmp_path)
    for format, file in (("cvat", "annotations.xml"), ("labelme", "labels.txt")):
        export_regions(round, AnswerStore(round), format, tmp_path / format, margin=5)
        assert "QUERY" in (tmp_path / format / file).read_text()
        found, _ = receive(round, tmp_path / format)
        assert all((labels_HW == 255).all() for labels_HW in found)


def test_a_run_with_a_class_named_as_frames_are_has_none(tmp_path: Path) -> None:
    round = make_round(tmp_path, names=("road", "QUERY", "sky"))
    maps = [np.full(query.shape, 1, np.uint8) for query in round.queries]
    for format in ("cvat", "labelme"):
        send(round, maps, format, tmp_path / format, margin=5)
    found, _ = receive(round, tmp_path / "cvat")
    assert all((labels_HW == 1).all() for labels_HW in found)
