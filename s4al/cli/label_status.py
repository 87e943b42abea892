"""How far a round of labelling is, and its end on request: `s4al label status` and `s4al label finish`."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from s4al import files
from s4al.cli.people_view import people
from s4al.cli.tables import lines
from s4al.run.state import Run
from s4al.text import counted, duration, visible

if TYPE_CHECKING:
    from s4al.annotate.commit import Committed


def read(root: Path) -> dict[str, Any]:
    """What `s4al label status --json` prints.

    Returns
    -------
    `{"run", "cycle", "asked", "answered", "skipped", "left", "pixels", ...}` with what people did as
    `annotate.ledger.people_of_round` has it, and "next", a command in words.

    Raises
    ------
    RunStateError : nothing is asked, or an answer is damaged.
    """
    from s4al.annotate.agreement import measure_agreement
    from s4al.annotate.ledger import people_of_round
    from s4al.annotate.queries import Round
    from s4al.annotate.store import AnswerStore

    round = Round.open(Run.open(root))
    store = AnswerStore(round)
    progress = store.progress()
    counts = {name: getattr(progress, name) for name in ("asked", "answered", "skipped", "left", "pixels")}
    done = people_of_round(progress, measure_agreement(store))
    command = f"s4al label serve {shlex.quote(str(root))}" if progress.left else f"s4al train {shlex.quote(str(root))}"
    return {"run": str(root), "cycle": round.cycle, **counts, **done, "next": command}


def finish(root: Path) -> dict[str, Any]:
    """What `s4al label finish --json` prints: `{"run", ...}` and the fields of `annotate.commit.Committed`.

    Raises AnnotationsNeeded, RunStateError, StorageError.
    """
    from s4al.annotate.commit import commit_answers
    from s4al.data import load_pool

    run = Run.open(root)
    with files.run_lock(root, "label finish"):
        return {"run": str(root), **asdict(commit_answers(run, load_pool(run.pool_file), finish=True))}


def show(console: Console, result: dict[str, Any]) -> None:
    """`label status`: how far it is, then who did what, and how far people agree."""
    counts = f"{result['answered']:,} of {result['asked']:,} regions answered, {result['skipped']:,} skipped"
    heading = f"{visible(result['run'])}, cycle {result['cycle']}: {counts}, {result['left']:,} left"
    console.print(Text(heading, "bold"), soft_wrap=True)
    people(console, result)
    lines(console, {"Next": result["next"]})


def show_finished(console: Console, result: dict[str, Any]) -> None:
    """`label finish`."""
    returned = result["returned"] + result["skipped"]
    back = {"Returned": f"{counted(returned, 'region')} to the pool"} if returned else {}
    done = {"Committed": committed_line(result)}
    lines(console, {**done, **back, "Next": f"s4al train {shlex.quote(result['run'])}"})


def committed_line(result: Committed | dict[str, Any]) -> str:
    """One line about a round that is over."""
    row = result if isinstance(result, dict) else asdict(result)
    tests = f", {row['tests']:,} more to test with" if row["tests"] else ""
    time = f"{counted(row['people'], 'person', 'people')}, {duration(row['seconds'])}"
    return f"Labels of cycle {row['cycle']}: {counted(row['regions'], 'region')}{tests} ({time})"
