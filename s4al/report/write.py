"""Collect, draw, render, write: the whole way from run folders to `report.html` and `report.json`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from s4al import __version__, files
from s4al.errors import RunStateError
from s4al.report import model
from s4al.report.answer import headline
from s4al.report.collect import collect
from s4al.report.compare import find_comparisons
from s4al.report.page import render_page
from s4al.report.pictures import PictureBook
from s4al.report.sources import Gaps
from s4al.run.state import Run

PAGE = "report.html"
MOST_RUNS = 64
MOST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Written:
    """A report on disk: the page, its figures as a document, and the figures themselves."""

    page: Path
    document: Path
    runs: list[model.Run]
    answer: dict[str, Any]


def write_report(roots: Sequence[Path], out: Path | None = None) -> Written:
    """Write the page of one run, or of several with the first in detail, and its figures as JSON beside it.

    Parameters
    ----------
    out : the HTML file; its figures have the same name with `.json`. Where it is None, `report.html` in the run, or
        `comparison.html` in the first of several.

    Returns
    -------
    whose `answer` is what `s4al report --json` prints: `{"runs", "out", "figures", "bytes", "seconds", "answer",
    "missing"}`.

    Raises
    ------
    RunStateError : no run, or too many; ConfigError : a damaged run.toml; StorageError.
    """
    started = time.monotonic()
    if len(roots) > MOST_RUNS:
        raise RunStateError(f"{len(roots)} runs are too many for one page.", remedy=f"Name up to {MOST_RUNS}.")
    runs = [collect(root) for root in roots]
    find_comparisons(runs)
    gaps = Gaps()
    book = PictureBook(Run.open(roots[0]), runs[0], gaps)
    runs[0].gaps += gaps.sentences
    page = _encoded(render_page(runs, book))
    if len(page) > MOST_BYTES:
        book.drop_all()
        page = _encoded(render_page(runs, book))
    path = out or roots[0] / (PAGE if len(roots) == 1 else "comparison.html")
    figures = path.with_suffix(".json")
    with files.storage_errors(f"writing {path}", kept="The run is as it was."):
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(figures, files.json_bytes(files.finite(as_document(runs))))
        files.write_atomic(path, page)
    answer = {
        "runs": [str(root) for root in roots],
        "out": str(path),
        "figures": str(figures),
        "bytes": len(page),
        "seconds": round(time.monotonic() - started, 2),
        "answer": headline(runs[0]),
        "missing": [f"{run.name}: {gap}" if len(runs) > 1 else gap for run in runs for gap in run.gaps],
    }
    return Written(path, figures, runs, answer)


def _encoded(page: str) -> bytes:
    return page.encode("utf-8", "backslashreplace")


def as_document(runs: Sequence[model.Run]) -> dict[str, Any]:
    """What `report.json` holds."""
    return {"format": model.FORMAT, "s4al": __version__, "runs": [asdict(run) for run in runs]}
