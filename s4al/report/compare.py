"""Runs beside each other: one of every label, or of random regions, is what another is compared with."""

from __future__ import annotations

from collections.abc import Sequence

from s4al.config import FREE_ON_RESUME
from s4al.report.model import Comparison, Run

# Settings in which a run of that kind may differ from the one it is compared with; None: in any, the images are enough.
_OF_THE_KIND = {"random": {"acquisition.strategy"}, "every label": None}


def find_comparisons(runs: Sequence[Run]) -> None:
    """Where a run has no comparison inside itself, take one that was given with it: same data, of the right kind."""
    for run in runs:
        if run.kind == "every label":
            continue
        if run.full is None:
            run.full = _comparison(run, runs, "every label")
        if run.random is None and run.kind == "active":
            run.random = _comparison(run, runs, "random")


def _comparison(run: Run, runs: Sequence[Run], kind: str) -> Comparison | None:
    found = [other for other in runs if other.kind == kind and other.points and _same_task(run, other, kind)]
    if not found:
        return None
    best = min(found, key=lambda other: (other.seed != run.seed, other.name))
    return Comparison(best.name, best.points)


def _same_task(run: Run, other: Run, kind: str) -> bool:
    """Whether both have the same images, and, for random regions, settings that differ in nothing else."""
    if run.data.digest is None or run.data.digest != other.data.digest:
        return False
    may_differ = _OF_THE_KIND[kind]
    if may_differ is None:
        return True
    different = {key for key, value in run.settings.items() if other.settings.get(key) != value}
    return different - FREE_ON_RESUME <= may_differ | {"run.seed"}
