"""Progress on a terminal and in a log."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console
from rich.progress import Task

from s4al.cli.progress import RichWatch, _figures


def _log() -> tuple[RichWatch, io.StringIO]:
    stream = io.StringIO()
    return RichWatch(Console(file=stream, width=80)), stream


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    watch, stream = _log()
    with watch:
        for done in range(1, 41):
            watch.progress("cycle 0 train", done, 40, loss=0.51234, images_per_s=23.4)
    lines = stream.getvalue().splitlines()
    assert 4 <= len(lines) <= 12
    assert lines[0].startswith("cycle 0 train: ")
    assert "of 40, loss 0.512, 23.4 img/s, 1" in lines[0] and " s gone, about " in lines[0]
    assert lines[0].endswith(" left")
    assert lines[-1].startswith("cycle 0 train: 40 done in ")


def test_work_of_an_earlier_attempt_is_not_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    watch, stream = _log()
    watch.progress("train", 900, 1000)
    now[0] = 20.0
    watch.progress("train", 910, 1000)  # ten steps in twenty seconds: ninety take three minutes
    assert stream.getvalue() == "train: 910 of 1,000, 20 s gone, about 3 min left\n"


def test_long_notes_are_not_wrapped_in_a_log() -> None:
    watch, stream = _log()
    watch.note("x" * 200)
    assert stream.getvalue() == "x" * 200 + "\n"


def test_on_a_terminal_finished_bars_become_lines() -> None:
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=80,
        force_terminal=True,
        color_system=None,
        legacy_windows=False,
        get_time=lambda: 0.0,
    )
    with RichWatch(console) as watch:
        for cycle in range(20):
            watch.progress(f"cycle {cycle} train", 1, 2, loss=1.0)
            watch.progress(f"cycle {cycle} train", 2, 2, loss=0.5)
        watch.note("a note")
        assert watch._bars is not None
        assert watch._bars.tasks == []
    text = stream.getvalue()
    assert text.count("2 done in 0 s, loss 0.5") == 20
    assert "a note" in text


@pytest.mark.parametrize(("width", "shows"), [(80, "1 h 2 min left"), (120, "10 s, 1 h 2 min left")])
def test_a_bar_fits(width: int, shows: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None, legacy_windows=False)
    monkeypatch.setattr(Task, "time_remaining", 3723.0)
    monkeypatch.setattr(Task, "elapsed", 10.0)
    with RichWatch(console) as watch:
        watch.progress("cycle 0 train", 1200, 15000, loss=0.512, images_per_s=23.4)
        assert watch._bars is not None
        watch._bars.refresh()
    bars = [line.rstrip() for line in stream.getvalue().splitlines() if "1200/15000" in line]
    assert bars[-1].endswith(f"{shows} loss 0.512, 23.4 img/s")


def test_figures() -> None:
    assert _figures({"loss": 0.123456, "images_per_s": 12345.6, "miou": 0.5}) == "loss 0.123, 12,346 img/s, mIoU 0.5"
