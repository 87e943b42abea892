"""The profile's parts: the published loop computes the same scores, and the figures add up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from s4al.errors import EngineError, ImageError
from s4al.export.onnx_export import export_onnx
from s4al.kernels import region_scores
from s4al.run.state import Run
from s4al.scorer.engines.cpu_engines import OrtEngine, TorchEngine
from s4al.scorer.engines.device_engines import OrtDeviceEngine
from s4al.scorer.engines.model_card import read_model
from s4al.scorer.profile import profile
from s4al.scorer.profile.preprocess import open_preprocess
from s4al.scorer.profile.profile import profile_run
from s4al.scorer.profile.published import published_batch
from s4al.scorer.profile.roofline import Peaks, Work, network_work
from s4al.scorer.stopwatch import Stopwatch
from s4al.watch import Watch
from tests.lazy_device import LazyDevice
from tests.small_models import (
    SmallNetworks,
    exported_run,
    random_images,
    small_card,
    small_model,
    small_scoring_network,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return exported_run(tmp_path_factory.mktemp("profile") / "run")


def profiled(run: Run, **settings: Any) -> dict[str, Any]:
    return profile_run(run, 0, SmallNetworks(len(run.class_names)), **settings, watch=Watch())


def test_the_published_loop_chooses_the_same_regions_with_the_same_scores() -> None:
    card = small_card(cell=8)  # the published grid is ours only where the cell divides the image
    images = random_images(4)
    chosen = published_batch(small_scoring_network(), images, card, 5, threads=1)
    logits = TorchEngine(small_scoring_network, card, batch_size=4, threads=1).run(images)
    scores = region_scores(logits, height=48, width=64, region_height=8, region_width=8)
    for image in range(4):
        regions, values = zip(*chosen[5 * image : 5 * image + 5], strict=True)
        assert list(regions) == np.argsort(-scores.entropy_NR[image], kind="stable")[:5].tolist()
        np.testing.assert_allclose(values, scores.entropy_NR[image, list(regions)], atol=1e-5)


def test_the_figures_add_up(run: Run) -> None:
    result = profiled(
        run,
        images=7,
    )
    assert (result["images"], result["height"], result["width"]) == (7, 48, 64)
    assert [engine["engine"] for engine in result["engines"]] == ["ort", "torch"]
    for engine in result["engines"]:
        assert [stage["name"] for stage in engine["stages"]] == [
            "read",
            "preprocess",
            "network",
            "kernel",
            "write",
            "select",
            "other",
        ]
        assert sum(stage["share"] for stage in engine["stages"]) == pytest.approx(1.0)
        per_image = sum(stage["ms_per_image"] for stage in engine["stages"])
        assert 1000 / per_image == pytest.approx(engine["images_per_s"])
        assert 0 <= engine["host_idle"] <= 1
        measured = [stage for stage in engine["stages"] if stage["name"] not in ("preprocess", "other")]
        assert all(stage["ms_per_image"] > 0 for stage in measured)
        assert engine["share_of_bare"] == pytest.approx(engine["images_per_s"] / engine["bare_images_per_s"])
    assert result["baseline"]["images_per_s"] == pytest.approx(1000 / result["baseline"]["ms_per_image"])


def test_originals_that_are_gone_cost_only_their_figure(run: Run) -> None:
    def decode(index: int) -> None:
        raise ImageError(f"{index}.png: No such file or directory")

    assert profiled(run, engines=["ort"], images=1, decode=decode)["decode_ms_per_image"] is None
    seen: list[int] = []
    assert profiled(run, engines=["ort"], images=3, decode=seen.append)["decode_ms_per_image"] > 0
    assert seen == [0, 1, 2]


def test_a_head_that_took_longer_than_the_graph_is_left_in_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    head = SimpleNamespace(run=lambda image_NHWC: time.sleep(1.0))
    monkeypatch.setattr(profile, "open_preprocess", lambda *_: head)
    (engine,) = profiled(run, engines=["ort"], images=3)["engines"]
    stages = {stage["name"]: stage["ms_per_image"] for stage in engine["stages"]}
    assert stages["preprocess"] == 0
    assert stages["network"] > 0


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 2.0)])
def test_the_preprocessing_of_an_engine_is_the_networks_own(scales: tuple[float, ...]) -> None:
    network, card, images = small_scoring_network(scales=scales), small_card(), random_images(2)
    engine = OrtEngine(export_onnx(network, card, "fp32"), card, batch_size=2, threads=1)
    alone = open_preprocess(engine, export_onnx(network, card, "fp32"), lambda: network)
    expected = network.normalise(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(alone.run(images), expected, atol=1e-6)
    in_torch = TorchEngine(lambda: network, card, batch_size=2, threads=1)
    np.testing.assert_array_equal(open_preprocess(in_torch, b"", lambda: network).run(images), expected)


def test_engines_that_were_named_must_work(run: Run) -> None:
    result = profiled(
        run,
        engines=["ort"],
        images=1,
    )
    assert [engine["engine"] for engine in result["engines"]] == ["ort"]
    with pytest.raises(EngineError, match="TensorRT"):
        profiled(
            run,
            engines=["ort", "trt"],
        )


def test_profiling_writes_nothing_into_the_run(run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(run.root).rglob("*")}
    profiled(
        run,
        engines=["ort"],
        images=3,
    )
    assert {path: path.stat().st_mtime_ns for path in Path(run.root).rglob("*")} == before


def test_the_trace_is_one_that_perfetto_reads(run: Run, tmp_path: Path) -> None:
    trace = tmp_path / "logs" / "trace.json"
    result = profiled(
        run,
        engines=["ort"],
        images=7,
        trace=trace,
    )
    assert result["trace"] == str(trace)
    events = json.loads(trace.read_text())["traceEvents"]
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {"s4al, ort", "MainThread", "s4al-read"}
    spent = {"network": 0.0, "kernel": 0.0}
    for event in events:
        if event["ph"] == "X":
            assert event["dur"] >= 0
            spent[event["name"]] = spent.get(event["name"], 0.0) + event["dur"]
    assert {"read", "read ahead", "network", "kernel", "write", "select"} <= set(spent)
    stages = {stage["name"]: stage["ms_per_image"] for stage in result["engines"][0]["stages"]}
    for parts in (("preprocess", "network"), ("kernel",)):  # the timeline has the graph as a whole
        assert spent[parts[-1]] / 1000 / 7 == pytest.approx(sum(stages[name] for name in parts))


def test_a_trace_that_cannot_be_written_costs_only_itself(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    trace = tmp_path / "file" / "trace.json"
    result = profiled(
        run,
        engines=["ort"],
        images=1,
        trace=trace,
    )
    assert result["trace"] is None


def test_bounds_are_below_what_was_measured(run: Run) -> None:
    result = profiled(
        run,
        engines=["ort"],
        images=7,
    )
    (engine,) = result["engines"]
    stages = {stage["name"]: stage["ms_per_image"] for stage in engine["stages"]}
    for bound in engine["bounds"]:
        assert bound["bound_ms_per_image"] > 0
        assert bound["share_of_bound"] == pytest.approx(bound["bound_ms_per_image"] / stages[bound["name"]])


def test_the_work_of_a_network_is_that_of_its_convolutions() -> None:
    model = small_model()  # 3 -> 8 stride 2, 8 -> 8 stride 2, 8 -> 3; 48 x 64
    outputs = [8 * 24 * 32, 8 * 12 * 16, 3 * 12 * 16]
    fan_in = [3 * 9, 8 * 9, 8]
    inputs = [3 * 48 * 64, outputs[0], outputs[1]]
    weights = [8 * 3 * 9, 8 * 8 * 9, 3 * 8]
    work = network_work(model)
    assert work.operations == 2 * sum(o * f for o, f in zip(outputs, fan_in, strict=True))
    assert work.bytes == 4 * (sum(inputs) + sum(weights) + sum(outputs))
    assert network_work(model, bytes_per_number=2).bytes == work.bytes / 2


def test_the_slower_half_is_the_bound() -> None:
    peaks = Peaks(bytes_per_s=10.0, operations_per_s=100.0)
    assert peaks.bound_s(Work(bytes=20.0, operations=100.0)) == 2.0
    assert peaks.bound_s(Work(bytes=1.0, operations=100.0)) == 1.0
    assert peaks.or_better(Peaks(bytes_per_s=20.0, operations_per_s=50.0)) == Peaks(20.0, 100.0)


def test_an_engine_on_a_gpu_also_tells_what_its_stages_take_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_lazily(*_: object, **__: object) -> OrtOnLazyDevice:
        model, card = read_model(run.stage(0, "export") / "model.onnx")
        return OrtOnLazyDevice(model, card, LazyDevice(0), batch_size=2, threads=1, kind="cpu")

    monkeypatch.setattr(profile, "open_run_engine", open_lazily)
    monkeypatch.setattr(profile, "_beside", lambda network, engine: network)
    (engine,) = profiled(run, engines=["ort"], images=7)["engines"]
    stages = {stage["name"]: stage["ms_per_image"] for stage in engine["device_stages"]}
    assert list(stages) == ["copy in", "network", "kernel", "copy out", "idle"]
    assert [stage["name"] for stage in engine["stages"]][:5] == ["set-up", "read", "launch", "wait", "write"]
    for bound in engine["bounds"]:
        assert bound["share_of_bound"] == pytest.approx(bound["bound_ms_per_image"] / stages[bound["name"]])


class OrtOnLazyDevice(OrtDeviceEngine):
    """ONNX Runtime on the host's memory, put on the lazy device's stream."""

    def bind(self, image_NHWC: Any, logits_NChw: Any) -> Callable[[], None]:
        enqueue = super().bind(image_NHWC, logits_NChw)
        device: Any = self.device
        return lambda: device.put(device.compute, "network", enqueue)


def test_a_stopwatch_adds_up_by_stage() -> None:
    watch = Stopwatch()
    for _ in range(3):
        with watch.stage("a"):
            pass
    with pytest.raises(ValueError, match="x"), watch.stage("b"):
        raise ValueError("x")
    assert set(watch.seconds) == {"a", "b"}
    assert all(seconds >= 0 for seconds in watch.seconds.values())
