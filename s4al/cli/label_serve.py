"""`s4al label serve`: what a person reads in the terminal while the page is served."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from s4al.errors import ConfigError
from s4al.run.state import Run
from s4al.text import visible

if TYPE_CHECKING:
    from s4al.annotate.page.serve import Links
    from s4al.annotate.queries import Round
    from s4al.annotate.store import Progress

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve_page(
    root: Path, *, host: str, port: int, blank: bool, overlap: float | None, annotator: str | None, open_page: bool
) -> None:
    """Serve the round of a run until Ctrl-C. Raises ConfigError, RunStateError, StorageError."""
    from s4al.annotate.page.desk import checked_name
    from s4al.annotate.page.serve import serve

    run = Run.open(root)
    console = Console(highlight=False, soft_wrap=True)
    alone = host in _LOOPBACK
    next_command = f"s4al train {shlex.quote(str(root))}"

    def ready(round: Round, links: Links) -> None:
        _say_ready(console, round, links, alone=alone)
        if open_page and alone and _has_browser():
            webbrowser.open(links.page)

    def complete(progress: Progress) -> None:
        console.print(
            f"All {progress.asked:,} regions are done. Next: Ctrl-C, then {visible(next_command)}", markup=False
        )

    name = checked_name(annotator) if annotator is not None else _own_name() if alone else ""
    progress = serve(
        run,
        host=host,
        port=port,
        blank=blank,
        overlap=overlap,
        annotator=name,
        next_command=next_command,
        ready=ready,
        complete=complete,
    )
    _say_end(console, root, progress, next_command)


def _say_ready(console: Console, round: Round, links: Links, *, alone: bool) -> None:
    rows = [
        ("Asked:", f"{len(round.queries):,} regions of cycle {round.cycle}"),
        ("Label:", links.page),
        ("Answers:", links.overview),
    ]
    for label, text in rows:
        console.print(Text(f"{label:<9}", "bold") + Text(visible(text)))
    if not alone:
        console.print("Whoever has the first link can label, in plain text over this network; keep the second one.")
    console.print("Ctrl-C ends it; every answer that the page calls saved is on disk.")


def _say_end(console: Console, root: Path, progress: Progress, next_command: str) -> None:
    name = visible(shlex.quote(str(root)))
    said = f"{progress.answered:,} of {progress.asked:,} regions are answered and saved"
    skipped = f", {progress.skipped:,} skipped" if progress.skipped else ""
    console.print(f"\n{said}{skipped}; {progress.left:,} left.", markup=False)
    if progress.left == 0:
        console.print(f"Next: {visible(next_command)}", markup=False)
    else:
        console.print(
            f"Next: s4al label serve {name} to go on; s4al label finish {name} to train on these.", markup=False
        )


def _own_name() -> str:
    """Of whoever is logged in, "" where the system does not say: the page asks then."""
    from s4al.annotate.page.desk import checked_name

    try:
        return checked_name(getpass.getuser())
    except (OSError, KeyError, ConfigError):
        return ""


def _has_browser() -> bool:
    """Whether a browser has a screen; without one the system would start one in this terminal."""
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
