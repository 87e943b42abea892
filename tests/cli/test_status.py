"""`s4al status` reads a run and changes nothing, whoever else is at work in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from s4al import config, files
from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.cli.app import run
from s4al.cli.cycle import prepare_pool
from s4al.cli.status import read_status
from s4al.run.asking import AskedRegion, commit_questions
from s4al.run.labelling import label_initial_images
from s4al.run.state import STAGES, Run
from s4al.sealed import seal_text
from s4al.watch import Watch

TINY = [
    "run.full_supervision=false",
    "run.random_regions=false",
    "scenes.train=4",
    "scenes.val=1",
    "scenes.test=1",
    "data.labelled_fraction=0.25",
    "run.cycles=2",
]


@pytest.fixture
def begun(tmp_path: Path) -> Run:
    """A run whose first images are labelled."""
    begun = Run.create(tmp_path / "my run", config.resolve("demo", overrides=TINY))
    pool, dataset = prepare_pool(begun, Watch())
    label_initial_images(begun, pool, dataset)
    return begun


def _commit(run: Run, cycle: int, stage: str, miou: float = 0.5) -> None:
    """Commit a stage as far as status looks at it."""
    with run.commit(cycle, stage) as folder:
        if stage == "train":
            files.write_json(folder / "evaluation.json", {"miou": miou})
        if stage == "labels":
            region = {"image": "a", "region": 3, "y0": 0, "x0": 0, "y1": 8, "x1": 8, "cycle": cycle, "source": "oracle"}
            import pyarrow as pa

            files.write_table(folder / "regions.parquet", pa.Table.from_pylist([{**region, "seconds": 0.0}]))


def _tree(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in root.rglob("*")}


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", str(tmp_path)]) == 5
    err = capsys.readouterr().err
    assert "is not a run" in err
    assert "s4al train" in err


def test_a_run_that_has_read_nothing_yet(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", config.resolve("demo"))
    status = read_status(tmp_path / "run")
    assert (status["images"], status["cycles"], status["finished"]) == (None, [], False)
    assert status["next"] == f"s4al train {tmp_path}/run will read the data set"
    (tmp_path / "run" / "faults.csv").touch()
    repair = f", once what {tmp_path}/run/faults.csv lists is repaired"
    assert read_status(tmp_path / "run")["next"] == f"s4al train {tmp_path}/run will read the data set{repair}"


def test_labelled_but_not_trained(begun: Run) -> None:
    status = read_status(begun.root)
    assert status["images"] == 4
    assert status["planned_cycles"] == 2
    labelled = {"cycle": 0, "stages": ["labels"], "labelled_fraction": 0.25, "regions": 0, "seconds": 0.0}
    assert status["cycles"] == [{**labelled, "miou": None, "miou_interval": None, "test_regions": None}]
    assert status["next"] == f"s4al train '{begun.root}' will train cycle 0"
    assert (status["in_use_by"], status["unfinished"]) == (None, [])


def test_every_stage_has_its_next(begun: Run) -> None:
    expected = {
        "train": "export the network of cycle 0",
        "export": "score the pool with the network of cycle 0",
        "score": "select regions with the scores of cycle 0",
        "select": "label what was selected for cycle 1",
    }
    for stage, following in expected.items():
        _commit(begun, 0, stage, miou=0.375)
        if stage == "score":  # committed before it, as the scorer does
            _commit(begun, 0, "pseudo")
        assert read_status(begun.root)["next"] == f"s4al train '{begun.root}' will {following}"
    assert read_status(begun.root)["cycles"][0]["miou"] == 0.375


def test_finished(begun: Run, capsys: pytest.CaptureFixture[str]) -> None:
    _commit(begun, 0, "train")
    for cycle in range(2):
        for stage in STAGES if cycle else STAGES[2:]:
            if stage == "train" and cycle:
                _commit(begun, 0, "pseudo")
            _commit(begun, cycle, stage)
    status = read_status(begun.root)
    assert status["finished"]
    assert status["next"].endswith("--cycles 3")
    total = 4 * 96 * 128
    assert status["cycles"][1]["labelled_fraction"] == pytest.approx(0.25 + 64 / total)
    assert run(["status", str(begun.root)]) == 0
    assert "25.1 %" in capsys.readouterr().out


def test_more_cycles_than_were_planned(begun: Run) -> None:
    """`train --cycles 3` is not written into run.toml."""
    for cycle in range(3):
        for stage in ("labels", "train", "export", "pseudo", "score", "select"):
            if not begun.is_committed(cycle, stage):
                _commit(begun, cycle, stage)
    assert read_status(begun.root)["planned_cycles"] == 3
    assert read_status(begun.root)["next"].endswith("--cycles 4")


def test_full_supervision_is_part_of_the_run(begun: Run, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = config.set_values(begun.config, ["run.full_supervision=true", "run.cycles=1"])
    (begun.root / "run.toml").write_text(seal_text(config.dump(wanted)))
    for stage in STAGES[1:]:
        _commit(begun, 0, stage)
    assert read_status(begun.root)["next"].endswith("will train on every label, to compare with")
    full = Run.create(begun.root / "full", wanted)
    _commit(full, 0, "labels")
    _commit(full, 0, "train", miou=0.75)
    status = read_status(begun.root)
    assert (status["full_supervision_miou"], status["finished"]) == (0.75, True)
    assert run(["status", str(begun.root)]) == 0
    assert "75.0 % with every pixel labelled" in capsys.readouterr().out


def test_an_interrupted_training_says_its_step(begun: Run) -> None:
    for step in (5, 10):
        folder = begun.work_folder(0, "train") / f"step-{step:06d}"
        folder.mkdir()
        files.write_json(folder / "meta.json", {"step": step, "steps": 2000})
    assert read_status(begun.root)["next"].endswith("will train cycle 0 from step 10 of 2,000")


def test_people_are_waited_for(tmp_path: Path) -> None:
    settings = [*TINY, 'data.oracle="people"']
    begun = Run.create(tmp_path / "run", config.resolve("demo", overrides=settings))
    pool, dataset = prepare_pool(begun, Watch())
    label_initial_images(begun, pool, dataset)
    for stage in STAGES[1:]:
        _commit(begun, 0, stage)
    assert read_status(begun.root)["next"].endswith("will ask people for what was selected for cycle 1")
    commit_questions(begun, 1, [AskedRegion("a", 3, 0, 0, 8, 8, 0.5, 0, "entropy", "train")], ())
    status = read_status(begun.root)
    assert status["labelling"] == {"asked": 1, "answered": 0, "skipped": 0, "left": 1}
    assert status["next"] == f"s4al label serve {begun.root} is where people label 1 of 1 regions for cycle 1"
    store = AnswerStore(Round.open(begun))
    store.save(store.round.query(0), np.zeros((8, 8), np.uint8), annotator="ann", seconds=4.0, tool="page")
    assert read_status(begun.root)["next"].endswith("will take the answers of people as the labels of cycle 1")


def test_beside_a_command_that_writes(begun: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with files.run_lock(begun.root, "train"), begun.commit(0, "train"):
        status = read_status(begun.root)
        assert f"process {os.getpid()} " in status["in_use_by"]
        assert "s4al train" in status["in_use_by"]
        assert len(status["unfinished"]) == 1
        assert run(["status", str(begun.root)]) == 0
    assert "In use:" in capsys.readouterr().out


def test_what_a_dead_process_left(begun: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (begun.cycle(0) / ".tmp-train-1").mkdir()
    (begun.cycle(0) / ".tmp-train-1" / ".tmp-x").write_bytes(b"")
    (begun.root / ".lock").write_text(json.dumps({"pid": 2**22 + 1, "host": os.uname().nodename}))
    assert read_status(begun.root)["unfinished"] == ["cycles/000/.tmp-train-1"]
    assert run(["status", str(begun.root)]) == 0
    assert "1 unfinished write" in capsys.readouterr().out


def test_it_changes_nothing(begun: Run) -> None:
    before = _tree(begun.root)
    assert run(["status", str(begun.root), "--json"]) == 0
    assert _tree(begun.root) == before
