"""Answers become labels: which, with what record, and when not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from s4al import files
from s4al.annotate.commit import Committed, commit_answers
from s4al.annotate.ledger import people_of_run
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.cli.app import run as s4al
from s4al.data import load_pool
from s4al.errors import AnnotationsNeeded, RunStateError
from s4al.run.asking import AskedRegion, commit_questions
from s4al.run.labels import LabelledRegion
from s4al.run.state import Run
from tests.annotate.rounds import NAMES, SIZE, make_round

ALL = range(4)


def commit(run: Run, **more) -> Committed:
    return commit_answers(run, load_pool(run.pool_file), **more)


def answer(store: AnswerStore, number: int, class_id: int = 1, annotator: str = "ann", seconds: float = 2.0):
    query = store.round.query(number)
    return store.save(
        query, np.full(query.shape, class_id, np.uint8), annotator=annotator, seconds=seconds, tool="page"
    )


def skip(store: AnswerStore, number: int):
    return store.skip(store.round.query(number), annotator="ann", seconds=5, tool="page")


def ask_with_tests(root: Path, cycle: int = 0) -> Round:
    """One region to learn from, and two to test with, one of them in the same image."""
    round = make_round(root, cycle=cycle)
    asked = [
        AskedRegion("a", 5, 0, 0, 4, 6, 0.0, 0, "drawn to test with", "test"),
        AskedRegion("a", 7, 20, 20, 24, 26, 0.0, 1, "drawn to start with", "train"),
        AskedRegion("c", 2, 0, 0, 4, 6, 0.0, 2, "drawn to test with", "test"),
    ]
    shutil.rmtree(round.folder)
    commit_questions(round.run, cycle, asked, ())
    return Round.open(round.run)


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(make_round(tmp_path))


def test_every_answer_lands_in_its_box_and_nowhere_else(store: AnswerStore) -> None:
    drawn, expected = np.random.default_rng(0), {}
    for query in store.round.queries:
        labels = drawn.choice(np.array([0, 1, 2, 255], np.uint8), query.shape)
        store.save(query, labels, annotator="ann", seconds=query.number, tool="page")
        mask = expected.setdefault(query.image, np.full(SIZE, 255, np.uint8))
        mask[query.y0 : query.y1, query.x0 : query.x1] = labels
    done = commit(store.round.run)
    run = store.round.run
    assert expected.keys() == {"a", "sub dir/b é", "c"}
    for image, mask in expected.items():
        assert (run.label_mask(1, image) == mask).all()
    assert (done.cycle, done.regions, done.tests, done.skipped, done.returned) == (1, 4, 0, 0, 0)
    assert (done.pixels, done.seconds, done.people) == (150 + 150 + 63 + 1, 6.0, 1)
    regions = [region for region in run.labelled_regions(1) if region.cycle == 1]
    assert [(region.image, region.region, region.source, region.seconds, region.annotator) for region in regions] == [
        ("a", 0, "people", 0.0, "ann"),
        ("a", 1, "people", 1.0, "ann"),
        ("sub dir/b é", 2, "people", 2.0, "ann"),
        ("c", 3, "people", 3.0, "ann"),
    ]
    ledger = run.ledger(1, load_pool(run.pool_file))
    assert (ledger.regions, ledger.labelled_pixels, ledger.seconds) == (4, 364, 6.0)
    assert ledger.total_pixels == 3 * SIZE[0] * SIZE[1]
    files.verify_folder(run.stage(1, "labels"))
    assert not store.folder.exists()


def test_the_same_answers_give_the_same_labels(tmp_path: Path) -> None:
    def label(root: Path) -> dict[str, bytes]:
        store = AnswerStore(make_round(root))
        for number in ALL if root.name == "one" else reversed(ALL):
            answer(store, number, number % 3)
        commit(store.round.run)
        labels = store.round.run.stage(1, "labels")
        paths = [labels / "regions.parquet", labels / "classes.json", *sorted(labels.glob("masks/**/*.png"))]
        return {path.relative_to(labels).as_posix(): path.read_bytes() for path in paths}

    assert label(tmp_path / "one") == label(tmp_path / "two")


def test_regions_that_are_left_are_waited_for(store: AnswerStore) -> None:
    answer(store, 0)
    skip(store, 1)
    run = store.round.run
    with pytest.raises(AnnotationsNeeded) as caught:
        commit(run)
    assert caught.value.what == "Cycle 1 waits for people: 1 of 4 regions answered, 1 skipped, 2 left."
    assert caught.value.kept == "Every answer is saved, and everything before is committed."
    for command in ("serve", "export", "finish"):
        assert f"s4al label {command} {run.root}" in caught.value.remedy
    assert caught.value.exit_code == 3
    assert AnswerStore(Round.open(run)).progress().answered == 1


def test_finish_is_offered_only_where_there_is_something_to_go_on_with(store: AnswerStore) -> None:
    for finish in (False, True):
        with pytest.raises(AnnotationsNeeded) as caught:
            commit(store.round.run, finish=finish)
        assert "0 of 4 regions answered" in caught.value.what
        assert "label finish" not in caught.value.remedy
    assert Round.open(store.round.run).cycle == 1


def test_finish_takes_what_is_there_and_the_rest_goes_back_to_the_pool(store: AnswerStore) -> None:
    answer(store, 2)
    skip(store, 0)
    done = commit(store.round.run, finish=True)
    assert (done.regions, done.skipped, done.returned, done.pixels, done.seconds) == (1, 1, 2, 63, 2.0)
    run = store.round.run
    assert [region.region for region in run.labelled_regions(1)] == [2]
    assert [path.name for path in run.stage(1, "labels").glob("masks/**/*.png")] == ["b é.png"]


def test_all_skipped_costs_nothing_and_the_run_goes_on(store: AnswerStore) -> None:
    for number in ALL:
        skip(store, number)
    done = commit(store.round.run)
    assert (done.regions, done.skipped, done.pixels, done.seconds) == (0, 4, 0, 0.0)
    assert store.round.run.labelled_regions(1) == []


def test_a_round_that_asks_nothing_is_over(tmp_path: Path) -> None:
    round = make_round(tmp_path, regions=())
    assert commit(round.run).regions == 0
    assert round.run.is_committed(1, "labels")


@pytest.mark.parametrize("finish", [False, True])
def test_the_first_labels_have_to_hold_something_to_learn(tmp_path: Path, finish: bool) -> None:
    store = AnswerStore(ask_with_tests(tmp_path))
    answer(store, 0)
    answer(store, 2)
    answer(store, 1, 255)
    with pytest.raises(AnnotationsNeeded, match="nothing to learn from") as caught:
        commit(store.round.run, finish=finish)
    assert "label serve" in caught.value.remedy
    skip(store, 1)
    with pytest.raises(AnnotationsNeeded, match="nothing to learn from"):
        commit(store.round.run, finish=finish)
    answer(store, 1, 2)
    assert commit(store.round.run, finish=finish).regions == 1


def test_regions_to_test_with_are_paid_for_kept_apart_and_never_learnt(tmp_path: Path) -> None:
    store = AnswerStore(ask_with_tests(tmp_path))
    for number in range(3):
        answer(store, number, number)
    done = commit(store.round.run)
    run = store.round.run
    assert (done.regions, done.tests, done.pixels, done.seconds) == (1, 2, 72, 6.0)
    mask, test = run.label_mask(0, "a"), run.label_mask(0, "a", only_tests=True)
    assert ((mask != 255).sum(), set(mask[20:24, 20:26].ravel())) == (24, {1})
    assert ((test != 255).sum(), set(test[:4, :6].ravel())) == (24, {0})
    assert not (run.stage(0, "labels") / "masks" / "c.png").exists()
    assert [(region.image, region.source) for region in run.labelled_regions(0)] == [
        ("a", "test"),
        ("a", "people"),
        ("c", "test"),
    ]
    assert [region.region for region in run.training_regions(0)] == [7]
    assert run.ledger(0, load_pool(run.pool_file)).regions == 3


def test_classes_that_people_added_are_committed_with_the_labels(store: AnswerStore) -> None:
    assert store.add_class("dog", (1, 2, 3)) == 3
    for number in ALL:
        answer(store, number, 3)
    commit(store.round.run)
    run = Run.open(store.round.run.root)
    assert run.class_names == [*NAMES, "dog"]
    assert run.palette[3].tolist() == [1, 2, 3]
    assert list(run.classes(0).names) == list(NAMES)
    assert set(run.label_mask(1, "c").ravel()) == {3, 255}


def test_the_record_says_who_when_with_what_and_how_it_was_taken(store: AnswerStore) -> None:
    first, second = answer(store, 0, 0, "ann", 3.0), answer(store, 0, 1, "bob", 4.0)
    answer(store, 1)
    skipped = skip(store, 2)
    commit(store.round.run, finish=True)
    labels = store.round.run.stage(1, "labels")
    lines = [json.loads(line) for line in (labels / "answers.jsonl").read_text().splitlines()]
    assert [(line["query"], line["annotator"], line["second"], line["skipped"]) for line in lines] == [
        ("r001-000000", "ann", False, False),
        ("r001-000000", "bob", True, False),
        ("r001-000001", "ann", False, False),
        ("r001-000002", "ann", False, True),
    ]
    for line, said in ((lines[0], first), (lines[1], second), (lines[3], skipped)):
        for name in ("seconds", "tool", "time", "sha256", "guess", "source", "updated"):
            assert line[name] == getattr(said, name)
    assert (lines[0]["image"], lines[0]["region"], lines[0]["purpose"]) == ("a", 0, "train")
    assert store.round.run.labelled_regions(1)[0].seconds == 7.0  # of both
    assert set(store.round.run.label_mask(1, "a")[10:20, 10:25].ravel()) == {0}  # the first is taken


def test_what_people_did_adds_up_over_the_rounds(store: AnswerStore) -> None:
    run = store.round.run
    answer(store, 0, 0, "ann", 3.0)
    answer(store, 0, 1, "bob", 4.0)
    answer(store, 1, 1, "ann", 1.5)
    assert people_of_run(run, 0) is None
    commit(run, finish=True)
    people = people_of_run(run, 1)
    assert people is not None
    assert people["annotators"] == [
        {"annotator": "ann", "regions": 2, "pixels": 300, "seconds": 4.5},
        {"annotator": "bob", "regions": 1, "pixels": 150, "seconds": 4.0},
    ]
    assert people["classes"] == {"road": 150, "car": 150, "sky": 0}
    assert (people["seconds"], people["skipped"], people["undecided"]) == (8.5, 0, 0)
    assert people["agreement"]["pixel_agreement"] == 0.0
    for stage in ("train", "export", "score", "select"):
        with run.commit(1, stage) as folder:
            (folder / "something").write_text("")
    commit_questions(run, 2, [AskedRegion("c", 9, 0, 0, 2, 5, 0.5, 0, "entropy", "train")], ())
    later = AnswerStore(Round.open(run))
    answer(later, 0, 2, "ann", 1.0)
    answer(later, 0, 2, "bob", 1.0)
    commit(run)
    people = people_of_run(run, 2)
    assert people is not None
    assert people["annotators"][0] == {"annotator": "ann", "regions": 3, "pixels": 310, "seconds": 5.5}
    assert people["classes"] == {"road": 150, "car": 150, "sky": 10}
    agreement = people["agreement"]
    assert (agreement["regions"], agreement["pixels"], agreement["agreed"]) == (2, 160, 10)
    assert agreement["iou"] == {"road": 0.0, "car": 0.0, "sky": 1.0}
    assert agreement["mean_iou"] == pytest.approx(1 / 3)


def test_a_damaged_record_is_named(store: AnswerStore) -> None:
    answer(store, 0)
    commit(store.round.run, finish=True)
    (store.round.run.stage(1, "labels") / "people.json").write_text("{}")
    with pytest.raises(RunStateError, match="What people did"):
        people_of_run(store.round.run, 1)


@pytest.mark.parametrize("name", ["regions.parquet", "masks/a.png"])
def test_nobody_is_told_to_delete_what_people_answered(store: AnswerStore, name: str) -> None:
    answer(store, 0)
    run = store.round.run
    commit(run, finish=True)
    path = run.stage(1, "labels") / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RunStateError, match=path.name) as caught:
        run.labelled_regions(1)
        run.label_mask(1, "a")
    assert "Delete" not in str(caught.value)
    assert "Restore" in caught.value.remedy


def test_labels_of_runs_from_before_people_had_names_are_read(store: AnswerStore) -> None:
    run = store.round.run
    row = {
        "image": "a",
        "region": 0,
        "y0": 0,
        "x0": 0,
        "y1": 1,
        "x1": 2,
        "cycle": 1,
        "source": "oracle",
        "seconds": 0.0,
    }
    with run.commit(1, "labels") as folder:
        files.write_table(folder / "regions.parquet", pa.Table.from_pylist([row]))
    assert run.labelled_regions(1) == [LabelledRegion("a", 0, 0, 0, 1, 2, 1, "oracle", 0.0, "")]


class TestCommands:
    """`s4al label status` and `finish`."""

    def test_status_says_how_far_it_is_and_changes_nothing(self, store: AnswerStore, capsys) -> None:
        answer(store, 0, 0, "ann", 90.0)
        answer(store, 0, 1, "[bold]bob", 30.0)
        skip(store, 3)
        root = str(store.round.run.root)
        before = sorted(store.round.run.root.rglob("*"))
        assert s4al(["label", "status", root, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert {name: result[name] for name in ("cycle", "asked", "answered", "skipped", "left", "pixels")} == {
            "cycle": 1,
            "asked": 4,
            "answered": 1,
            "skipped": 1,
            "left": 2,
            "pixels": 150,
        }
        assert result["seconds"] == 120.0
        assert result["agreement"]["mean_iou"] == 0.0
        assert result["next"] == f"s4al label serve {root}"
        assert s4al(["label", "status", root]) == 0
        shown = capsys.readouterr().out
        for text in ("1 of 4 regions answered, 1 skipped, 2 left", "[bold]bob", "1 min 30 s", "label serve", "0.0 %"):
            assert text in shown
        assert sorted(store.round.run.root.rglob("*")) == before

    def test_when_all_is_answered_the_next_step_is_training(self, store: AnswerStore, capsys) -> None:
        for number in ALL:
            answer(store, number)
        assert s4al(["label", "status", str(store.round.run.root), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["next"] == f"s4al train {store.round.run.root}"

    def test_finish(self, store: AnswerStore, capsys) -> None:
        answer(store, 0)
        root = str(store.round.run.root)
        assert s4al(["label", "finish", root]) == 0
        shown = capsys.readouterr().out
        assert "Labels of cycle 1: 1 region (1 person, 2.0 s)" in shown
        assert "3 regions to the pool" in shown
        assert f"s4al train {root}" in shown
        assert s4al(["label", "finish", root]) == 5
        assert "asks for no regions; the labels of cycle 1 are committed" in capsys.readouterr().err

    def test_finish_as_json(self, store: AnswerStore, capsys) -> None:
        answer(store, 0)
        assert s4al(["label", "finish", str(store.round.run.root), "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["cycle"], result["regions"], result["returned"], result["people"]) == (1, 1, 3, 1)

    def test_finish_without_an_answer_waits(self, store: AnswerStore, capsys) -> None:
        assert s4al(["label", "finish", str(store.round.run.root)]) == 3
        assert capsys.readouterr().err.startswith("Waiting: Cycle 1 waits for people: 0 of 4 regions answered")

    def test_finish_beside_a_training_says_who_is_there(self, store: AnswerStore, capsys) -> None:
        answer(store, 0)
        with files.run_lock(store.round.run.root, "train"):
            assert s4al(["label", "finish", str(store.round.run.root)]) == 5
        assert "in use by process" in capsys.readouterr().err
        assert store.progress().answered == 1

    @pytest.mark.parametrize("command", ["status", "finish"])
    def test_a_folder_that_is_no_run(self, tmp_path: Path, command: str, capsys) -> None:
        assert s4al(["label", command, str(tmp_path)]) == 5
        assert "is not a run" in capsys.readouterr().err
