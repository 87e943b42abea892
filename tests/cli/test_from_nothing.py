"""Images and no mask: people are asked before there is a network, and what they say is all there is to learn from."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from s4al import files
from s4al.annotate.queries import Query, Round
from s4al.annotate.store import AnswerStore
from s4al.cli.app import run as s4al
from s4al.data.masks import write_mask
from s4al.run.asking import read_questions
from s4al.run.state import NOT_LABELLED, Run
from s4al.scorer import EngineRequest
from s4al.scorer.asking import ask_selected
from s4al.watch import Watch
from tests.cli.test_any_folder import SMALL, picture, save

IMAGES, SIZE = 8, (64, 96)
CYCLES = 3
LAMP = 2  # added when the last round is asked


def image_and_truth(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture, and 0 for the wall, 1 for the box."""
    image, box = picture(seed, *SIZE)
    return image, box.astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mine")
    for seed in range(IMAGES):
        save(root / f"room {seed}.png", image_and_truth(seed)[0])
    return root


def truth_of(query: Query) -> np.ndarray:
    return image_and_truth(int(query.image.split()[-1]))[1][query.box]


def answer_all(run: Run) -> dict[tuple[str, int], np.ndarray]:
    """As somebody would who knows the truth: what was said about (image, region). In the last round one is a lamp."""
    store, said = AnswerStore(Round.open(run)), {}
    if not store.round.class_names:
        assert [store.add_class(name) for name in ("wall", "box")] == [0, 1]
    if store.round.cycle == CYCLES - 1:
        assert store.add_class("lamp") == LAMP
    for query in store.round.queries:
        labels_hw = truth_of(query)
        if store.round.cycle == CYCLES - 1 and query.number == 0:
            labels_hw = np.full_like(labels_hw, LAMP)
        store.save(query, labels_hw, annotator="ann", seconds=2.5, tool="script")
        said[query.image, query.region] = labels_hw
    return said


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, dict, dict]:
    """A run of three cycles, what was said in it, and what its last command printed."""
    root = tmp_path_factory.mktemp("runs") / "run"
    command = ["train", str(root), "--data", str(folder), "--json", "data.oracle=people", *SMALL]
    command += [f"run.cycles={CYCLES}", "acquisition.regions_per_image=1", "augment.scale_min=1", "augment.scale_max=1"]
    said: dict[tuple[str, int], np.ndarray] = {}
    for cycle in range(CYCLES):
        with pytest.MonkeyPatch.context() as patch:
            out = io.StringIO()
            patch.setattr("sys.stdout", _Standard(out))
            assert s4al(command) == 3
        error = json.loads(out.getvalue())["error"]
        assert f"Cycle {cycle} waits for people" in error["what"] and f"s4al label serve {root}" in error["remedy"]
        new = answer_all(Run.open(root))
        assert not said.keys() & new.keys()  # never asked again, test regions neither
        said |= new
    with pytest.MonkeyPatch.context() as patch:
        out = io.StringIO()
        patch.setattr("sys.stdout", _Standard(out))
        assert s4al(command) == 0
    return Run.open(root), said, json.loads(out.getvalue())


class _Standard(io.TextIOWrapper):
    """Looks like the process's stdout, and writes into `target`."""

    def __init__(self, target: io.StringIO) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self._target = target

    def write(self, text: str) -> int:
        return self._target.write(text)


def test_the_first_round_is_test_regions_then_a_start_set(finished) -> None:
    run, _, _ = finished
    asked = read_questions(run, 0)
    purposes = [region.purpose for region in asked]
    assert purposes == sorted(purposes) and set(purposes) == {"test", "train"}  # test first
    train = [region.image for region in asked if region.purpose == "train"]
    assert len(train) == 4 * IMAGES and all(train.count(image) == 4 for image in set(train))
    assert purposes.count("test") == len(train) // 3  # a quarter of what is asked
    assert not (run.stage(0, "ask") / "guess").exists()
    assert all(region.purpose == "train" for cycle in (1, 2) for region in read_questions(run, cycle))


def test_labels_are_those_that_masks_would_give_byte_for_byte(finished) -> None:
    run, said, _ = finished
    for cycle in range(CYCLES):
        folder = run.stage(cycle, "labels")
        expected: dict[str, np.ndarray] = {}
        for region in run.labelled_regions(cycle):
            if region.cycle != cycle:
                continue
            name = f"{'test' if region.only_tests else 'masks'}/{region.image}.png"
            mask = expected.setdefault(name, np.full(SIZE, NOT_LABELLED, np.uint8))
            mask[region.y0 : region.y1, region.x0 : region.x1] = said[region.image, region.region]
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}
        assert found.keys() == expected.keys() and expected
        for name, mask in expected.items():
            png = io.BytesIO()
            write_mask(png, mask, run.classes(cycle).palette)
            assert found[name] == png.getvalue(), name


def test_a_cycle_knows_the_classes_that_were_there_when_it_was_labelled(finished) -> None:
    run, _, result = finished
    assert [run.classes(cycle).names for cycle in (-1, 0, 1, 2)] == [
        (),
        ("wall", "box"),
        ("wall", "box"),
        ("wall", "box", "lamp"),
    ]
    assert run.class_names == ["wall", "box", "lamp"]
    assert [list(row["per_class_iou"]) for row in result["cycles"]] == [["wall", "box"]] * 2 + [["wall", "box", "lamp"]]
    # Nobody could label it when the test regions were asked, so it is not tested on.
    assert result["cycles"][2]["per_class_iou"]["lamp"] is None
    from s4al.scorer.engines.model_card import read_model

    _, card = read_model(run.stage(2, "export") / "model.onnx")
    assert card.class_names == ("wall", "box", "lamp")


def test_the_test_regions_give_a_miou_with_its_interval(finished, capsys: pytest.CaptureFixture[str]) -> None:
    run, _, result = finished
    tests = run.test_regions(0)
    for row in result["cycles"]:
        low, high = row["miou_interval"]
        assert 0 <= low <= row["miou"] <= high <= 1 and row["test_regions"] == len(tests)
    evaluation = json.loads((run.stage(1, "train") / "evaluation.json").read_bytes())
    assert evaluation["split"] == "regions"
    assert evaluation["test"] == {"regions": len(tests), "interval": result["cycles"][1]["miou_interval"]}
    assert np.sum(evaluation["confusion"]) <= sum(region.pixels for region in tests)
    assert s4al(["status", str(run.root)]) == 0
    assert f"on {len(tests)} random regions" in " ".join(capsys.readouterr().out.split())


def test_the_network_guesses_for_later_rounds(finished) -> None:
    run, _, _ = finished
    round = Round(run, 2)
    assert len(round.queries) == IMAGES
    for query in round.queries:
        guess, doubt = round.guess(query), round.uncertainty(query)
        assert guess is not None and doubt is not None
        assert guess.shape == doubt.shape == query.shape and guess.max() < 2
    assert [query.number for query in round.queries] == list(range(len(round.queries)))
    scores = [query.score for query in round.queries]
    assert scores == sorted(scores, reverse=True)


def test_asking_again_gives_the_same_bytes(finished, tmp_path: Path) -> None:
    run, _, _ = finished
    again = Run(tmp_path / "run", run.config)
    shutil.copytree(run.root, again.root, ignore=lambda folder, names: {"ask"} if folder.endswith("002") else set())
    ask_selected(again, 2, EngineRequest(), watch=Watch())
    folder = again.stage(2, "ask")
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert len(names) == 2 * IMAGES + 2
    assert all((folder / name).read_bytes() == (run.stage(2, "ask") / name).read_bytes() for name in names)


def test_predict_goes_on_with_the_classes_of_the_cycle(finished, folder: Path, tmp_path: Path) -> None:
    run, _, _ = finished
    for cycle, names in ((0, ["wall", "box"]), (2, ["wall", "box", "lamp"])):
        out = tmp_path / f"out{cycle}"
        arguments = ["predict", str(run.root), "--images", str(folder), "--out", str(out), "--cycle", str(cycle)]
        assert s4al([*arguments, "--no-overlays", "--json"]) == 0
        assert [each["name"] for each in json.loads((out / "classes.json").read_bytes())["classes"]] == names


def test_without_people_the_way_to_label_is_offered(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert s4al(["train", str(tmp_path / "run"), "--data", str(folder), "data.classes=wall,box"]) == 4
    said = capsys.readouterr().err
    assert "no masks were found" in said and "data.oracle=people" in said
    assert not (tmp_path / "run").exists()
    assert s4al(["check", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["command"].endswith("data.oracle=people")


def test_settings_may_change_until_somebody_has_answered(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "run"
    command = ["train", str(root), "--data", str(folder), "data.oracle=people", *SMALL]
    assert s4al([*command, "data.test_regions=0"]) == 3
    run = Run.open(root)
    assert {region.purpose for region in read_questions(run, 0)} == {"train"}
    assert s4al([*command, "data.start_regions=2", "data.classes=wall,box"]) == 3
    assert "they are replaced" in capsys.readouterr().err
    run = Run.open(root)
    assert run.class_names == ["wall", "box"]
    store = AnswerStore(Round.open(run))
    query = store.round.queries[0]
    store.save(query, truth_of(query), annotator="ann", seconds=1, tool="script")
    assert s4al([*command, "data.start_regions=3"]) == 2
    assert "was begun with other settings" in capsys.readouterr().err
    assert files.read_manifest(run.stage(0, "ask"))["stage"] == "ask"
    assert store.first(query) is not None
