"""How far a run is. Reads only: it works beside a command that writes, and on a read-only folder."""

from __future__ import annotations

import json
import os
import shlex
import socket
from pathlib import Path
from typing import Any

from s4al import files
from s4al.annotate.ledger import people_of_run
from s4al.cli import comparisons
from s4al.report.answer import headline
from s4al.report.collect import collect
from s4al.run.state import STAGES, Run

_DOING = {
    "labels": "label what was selected for cycle {}",
    "train": "train cycle {}",
    "export": "export the network of cycle {}",
    "score": "score the pool with the network of cycle {}",
    "select": "select regions with the scores of cycle {}",
    "random": "train on as many random regions, to compare with",
    "full": "train on every label, to compare with",
}


def read_status(root: Path) -> dict[str, Any]:
    """What `s4al status --json` prints.

    Returns
    -------
    `{"run", "data", "images", "planned_cycles", "cycles": [{"cycle", "stages", "labelled_fraction", "regions",
    "seconds", "miou", "miou_interval", "test_regions"}], "answer", "full_supervision_miou", "random_regions_miou",
    "people", "labelling", "finished", "next", "in_use_by", "unfinished"}`; figures are None where they are not known
    (yet). `answer` are the top lines of the report, `people` is what people did so far, see `annotate.ledger`,
    `labelling` how far the round is that they work on.

    Raises
    ------
    RunStateError : no run, or a damaged one; ConfigError : a damaged run.toml.
    """
    run = Run.open(root)
    pool = None
    if run.pool_file.is_file():
        from s4al.data.pool import load_pool

        pool = load_pool(run.pool_file)
    cycles = []
    for cycle in range(run.last_cycle("labels") + 1):
        ledger = run.ledger(cycle, pool) if pool else None
        cycles.append(
            {
                "cycle": cycle,
                "stages": [stage for stage in STAGES if run.is_committed(cycle, stage)],
                "labelled_fraction": ledger.labelled_fraction if ledger else None,
                "regions": ledger.regions if ledger else None,
                "seconds": ledger.seconds if ledger else None,
                **comparisons.cycle_test(run, cycle),
            }
        )
    planned = max(run.config.run.cycles, len(cycles))  # `train --cycles N` may have asked for more
    reference, random = comparisons.full_miou(run), comparisons.random_miou(run)
    todo = _first_missing(run, planned)
    if todo is None and run.config.run.random_regions and random is None:
        todo = (0, "random")
    if todo is None and run.config.run.full_supervision and reference is None:
        todo = (0, "full")
    labelling = _labelling(run)
    return {
        "run": str(root),
        "data": run.config.data.adapter,
        "images": len(pool.train) if pool else None,
        "planned_cycles": planned,
        "cycles": cycles,
        "answer": headline(collect(root, details=False)) if any(row["miou"] is not None for row in cycles) else {},
        "full_supervision_miou": reference,
        "random_regions_miou": random,
        "people": people_of_run(run, run.last_cycle("labels")),
        "labelling": labelling,
        "finished": todo is None,
        "next": _next(run, planned, todo, labelling, has_pool=pool is not None),
        "in_use_by": _holder(root),
        "unfinished": _unfinished(root),
    }


def _first_missing(run: Run, planned: int) -> tuple[int, str] | None:
    steps = ((cycle, stage) for cycle in range(planned) for stage in STAGES)
    return next(((cycle, stage) for cycle, stage in steps if not run.is_committed(cycle, stage)), None)


def _labelling(run: Run) -> dict[str, int] | None:
    """How far the round is that people work on."""
    cycle = run.last_cycle("ask")
    if cycle < 0 or run.is_committed(cycle, "labels"):
        return None
    from s4al.annotate.queries import Round
    from s4al.annotate.store import AnswerStore

    progress = AnswerStore(Round(run, cycle)).progress()
    return {name: getattr(progress, name) for name in ("asked", "answered", "skipped", "left")}


def _next(
    run: Run, planned: int, todo: tuple[int, str] | None, labelling: dict[str, int] | None, *, has_pool: bool
) -> str:
    command = f"s4al train {shlex.quote(str(run.root))}"
    if todo is None:
        return f"Finished. One more cycle: {command} --cycles {planned + 1}"
    cycle, stage = todo
    if stage == "labels" and labelling and labelling["left"]:
        left = f"{labelling['left']:,} of {labelling['asked']:,} regions"
        return f"s4al label serve {shlex.quote(str(run.root))} is where people label {left} for cycle {cycle}"
    if stage == "labels" and labelling:
        return f"{command} will take the answers of people as the labels of cycle {cycle}"
    if stage == "labels" and cycle > 0 and run.config.data.oracle == "people":
        return f"{command} will ask people for what was selected for cycle {cycle}"
    if not has_pool:
        faults = run.root / "faults.csv"
        return f"{command} will read the data set{f', once what {faults} lists is repaired' if faults.exists() else ''}"
    return f"{command} will {_DOING[stage].format(cycle)}{_position(run, cycle, stage)}"


def _position(run: Run, cycle: int, stage: str) -> str:
    """Where an interrupted training goes on."""
    checkpoints = sorted((run.cycle(cycle) / f".work-{stage}").glob("step-*/meta.json"))
    if not checkpoints:
        return ""
    try:
        meta = json.loads(checkpoints[-1].read_bytes())
    except FileNotFoundError:  # the command that is training just now has replaced it
        return ""
    return f" from step {meta['step']:,} of {meta['steps']:,}"


def _holder(root: Path) -> str | None:
    """Who is at work in the run, by the note in its lock file: taking the lock to see would be in the way of others."""
    try:
        holder = json.loads((root / ".lock").read_bytes())
        alive = holder["host"] != socket.gethostname() or _is_alive(holder["pid"])
    except (OSError, ValueError, KeyError):  # never used, or somebody is writing it this moment
        return None
    return (
        f"process {holder['pid']} on {holder['host']} since {holder['since']} (s4al {holder['command']})"
        if alive
        else None
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _unfinished(root: Path) -> list[str]:
    """Temporary names of writes under way or cut short. `os.walk` does not mind folders that vanish meanwhile."""
    found = []
    for folder, folders, names in os.walk(root):
        found += [str(Path(folder, name).relative_to(root)) for name in [*folders, *names] if _is_temporary(name)]
        folders[:] = [name for name in folders if not _is_temporary(name)]
    return sorted(found)


def _is_temporary(name: str) -> bool:
    return name.startswith(files.TEMPORARY)
