"""`s4al predict` through the command line: what stands on stdout, on stderr and on disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from s4al import files
from s4al.cli.app import run
from tests.small_models import commit_export, exported_run, small_scoring_network

NAMES = ["scene-0000.png", "scene-0001.png", "scene-0002.png"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_run(tmp_path_factory.mktemp("predict") / "run").root


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def photos(root: Path, tmp_path: Path) -> Path:
    """Three images, one file that is none, one broken image and one whose name is not UTF-8."""
    folder = tmp_path / "photos [new]"
    shutil.copytree(root / "scenes" / "test" / "images", folder)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    shutil.copy(folder / NAMES[0], folder / os.fsdecode(b"\xff.png"))
    (folder / "notes.txt").write_text("not a picture")
    return folder


def _json(capsys: pytest.CaptureFixture[str], arguments: list[object], code: int = 0) -> dict[str, Any]:
    """Run `s4al predict` with --json; stdout has to be one line, one object."""
    capsys.readouterr()
    assert run(["predict", *map(str, arguments), "--json"]) == code
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def test_masks_go_where_they_are_told(
    root: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "masks"
    with files.run_lock(root, "train"):  # beside a training
        result = _json(capsys, [root, "--images", photos, "--out", out])
    assert (result["cycle"], result["images"], result["quarantined"], result["engine"]) == (0, 3, 2, "ort")
    assert result["out"] == str(out)
    assert sum(result["classes"].values()) == pytest.approx(1.0)
    files.verify_folder(out)
    assert sorted(path.name for path in (out / "masks").iterdir()) == NAMES
    for name in NAMES:
        with Image.open(out / "masks" / name) as mask, Image.open(photos / name) as photo:
            assert (mask.mode, mask.size) == ("P", photo.size)
            assert np.asarray(mask).max() < len(result["classes"])
    aside = (out / "quarantine.csv").read_text().splitlines()
    assert aside[0] == "image,reason"
    assert {line.partition(",")[0] for line in aside[1:]} == {"broken.png", "\\xff.png"}


def test_masks_go_into_the_run_if_nothing_is_said(root: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = _json(capsys, [root, "--images", photos, "--no-overlays"])
    assert result["out"] == str(root / "predicted" / "photos [new]-cycle-000")
    assert not (Path(result["out"]) / "overlays").exists()
    problem = _json(capsys, [root, "--images", photos], code=5)["error"]
    assert problem["what"] == f"{result['out']} exists."
    assert "--out" in problem["remedy"]
    with files.run_lock(root, "train"):
        shutil.rmtree(result["out"])
        assert "is in use" in _json(capsys, [root, "--images", photos], code=5)["error"]["what"]


def test_what_a_person_reads(root: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["predict", str(root), "--images", str(photos), "--out", str(tmp_path / "masks")]) == 0
    captured = capsys.readouterr()
    assert "Of all pixels" in captured.out
    assert "Predicted: 3 images in" in captured.out
    assert "Set aside: 2 images, listed in quarantine.csv" in captured.out
    assert str(tmp_path / "masks") in captured.out
    assert "1 files that are no" in captured.err
    assert "predict: 5 done" in captured.err


def test_the_torch_engine_sees_the_same(
    root: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(run: Any, cycle: int) -> object:
        return small_scoring_network(len(run.class_names))

    monkeypatch.setattr("s4al.export.scoring_network.scoring_network", load)
    shares = []
    for engine in ("ort", "torch"):
        arguments = [root, "--images", photos, "--out", tmp_path / engine, "--engine", engine, "--device", "cpu"]
        result = _json(capsys, arguments)
        assert result["engine"] == engine
        shares.append(list(result["classes"].values()))
    assert shares[0] == pytest.approx(shares[1], abs=1e-3)


def test_any_cycle_can_be_named(root: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from s4al.run.state import Run

    run = Run.open(root)
    with run.commit(1, "labels") as folder:
        shutil.copy(run.stage(0, "labels") / "regions.parquet", folder)
    with run.commit(0, "pseudo") as folder:
        (folder / "nothing").write_bytes(b"")
    commit_export(run, 1, seed=1)
    newest = _json(capsys, [root, "--images", photos, "--out", tmp_path / "newest"])
    first = _json(capsys, [root, "--images", photos, "--out", tmp_path / "first", "--cycle", "0"])
    assert (newest["cycle"], first["cycle"]) == (1, 0)
    assert newest["classes"] != first["classes"]


@pytest.mark.parametrize(
    ("change", "code", "what"),
    [
        (lambda root, photos: shutil.rmtree(root / "cycles"), 5, "has no export stage yet"),
        (lambda root, photos: shutil.rmtree(root), 5, "is not a run"),
        (lambda root, photos: shutil.rmtree(photos), 4, "cannot be listed"),
        (lambda root, photos: [path.unlink() for path in photos.iterdir()], 4, "holds no"),
        (lambda root, photos: (root / "cycles/000/export/model.onnx").write_bytes(b"other"), 5, "is damaged"),
    ],
    ids=["not trained", "no run", "no folder", "no images", "damaged network"],
)
def test_what_goes_wrong_is_said(
    change: Any, code: int, what: str, root: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(root, photos)
    problem = _json(capsys, [root, "--images", photos, "--out", tmp_path / "masks"], code=code)["error"]
    assert what in problem["what"]
    assert problem["remedy"]
    assert not (tmp_path / "masks").exists()


def test_masks_among_the_images_are_refused(root: Path, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = _json(capsys, [root, "--images", photos, "--out", photos / "masks"], code=2)["error"]
    assert "lies in" in problem["what"]
    assert not (photos / "masks").exists()
    assert run(["predict", str(root)]) == 2  # no folder of images
    assert "--images" in capsys.readouterr().err
