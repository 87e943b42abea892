"""The page about a run: on request, and after every cycle of a training, which it must never end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from s4al.errors import ConfigError
from s4al.run.state import Run
from s4al.text import visible
from s4al.watch import Watch

_SUFFIXES = (".html", ".htm")


def report(roots: Sequence[Path], out: Path | None) -> dict[str, Any]:
    """Write the page of one or several runs; see `write_report`.

    Raises ConfigError where `out` names no HTML file; RunStateError, StorageError.
    """
    if out is not None and (out.suffix.lower() not in _SUFFIXES or out.is_dir()):
        raise ConfigError(f"--out {out} is not the name of an HTML file.", remedy="For example --out report.html.")
    from s4al.report import write_report

    return write_report(roots, out).answer


def report_after_cycle(run: Run, watch: Watch) -> None:
    """Write `report.html` and `report.json` into a run, and hand the figures to what tracks it.

    Whatever goes wrong is said in a line: the page can be made again, a training cannot.
    """
    from s4al.report import write_report
    from s4al.report.tracking import track

    try:
        written = write_report([run.root])
    except Exception as error:  # noqa: BLE001 - a page is not worth a training, whatever its fault
        watch.note(f"The report was not written: {_line(error)} The training goes on; try s4al report {run.root}")
        return
    try:
        track(run, written.runs[0], written.page, written.document)
    except Exception as error:  # noqa: BLE001 - nor is a service that cannot be reached
        watch.note(f"{run.config.run.tracking} could not be told: {_line(error)} The training goes on.")


def _line(error: Exception) -> str:
    text = " ".join(visible(str(error)).split()) or type(error).__name__
    text = text if len(text) <= 300 else f"{text[:299]}…"
    return text if text.endswith((".", "…")) else f"{text}."
