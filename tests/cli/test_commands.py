"""Every command on a run, through the command line: what stands on stdout, on stderr and on disk.

The network is three convolutions, committed as if it had been trained; everything after the training is real.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from s4al import files
from s4al.cli.app import run
from s4al.run.state import Run
from tests.small_models import small_model, small_scoring_network
from tests.tiny import labelled_run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 training images, 3 of them labelled; one cycle, scored and selected."""
    begun, _, _ = labelled_run(tmp_path_factory.mktemp("commands") / "run", "run.cycles=1")
    names = begun.class_names
    with begun.commit(0, "train") as folder:
        files.write_json(folder / "evaluation.json", {"miou": 0.25, "per_class_iou": dict.fromkeys(names, 0.25)})
        (folder / "model.safetensors").write_bytes(b"weights")
    with begun.commit(0, "export") as folder:
        (folder / "model.onnx").write_bytes(small_model(tuple(names)))
    assert run(["score", str(begun.root)]) == 0
    assert run(["select", str(begun.root)]) == 0
    return begun.root


@pytest.fixture
def root(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, of which torch loads the small network too."""

    def load(run: Run, cycle: int) -> object:
        return small_scoring_network(len(run.class_names))

    for module in ("s4al.export.scoring_network", "s4al.export.stage"):
        monkeypatch.setattr(f"{module}.scoring_network", load)
    return Path(shutil.copytree(finished, tmp_path / "run"))


def _json(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int = 0) -> dict[str, Any]:
    """Run a command with --json; stdout has to be one line, one object."""
    capsys.readouterr()
    assert run([*arguments, "--json"]) == code
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def test_train_again_says_that_it_is_finished(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _json(capsys, ["train", str(root)])
    (cycle,) = result["cycles"]
    fields = {"labelled_fraction", "labelled_pixels", "regions", "miou", "per_class_iou", "train_s", "engine"}
    assert cycle.keys() >= fields | {"cycle", "score_images_per_s"}
    assert (cycle["cycle"], cycle["labelled_fraction"], cycle["regions"]) == (0, 0.25, 0)
    assert cycle["labelled_pixels"] == 3 * 48 * 64


def test_train_shows_a_table_and_where_to_look(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", str(root)]) == 0
    captured = capsys.readouterr()
    assert "25.0 %" in captured.out
    for name in ("selections.parquet", "model.onnx"):
        line = next(line for line in captured.out.splitlines() if name in line)
        assert Path(line.partition(":")[2].strip()).is_file()
    assert "finished" in captured.err


def test_train_with_other_settings_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = _json(capsys, ["train", str(root), "trainer.lr=0.5"], code=2)["error"]
    assert "trainer.lr" in problem["what"]
    assert "0.5" in problem["what"]


def test_score_of_a_scored_pool_costs_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _json(capsys, ["score", str(root), "--metric", "margin"])
    assert (result["images"], result["quarantined"], result["images_per_s"]) == (9, 0, None)
    assert result["out"] == str(root / "cycles" / "000" / "score")
    scores = [row["margin"] for row in result["hardest"]]
    assert result["metric"] == "margin"
    assert scores == sorted(scores, reverse=True)
    shards = sorted((root / "cycles" / "000" / "score").glob("shard-*.parquet"))
    assert scores[0] == max(max(files.read_table(shard)["margin"].to_pylist()) for shard in shards)


def test_score_into_one_file(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "copy"
    assert _json(capsys, ["score", str(root), "--out", str(out)])["out"] == str(out)
    files.verify_folder(out)
    shards = sorted((root / "cycles" / "000" / "score").glob("shard-*.parquet"))
    assert len(shards) > 1
    rows = [row for shard in shards for row in files.read_table(shard).to_pylist()]
    assert files.read_table(out / "scores.parquet").to_pylist() == rows
    assert "exists" in _json(capsys, ["score", str(root), "--out", str(out)], code=5)["error"]["what"]


def test_score_of_another_folder(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = tmp_path / "photos [new]"
    shutil.copytree(root / "scenes" / "test" / "images", images)
    (images / "broken.png").write_bytes(b"\x89PNG")
    result = _json(capsys, ["score", str(root), "--images", str(images)])
    assert (result["images"], result["quarantined"]) == (3, 1)
    assert result["images_per_s"] > 0
    assert result["out"] == str(root / "scored" / "photos [new]-cycle-000")
    assert files.read_table(Path(result["out"]) / "quarantine.parquet")["path"].to_pylist() == ["broken.png"]
    assert "exists" in _json(capsys, ["score", str(root), "--images", str(images)], code=5)["error"]["what"]


def test_score_again_with_the_torch_engine(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for stage in ("score", "pseudo", "select"):
        shutil.rmtree(root / "cycles" / "000" / stage)
    result = _json(capsys, ["score", str(root), "--engine", "torch", "--device", "cpu"])
    assert (result["engine"], result["images"]) == ("torch", 9)


def test_select_with_other_settings(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["select", str(root), "--strategy", "global", "--metric", "margin", "--budget-pixels", "250"]
    assert _json(capsys, arguments, code=5)["error"]["exit_code"] == 5  # it has selected already
    shutil.rmtree(root / "cycles" / "000" / "select")
    result = _json(capsys, arguments)
    assert (result["strategy"], result["metric"]) == ("global", "margin")
    assert 0 < result["pixels"] <= 250
    assert files.read_table(Path(result["out"])).num_rows == result["regions"]


def test_export_goes_into_the_run_or_where_it_is_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = _json(capsys, ["export", str(root), "--cycle", "0"])
    assert inside["out"] == str(root / "exported" / "cycle-000-fp32.onnx")
    assert Path(inside["out"]).stat().st_size == inside["bytes"]
    assert inside["parity"]["label_agreement"] > 0.999
    with files.run_lock(root, "train"):  # beside a training
        outside = _json(capsys, ["export", str(root), "--out", str(tmp_path / "here.onnx")])
    assert (tmp_path / "here.onnx").read_bytes() == Path(inside["out"]).read_bytes()
    assert outside["cycle"] == 0


@pytest.mark.parametrize("command", ["train", "score", "select", "export"])
def test_a_run_in_use_is_left_alone(command: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with files.run_lock(root, "train"):
        problem = _json(capsys, [command, str(root)], code=5)["error"]
    assert "is in use by process" in problem["what"]


@pytest.mark.parametrize("command", ["score", "select", "export", "profile"])
def test_a_stage_before_its_time(command: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(root / "cycles")
    problem = _json(capsys, [command, str(root)], code=5)["error"]
    assert "stage yet" in problem["what"]
    assert problem["remedy"] == f"Run: s4al train {root}"


def test_a_cycle_that_is_not_there(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Cycle 7 " in _json(capsys, ["score", str(root), "--cycle", "7"], code=5)["error"]["what"]


def test_profile(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _json(capsys, ["profile", str(root), "--engine", "ort", "--images", "8"])
    (engine,) = result["engines"]
    assert engine["engine"] == "ort"
    assert engine["images_per_s"] > 0 < result["baseline"]["images_per_s"]
    assert result["decode_ms_per_image"] > 0
    assert {"name", "ms_per_image", "share"} <= engine["stages"][0].keys()
    assert sum(stage["share"] for stage in engine["stages"]) == pytest.approx(1.0, abs=0.05)
    assert run(["profile", str(root), "--engine", "ort", "--images", "8"]) == 0
    assert "published acquisition loop" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["status", "score", "select"])
def test_answers_for_people(command: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, str(root)]) == 0
    captured = capsys.readouterr()
    assert str(root) in captured.out
    assert "Traceback" not in captured.err
