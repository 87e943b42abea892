"""Engines agree with each other, and refuse what they cannot be sure of."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from s4al.data.regions import Grid
from s4al.errors import EngineError
from s4al.scorer.engines import open as open_module
from s4al.scorer.engines.cpu_engines import OrtEngine, TorchEngine
from s4al.scorer.engines.engine import EngineRequest
from s4al.scorer.engines.gpu import Gpu
from s4al.scorer.engines.model_card import ModelCard, check_fits, read_model
from s4al.scorer.engines.open import CPU_BATCH, open_engine
from tests.lazy_device import LazyDevice
from tests.notes import Notes
from tests.small_models import (
    CELL,
    HEIGHT,
    WIDTH,
    SmallNetworks,
    random_images,
    small_card,
    small_engine,
    small_model,
    small_scoring_network,
)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(small_model())
    return path


def edited(path: Path, edit: Callable[[onnx.ModelProto], object]) -> Path:
    model = onnx.load(path)
    edit(model)
    path.write_bytes(model.SerializeToString())
    return path


def test_onnx_runtime_gives_what_torch_gives() -> None:
    images = random_images(3)
    ort = small_engine(3).run(images)
    torch = TorchEngine(small_scoring_network, small_card(), batch_size=3, threads=1).run(images)
    assert ort.shape == torch.shape == (3, 3, HEIGHT // 4, WIDTH // 4)
    assert ort.dtype == torch.dtype == np.float32
    np.testing.assert_allclose(ort, torch, atol=1e-4 * np.abs(torch).max())


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_any_batch_size_gives_the_same_images_the_same_logits(batch_size: int) -> None:
    images = random_images(5)
    expected = small_engine(5).run(images)
    engine = small_engine(batch_size)
    for start in range(0, 5 - batch_size + 1, batch_size):
        part = images[start : start + batch_size]
        np.testing.assert_allclose(engine.run(part), expected[start : start + batch_size], atol=1e-5)


def test_the_same_images_give_the_same_bytes() -> None:
    images = random_images(2)
    runs = {small_engine().run(images).tobytes() for _ in range(3)}
    assert len(runs) == 1


def test_open_engine_says_what_it_chose(model_file: Path) -> None:
    watch = Notes()
    engine = open_engine(model_file, EngineRequest("auto", "cpu"), batch_size=2, watch=watch)
    assert (engine.name, engine.provider, engine.batch_size) == ("ort", "CPUExecutionProvider", 2)
    assert watch.lines == ["engine ort (CPUExecutionProvider)"]


def test_auto_falls_back_to_torch_and_says_why(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    watch = Notes()
    engine = open_engine(model_file, EngineRequest("auto", "cpu", SmallNetworks()), batch_size=2, watch=watch)
    assert engine.name == "torch"
    assert len(watch.lines) == 1
    assert watch.lines[0].startswith(
        "engine torch (torch cpu); could not be used: ort: ONNX Runtime cannot be imported"
    )


def test_when_nothing_works_every_reason_is_given(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EngineError, match=r"ort: .*cannot be imported.* torch: .*only an ONNX file"):
        open_engine(model_file, EngineRequest("auto", "cpu"), batch_size=2)


def test_tensorrt_needs_more_than_the_file(model_file: Path) -> None:
    with pytest.raises(EngineError, match="TensorRT engine needs the network, and only an ONNX file") as caught:
        open_engine(model_file, EngineRequest("trt", "auto"), batch_size=2)
    assert caught.value.exit_code == 6


def with_trt(*passed_over: str) -> SmallNetworks:
    """Networks with an engine as `export.open_tensorrt` gives it."""
    engine = small_engine()
    engine.name, engine.provider, engine.passed_over = "trt", "tensorrt 11, fp16, H100", passed_over
    return SmallNetworks(trt=lambda: engine)


def with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_module, "find_gpu", lambda *_: Gpu(0, "H100", (9, 0), 13010))
    monkeypatch.setattr("s4al.scorer.engines.device.CudaDevice", lambda gpu: LazyDevice(0))


@pytest.mark.parametrize("device", ["auto", "cuda:1"])
def test_where_there_is_a_gpu_tensorrt_comes_first(
    device: str, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(monkeypatch)
    watch, fake = Notes(), with_trt("tensorrt is too old.")
    engine = open_engine(model_file, EngineRequest("auto", device, fake), batch_size=2, threads=3, watch=watch)
    assert (engine.name, engine.passed_over) == ("trt", ("tensorrt is too old.",))
    assert fake.asked == {"batch_size": 2, "threads": 3, "device": device, "watch": watch}
    assert watch.lines == ["engine trt (tensorrt 11, fp16, H100); could not be used: tensorrt is too old."]


def test_where_tensorrt_refuses_auto_goes_on_and_says_why(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch)
    watch, fake = Notes(), SmallNetworks()
    engine = open_engine(model_file, EngineRequest("auto", "auto", fake), watch=watch)
    assert (engine.provider, engine.batch_size) == ("CPUExecutionProvider", CPU_BATCH)
    tried = [reason.partition(":")[0] for reason in engine.passed_over]
    assert tried == ["trt", "ort", "torch"], "all engines of the GPU before one of the CPU"
    assert engine.passed_over[0] == "trt: TensorRT cannot be used here."
    (line,) = watch.lines
    assert line.startswith("engine ort (CPUExecutionProvider); could not be used: trt: TensorRT cannot be used here. ")
    with pytest.raises(EngineError, match=r"model.onnx on a GPU. trt: TensorRT cannot be used here\."):
        open_engine(model_file, EngineRequest("trt", "auto", fake), batch_size=2)


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_without_a_gpu_auto_does_not_speak_of_tensorrt(
    device: str, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> Gpu:
        raise EngineError("There is no CUDA driver.")

    monkeypatch.setattr(open_module, "find_gpu", none)
    watch, fake = Notes(), with_trt()
    engine = open_engine(model_file, EngineRequest("auto", device, fake), batch_size=2, watch=watch)
    assert (engine.name, engine.passed_over, fake.asked) == ("ort", (), {})
    assert watch.lines == ["engine ort (CPUExecutionProvider)"]


def test_tensorrt_on_the_cpu_and_of_another_network_are_refused(model_file: Path) -> None:
    with pytest.raises(EngineError, match="TensorRT needs a GPU, and the device is to be the CPU"):
        open_engine(model_file, EngineRequest("trt", "cpu", with_trt()), batch_size=2)
    other = small_card(("road", "car", "tree"))
    edited(model_file, lambda model: setattr(_property(model, "classes"), "value", other.to_metadata()["classes"]))
    with pytest.raises(EngineError, match="of another network than the exported model"):
        open_engine(model_file, EngineRequest("trt", "cuda", with_trt()), batch_size=2)


def _property(model: onnx.ModelProto, key: str) -> onnx.StringStringEntryProto:
    return next(prop for prop in model.metadata_props if prop.key == key)


@pytest.mark.parametrize("name", ["ort", "torch"])
def test_cuda_without_a_gpu_is_refused(name: str, model_file: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(EngineError, match="CUDA"):
        open_engine(model_file, EngineRequest(name, "cuda", SmallNetworks()), batch_size=1)  # type: ignore[arg-type]


# --- models that are refused ---


def test_a_missing_file_and_one_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        read_model(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(EngineError, match="not an ONNX model"):
        read_model(tmp_path / "model.onnx")


@pytest.mark.parametrize("place", ["initialiser", "constant node", "nested graph"])
def test_external_data_is_refused_wherever_it_is(model_file: Path, place: str) -> None:
    tensor = onnx.TensorProto(name="secret", data_type=onnx.TensorProto.FLOAT, dims=[4])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../weights.bin")

    def add(model: onnx.ModelProto) -> None:
        if place == "initialiser":
            model.graph.initializer.append(tensor)
            return
        constant = onnx.helper.make_node("Constant", [], ["unused"], value=tensor)
        if place == "constant node":
            model.graph.node.append(constant)
        else:
            branch = onnx.helper.make_graph([constant], "branch", [], [])
            model.graph.node.append(onnx.helper.make_node("If", ["c"], [], then_branch=branch, else_branch=branch))

    with pytest.raises(EngineError, match="keeps 'secret' in another file"):
        read_model(edited(model_file, add))


def test_a_model_without_our_metadata_is_refused(model_file: Path) -> None:
    with pytest.raises(EngineError, match="not exported by s4al"):
        read_model(edited(model_file, lambda model: model.ClearField("metadata_props")))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("classes", '["road", "car"]', r"logits is \(N, 3, 12, 16\), its metadata says \(N, 2, 12, 16\)"),
        ("input_size", "[48, 48]", r"image is \(N, 48, 64, 3\), its metadata says \(N, 48, 48, 3\)"),
        ("stride", "8", r"logits is \(N, 3, 12, 16\), its metadata says \(N, 3, 6, 8\)"),
        ("input_size", "48", "lacks or misstates"),
        ("cycle", "not JSON", "lacks or misstates"),
    ],
)
def test_metadata_that_contradicts_the_graph_is_refused(model_file: Path, key: str, value: str, message: str) -> None:
    def change(model: onnx.ModelProto) -> None:
        _property(model, key).value = value

    with pytest.raises(EngineError, match=message):
        read_model(edited(model_file, change))


def test_a_damaged_graph_is_refused_by_the_engine(model_file: Path) -> None:
    edited(model_file, lambda model: model.graph.node.pop())
    with pytest.raises(EngineError, match="ONNX Runtime refuses the model"):
        open_engine(model_file, EngineRequest("ort", "cpu"), batch_size=1)


def test_a_model_for_another_run_is_refused() -> None:
    card, grid = small_card(), Grid(HEIGHT, WIDTH, CELL, CELL)
    check_fits(card, grid, ["road", "car", "sky"])
    with pytest.raises(EngineError, match="input size, 48, 64, is not the run's, 96, 128"):
        check_fits(card, Grid(96, 128, CELL, CELL))
    with pytest.raises(EngineError, match="region size, 10, 10, is not the run's, 8, 8"):
        check_fits(card, Grid(HEIGHT, WIDTH, 8, 8))
    with pytest.raises(EngineError, match="classes, road, car, sky, is not the run's, road, sky, car"):
        check_fits(card, grid, ["road", "sky", "car"])


def test_the_card_survives_its_metadata() -> None:
    card = small_card(("rue [a]", "auto", "été"))
    assert ModelCard.from_metadata(card.to_metadata()) == card


def test_an_engine_wants_whole_batches() -> None:
    engine: OrtEngine = small_engine(2)
    with pytest.raises(AssertionError):
        engine.run(random_images(1))
