"""What a person reads when a command ends badly, and the exit code that goes with it.

File names come from other people's disks: control characters in them are shown, not obeyed, and rich never takes them
for markup because messages are `Text`, not strings.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer import Exit
from typer.exceptions import TyperException

from s4al import files
from s4al.errors import AnnotationsNeeded, S4alError
from s4al.text import visible
from s4al.watch import Interrupted

_STOPPED = ("You asked to stop.", "What is committed is safe.", "Run the same command to go on.")
_SHOW_CURSOR = "\x1b[?25h"  # progress bars hide it


def main_process() -> bool:
    """Whether this process speaks: under torchrun only rank 0 does."""
    return os.environ.get("RANK", "0") == "0"


def guarded(command: Callable[[], None], doing: str) -> tuple[int, dict[str, Any] | None]:
    """Run a command and say on stderr what went wrong, if anything did.

    Parameters
    ----------
    doing : for storage errors that nobody gave a better context ("running s4al train").

    Returns
    -------
    the exit code, and for `--json` what went wrong (None where nothing did).
    """
    try:
        with files.storage_errors(doing):
            command()
    except S4alError as error:
        label = "Waiting" if isinstance(error, AnnotationsNeeded) else "Error"
        return _report(error.exit_code, label, error.what, error.kept, error.remedy)
    except TyperException as error:
        return _report(2, "Error", _usage_problem(error), "", _usage_remedy(error))
    except Exit as ending:
        return ending.exit_code, None
    except (Interrupted, KeyboardInterrupt) as interruption:
        return _report(interruption.exit_code if isinstance(interruption, Interrupted) else 130, "Stopped", *_STOPPED)
    except Exception as error:  # noqa: BLE001 - the last resort: it says whose fault it is
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would complain when it flushes at exit
            return 128 + signal.SIGPIPE, None
        return _bug(error)
    return 0, None


def last_words(code: int, as_json: bool) -> None:
    """As `guarded` for an interruption, for a process that is ended by one of its threads: past every buffer and lock.

    Raises OSError.
    """
    what, kept, remedy = _STOPPED
    lines = f"Stopped: {what}\nKept:    {kept}\nNext:    {remedy}\n"
    os.write(2, (f"{_SHOW_CURSOR}\n{lines}" if os.isatty(2) else lines).encode())
    if as_json:
        os.write(1, (json.dumps({"error": _problem(code, what, kept, remedy)}) + "\n").encode())


def _report(code: int, label: str, what: str, kept: str, remedy: str) -> tuple[int, dict[str, Any]]:
    if main_process():
        console = Console(stderr=True, highlight=False)
        style = "bold red" if label == "Error" else "bold yellow"
        parts = [(label, style, what), ("Kept", "bold", kept), ("Next", "bold", remedy)]
        _print_labelled(console, [part for part in parts if part[2]])
    return code, _problem(code, what, kept, remedy)


def _problem(code: int, what: str, kept: str, remedy: str) -> dict[str, Any]:
    return {"what": what, "kept": kept, "remedy": remedy, "exit_code": code}


def _print_labelled(console: Console, parts: list[tuple[str, str, str]]) -> None:
    width = max(len(label) for label, _, _ in parts) + 2
    if console.is_terminal:
        grid = Table.grid(padding=0)
        grid.add_column(width=width)
        grid.add_column(overflow="fold")
        for label, style, text in parts:
            grid.add_row(Text(f"{label}:", style), Text(visible(text)))
        console.print(grid)
        return
    for label, _, text in parts:  # not wrapped: logs are searched
        console.print(Text(f"{label}:".ljust(width) + visible(text)), soft_wrap=True)


def _bug(error: Exception) -> tuple[int, dict[str, Any]]:
    what = f"{type(error).__name__}: {error}"
    for line in "".join(traceback.format_exception(error)).splitlines():
        print(visible(line), file=sys.stderr)
    return _report(
        1,
        "Error",
        f"This is a bug of s4al, not yours. {what}",
        "What is committed is safe.",
        "Please report it with the lines above and the output of `s4al doctor`.",
    )


def _usage_problem(error: TyperException) -> str:
    possible = getattr(error, "possibilities", None)
    if possible:
        return f"{error.message.rstrip('.')}. Did you mean {' or '.join(sorted(possible))}?"
    return error.format_message().replace("Value error, ", "")  # pydantic's prefix


def _usage_remedy(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 's4al'} --help shows what there is."


def _reader_is_gone() -> bool:
    """Whether stdout is a pipe that nobody reads any more (`s4al presets demo | head -1`)."""
    poll = select.poll()
    poll.register(1, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
