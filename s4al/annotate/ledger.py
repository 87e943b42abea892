"""What people did for a run: who, how much, how long, and how far they agree. Committed with the labels of each cycle.

cycles/NNN/labels/people.json       of that cycle's round
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from s4al.annotate.agreement import Agreement
from s4al.annotate.store import Progress
from s4al.annotate.tally import Share
from s4al.errors import RunStateError
from s4al.run.state import Run

PEOPLE = "people.json"


def people_of_round(progress: Progress, agreement: Agreement) -> dict[str, Any]:
    """What one round cost, and what it gave.

    Returns
    -------
    `{"annotators": [{"annotator", "regions", "pixels", "seconds"}], "classes": {name: pixels}, "undecided", "seconds",
    "skipped", "agreement"}`. `agreement` is None where nobody answered what somebody else had.
    """
    return {
        "annotators": [{"annotator": name, **asdict(share)} for name, share in progress.by_annotator.items()],
        "classes": progress.by_class,
        "undecided": progress.undecided,
        "seconds": progress.seconds,
        "skipped": progress.skipped,
        "agreement": agreement.to_json() if agreement.regions else None,
    }


def people_of_run(run: Run, cycle: int) -> dict[str, Any] | None:
    """As `people_of_round`, of all rounds committed up to and including `cycle`; None where people did nothing.

    Raises RunStateError where a record is damaged.
    """
    paths = (run.stage(earlier, "labels") / PEOPLE for earlier in range(cycle + 1))
    try:
        rounds = [json.loads(path.read_bytes()) for path in paths if path.is_file()]
        return _added(rounds) if rounds else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunStateError(
            f"What people did in {run.root} cannot be read: {error}.",
            kept="The labels themselves are in other files.",
            remedy=f"Restore cycles/*/labels/{PEOPLE} from a copy of the run.",
        ) from error


def _added(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    shares: dict[str, Share] = {}
    classes = Counter[str]()
    agreement = Agreement(0, 0, 0, {})
    for each in rounds:
        for row in each["annotators"]:
            share = shares.setdefault(row["annotator"], Share())
            share.regions += row["regions"]
            share.pixels += row["pixels"]
            share.seconds = round(share.seconds + row["seconds"], 3)
        for name, pixels in each["classes"].items():
            classes[name] += pixels
        if each["agreement"]:
            agreement += Agreement.from_json(each["agreement"])
    return {
        "annotators": [{"annotator": name, **asdict(share)} for name, share in sorted(shares.items())],
        "classes": dict(classes),
        "undecided": sum(each["undecided"] for each in rounds),
        "seconds": round(sum(each["seconds"] for each in rounds), 3),
        "skipped": sum(each["skipped"] for each in rounds),
        "agreement": agreement.to_json() if agreement.regions else None,
    }
