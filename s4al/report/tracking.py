"""Figures of a run for a service that keeps experiments: one small interface, and MLflow behind it.

Which one is the setting `run.tracking`. MLflow is told by its own variables where it keeps things
(`MLFLOW_TRACKING_URI`); without them it is a folder of files in the run's logs.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from s4al import files
from s4al.config import Config
from s4al.errors import ConfigError
from s4al.report import model

if TYPE_CHECKING:
    from s4al.run.state import Run

_MOST_CHARACTERS = 500  # of a setting's value
_EXPERIMENT = "s4al"


class Tracker(Protocol):
    """What a tracking service has to take. Each call may raise whatever its library raises."""

    def params(self, values: Mapping[str, str]) -> None:
        """The settings, once."""
        ...

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """The figures of one cycle."""
        ...

    def artefact(self, path: Path) -> None:
        """A file, in place of the one of that name before."""
        ...

    def finish(self) -> None:
        """All planned cycles are there."""
        ...


def check_tracking(config: Config) -> None:
    """Raises ConfigError where what `run.tracking` names is not installed: said before hours of training."""
    if config.run.tracking == "mlflow" and importlib.util.find_spec("mlflow") is None:
        raise ConfigError(
            "run.tracking is mlflow, and MLflow is not installed.",
            remedy="Install it with uv pip install 's4al[mlflow]', or set run.tracking=none.",
        )


def track(run: Run, figures: model.Run, page: Path, document: Path) -> None:
    """Hand over what is new since the last time: settings, the figures of further cycles, and the report.

    How far that is, is kept in `logs/tracking.json`. Raises whatever the service's library raises, StorageError.
    """
    if run.config.run.tracking == "none":
        return
    memory = run.logs / "tracking.json"
    known: dict[str, Any] = json.loads(memory.read_bytes()) if memory.is_file() else {}
    tracker, known = _OPEN[run.config.run.tracking](run, known)
    if not known.get("params"):
        tracker.params({key: _short(value) for key, value in figures.settings.items()})
    told = int(known.get("cycles", 0))
    for cycle in figures.tested[told:]:
        tracker.metrics(cycle_metrics(figures, cycle), cycle.cycle)
    for path in (page, document):
        tracker.artefact(path)
    if len(figures.tested) >= figures.planned_cycles:
        tracker.finish()
    with files.storage_errors(f"writing {memory}"):
        run.logs.mkdir(exist_ok=True)
        files.write_json(memory, {**known, "params": True, "cycles": len(figures.tested)})


def cycle_metrics(figures: model.Run, cycle: model.Cycle) -> dict[str, float]:
    """The figures of one cycle by name, those that are known: mIoU, cost, times, IoU by class."""
    found: dict[str, float | None] = {
        "miou": cycle.miou,
        "labelled_fraction": cycle.labelled_fraction,
        "labelled_pixels": cycle.labelled_pixels,
        "regions": cycle.regions,
        "people_minutes": cycle.seconds / 60 if cycle.seconds is not None else None,
        "train_s": cycle.times.get("train", {}).get("seconds"),
        "score_images_per_s": cycle.times.get("score", {}).get("images_per_s"),
        "pseudo_coverage": cycle.pseudo.coverage if cycle.pseudo else None,
        "pseudo_correct": cycle.pseudo.correct if cycle.pseudo else None,
    }
    for index, iou in enumerate(cycle.per_class_iou or ()):
        found[f"iou/{index}_{figures.class_names[index]}"] = iou
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


class MlflowTracker:
    """One run of MLflow."""

    def __init__(self, uri: str, run_id: str) -> None:
        self._client = _mlflow_client(uri)
        self._run_id = run_id

    def params(self, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            self._client.log_param(self._run_id, name, value)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run_id, _allowed(name), value, step=step)

    def artefact(self, path: Path) -> None:
        self._client.log_artifact(self._run_id, str(path))

    def finish(self) -> None:
        self._client.set_terminated(self._run_id)


def _open_mlflow(run: Run, known: dict[str, Any]) -> tuple[Tracker, dict[str, Any]]:
    """Go on with the MLflow run that was begun before, where the store still is the one that has it."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or (run.logs / "mlflow").resolve().as_uri()
    if known.get("uri") == uri:
        return MlflowTracker(uri, str(known["run_id"])), known
    client = _mlflow_client(uri)
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(_EXPERIMENT)
    run_id = client.create_run(number, run_name=run.root.resolve().name).info.run_id
    return MlflowTracker(uri, run_id), {"uri": uri, "run_id": run_id}


def _mlflow_client(uri: str) -> Any:
    # Before the import: MLflow reports its use to its makers unless it is told not to, and wants to be asked for files.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    if uri.startswith("file:"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


_OPEN: dict[str, Callable[[Run, dict[str, Any]], tuple[Tracker, dict[str, Any]]]] = {"mlflow": _open_mlflow}


def _allowed(name: str) -> str:
    """A metric's name with what MLflow refuses replaced."""
    return re.sub(r"[^A-Za-z0-9_./ -]", "_", name)[:200]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"
