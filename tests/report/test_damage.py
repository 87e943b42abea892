"""Damaged and unfinished runs: what is there is shown, what is missing is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from s4al.cli.app import run as s4al
from s4al.errors import ConfigError, RunStateError
from s4al.report.collect import collect
from s4al.report.sources import Gaps, Rows, Sample, read_document, spread_over
from s4al.report.write import write_report
from s4al.run.state import STAGES, Run
from s4al.sealed import seal_text
from tests.report.make_run import make_run

Damage = Callable[[Path], None]


def _cut(name: str) -> Damage:
    def damage(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def _write(name: str, text: str) -> Damage:
    def damage(root: Path) -> None:
        (root / name).write_text(text)

    return damage


def _remove(name: str) -> Damage:
    return lambda root: (root / name).unlink()


ONE, ZERO = "cycles/001", "cycles/000"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "pool cut": (_cut("pool.parquet"), "The pool cannot be shown"),
    "pool gone": (_remove("pool.parquet"), "The pool cannot be shown"),
    "classes gone": (_remove("classes.json"), "The classes cannot be shown"),
    "classes without colours": (
        _write("classes.json", '{"names": ["a"], "palette": []}'),
        "The classes cannot be shown",
    ),
    "labels cut": (_cut(f"{ONE}/labels/regions.parquet"), "The labels of cycle 1 cannot be shown"),
    "mask gone": (_remove(f"{ZERO}/labels/masks/a.png"), "The labels of cycle 0 cannot be shown"),
    "mask cut": (_cut(f"{ONE}/labels/masks/b.png"), "The labels of cycle 1 cannot be shown"),
    "test gone": (_remove(f"{ONE}/train/evaluation.json"), "The test of cycle 1 cannot be shown"),
    "test is no JSON": (_write(f"{ONE}/train/evaluation.json", "{"), "The test of cycle 1 cannot be shown"),
    "test is a list": (_write(f"{ONE}/train/evaluation.json", "[]"), "The test of cycle 1 cannot be shown"),
    "test without mIoU": (_write(f"{ONE}/train/evaluation.json", "{}"), "The test of cycle 1 cannot be shown"),
    "test of other classes": (
        _write(f"{ONE}/train/evaluation.json", '{"miou": 0.5, "confusion": [[1]]}'),
        "a confusion matrix of shape (1, 1) for 3 classes",
    ),
    "test very deep": (_write(f"{ONE}/train/evaluation.json", "[" * 100_000), "The test of cycle 1 cannot be shown"),
    "example gone": (_remove(f"{ONE}/train/examples/0.png"), "The pictures of the test cannot be shown"),
    "scores cut": (_cut(f"{ONE}/score/shard-00000.parquet"), "The pseudo-labels of cycle 1 cannot be shown"),
    "pseudo-labels cut": (_cut(f"{ONE}/pseudo/masks.npy"), "The pseudo-labels of cycle 1 cannot be shown"),
    "selection gone": (_remove(f"{ZERO}/select/selections.parquet"), "What cycle 0 asked for cannot be shown"),
    "manifest is no JSON": (
        _write(f"{ZERO}/select/manifest.json", "nothing"),
        "What cycle 0 asked for cannot be shown",
    ),
    "times are no JSON": (_write("logs/clock.json", "nothing"), "The times cannot be shown"),
    "times are numbers": (_write("logs/clock.json", '{"001/train": 3}'), "The times of cycle 1 cannot be shown"),
    "times are words": (_write("logs/clock.json", '{"001/train": {"seconds": "long"}}'), "The times of cycle 1 cannot"),
    "times are endless": (_write("logs/clock.json", '{"001/score": {"images_per_s": NaN}}'), "not finite"),
    "too many classes": (
        _write("classes.json", json.dumps({"names": list("ab" * 200), "palette": [[0, 0, 0]] * 400})),
        "The classes cannot be shown",
    ),
    "machine of another form": (_write("logs/machine.json", '{"versions": [1]}'), "The machine cannot be shown"),
    "machine is no JSON": (_write("logs/machine.json", "nothing"), "The machine cannot be shown"),
    "pictures gone": (_remove("cache/train/images.npy"), "The pictures of what was asked cannot be shown"),
    "test pictures cut": (_cut("cache/test/images.npy"), "The pictures of the test cannot be shown"),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("sound") / "run").root


@pytest.mark.parametrize("case", DAMAGES)
def test_damage_costs_its_part_and_is_said(case: str, sound: Path, tmp_path: Path) -> None:
    damage, sentence = DAMAGES[case]
    root = tmp_path / "run"
    shutil.copytree(sound, root)
    damage(root)
    written = write_report([root])
    assert any(sentence in gap for gap in written.runs[0].gaps), written.runs[0].gaps
    assert all("Traceback" not in gap for gap in written.runs[0].gaps)
    page = written.page.read_text("utf-8")
    assert 'id="missing"' in page and 'id="repeat"' in page
    assert any(cycle.miou == 0.4 for cycle in written.runs[0].cycles)  # the other cycle is still there


def test_a_sound_run_has_no_gaps(sound: Path, tmp_path: Path) -> None:
    written = write_report([sound], tmp_path / "page.html")
    assert written.runs[0].gaps == []
    assert 'id="missing"' not in written.page.read_text("utf-8")


@pytest.mark.parametrize("last", [*STAGES, "nothing"])
def test_a_run_is_shown_as_far_as_it_is(last: str, sound: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    shutil.copytree(sound, root)
    shutil.rmtree(root / "cycles" / "001")
    for stage in STAGES[STAGES.index(last) + 1 if last in STAGES else 0 :]:
        shutil.rmtree(root / "cycles" / "000" / stage)
    written = write_report([root])
    gaps = written.runs[0].gaps
    missing = list(STAGES[STAGES.index(last) + 1 :]) if last in STAGES else []
    if last == "nothing":
        assert gaps == ["Nothing is labelled yet, so there is nothing to show."]
    else:
        assert "1 of 2 planned cycles has not begun." in gaps
        assert any(gap.startswith("Cycle 0 is not finished") for gap in gaps) == bool(missing)
    tested = last in STAGES[1:]
    assert written.answer["answer"].get("mIoU", "").startswith("40.0 %") == tested
    assert written.page.stat().st_size > 10_000


def test_a_run_that_has_read_nothing(tmp_path: Path) -> None:
    from s4al.config import resolve

    Run.create(tmp_path / "run", resolve("demo"))
    gaps = write_report([tmp_path / "run"]).runs[0].gaps
    assert gaps[-1] == "Nothing is labelled yet, so there is nothing to show."


def test_what_is_no_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert s4al(["report", str(tmp_path)]) == 5
    assert "is not a run" in capsys.readouterr().err
    (tmp_path / "run.toml").write_text(seal_text("[run"))
    with pytest.raises(ConfigError, match=r"run\.toml"):
        collect(tmp_path)


def test_an_earlier_version_wrote_less(sound: Path, tmp_path: Path) -> None:
    """No predictions of test images, no machine, no confusion matrix."""
    root = tmp_path / "run"
    shutil.copytree(sound, root)
    test = root / ONE / "train" / "evaluation.json"
    about = json.loads(test.read_bytes())
    test.write_text(json.dumps({key: about[key] for key in ("miou", "per_class_iou")}))
    written = write_report([root])
    page = written.page.read_text("utf-8")
    assert written.runs[0].gaps == []
    assert "Predictions of test images were not recorded" in page
    assert written.runs[0].machine is None and written.runs[0].confusion is None


# --------------------------------------------------------------------------------------------------- reading


def test_documents_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s4al.report.sources._LARGEST_DOCUMENT", 2**20)
    (tmp_path / "large.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(RunStateError, match="larger than 1 MiB"):
        read_document(tmp_path / "large.json")


def test_rows_are_read_by_position_and_checked(tmp_path: Path) -> None:
    import numpy as np

    array = np.arange(24, dtype=np.uint8).reshape(4, 2, 3)
    np.save(tmp_path / "rows.npy", array)
    with Rows(tmp_path / "rows.npy") as rows:
        assert (rows.count, rows.shape) == (4, (2, 3))
        assert np.array_equal(rows.read(2), array[2])
        with pytest.raises(IndexError):
            rows.read(4)
    np.save(tmp_path / "wide.npy", array.astype(np.int64))
    with pytest.raises(RunStateError, match="damaged"):
        Rows(tmp_path / "wide.npy")


def test_a_sample_does_not_depend_on_order() -> None:
    names = [f"image-{index}" for index in range(500)]
    forward, backward, everything = Sample(20), Sample(20), Sample(500)
    for name in names:
        forward.offer(name)
        everything.offer(name)
    for name in reversed(names):
        backward.offer(name)
    assert forward.names == backward.names and len(forward.names) == 20
    assert not forward.seen_all and everything.seen_all
    assert everything.names == sorted(names)


def test_positions_are_spread_evenly() -> None:
    assert spread_over(3, 10) == [0, 1, 2]
    assert spread_over(100, 4) == [0, 25, 50, 75]
    assert spread_over(0, 4) == []


def test_a_gap_is_said_once() -> None:
    gaps = Gaps()
    for _ in range(2):
        with gaps.part("This"):
            raise KeyError("name")
    assert gaps.sentences == ["This cannot be shown: a file is damaged (KeyError: 'name')."]
