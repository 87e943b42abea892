"""What goes wrong is said as what, kept and next, with the exit code of its class; stdout stays machine-readable."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import rich.console

from s4al import errors
from s4al.cli import app as surface
from s4al.cli.messages import guarded
from s4al.cli.output import answer
from s4al.cli.progress import RichWatch
from s4al.text import visible
from s4al.watch import Interrupted


def _raising(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.AnnotationsNeeded, 3),
        (errors.DataError, 4),
        (errors.ImageError, 4),
        (errors.MaskError, 4),
        (errors.RunStateError, 5),
        (errors.EngineError, 6),
        (errors.NumericsError, 7),
        (errors.StorageError, 8),
    ],
)
def test_exit_code_and_message_of_each_error(kind, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    problem = kind("It broke.", kept="Step 5 is safe.", remedy="Mend it.")
    described = {"what": "It broke.", "kept": "Step 5 is safe.", "remedy": "Mend it.", "exit_code": code}
    assert guarded(_raising(problem), "testing") == (code, described)
    label = "Waiting:" if code == 3 else "Error:  "
    head = "Waiting: It broke.\nKept:    " if code == 3 else "Error: It broke.\nKept:  "
    captured = capsys.readouterr()
    assert captured.err.startswith(head), label
    assert captured.err.endswith("Mend it.\n")
    assert captured.out == ""


def test_parts_that_are_empty_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(_raising(errors.DataError("No images.")), "testing")
    assert capsys.readouterr().err == "Error: No images.\n"


def test_a_bug_is_called_one_and_shows_where(capsys: pytest.CaptureFixture[str]) -> None:
    code, problem = guarded(_raising(ZeroDivisionError("division by zero")), "testing")
    assert code == 1
    assert problem is not None
    assert "bug of s4al" in problem["what"]
    err = capsys.readouterr().err
    assert "in command" in err
    assert "ZeroDivisionError: division by zero" in err


@pytest.mark.parametrize(
    "number",
    [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES, errno.EFBIG, errno.ENAMETOOLONG, errno.ENOTDIR],
)
def test_write_errors_that_nobody_explained_are_storage_errors(number: int) -> None:
    code, problem = guarded(_raising(OSError(number, os.strerror(number))), "running s4al train")
    assert code == 8
    assert problem is not None
    assert "while running s4al train" in problem["what"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruptions(signum: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(_raising(Interrupted(signum)), "testing")[0] == code
    assert capsys.readouterr().err.startswith("Stopped: You asked to stop.\n")


def test_ctrl_c_before_the_handlers_are_there() -> None:
    assert guarded(_raising(KeyboardInterrupt()), "testing")[0] == 130


NAMES = [
    ("plain.png", "plain.png"),
    ("straße 日本.png", "straße 日本.png"),
    ("img[/red].png", "img[/red].png"),
    ("[link=https://example.org]click[/link]", "[link=https://example.org]click[/link]"),
    ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("two\nlines\r\tand\x00", r"two\nlines\r\tand\x00"),
    ("right\u202eto left", r"right\u202eto left"),
    ("line\u2028separator\x85", r"line\u2028separator\x85"),
    ("undecodable\udcff", r"undecodable\udcff"),
]


@pytest.mark.parametrize(("name", "shown"), NAMES, ids=[ascii(name) for name, _ in NAMES])
@pytest.mark.parametrize("terminal", [False, True], ids=["log", "terminal"])
def test_file_names_are_shown_not_obeyed(
    name: str, shown: str, terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setattr(rich.console.Console, "is_terminal", property(lambda self: True))
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert visible(name) == shown
    guarded(_raising(errors.ImageError(name, kept=name, remedy=name)), "testing")
    watch = RichWatch()
    watch.note(name)
    watch.progress(name, 1, 1)
    err = capsys.readouterr().err
    assert err.count(shown) == 5
    assert not any(char in err for char in "\x00\x07\u202e\u2028\x85\udcff") and "\x1b[31m" not in err


def test_json_of_an_error_is_one_object_on_stdout(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert surface.run(["status", str(tmp_path), "--json"]) == 5
    captured = capsys.readouterr()
    problem = json.loads(captured.out)["error"]
    assert problem["exit_code"] == 5
    assert "is not a run" in problem["what"]
    assert captured.err.startswith("Error: ")


def test_json_of_wrong_arguments_is_one_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert surface.run(["status", "--json", "--nonsense"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 2


def test_numbers_that_json_does_not_have_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    answer({"cycles": [{"miou": float("nan"), "rates": (1.5, float("inf"))}]}, print, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"cycles": [{"miou": None, "rates": [1.5, None]}]}


def test_only_rank_0_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    monkeypatch.setenv("RANK", "1")
    assert surface.run(["status", str(tmp_path), "--json"]) == 5
    answer({}, print, as_json=True)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_a_reader_that_left_is_no_bug() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "s4al", "presets", "demo"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE
