"""One answer a region that counts, whoever gives it and in whatever order."""

from __future__ import annotations

import errno
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from s4al import files
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.data.masks.reader import read_own_mask
from s4al.errors import AnswerError, RunStateError, StorageError
from tests.annotate.rounds import NAMES, make_round


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return make_round(tmp_path)


@pytest.fixture
def store(round: Round) -> AnswerStore:
    return AnswerStore(round)


def labels(store: AnswerStore, number: int, seed: int = 0) -> np.ndarray:
    """Random classes, and some pixels left open."""
    drawn = np.random.default_rng(seed).integers(0, 4, store.round.query(number).shape, np.uint8)
    return np.where(drawn == 3, 255, drawn).astype(np.uint8)


def save(store: AnswerStore, number: int, annotator: str = "ann", seed: int = 0, **more):
    more = {"seconds": 2.5, "tool": "page", **more}
    return store.save(store.round.query(number), labels(store, number, seed), annotator=annotator, **more)


def test_what_is_saved_is_read_again_by_another_process_as_well(store: AnswerStore, round: Round) -> None:
    answer = save(store, 2, guess="cycle 0")
    other = AnswerStore(Round.open(round.run))
    assert other.first(round.query(2)) == answer
    assert (other.labels(answer) == labels(store, 2)).all()
    assert (answer.query, answer.annotator, answer.seconds, answer.tool) == ("r001-000002", "ann", 2.5, "page")
    assert (answer.guess, answer.source, answer.updated) == ("cycle 0", "", "")
    assert not answer.second and not answer.skipped
    assert answer.time.endswith("+00:00")


def test_an_answer_lies_where_it_is_said_to(store: AnswerStore, round: Round) -> None:
    answer = save(store, 2)
    path = round.run.root / "cycles" / "001" / ".work-labels" / "answers" / "sub dir" / "b é" / "2.png"
    assert (read_own_mask(path) == labels(store, 2)).all()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == answer.sha256
    (line,) = (path.parents[3] / "answers.jsonl").read_text().splitlines()
    assert json.loads(line)["query"] == "r001-000002"
    assert json.loads(line)["sha256"] == answer.sha256


def test_progress_counts_every_region_once(store: AnswerStore) -> None:
    save(store, 0)
    save(store, 3, annotator="bob", seconds=4)
    store.skip(store.round.query(1), annotator="bob", seconds=9, tool="page")
    progress = store.progress()
    assert (progress.asked, progress.answered, progress.skipped, progress.left) == (4, 2, 1, 1)
    assert (progress.pixels, progress.seconds, progress.twice) == (10 * 15 + 1, 6.5, 0)
    assert {name: (done.regions, done.pixels, done.seconds) for name, done in progress.by_annotator.items()} == {
        "ann": (1, 150, 2.5),
        "bob": (1, 1, 4.0),
    }
    both = np.concatenate([labels(store, 0).ravel(), labels(store, 3).ravel()])
    assert progress.by_class == {name: int((both == id).sum()) for id, name in enumerate(NAMES)}
    assert progress.undecided == (both == 255).sum()


def test_the_same_person_again_replaces_and_never_counts_twice(store: AnswerStore) -> None:
    for seed in range(5):
        answer = save(store, 0, seed=seed, seconds=seed)
        progress = store.progress()
        assert (progress.answered, progress.pixels, progress.seconds) == (1, 150, seed)
        assert (store.labels(answer) == labels(store, 0, seed)).all()
    assert sum(progress.by_class.values()) + progress.undecided == 150
    assert AnswerStore(store.round).progress() == progress
    assert len(list((store.folder / "answers" / "a").iterdir())) <= 3


def test_a_replaced_answer_is_not_read_as_the_new_one(store: AnswerStore) -> None:
    old = save(store, 0)
    save(store, 0, seed=1)
    with pytest.raises(AnswerError, match="replaced"):
        store.labels(old)


def test_somebody_else_gives_the_second_answer_and_the_first_is_taken(store: AnswerStore) -> None:
    query = store.round.query(0)
    first, second = save(store, 0, "ann"), save(store, 0, "bob", seed=1, seconds=7)
    assert (first.second, second.second) == (False, True)
    assert (store.first(query), store.second(query)) == (first, second)
    assert (store.labels(first) == labels(store, 0)).all()
    assert (store.labels(second) == labels(store, 0, 1)).all()
    progress = store.progress()
    assert (progress.answered, progress.pixels, progress.seconds, progress.twice) == (1, 150, 9.5, 1)
    assert {name: done.regions for name, done in progress.by_annotator.items()} == {"ann": 1, "bob": 1}
    again, third = save(store, 0, "bob", seed=2), None
    assert store.second(query) == again
    with pytest.raises(AnswerError, match="two people, 'ann' and 'bob'") as caught:
        third = save(store, 0, "cem")
    assert third is None
    assert "Reopen" in caught.value.remedy
    assert store.progress().twice == 1


@pytest.mark.parametrize(
    ("said", "first", "second"),
    [
        ([("skip", "ann"), ("save", "bob")], ("bob", False), None),
        ([("save", "ann"), ("skip", "ann")], ("ann", True), None),
        ([("skip", "ann"), ("skip", "bob")], ("bob", True), None),
        ([("save", "ann"), ("skip", "bob")], ("ann", False), ("bob", True)),
        ([("save", "ann"), ("skip", "bob"), ("save", "cem")], ("ann", False), ("cem", False)),
        ([("save", "ann"), ("save", "bob"), ("skip", "ann")], ("bob", False), None),
        ([("save", "ann"), ("save", "bob"), ("skip", "ann"), ("save", "ann")], ("bob", False), ("ann", False)),
        ([("save", "ann"), ("save", "bob"), ("reopen", "")], None, None),
        ([("reopen", "")], None, None),
    ],
)
def test_what_counts_after(store: AnswerStore, said, first, second) -> None:
    query = store.round.query(1)
    for deed, who in said:
        if deed == "save":
            save(store, 1, who)
        elif deed == "skip":
            store.skip(query, annotator=who, seconds=1, tool="page")
        else:
            store.reopen(query)
    for each in (store, AnswerStore(store.round)):
        for answer, expected in ((each.first(query), first), (each.second(query), second)):
            assert (answer and (answer.annotator, answer.skipped)) == expected
            if answer and not answer.skipped:
                assert (each.labels(answer) == labels(store, 1)).all()
        progress = each.progress()
        assert progress.answered == bool(first and not first[1])
        assert progress.skipped == bool(first and first[1])
        assert progress.pixels == (150 if progress.answered else 0)


def test_a_skip_has_no_labels(store: AnswerStore) -> None:
    answer = store.skip(store.round.query(0), annotator="ann", seconds=1, tool="page")
    with pytest.raises(AnswerError, match="skipped"):
        store.labels(answer)


def test_the_same_answer_of_another_tool_changes_nothing_even_after_a_correction(store: AnswerStore) -> None:
    """Importing the same file again must not undo what was corrected on the page since."""
    query = store.round.query(0)
    imported = save(store, 0, source="annotation 7", updated="2026-01-01T10:00:00Z", tool="label-studio")
    before = (store.folder / "answers.jsonl").read_bytes()
    assert save(store, 0, seed=9, source="annotation 7", updated="2026-01-01T10:00:00Z") == imported
    assert (store.folder / "answers.jsonl").read_bytes() == before
    corrected = save(store, 0, seed=1)
    assert save(store, 0, source="annotation 7", updated="2026-01-01T10:00:00Z") == corrected
    skipped = store.skip(query, annotator="ann", seconds=0, tool="x", source="annotation 7", updated="2026-01-02")
    assert store.first(query) == skipped
    save(store, 0, seed=1)
    store.skip(query, annotator="ann", seconds=0, tool="x", source="annotation 7", updated="2026-01-02")
    assert (store.labels(store.first(query)) == labels(store, 0, 1)).all()
    newer = save(store, 0, seed=2, source="annotation 7", updated="2026-01-03")
    assert store.first(query) == newer
    store.reopen(query)
    assert save(store, 0, source="annotation 7", updated="2026-01-01T10:00:00Z").source == "annotation 7"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((10, 14), np.uint8), "it is 14 x 10 pixels, its region 15 x 10"),
        (np.zeros((15, 10), np.uint8), "it is 10 x 15 pixels, its region 15 x 10"),
        (np.zeros((10, 15), np.int64), "int64 of shape (10, 15), not uint8"),
        (np.zeros((10, 15, 3), np.uint8), "shape (10, 15, 3)"),
        (np.full((10, 15), 3, np.uint8), "class 3 at 150 pixels, and the run has 3 classes"),
        (np.full((10, 15), 254, np.uint8), "class 254 at 150 pixels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(store: AnswerStore, wrong, says) -> None:
    kept = save(store, 1)
    with pytest.raises(AnswerError) as caught:
        store.save(store.round.query(0), wrong, annotator="ann", seconds=1, tool="page")
    assert says in caught.value.what
    assert "r001-000000 (a, region 0)" in caught.value.what
    assert caught.value.kept and caught.value.remedy
    assert caught.value.exit_code == 4
    assert store.progress().answered == 1
    assert store.first(store.round.query(1)) == kept


@pytest.mark.parametrize("key", [4, -1, 10**9, "r001-000004", "r000-000001", "../../etc/passwd", "", "1"])
def test_a_region_that_nobody_asked_for(round: Round, key) -> None:
    with pytest.raises(AnswerError, match="asks for no region") as caught:
        round.query(key)
    assert repr(key) in caught.value.what


@pytest.mark.parametrize("field", ["annotator", "tool", "guess", "source", "updated"])
@pytest.mark.parametrize(
    "text", ["x" * 201, "a\x1b[31m", "a\nb", "\ud800"], ids=["long", "escape", "line", "surrogate"]
)
def test_texts_that_nobody_could_print_are_refused(store: AnswerStore, field: str, text: str) -> None:
    with pytest.raises(AnswerError, match=f"The {field} of an answer"):
        save(store, 0, **{"annotator": "ann", field: text})
    assert store.progress().answered == 0


@pytest.mark.parametrize("name", ["Zoë", "李雷", "نگار\u200cی", "<b>ann</b>", "a/../b", '"; --', ""])
def test_names_of_people_are_kept_as_they_are(store: AnswerStore, name: str) -> None:
    save(store, 0, name)
    assert list(AnswerStore(store.round).progress().by_annotator) == [name]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(-3600.0, 0.0), (float("nan"), 0.0), (float("inf"), 0.0), (1e9, 86400.0), (0.12345, 0.123), (7, 7.0)],
)
def test_seconds_that_no_clock_can_mean_lose_no_answer(store: AnswerStore, given: float, kept: float) -> None:
    assert save(store, 0, seconds=given).seconds == kept
    assert store.progress().seconds == kept


def test_a_damaged_picture_is_named_and_the_others_stay(store: AnswerStore) -> None:
    damaged, sound = save(store, 0), save(store, 1)
    path = store.folder / "answers" / "a" / "0.png"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RunStateError, match=r"0\.png is not the file that was saved") as caught:
        store.labels(damaged)
    assert "Reopen r001-000000" in caught.value.remedy
    path.unlink()
    with pytest.raises(RunStateError, match=r"0\.png"):
        store.labels(damaged)
    assert store.labels(sound).shape == (10, 15)


def test_nothing_changes_once_the_round_is_committed(store: AnswerStore) -> None:
    save(store, 0)
    store.round.run.commit_labels(1, [], [])
    query = store.round.query(1)
    for change in (
        lambda: save(store, 1),
        lambda: store.skip(query, annotator="ann", seconds=1, tool="page"),
        lambda: store.reopen(store.round.query(0)),
        lambda: store.add_class("dog"),
    ):
        with pytest.raises(AnswerError, match="committed") as caught:
            change()
        assert "newest round" in caught.value.remedy
    assert store.progress().answered == 1


def test_a_late_answer_does_not_make_the_folder_again(store: AnswerStore) -> None:
    store.round.run.commit_labels(1, [], [])
    store.round.run.remove_finished_work()
    with pytest.raises(AnswerError, match="committed"):
        save(store, 0)
    assert not store.folder.exists()


def test_a_round_that_was_asked_anew_takes_no_answers_of_the_old_one(store: AnswerStore, tmp_path: Path) -> None:
    manifest = store.round.folder / files.MANIFEST
    files.write_atomic(manifest, manifest.read_bytes())
    with pytest.raises(AnswerError, match="settings were changed"):
        save(store, 0)


def test_what_people_did_is_never_in_the_way_of_settings_nor_thrown_away(store: AnswerStore) -> None:
    """Neither a new version, nor other settings, nor tidying up may take answers that are not committed."""
    run = store.round.run
    save(store, 0)
    files.remove_leftovers(run.root)
    run.remove_finished_work()
    assert AnswerStore(Round.open(run)).progress().answered == 1
    with pytest.raises(AssertionError):
        run.work_folder(1, "labels")


def test_a_run_with_answers_is_not_empty(tmp_path: Path) -> None:
    first = make_round(tmp_path, cycle=0)
    assert first.run.is_empty
    save(AnswerStore(first), 0)
    assert not first.run.is_empty


class TestTogether:
    """Many answers of one import."""

    def test_all_of_them_count_at_the_end_and_none_before(self, store: AnswerStore) -> None:
        other = AnswerStore(store.round)
        save(store, 3, seed=5)
        with store.together("importing"):
            for number in range(3):
                save(store, number)
            save(store, 0, "bob", seed=1)
            store.skip(store.round.query(3), annotator="ann", seconds=1, tool="x")
            assert store.progress().answered == 3
            assert (store.labels(store.first(store.round.query(0))) == labels(store, 0)).all()
            assert other.progress().answered == 1
        for each in (store, other):
            progress = each.progress()
            assert (progress.answered, progress.skipped, progress.twice) == (3, 1, 1)
            for number in range(3):
                assert (each.labels(each.first(store.round.query(number))) == labels(store, number)).all()

    def test_nothing_counts_where_one_is_refused(self, store: AnswerStore) -> None:
        kept = save(store, 0)
        before = (store.folder / "answers.jsonl").read_bytes()
        with pytest.raises(AnswerError, match="does not fit"), store.together("importing"):
            save(store, 0, seed=1)
            save(store, 1)
            store.save(store.round.query(2), np.zeros((1, 1), np.uint8), annotator="ann", seconds=1, tool="x")
        assert (store.folder / "answers.jsonl").read_bytes() == before
        assert store.progress().answered == 1
        assert (store.labels(kept) == labels(store, 0)).all()
        assert save(store, 1).query == "r001-000001"

    def test_the_same_region_many_times_never_writes_over_what_counts(self, store: AnswerStore) -> None:
        """Until the end the disk says that the old answer counts, so its picture has to stay."""
        kept = save(store, 0)
        with pytest.raises(KeyError), store.together("importing"):
            for seed in range(1, 6):
                save(store, 0, seed=seed)
            raise KeyError
        assert (store.labels(kept) == labels(store, 0)).all()

    def test_a_full_disk_at_the_end_leaves_what_was_there(self, store: AnswerStore, monkeypatch) -> None:
        kept = save(store, 0)

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch, pytest.raises(StorageError, match="while importing"):
            patch.setattr(files, "_fsync", full)
            with store.together("importing"):
                save(store, 0, seed=1)
        assert store.first(store.round.query(0)) == kept
        assert (AnswerStore(store.round).labels(kept) == labels(store, 0)).all()

    def test_the_pictures_are_on_the_disk_before_the_lines(self, store: AnswerStore, monkeypatch) -> None:
        synced, real = [], files._fsync

        def fsync(descriptor: int) -> None:
            synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(store.folder).as_posix())
            real(descriptor)

        monkeypatch.setattr(files, "_fsync", fsync)
        with store.together("importing"):
            save(store, 0)
            save(store, 2)
            assert synced == []
        assert set(synced[:2]) == {"answers/a/0.png", "answers/sub dir/b é/2.png"}
        assert set(synced[2:-2]) == {"answers/a", "answers/sub dir/b é", "answers/sub dir", "answers", "."}
        assert synced[-2:] == ["answers.jsonl", "."]

    def test_the_same_import_again_changes_nothing(self, store: AnswerStore) -> None:
        for _ in range(2):
            with store.together("importing"):
                for number in range(4):
                    save(store, number, source=f"{number}", updated="1")
            after = (store.folder / "answers.jsonl").read_bytes()
            assert after.count(b"\n") == 4
