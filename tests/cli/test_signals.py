"""Signals: acknowledged at once, whatever the main thread is busy with; the second one ends it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from s4al.cli.progress import RichWatch
from s4al.cli.signals import stopping
from s4al.watch import Interrupted, Watch

ACKNOWLEDGED = "Stopping after the current step"
SOON_S = 20.0  # on a loaded machine; the call that the child sits in takes minutes

# A stage that is in one call of the C library for minutes, as a backward pass may be for seconds. The key derivation is
# not cut short by signals, and lets go of the GIL.
BUSY = """
import hashlib, sys
from s4al.cli import signals
from s4al.cli.output import watching
from s4al.cli.messages import guarded
if "--patient" in sys.argv:
    signals.GRACE_S = 1000.0
def command():
    with watching("--json" in sys.argv) as watch:
        watch.progress("first", 3, 10)
        watch.progress("second", 1, 10)
        print("busy", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
sys.exit(guarded(command, "testing")[0])
"""


@contextlib.contextmanager
def busy(*arguments: str, stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is in the long call."""
    command = [sys.executable, "-c", BUSY, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"busy\n"
            time.sleep(0.2)
            yield process
        finally:
            process.kill()


def heard(descriptor: int, text: str) -> str:
    """What a descriptor says until `text` is in it."""
    said, deadline = "", time.monotonic() + SOON_S
    while text not in said:
        ready, _, _ = select.select([descriptor], [], [], deadline - time.monotonic())
        assert ready, f"only {said!r} within {SOON_S} s"
        said += os.read(descriptor, 4096).decode()
    return said


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_long_call_delays_neither_the_answer_nor_the_end(signum: signal.Signals, code: int) -> None:
    with busy() as process:
        assert process.stderr is not None
        process.send_signal(signum)
        said = heard(process.stderr.fileno(), f"{ACKNOWLEDGED}; press Ctrl-C again to stop at once.\n")
        assert process.poll() is None  # it goes on: one signal is a request
        process.send_signal(signum)
        assert process.wait(SOON_S) == code
        said += process.stderr.read().decode()
    assert said.count(ACKNOWLEDGED) == 1
    assert said.endswith(
        "Stopped: You asked to stop.\nKept:    What is committed is safe.\nNext:    Run the same command to go on.\n"
    )
    assert "Traceback" not in said


def test_two_kinds_of_signals_count_together() -> None:
    with busy() as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        heard(process.stderr.fileno(), ACKNOWLEDGED)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON_S) == 143


def test_the_third_signal_does_not_wait_for_anybody() -> None:
    with busy("--patient") as process:
        assert process.stderr is not None
        process.send_signal(signal.SIGINT)
        heard(process.stderr.fileno(), ACKNOWLEDGED)
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON_S) == 130


def test_json_gets_its_one_object_all_the_same() -> None:
    with busy("--json") as process:
        assert process.stderr is not None
        assert process.stdout is not None
        process.send_signal(signal.SIGINT)
        heard(process.stderr.fileno(), ACKNOWLEDGED)
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON_S) == 130
        out = process.stdout.read().decode()
    assert out.count("\n") == 1
    assert json.loads(out)["error"]["exit_code"] == 130


def test_on_a_terminal_the_line_stands_above_the_bars_and_the_cursor_comes_back() -> None:
    ours, theirs = pty.openpty()
    with busy(stderr=theirs) as process:
        os.close(theirs)
        process.send_signal(signal.SIGINT)
        said = heard(ours, "at once.")
        said += heard(ours, "second")  # the bars are drawn again, below it
        process.send_signal(signal.SIGINT)
        said += heard(ours, "Next:    Run the same command to go on.")
        assert process.wait(SOON_S) == 130
    os.close(ours)
    before, _, after = said.partition(ACKNOWLEDGED)
    assert before.endswith("\x1b[2K")  # the line begins where the bars were wiped away
    assert after.splitlines()[0] == "; press Ctrl-C again to stop at once."
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")


# ------------------------------------------------------------------------------------------------- in this process


class Heard(Watch):
    """Keeps the notes."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, line: str) -> None:
        self.notes.append(line)


def never(code: int) -> None:
    raise AssertionError(f"ended with {code}")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_second_stops(signum: signal.Signals) -> None:
    before, wakeup, watch = signal.getsignal(signum), signal.set_wakeup_fd(-1), Heard()
    signal.set_wakeup_fd(wakeup)
    with stopping(watch, never):
        os.kill(os.getpid(), signum)
        assert watch.stop_requested
        with pytest.raises(Interrupted) as stop:
            watch.stop_here()
        assert stop.value.exit_code == 128 + signum
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signum)
            signal.pause()  # the handler has run before this returns, whatever the platform
    assert signal.getsignal(signum) is before
    restored = signal.set_wakeup_fd(wakeup)
    assert restored == wakeup
    assert len(watch.notes) == 1
    assert watch.notes[0].startswith(ACKNOWLEDGED)


def test_the_line_is_said_also_where_the_block_is_left_at_once() -> None:
    for _ in range(50):
        watch = Heard()
        with contextlib.suppress(Interrupted), stopping(watch, never):
            os.kill(os.getpid(), signal.SIGINT)
            watch.stop_here()
        assert len(watch.notes) == 1


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_nothing_is_left_behind() -> None:
    threads, descriptors = threading.active_count(), _open_files()
    for _ in range(3):
        with stopping(Watch(), never):
            pass
    assert (threading.active_count(), _open_files()) == (threads, descriptors)


def test_a_forked_child_does_not_speak_for_its_parent() -> None:
    """Ctrl-C reaches the whole group, and the parent must not count the signals of its workers as its own."""
    watch = Heard()
    with stopping(watch, never):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.kill(os.getpid(), signal.SIGINT)
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(0.2)
        assert not watch.stop_requested
    assert watch.notes == []


def test_a_reader_that_left_is_no_reason_not_to_stop() -> None:
    class Unread(RichWatch):
        def note(self, line: str) -> None:
            raise BrokenPipeError

    watch = Unread()
    with pytest.raises(Interrupted), stopping(watch, never):
        os.kill(os.getpid(), signal.SIGINT)
        watch.stop_here()
