"""`s4al status --watch`: the state of a run, live, as long as somebody looks or until it is finished."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from s4al.cli import views
from s4al.cli.status import read_status
from s4al.errors import RunStateError
from s4al.text import visible

_EVERY_S = 2.0


def watch_status(root: Path, console: Console, *, every_s: float = _EVERY_S) -> None:
    """Show the run again and again, in place on a terminal and else whenever something changed.

    Ends when the run is finished, and with Ctrl-C, which is how one leaves. Raises RunStateError where there is no run.
    """
    seen = read_status(root)
    try:
        if console.is_terminal:
            _watch_in_place(root, console, seen, every_s)
        else:
            _watch_in_lines(root, console, seen, every_s)
    except KeyboardInterrupt:
        return


def _watch_in_place(root: Path, console: Console, seen: dict[str, Any], every_s: float) -> None:
    with Live(_screen(seen, console.width), console=console, auto_refresh=False, vertical_overflow="visible") as live:
        live.refresh()
        while not seen["finished"]:
            time.sleep(every_s)
            seen = _read_again(root, seen)
            live.update(_screen(seen, console.width), refresh=True)


def _watch_in_lines(root: Path, console: Console, seen: dict[str, Any], every_s: float) -> None:
    views.status(console, seen)
    while not seen["finished"]:
        time.sleep(every_s)
        now = _read_again(root, seen)
        if now != seen:
            views.status(console, now)
        seen = now


def _read_again(root: Path, before: dict[str, Any]) -> dict[str, Any]:
    """The state now; as before where a stage was just being renamed."""
    try:
        return read_status(root)
    except (RunStateError, FileNotFoundError):
        if not root.exists():
            raise
        return before


def _screen(status: dict[str, Any], width: int) -> RenderableType:
    capture = Console(width=width, force_terminal=True, highlight=False)
    with capture.capture() as captured:
        views.status(capture, status)
    ending = "Finished." if status["finished"] else "Ctrl-C ends this view, not the run."
    return Group(Text.from_ansi(captured.get()), Text(visible(ending), "dim"))
