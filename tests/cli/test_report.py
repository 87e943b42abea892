"""`s4al report`, the report that a training writes, and `s4al status --watch`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from s4al.cli import live, reporting
from s4al.cli.app import run as s4al
from s4al.cli.status import read_status
from s4al.errors import StorageError
from s4al.run.state import Run
from s4al.watch import Watch
from tests.report.make_run import load, make_run
from tests.tiny import tiny_cycles


class _Notes(Watch):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def note(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("report") / "run")


def test_it_says_the_answer_and_where_the_page_is(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert s4al(["report", str(made.root)]) == 0
    out = capsys.readouterr().out
    assert "50.0 % on 2 test images, cycle 1" in out
    assert f"{made.root / 'report.html'} (0." in out
    assert (made.root / "report.json").is_file()


def test_json_is_one_object(made: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "new folder" / "page.html"
    assert s4al(["report", str(made.root), "--out", str(page), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["out"] == str(page) and answer["bytes"] == page.stat().st_size < 2 * 2**20
    assert answer["missing"] == [] and answer["answer"]["mIoU"].startswith("50.0 %")
    assert load(Path(answer["figures"]))["format"] == 1


@pytest.mark.parametrize("out", ["page.json", "page", "folder.html"])
def test_a_name_that_is_no_page_is_refused(
    out: str, made: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    assert s4al(["report", str(made.root), "--out", str(tmp_path / out)]) == 2
    assert "is not the name of an HTML file" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_writes_it_after_every_cycle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[int] = []

    def note_cycles(run: Run, watch: Watch) -> None:
        reporting.report_after_cycle(run, watch)
        tested.append(len(load(run.root / "report.json")["runs"][0]["cycles"]))

    monkeypatch.setattr("s4al.cli.cycle.report_after_cycle", note_cycles)
    notes = _Notes()
    tiny_cycles(tmp_path / "run", watch=notes)
    assert tested == [1, 2]
    assert not [line for line in notes.lines if "report" in line]
    document = load(tmp_path / "run" / "report.json")["runs"][0]
    assert document["gaps"] == [] and document["machine"]["python"]
    examples = document["examples"]
    assert {each["why"] for each in examples} >= {"best"}
    assert all(each["miou"] is not None for each in examples)
    assert document["cycles"][0]["pseudo"]["correct"] is not None  # the scenes' masks are at hand
    tiny_cycles(tmp_path / "run")  # finished: nothing to report anew
    assert tested == [1, 2]


def test_a_report_that_fails_is_a_line_and_no_more(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(roots: object) -> None:
        raise StorageError("No space left on the device while writing report.html.")

    monkeypatch.setattr("s4al.report.write_report", fail)
    notes = _Notes()
    reporting.report_after_cycle(made, notes)
    assert notes.lines == [
        "The report was not written: No space left on the device while writing report.html. The training goes on; "
        f"try s4al report {made.root}"
    ]


def test_a_service_that_fails_is_a_line_and_no_more(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise ConnectionError("nobody\nthere\x1b[2J")

    monkeypatch.setattr("s4al.report.tracking.track", fail)
    notes = _Notes()
    reporting.report_after_cycle(made, notes)
    assert notes.lines == ["none could not be told: nobody\\nthere\\x1b[2J. The training goes on."]


# ------------------------------------------------------------------------------------------- status --watch


def test_status_has_the_top_lines_of_the_report(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    answer = read_status(made.root)["answer"]
    assert answer["Cost"] == "1,536 pixels (37.5 % of all), 2 regions, 1 whole image, 1 min 30 s of people"
    assert s4al(["status", str(made.root)]) == 0
    out = capsys.readouterr().out
    assert "Advice:" in out and "the next 2 regions will buy about +7.1 points" in out


def test_watch_ends_with_the_run(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert s4al(["status", str(made.root), "--watch"]) == 0
    assert "50.0 %" in capsys.readouterr().out


@pytest.mark.parametrize("terminal", [True, False])
def test_watch_shows_what_changes(terminal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", cycles=1)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, highlight=False)
    looks = 0

    def sleep(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            make_run(tmp_path / "later")
            (tmp_path / "later" / "cycles" / "001").rename(run.root / "cycles" / "001")

    monkeypatch.setattr("time.sleep", sleep)
    live.watch_status(run.root, console)
    shown = stream.getvalue()
    assert looks == 2
    assert "40.0 %" in shown and "50.0 %" in shown and "Finished" in shown
    if not terminal:
        assert " ".join(shown.split()).count("4 training images") == 2  # one look found nothing new


def test_leaving_a_watch_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", leave)
    run = make_run(tmp_path / "run", cycles=1)
    assert s4al(["status", str(run.root), "--watch"]) == 0


def test_watch_and_json_are_one_too_many(made: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert s4al(["status", str(made.root), "--watch", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 2
