"""`s4al label export` and `s4al label import`, as a person sees them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from s4al.annotate.queries import Round
from s4al.annotate.store import AnswerStore
from s4al.cli.app import run
from s4al.data.masks import write_mask
from tests.annotate.rounds import make_round


@pytest.fixture
def round(tmp_path: Path) -> Round:
    return make_round(tmp_path)


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = run(["label", *map(str, arguments)])
    return code, *capsys.readouterr()


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, err = _run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_there_and_back(round: Round, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, path = round.run.root, tmp_path / "labels.zip"
    sent = _json(capsys, "export", root, "--format", "cvat", "--out", path, "--guess")
    assert (sent["format"], sent["regions"], sent["out"]) == ("cvat", 4, str(path))
    result = _json(capsys, "import", root, path, "--annotator", "ann")
    assert (result["format"], result["saved"], result["answered"], result["left"]) == ("cvat", 4, 4, 0)
    assert AnswerStore(round).progress().by_annotator.keys() == {"ann"}
    assert _json(capsys, "import", root, path)["unchanged"] == 4


def test_what_a_person_reads(round: Round, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = round.run.root, tmp_path / "out"
    code, out, _ = _run(capsys, "export", root, "--format", "png", "--out", folder, "--guess", "--mode", "full")
    assert code == 0
    assert "4 regions of cycle 1 in 3 pictures, with the network's guess:" in out
    assert f"Then: s4al label import {root} FILE" in out
    next((folder / "labels").glob("r001-000003-*.png")).unlink()
    for name in ("=1+1.png", *(f"cat {i}.png" for i in range(11))):
        write_mask(folder / "labels" / name, np.zeros((1, 1), np.uint8), np.zeros((1, 3), np.uint8))
    code, out, _ = _run(capsys, "import", root, folder)
    assert code == 0
    assert "3 answers saved" in out
    assert "1 were exported and did not come back: still open" in out
    assert "Left out: 12" in out
    assert "no region asked for has this name" in out
    assert "and 2 more" in out
    assert "3 of 4 regions are answered, 1 is open." in out
    assert "Next:" not in out
    code, out, _ = _run(capsys, "import", root, folder)
    assert "0 answers saved" in out
    assert "3 as they were" in out


def test_a_finished_round_says_what_comes_next(
    round: Round, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _run(capsys, "export", round.run.root, "--format", "png", "--out", tmp_path / "out", "--guess")
    assert f"Next: s4al train {round.run.root}" in _run(capsys, "import", round.run.root, tmp_path / "out")[1]


def test_nothing_is_imported_where_something_is_wrong(
    round: Round, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = round.run.root, tmp_path / "out"
    _run(capsys, "export", root, "--format", "png", "--out", folder, "--guess")
    path = next((folder / "labels").glob("r001-000003-*.png"))
    path.write_bytes(path.read_bytes()[:-30])
    code, out, err = _run(capsys, "import", root, folder, "--json")
    assert code == 4
    problem = json.loads(out)["error"]
    assert "1 answer in" in problem["what"]
    assert path.name in problem["what"]
    assert problem["kept"] == "Nothing was imported."
    assert str(root / "logs" / "label-import.csv") in problem["remedy"]
    assert "Traceback" not in err
    assert AnswerStore(round).progress().answered == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "--format", "png"], "Neither --out nor --push was given"),
        (["export", "--format", "png", "--out", "a", "--push", "http://x"], "Both --out and --push were given"),
        (["export", "--format", "cvat", "--push", "http://x"], "--push is for --format label-studio, not for cvat"),
        (["import", "http://x/projects/1", "--format", "cvat"], "only a Label Studio is asked by one"),
        (["import", "http://x/projects/1"], "LABEL_STUDIO_API_KEY holds no token"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_go_together(
    arguments: list[str],
    message: str,
    round: Round,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    code, _, err = _run(capsys, arguments[0], round.run.root, *arguments[1:])
    assert code == 2
    assert message in err


def test_a_run_that_asks_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from s4al.config import resolve
    from s4al.run.state import Run

    Run.create(tmp_path / "run", resolve("demo"))
    code, _, err = _run(capsys, "export", tmp_path / "run", "--format", "png", "--out", tmp_path / "out")
    assert code == 5
    assert "asks no people" in err
