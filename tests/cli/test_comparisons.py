"""What a run is compared with: as many random regions, from the same first training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from s4al import files
from s4al.cli import cycle
from s4al.cli.app import run as s4al
from s4al.cli.status import read_status
from s4al.errors import ConfigError
from s4al.run.state import Run
from s4al.watch import Interrupted, Watch
from tests.tiny import TINY, digests, tiny_config, tiny_cycles

SETTING = ("run.random_regions=true",)


def _random(root: Path) -> Run:
    return Run.open(root / "random")


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("compared") / "run"
    tiny_cycles(root, *SETTING)
    return root


@pytest.mark.slow
def test_as_many_regions_are_drawn_at_random_from_the_same_first_training(compared: Path) -> None:
    run, random = Run.open(compared), _random(compared)
    asked = [files.read_table(each.stage(0, "select") / "selections.parquet") for each in (run, random)]
    assert asked[0].num_rows == asked[1].num_rows > 0
    assert asked[0]["image"].to_pylist() != [] and asked[0]["region"].to_pylist() != asked[1]["region"].to_pylist()
    assert set(asked[1]["reason"].to_pylist()) == {"random"}
    assert random.stage(0, "train").resolve() == run.stage(0, "train").resolve()
    assert random.stage(1, "train").resolve() != run.stage(1, "train").resolve()
    assert not random.stage(1, "score").exists()  # nobody will ask


@pytest.mark.slow
def test_the_run_itself_is_as_it_would_be_alone(compared: Path, tmp_path: Path) -> None:
    tiny_cycles(tmp_path / "alone")
    alone = digests(tmp_path / "alone")
    together = {name: data for name, data in digests(compared).items() if not name.startswith("random/")}
    del alone["run.toml"], together["run.toml"]
    assert together == alone


@pytest.mark.slow
def test_stopped_in_the_comparison_it_goes_on_to_the_same_bytes(compared: Path, tmp_path: Path) -> None:
    class StopInComparison(Watch):
        def note(self, line: str) -> None:
            if "random regions" in line:
                self.request_stop()

    with pytest.raises(Interrupted):
        tiny_cycles(tmp_path / "run", *SETTING, watch=StopInComparison())
    status = read_status(tmp_path / "run")
    assert not status["finished"] and "random regions" in status["next"]
    tiny_cycles(tmp_path / "run", *SETTING)
    expected, found = digests(compared), digests(tmp_path / "run")
    clock = {name for name in expected | found if "/logs/" in name}
    assert {k: v for k, v in expected.items() if k not in clock} == {k: v for k, v in found.items() if k not in clock}
    assert read_status(tmp_path / "run")["finished"]


@pytest.mark.slow
def test_both_figures_are_in_the_answer_and_on_the_screen(compared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(compared), "--preset", "demo", "--device", "cpu", *TINY, *SETTING]
    assert s4al([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["random_regions_miou"] == read_status(compared)["random_regions_miou"] is not None
    assert s4al(command) == 0
    shown = " ".join(capsys.readouterr().out.split())
    first, last = answer["cycles"]
    gains = [100 * (miou - first["miou"]) for miou in (last["miou"], answer["random_regions_miou"])]
    share = 100 * (last["labelled_fraction"] - first["labelled_fraction"])
    bought = f"bought {gains[0]:+.1f} points of mIoU; as many random ones {gains[1]:+.1f}."
    assert f"{last['regions']} regions, {share:.1f} % of all pixels, {bought}" in shown


def test_people_cannot_be_compared_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.random_regions needs a mask for every image"):
        tiny_config(*SETTING, "data.oracle=people")


def test_a_further_process_goes_by_the_cycles_that_the_command_asks_for(tmp_path, monkeypatch):
    """Else it would leave a finished run that the first process goes on with, and that one would wait for it."""
    Run.create(tmp_path / "run", tiny_config("run.cycles=2"))
    asked: list[int] = []
    monkeypatch.setattr(cycle, "_is_finished", lambda run: not asked.append(run.config.run.cycles))
    monkeypatch.setattr(cycle, "summary", lambda run: {"cycles": run.config.run.cycles})
    monkeypatch.setenv("RANK", "1")
    assert cycle.run_cycles(tmp_path / "run", cycles=3, watch=Watch()) == {"cycles": 3}
    assert asked == [3]
