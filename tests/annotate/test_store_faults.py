"""An answer that somebody was told is saved stays saved, whatever happens next."""

from __future__ import annotations

import errno
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from s4al import files
from s4al.annotate import store as store_module
from s4al.annotate.commit import commit_answers
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.data import load_pool
from s4al.errors import AnswerError, RunStateError, StorageError
from s4al.run.state import Run
from tests.annotate.rounds import make_round
from tests.annotate.saver import labels_of

KILLS = 200
REGIONS = tuple((f"image {number % 7}", (0, number, 6, number + 5)) for number in range(50))


@pytest.fixture
def store(tmp_path: Path) -> AnswerStore:
    return AnswerStore(make_round(tmp_path, regions=REGIONS, guesses=False))


def save(store: AnswerStore, number: int, seed: int = 0, annotator: str = "ann"):
    query = store.round.query(number)
    return store.save(query, labels_of(query, seed), annotator=annotator, seconds=1.5, tool="page")


def again(store: AnswerStore) -> AnswerStore:
    """What another process sees."""
    return AnswerStore(Round.open(Run.open(store.round.run.root)))


@pytest.fixture
def saver(store: AnswerStore) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.annotate.saver", str(store.round.run.root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.stdin.close()


def killed_after(saver: subprocess.Popen[str], begins: int, delay_s: float) -> list[list]:
    assert saver.stdin is not None and saver.stdout is not None
    saver.stdin.write(f"{begins} {delay_s}\n")
    saver.stdin.flush()
    return json.loads(saver.stdout.readline())


@pytest.mark.slow
def test_200_kills_lose_no_answer_that_was_told_saved_and_count_none_twice(store, saver) -> None:
    """After each death: of every region and person the last answer told, or the one that was under way."""
    rng, told, told_in_all = random.Random(0), {}, 0
    for _ in range(KILLS):
        done = killed_after(saver, rng.randint(1, 5), rng.uniform(0.0, 0.02))
        under_way = {}
        for word, number, annotator, seed in done:
            if word == "begin":
                under_way = {(number, annotator): seed}
            else:
                told[number, annotator], under_way = seed, {}
                told_in_all += 1
        found = again(store)
        answers = {}
        for query in found.round.queries:
            for answer in (found.first(query), found.second(query)):
                if answer is not None:
                    key = (query.number, answer.annotator)
                    assert key not in answers
                    answers[key] = found.labels(answer)
        for key, seed in told.items():
            expected = [labels_of(found.round.query(key[0]), each) for each in {seed, under_way.get(key, seed)}]
            assert any((answers[key] == labels).all() for labels in expected), key
        assert answers.keys() <= told.keys() | under_way.keys()
        progress = found.progress()
        regions = {number for number, _ in answers}
        assert progress.answered == len(regions)
        assert progress.pixels == 30 * len(regions)
        assert progress.seconds == len(answers) == progress.answered + progress.twice
        told |= {key: seed for key, seed in under_way.items() if key in answers and _is(found, answers[key], key, seed)}
    assert told_in_all >= KILLS


def _is(store: AnswerStore, labels: np.ndarray, key: tuple[int, str], seed: int) -> bool:
    return bool((labels == labels_of(store.round.query(key[0]), seed)).all())


class Died(BaseException):
    """Instead of a kill, where the moment has to be exact."""


@pytest.mark.parametrize("change", ["save", "replace", "second", "skip", "reopen", "class"])
def test_death_before_every_durable_operation_leaves_the_old_or_the_new(store, monkeypatch, change) -> None:
    query, real = store.round.query(0), files._fsync
    if change != "save":
        save(store, 0, seed=1)
    before = store.first(query)

    def make(store: AnswerStore) -> None:
        if change == "skip":
            store.skip(query, annotator="ann", seconds=1, tool="page")
        elif change == "reopen":
            store.reopen(query)
        elif change == "class":
            if "dog" not in store.round.class_names:  # the line may be there, though nobody was told
                store.add_class("dog")
        else:
            save(store, 0, seed=2, annotator="bob" if change == "second" else "ann")

    for die_at in range(10):
        operations = iter(range(100))

        def fsync(descriptor: int, operations=operations, die_at=die_at) -> None:
            if next(operations) == die_at:
                raise Died
            real(descriptor)

        monkeypatch.setattr(files, "_fsync", fsync)
        died = False
        try:
            make(again(store))
        except Died:
            died = True
        monkeypatch.setattr(files, "_fsync", real)
        found = again(store)
        first, progress = found.first(query), found.progress()
        assert progress.answered + progress.skipped == (first is not None)
        if first is not None and not first.skipped:
            assert found.labels(first).shape == query.shape
        if first == before and change not in ("second", "class"):
            assert died
        if not died:
            break
    assert not died
    assert die_at >= 1
    assert (first == before) == (change in ("second", "class"))
    assert (found.second(query) is not None) == (change == "second")
    assert ("dog" in found.round.class_names) == (change == "class")


def test_the_picture_is_on_the_disk_before_the_line_that_names_it(store, monkeypatch) -> None:
    """In this order: then a power cut leaves no line without its picture."""
    synced, real = [], files._fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().relative_to(store.folder).as_posix())
        real(descriptor)

    monkeypatch.setattr(files, "_fsync", fsync)
    save(store, 0)
    assert synced[:2] == ["answers/image 0/0.png", "answers/image 0"]
    assert synced[-2:] == ["answers.jsonl", "."]
    assert {"answers", "."} <= set(synced[2:-2])
    synced.clear()
    save(store, 0, seed=1)
    assert synced == ["answers/image 0/0-1.png", "answers/image 0", "answers.jsonl"]


@pytest.mark.parametrize("tail", [b"{", b'{"query": "r001-000001", "annotator"', b"\0" * 100, b"\xff\xfe"])
def test_a_torn_last_line_is_left_out_and_overwritten(store, tail) -> None:
    save(store, 0)
    path = store.folder / "answers.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    found = again(store)
    assert found.progress().answered == 1
    save(found, 1)
    assert path.read_bytes().startswith(whole)
    assert [json.loads(line)["query"] for line in path.read_bytes().splitlines()] == ["r001-000000", "r001-000001"]
    assert again(store).progress().answered == store.progress().answered == 2


@pytest.mark.parametrize("line", [b"no json\n", b"[1]\n", b'{"query": "r001-000001"}\n', b"{}\n", b"\xff\n"])
def test_a_damaged_line_that_no_crash_explains_is_named(store, line) -> None:
    save(store, 0)
    path = store.folder / "answers.jsonl"
    path.write_bytes(path.read_bytes() + line)
    for found in (store, again(store)):
        for _ in range(2):  # it does not go away by looking
            with pytest.raises(RunStateError, match=r"Line 2 of .*answers\.jsonl is damaged"):
                found.progress()
        with pytest.raises(RunStateError, match="Line 2"):
            save(found, 1)
    assert path.read_bytes().endswith(line)


def test_a_damaged_class_is_named(store) -> None:
    store.add_class("dog")
    path = store.folder / "classes.jsonl"
    path.write_bytes(path.read_bytes() + b'{"name": "cat"}\n')
    with pytest.raises(RunStateError, match=r"Line 2 of .*classes\.jsonl is damaged"):
        _ = again(store).round.class_names


@pytest.mark.parametrize("fails_at", range(5))
def test_a_full_disk_says_so_and_loses_nothing(store, monkeypatch, fails_at) -> None:
    kept = save(store, 0, seed=1)
    operations, real = iter(range(100)), files._fsync

    def fsync(descriptor: int) -> None:
        if next(operations) >= fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(files, "_fsync", fsync)
    told = []
    for number, seed in ((0, 2), (10, 3), (11, 4)):
        try:
            told.append((number, seed, save(store, number, seed)))
        except StorageError as error:
            assert error.what.startswith("No space left on the device while saving the answer to r001-0000")
            assert error.kept == "All answers that were saved are kept."
            assert "Free space" in error.remedy
    assert len(told) < 3
    monkeypatch.setattr(files, "_fsync", real)
    for found in (store, again(store)):
        for number, seed, answer in told:
            assert found.first(store.round.query(number)) == answer
            assert (found.labels(answer) == labels_of(store.round.query(number), seed)).all()
        first = found.first(store.round.query(0))
        assert first is not None
        assert (found.labels(first) == labels_of(store.round.query(0), 1 if first == kept else 2)).all()
    assert save(store, 12).annotator == "ann"


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs RLIMIT_FSIZE")
def test_a_line_that_does_not_fit_on_the_disk_is_overwritten_by_the_next(store) -> None:
    """The system stops in the middle of the line; the next process takes its place."""
    save(store, 0)
    limit = (store.folder / "answers.jsonl").stat().st_size + 50
    code = f"""
import resource, signal
from pathlib import Path
from s4al.errors import StorageError
from tests.annotate.test_store_faults import save, Round, Run, AnswerStore
store = AnswerStore(Round.open(Run.open(Path({str(store.round.run.root)!r}))))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    save(store, 1)
except StorageError as error:
    print(error.what)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120)
    assert "larger than the system allows while saving the answer to r001-000001" in done.stdout, done.stderr
    assert store.progress().answered == 1
    save(store, 2)
    assert again(store).progress().answered == 2


def test_a_clock_set_back_changes_nothing(store, monkeypatch) -> None:
    """The later line counts, not the later time."""

    class Clock(datetime):
        now_is = datetime(2030, 1, 1, tzinfo=UTC)

        @classmethod
        def now(cls, tz=None):
            return cls.now_is

    monkeypatch.setattr(store_module, "datetime", Clock)
    early = save(store, 0, seed=1)
    Clock.now_is = datetime(1999, 1, 1, tzinfo=UTC)
    late = save(store, 0, seed=2)
    other = save(store, 1)
    assert (early.time[:4], late.time[:4]) == ("2030", "1999")
    for found in (store, again(store)):
        assert found.first(store.round.query(0)) == late
        assert found.first(store.round.query(1)) == other
        assert (found.progress().answered, found.progress().seconds) == (2, 3.0)


def test_two_processes_at_once_lose_nothing_of_each_other(store) -> None:
    code = """
import sys
from pathlib import Path
from tests.annotate.test_store_faults import save, Round, Run, AnswerStore
store = AnswerStore(Round.open(Run.open(Path(sys.argv[1]))))
for number in range(50):
    save(store, number, seed=number + int(sys.argv[3]), annotator=sys.argv[2])
store.add_class(sys.argv[2])
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    people = {"ann": 0, "bob": 1000}
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(store.round.run.root), name, str(seed)], env=environment)
        for name, seed in people.items()
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    progress = store.progress()
    assert (progress.answered, progress.twice, progress.pixels) == (50, 50, 50 * 30)
    assert {name: done.regions for name, done in progress.by_annotator.items()} == {"ann": 50, "bob": 50}
    assert sorted(store.round.class_names[3:]) == ["ann", "bob"]
    for query in store.round.queries:
        for answer in (store.first(query), store.second(query)):
            assert answer is not None
            expected = labels_of(query, query.number + people[answer.annotator])
            assert (store.labels(answer) == expected).all()


def test_threads_of_one_server_lose_nothing_of_each_other(store) -> None:
    def answer(annotator: str) -> None:
        for number in range(50):
            save(store, number, annotator=annotator)

    threads = [threading.Thread(target=answer, args=(name,)) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    progress = store.progress()
    assert (progress.answered, progress.twice) == (50, 50)
    assert again(store).progress() == progress


def test_an_answer_during_the_commit_is_taken_or_refused_never_lost(store) -> None:
    """Whoever was told "saved" is in the labels."""
    told, refused = [], []
    save(store, 0)

    def answer() -> None:
        for number in range(1, 50):
            try:
                told.append(save(store, number).query)
            except AnswerError as error:
                refused.append(error.what)

    thread = threading.Thread(target=answer)
    thread.start()
    run = store.round.run
    commit_answers(run, load_pool(run.pool_file), finish=True)
    thread.join(timeout=300)
    lines = (run.stage(1, "labels") / "answers.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["query"] for line in lines) == sorted(["r001-000000", *told])
    assert len(told) + len(refused) == 49
    assert all("committed" in what for what in refused)
    assert not store.folder.exists()
