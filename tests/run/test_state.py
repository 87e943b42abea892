"""A run's folder between two commands."""

from __future__ import annotations

from pathlib import Path

from s4al.config import resolve
from s4al.run.state import Run


def test_pieces_of_a_committed_stage_go_and_those_of_an_unfinished_one_stay(tmp_path: Path) -> None:
    """A kill may come between a commit and tidying up after it, also in a run inside the run."""
    run = Run.create(tmp_path / "run", resolve("demo"))
    inside = Run.create(tmp_path / "run" / "random", resolve("demo"))
    for each in (run, inside):
        with each.commit(0, "labels"):
            pass
        for stage in ("labels", "train"):
            (each.cycle(0) / f".work-{stage}" / "piece").mkdir(parents=True)
    run.remove_finished_work()
    for each in (run, inside):
        assert sorted(path.name for path in each.cycle(0).iterdir()) == [".work-train", "labels"]
