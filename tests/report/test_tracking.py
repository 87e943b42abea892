"""What a tracking service is told, by a stand-in and by MLflow on a folder of files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from s4al import config
from s4al.errors import ConfigError
from s4al.report import tracking
from s4al.report.tracking import check_tracking, track
from s4al.report.write import write_report
from s4al.run.state import Run
from tests.report.make_run import make_run

MLFLOW = "run.tracking=mlflow"


class _Noted:
    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def params(self, values: Mapping[str, str]) -> None:
        self.calls.append(("params", dict(values)))

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.calls.append((f"metrics {step}", dict(values)))

    def artefact(self, path: Path) -> None:
        self.calls.append(("artefact", path.name))

    def finish(self) -> None:
        self.calls.append(("finish", None))


def _track(run: Run) -> None:
    written = write_report([run.root])
    track(run, written.runs[0], written.page, written.document)


def test_figures_are_told_once_and_the_report_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = _Noted()
    monkeypatch.setitem(tracking._OPEN, "mlflow", lambda run, known: (noted, known))
    run = make_run(tmp_path / "run", MLFLOW)
    _track(run)
    names = [name for name, _ in noted.calls]
    assert names == ["params", "metrics 0", "metrics 1", "artefact", "artefact", "finish"]
    settings, newest = noted.calls[0][1], noted.calls[2][1]
    assert settings["run.cycles"] == "2" and settings["data.adapter"] == "folder"
    assert newest["miou"] == 0.5 and newest["iou/1_car"] == 0.2 and newest["people_minutes"] == 1.5
    assert "iou/2_sky" not in newest  # not in the test images
    noted.calls.clear()
    _track(run)
    assert [name for name, _ in noted.calls] == ["artefact", "artefact", "finish"]


def test_nobody_is_told_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tracking._OPEN, "none", lambda run, known: pytest.fail("opened"))
    run = make_run(tmp_path / "run")
    _track(run)
    assert not (run.logs / "tracking.json").exists()


def test_mlflow_has_the_figures_of_both_cycles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = make_run(tmp_path / "my run", MLFLOW, classes=("road", "<car> & co", "sky"))
    _track(run)
    _track(run)
    client = mlflow.MlflowClient(tracking_uri=(run.logs / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("s4al")
    (stored,) = client.search_runs([experiment.experiment_id])
    assert stored.info.run_name == "my run" and stored.info.status == "FINISHED"
    assert [point.value for point in client.get_metric_history(stored.info.run_id, "miou")] == [0.4, 0.5]
    assert stored.data.metrics["iou/1__car_ _ co"] == 0.2
    assert stored.data.params["trainer.lr"] == "0.01"
    artefacts = {each.path for each in client.list_artifacts(stored.info.run_id)}
    assert artefacts == {"report.html", "report.json"}


def test_a_service_that_is_not_installed_is_said_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_tracking(config.resolve("demo"))
    with pytest.raises(ConfigError, match="MLflow is not installed") as caught:
        check_tracking(config.resolve("demo", overrides=[MLFLOW]))
    assert "s4al[mlflow]" in caught.value.remedy
