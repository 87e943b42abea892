"""Single stages on request: which cycle, the run's lock, and the result as plain values for `--json`."""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4al import files
from s4al.errors import RunStateError
from s4al.state import Run
from s4al.watch import Watch

if TYPE_CHECKING:
    from s4al.export.onnx_export import Precision


def select(root: Path, *, cycle: int | None, watch: Watch, **settings: Any) -> dict[str, Any]:
    """Commit the selections of a cycle; settings that are None are the run's. Raises RunStateError, StorageError."""
    from s4al.scorer import select_cycle

    run = Run.open(root)
    with files.run_lock(root, "select"):
        return _plain(select_cycle(run, _newest(run, cycle, "score"), **settings, watch=watch))


def export(root: Path, *, cycle: int | None, precision: Precision, out: Path | None, watch: Watch) -> dict[str, Any]:
    """Write the network of a cycle as one ONNX file. Raises EngineError, RunStateError, StorageError."""
    from s4al.export import export_file

    run = Run.open(root)
    number = _newest(run, cycle, "train")
    target = out or root / "exported" / f"cycle-{number:03d}-{precision}.onnx"
    with contextlib.nullcontext() if out else files.run_lock(root, "export"):
        result = export_file(run, number, format="onnx", precision=precision, out=target, watch=watch)
    return {
        "cycle": number,
        "precision": precision,
        "out": str(result.path),
        "bytes": result.bytes,
        "seconds": result.seconds,
        "parity": asdict(result.parity),
    }


def _newest(run: Run, cycle: int | None, stage: str) -> int:
    """The cycle that was asked for, or the newest that has `stage`. Raises RunStateError where there is none."""
    number = run.last_cycle(stage) if cycle is None else cycle
    if number < 0 or not run.is_committed(number, stage):
        what = f"Cycle {number} of {run.root} has" if number >= 0 else f"{run.root} has"
        raise RunStateError(f"{what} no {stage} yet.", remedy=f"Run: s4al train {run.root}")
    return number


def _plain(result: Any) -> dict[str, Any]:
    """A result's fields, paths as text."""
    return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(result).items()}
