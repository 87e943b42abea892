"""A trained cycle as a TensorRT engine, with the fake library: builds, cache, refits, the gate and every refusal."""

from __future__ import annotations

import dataclasses
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from s4al import files
from s4al.cli.app import run as s4al
from s4al.errors import EngineError
from s4al.export import trt_plan
from s4al.export.trt_plan import OpenedPlan, build_plan, open_plan, structure
from s4al.run.state import Run
from s4al.scorer.engines import trt_engine
from s4al.scorer.engines.cpu_engines import OrtEngine
from s4al.scorer.engines.gpu import Gpu
from s4al.scorer.engines.model_card import read_model
from s4al.scorer.engines.trt_adapter import TensorRt
from s4al.watch import Watch
from tests.fake_trt import GPU, MARK, FakeDevice, World
from tests.notes import Notes
from tests.small_models import exported_run, random_images, small_model, small_scoring_network


class Machine:
    """A run whose network is a SmallNetwork of seed `seed`, and a GPU with fake libraries."""

    def __init__(self, run: Run) -> None:
        self.run, self.worlds, self.gpu, self.refusals, self.seed = run, [World()], GPU, ["another is too old."], 0
        self.watch = Notes()

    @property
    def world(self) -> World:
        return self.worlds[0]

    def find_trt(self, device: str = "auto") -> tuple[Gpu, list[TensorRt], list[str]]:
        return self.gpu, [TensorRt(world.module) for world in self.worlds], list(self.refusals)

    def open(self, precision: str = "fp32") -> OpenedPlan:
        for world in self.worlds:
            world.calls.clear()
        self.watch.lines.clear()
        return open_plan(self.run, 0, precision=precision, batch_size=2, watch=self.watch)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Its limits are wide: the weights of a SmallNetwork are drawn at random and large, half precision shows."""
    limits = ("export.max_entropy_error=0.02", "export.min_label_agreement=0.98", "export.min_topk_overlap=0.5")
    return exported_run(tmp_path_factory.mktemp("trt") / "run", *limits)


@pytest.fixture
def machine(shared_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(shared_run)
    names = tuple(shared_run.class_names)
    _, card = read_model(shared_run.stage(0, "export") / "model.onnx")
    monkeypatch.setenv("S4AL_CACHE_DIR", str(tmp_path / "cache"))
    for module in (trt_engine, trt_plan):
        monkeypatch.setattr(module, "find_trt", machine.find_trt)
    monkeypatch.setattr(
        trt_plan, "CudaDevice", lambda gpu: FakeDevice(machine.worlds[-1])
    )  # the one that is tried last
    monkeypatch.setattr(trt_plan, "scoring_network", lambda run, cycle: small_scoring_network(len(names), machine.seed))
    monkeypatch.setattr(trt_plan, "make_card", lambda *_: card)
    monkeypatch.setattr(
        trt_plan, "export_onnx", lambda network, card, precision: small_model(names, machine.seed, precision)
    )
    return machine


def cached(machine: Machine, tmp_path: Path) -> list[Path]:
    """Cached plans, not the timing caches."""
    return [path for path in sorted((tmp_path / "cache" / "plans").glob("*.bin")) if path.read_bytes().startswith(MARK)]


def test_a_plan_is_built_checked_and_kept(machine: Machine, tmp_path: Path) -> None:
    opened = machine.open("fp16")
    assert machine.world.count("build") == 1
    assert "set_shape image 1 2 2" in machine.world.calls
    assert machine.watch.lines == ["Building a plan with tensorrt 11.4 for Fake 4090."]
    assert [opened.path] == cached(machine, tmp_path)
    assert opened.bytes == opened.path.stat().st_size
    assert opened.parity.images == 2
    assert 0 < opened.parity.max_entropy_error < 1e-2
    engine = opened.engine
    assert (engine.provider, engine.batch_size) == ("tensorrt 11.4, fp16, Fake 4090", 2)
    assert engine.logits_dtype == np.float16
    assert engine.passed_over == ("another is too old.",)


def test_the_second_time_nothing_is_built_nor_measured(machine: Machine) -> None:
    first = machine.open()
    second = machine.open()
    assert machine.world.count("build") == machine.world.count("replay") == 0
    assert machine.world.count("refit") == 1
    assert machine.watch.lines == []
    assert second.parity == first.parity


def test_new_weights_are_refitted_into_the_same_plan(machine: Machine, tmp_path: Path) -> None:
    machine.open()
    machine.seed = 1
    opened = machine.open()
    assert machine.world.count("build") == 0
    assert machine.world.count("replay") == 2  # the gate: these weights are new
    assert len(cached(machine, tmp_path)) == 1
    model = small_model(tuple(machine.run.class_names), seed=1)
    expected = OrtEngine(model, opened.engine.card, batch_size=2, threads=1)
    images = random_images(2)
    np.testing.assert_allclose(opened.engine.run(images), expected.run(images), atol=1e-5)


def test_what_cannot_be_refitted_is_built_for_its_weights(machine: Machine, tmp_path: Path) -> None:
    machine.world.fail.add("get_missing_weights")
    machine.open()
    assert machine.world.count("build") == 2
    assert any("cannot refit the plan: no weights for layer.weight" in line for line in machine.watch.lines)
    assert len(cached(machine, tmp_path)) == 2


def test_tensorrt_for_rtx_builds_for_every_cycle(machine: Machine, tmp_path: Path) -> None:
    machine.worlds = [World("tensorrt_rtx", "1.7")]
    machine.open()
    assert "set_compute_capability SM89" in machine.world.calls
    machine.seed = 1
    machine.open()
    assert (machine.world.count("build"), machine.world.count("refit"), machine.world.count("create_timing_cache")) == (
        1,
        0,
        0,
    )
    assert len(cached(machine, tmp_path)) == 2


def test_builds_share_what_they_have_measured(machine: Machine) -> None:
    machine.open("fp32")
    assert "create_timing_cache" in machine.world.calls
    machine.open("fp16")
    assert "create_timing_cache timing" in machine.world.calls


def test_a_damaged_plan_is_never_loaded_but_built_again(machine: Machine, tmp_path: Path) -> None:
    path = machine.open().path
    path.write_bytes(b"evil")  # the fake library asserts that it never sees this
    machine.open()
    assert machine.world.count("build") == 1
    assert "its content has changed since it was written" in machine.watch.lines[0]
    assert cached(machine, tmp_path) == [path]


@pytest.mark.parametrize("what", ["gpu", "driver", "version"])
def test_another_machines_plan_is_not_loaded(what: str, machine: Machine) -> None:
    machine.open()
    if what == "version":
        machine.worlds = [World(version="11.5")]
    else:
        value = {"gpu": {"name": "Fake A100"}, "driver": {"driver": 13020}}[what]
        machine.gpu = dataclasses.replace(GPU, **value)
    machine.open()
    assert machine.world.count("build") == 1
    assert machine.watch.lines[0].startswith(f"A plan in the cache is not used: it was made for {what} ")


def test_a_plan_that_the_library_refuses_is_built_again(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.open()
    real = TensorRt.load_plan
    refused: list[bytes] = []

    def load_plan(self: TensorRt, plan: bytes) -> object:
        if not refused:
            refused.append(plan)
            raise EngineError("tensorrt 11.4 refuses the plan: it is of another age.")
        return real(self, plan)

    monkeypatch.setattr(TensorRt, "load_plan", load_plan)
    machine.open()
    assert machine.world.count("build") == 1
    assert machine.watch.lines[0].startswith("A plan in the cache is made again: tensorrt 11.4 refuses the plan")


def test_a_plan_that_computes_something_else_is_refused_with_the_figures(machine: Machine, tmp_path: Path) -> None:
    machine.world.offset = 30.0
    with pytest.raises(EngineError, match=r"disagrees with the trained network on 2 images: region entropy") as caught:
        machine.open()
    assert caught.value.exit_code == 6
    assert "label agreement 0." in caught.value.what
    assert cached(machine, tmp_path) == []


def test_remembered_figures_are_held_against_the_limits_of_the_run(machine: Machine) -> None:
    machine.open("fp16")
    strict = machine.run.config.model_copy(
        update={"export": machine.run.config.export.model_copy(update={"max_entropy_error": 1e-9})}
    )
    machine.run = Run(machine.run.root, strict)
    with pytest.raises(EngineError, match="region entropy differs by"):
        machine.open("fp16")
    assert machine.world.count("replay") == 0


def test_the_next_library_is_tried_and_the_reason_kept(machine: Machine) -> None:
    machine.worlds = [World("tensorrt"), World("tensorrt_rtx", "1.7")]
    machine.worlds[0].fail.add("build")
    engine = machine.open().engine
    assert engine.provider == "tensorrt_rtx 1.7, fp32, Fake 4090"
    assert engine.passed_over == (
        "another is too old.",
        "tensorrt 11.4 cannot build a plan: something the library says.",
    )
    machine.worlds[1].fail.add("parse")
    machine.seed = 1
    with pytest.raises(EngineError, match=r"too old\. tensorrt 11.4 cannot build .* tensorrt_rtx 1.7 cannot build"):
        machine.open()


def test_a_cache_that_others_can_write_to_is_not_used(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o777)
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(EngineError, match="others can write to it"):
        machine.open()
    assert machine.world.count("build") == 0


def test_without_a_place_for_plans_the_other_engines_are_left(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full").mkdir(mode=0o700)
    monkeypatch.setenv("S4AL_CACHE_DIR", str(tmp_path / "full"))

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_atomic", full)
    with pytest.raises(EngineError, match="No space left on the device while writing"):
        machine.open()


def test_the_structure_is_the_same_for_all_weights_of_a_network() -> None:
    assert structure(small_model(seed=0)) == structure(small_model(seed=1))
    assert len(structure(small_model())) < len(small_model())
    assert structure(small_model()) != structure(small_model(precision="fp16"))
    assert structure(small_model()) != structure(small_model(("road", "car")))


# --- the command line ---


def test_score_uses_it_and_the_manifest_says_so(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(machine.run.root, tmp_path / "run")
    monkeypatch.setattr("s4al.scorer.engines.open.find_gpu", lambda: GPU)
    assert s4al(["score", str(tmp_path / "run"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["engine"], result["provider"]) == ("trt", "tensorrt 11.4, fp16, Fake 4090")
    for stage in ("score", "pseudo"):
        about = files.read_manifest(Run.open(tmp_path / "run").stage(0, stage))
        assert (about["engine"], about["provider"]) == ("trt", "tensorrt 11.4, fp16, Fake 4090")
        assert about["passed_over"] == ["another is too old."]


def test_export_names_the_plan(machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(machine.run.root), "--format", "trt"]
    assert s4al([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [Path(result["out"])] == cached(machine, tmp_path)
    assert (result["precision"], result["provider"], result["batch_size"]) == (
        "fp16",
        "tensorrt 11.4, fp16, Fake 4090",
        2,
    )
    assert s4al(arguments) == 0
    assert "Plan" in capsys.readouterr().out


def test_a_plan_goes_nowhere_else(shared_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", str(shared_run.root), "--format", "trt", "--out", str(tmp_path / "model.plan")]
    assert s4al(arguments) == 2
    assert "kept in this machine's cache" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_both_commands_end_with_6_and_say_what_is_missing(
    shared_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    monkeypatch.setenv("S4AL_CACHE_DIR", str(tmp_path / "cache"))
    assert s4al(["export", str(shared_run.root), "--format", "trt"]) == 6
    said = " ".join(capsys.readouterr().err.split())
    assert "TensorRT cannot be used here. There is no CUDA driver." in said
    assert "tensorrt cannot be imported" in said
    assert "what cannot be run here cannot be checked" in said
    assert s4al(["score", str(shared_run.root), "--engine", "trt"]) == 6
    said = " ".join(capsys.readouterr().err.split())
    assert "There is no CUDA driver." in said
    assert not shared_run.stage(0, "score").exists()
    assert not (tmp_path / "cache").exists()
    with pytest.raises(EngineError):
        build_plan(shared_run, 0, precision="fp16", watch=Watch())
