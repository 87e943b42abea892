"""`s4al label export` and `s4al label import`: regions to the labelling tool that people have, and answers back."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from s4al.errors import ConfigError
from s4al.run.state import Run
from s4al.text import visible

if TYPE_CHECKING:
    from s4al.annotate.exchange.contract import Mode
    from s4al.annotate.exchange.receiving import Unpainted

_MOST_LISTED = 10
_OUTCOMES = {
    "saved": "answers saved",
    "skipped": "skipped: they go back to the pool",
    "unchanged": "as they were",
    "older": "older ones of the same person",
    "open": "came back without a stroke: still open",
    "missing": "were exported and did not come back: still open",
}


def export(
    root: Path,
    format: str,
    *,
    out: Path | None,
    push: str | None,
    mode: Mode,
    margin: int,
    only_open: bool,
    guesses: bool | None,
) -> dict[str, Any]:
    """What `s4al label export --json` prints. Raises what `export_regions` and `push_regions` do."""
    from s4al.annotate.exchange.sending import export_regions, push_regions
    from s4al.annotate.queries import Round
    from s4al.annotate.store import AnswerStore

    if (out is None) == (push is None):
        given = "Neither --out nor --push was" if out is None else "Both --out and --push were"
        raise ConfigError(f"{given} given.", remedy="Name a new folder or .zip file with --out.")
    if push is not None and format != "label-studio":
        raise ConfigError(f"--push is for --format label-studio, not for {format}.", remedy="Name a file with --out.")
    round = Round.open(Run.open(root))
    store = AnswerStore(round)
    options: dict[str, Any] = {"mode": mode, "margin": margin, "only_open": only_open, "guesses": guesses}
    if push is not None:
        return push_regions(round, store, push, **options)
    assert out is not None
    return export_regions(round, store, format, out, **options)


def import_answers(
    root: Path, path: str, *, format: str | None, unpainted: Unpainted, annotator: str
) -> dict[str, Any]:
    """What `s4al label import --json` prints. Raises what `import_answers` and `pull_answers` do."""
    from s4al.annotate.exchange import receiving
    from s4al.annotate.exchange.label_studio_http import is_url
    from s4al.annotate.queries import Round
    from s4al.annotate.store import AnswerStore

    round = Round.open(Run.open(root))
    store = AnswerStore(round)
    if not is_url(path):
        result = receiving.import_answers(
            round, store, Path(path), format=format, unpainted=unpainted, annotator=annotator
        )
    elif format in (None, "label-studio"):
        result = receiving.pull_answers(round, store, path, unpainted=unpainted, annotator=annotator)
    else:
        raise ConfigError(f"{path} is a URL, and only a Label Studio is asked by one.", remedy="Name a file or folder.")
    progress = store.progress()
    return {**result, "asked": progress.asked, "answered": progress.answered, "left": progress.left}


def show_export(console: Console, result: dict[str, Any]) -> None:
    """What was exported where, and how to go on."""
    pictures = "" if result["pictures"] == result["regions"] else f" in {result['pictures']:,} pictures"
    guesses = "with the network's guess" if result["guesses"] else "without a guess"
    console.print(f"{result['regions']:,} regions of cycle {result['cycle']}{pictures}, {guesses}:")
    console.print(Text(f"  {visible(result['out'])}"), soft_wrap=True)
    for note in result["notes"]:
        console.print(Text(visible(note)))
    back = result["out"] if result["out"].startswith("http") else "FILE"
    command = f"s4al label import {shlex.quote(result['run'])} {back}"
    console.print(Text(f"Then: {visible(command)}"), soft_wrap=True)


def show_import(console: Console, result: dict[str, Any]) -> None:
    """What became of everything that came back, what was left out and why, and what is left to do."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right")
    for key, words in _OUTCOMES.items():
        if result[key] or key == "saved":
            table.add_row(f"{result[key]:,}", words)
    console.print(table)
    _show_left_out(console, result)
    for note in result["notes"]:
        console.print(Text(visible(note)))
    left = f"{result['left']:,} {'is' if result['left'] == 1 else 'are'} open"
    console.print(f"{result['answered']:,} of {result['asked']:,} regions are answered, {left}.")
    if not result["left"]:
        console.print(Text(f"Next: s4al train {visible(shlex.quote(result['run']))}"), soft_wrap=True)


def _show_left_out(console: Console, result: dict[str, Any]) -> None:
    left_out = result["left_out"]
    if not left_out:
        return
    table = Table(box=None, title=f"Left out: {len(left_out):,}", title_justify="left", pad_edge=False)
    for column in ("Where", "Why"):
        table.add_column(column, overflow="fold")
    for problem in left_out[:_MOST_LISTED]:
        table.add_row(Text(visible(problem["where"])), Text(visible(problem["reason"])))
    console.print(table)
    if len(left_out) > _MOST_LISTED:
        console.print(Text(f"  and {len(left_out) - _MOST_LISTED:,} more: {visible(result['problems_file'])}"))
