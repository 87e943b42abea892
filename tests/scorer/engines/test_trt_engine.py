"""TensorRT's adapter and engine against a fake library: what is asked of it, in which order, and every refusal."""

from __future__ import annotations

import ast
import gc
import inspect
import sys
import weakref
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from s4al.errors import EngineError
from s4al.scorer.engines import gpu as gpu_module
from s4al.scorer.engines import trt_adapter, trt_engine
from s4al.scorer.engines.gpu import Gpu, find_gpu
from s4al.scorer.engines.trt_adapter import PROBED, USED, TensorRt, load_trt
from s4al.scorer.engines.trt_engine import TrtEngine, find_trt
from tests.fake_trt import GPU, MARK, FakeDevice, World
from tests.small_models import HEIGHT, WIDTH, random_images, small_card, small_engine, small_model

IMAGE, LOGITS = (2, HEIGHT, WIDTH, 3), (2, 3, HEIGHT // 4, WIDTH // 4)
SHAPES = (1, *IMAGE[1:]), IMAGE, IMAGE


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


def engine_of(world: World, model: bytes | None = None, **card: Any) -> TrtEngine:
    trt = TensorRt(world.module)
    plan, _ = trt.build_plan(model or small_model(), "image", SHAPES, compute_capability=GPU.compute_capability)
    world.calls.clear()
    return TrtEngine(
        trt.load_plan(plan), small_card(**card), FakeDevice(world), batch_size=2, threads=1, provider="fake"
    )


# --- the order of things ---


def test_everything_is_set_up_once_and_a_batch_only_copies_and_replays(world: World) -> None:
    engine = engine_of(world)
    images = random_images(2)
    logits = engine.run(images)
    rtx = world.module.__name__ == "tensorrt_rtx"
    assert world.calls == [
        "deserialize",
        *(["set_runtime_cache"] if rtx else []),
        f"zeros uint8{IMAGE}",
        f"zeros float32{LOGITS}",
        "create_execution_context",
        "set_optimization_profile_async",
        f"set_input_shape image {IMAGE}",
        "set_tensor_address image",
        "set_tensor_address logits",
        "infer_shapes",
        *("execute", "execute", "synchronize"),  # warm-up: from here on nothing allocates
        *(["is_stream_capturable"] if rtx else []),
        *("synchronize", "execute", "execute", "synchronize"),  # and of whatever the pipeline adds
        *("capture", "execute"),
        *("upload", "replay", "download", "synchronize"),
    ]
    np.testing.assert_allclose(logits, small_engine().run(images), atol=1e-5)
    world.calls.clear()
    kept = logits.copy()
    for seed in range(3):
        images = random_images(2, seed)
        np.testing.assert_allclose(engine.run(images), small_engine().run(images), atol=1e-5)
    assert world.calls == ["upload", "replay", "download", "synchronize"] * 3
    np.testing.assert_array_equal(logits, kept)  # results are not reused


def test_every_slot_has_a_context_and_addresses_of_its_own(world: World) -> None:
    engine, device = engine_of(world), FakeDevice(world)
    slots = [(device.zeros(IMAGE, np.uint8), device.zeros(LOGITS, np.float32)) for _ in range(3)]
    enqueues = [engine.bind(image, logits) for image, logits in slots]
    assert world.count("create_execution_context") == world.count("set_optimization_profile_async") == 3
    for seed, (image, _) in enumerate(slots):
        image[...] = random_images(2, seed)
    world.calls.clear()
    for enqueue in enqueues:
        enqueue()
    assert world.calls == ["execute"] * 3
    for seed, (_, logits) in enumerate(slots):
        np.testing.assert_allclose(logits, small_engine().run(random_images(2, seed)), atol=1e-5)


def test_memory_that_is_bound_stays(world: World) -> None:
    engine, device = engine_of(world), FakeDevice(world)
    image, logits = device.zeros(IMAGE, np.uint8), device.zeros(LOGITS, np.float32)
    enqueue, references = engine.bind(image, logits), (weakref.ref(image), weakref.ref(logits))
    world.memory.clear()
    del image, logits
    gc.collect()
    assert all(reference() is not None for reference in references), enqueue


def test_half_precision_logits_are_announced(world: World) -> None:
    engine = engine_of(world, small_model(precision="fp16"))
    assert engine.logits_dtype == np.float16
    assert engine.run(random_images(2)).dtype == np.float16
    assert (engine.name, engine.batch_size, engine.passed_over) == ("trt", 2, ())


def test_wrong_shapes_are_not_run(world: World) -> None:
    with pytest.raises(AssertionError):
        engine_of(world).run(random_images(1))
    with pytest.raises(EngineError, match="The plan has other tensors than the model"):
        engine_of(world, height=96)


# --- refusals of the library ---


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("create_execution_context", "cannot make an execution context: it does not say why"),
        ("set_optimization_profile_async", "its profile"),
        ("set_input_shape", "the shape .* of image"),
        ("set_tensor_address", "the address of image"),
        ("infer_shapes", "no shape or address for image"),
        ("execute", "could not run the network"),
    ],
)
def test_a_slot_that_is_refused(world: World, call: str, message: str) -> None:
    engine = engine_of(world)
    world.fail.add(call)
    with pytest.raises(EngineError, match=message):
        engine.run(random_images(2))


def test_a_context_that_cannot_be_captured_is_refused() -> None:
    world = World("tensorrt_rtx")
    engine = engine_of(world)
    world.fail.add("is_stream_capturable")
    with pytest.raises(EngineError, match="cannot run this network inside a CUDA graph"):
        engine.run(random_images(2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("parse", "tensorrt_rtx 1.7 cannot build a plan: node 7 is of a strange type"),
        ("build", "cannot build a plan: something the library says"),
        ("add_optimization_profile", "cannot build a plan: the shapes"),
        ("set_compute_capability", r"cannot build a plan: compute capability \(8, 9\)"),
    ],
)
def test_a_build_that_is_refused_says_why(call: str, message: str) -> None:
    world = World("tensorrt_rtx", "1.7")
    world.fail.add(call)
    with pytest.raises(EngineError, match=message):
        engine_of(world)


def test_a_setting_that_does_not_take_is_not_passed_over() -> None:
    world = World("tensorrt")
    world.fail.add("set_flag")
    with pytest.raises(EngineError, match="REFIT"):
        TensorRt(world.module).build_plan(small_model(), "image", SHAPES, refittable=True)


def test_refitting_gives_a_plan_other_weights(world: World) -> None:
    trt = TensorRt(world.module)
    plan = trt.load_plan(MARK + small_model(seed=0))
    trt.refit(plan, small_model(seed=1))
    engine = TrtEngine(plan, small_card(), FakeDevice(world), batch_size=2, threads=1, provider="fake")
    images = random_images(2)
    np.testing.assert_allclose(engine.run(images), small_engine(seed=1).run(images), atol=1e-5)
    for call, message in (
        ("refit_from_bytes", "node 7"),
        ("get_missing_weights", "no weights for layer.weight"),
        ("refit", "does not say why"),
    ):
        world.fail = {call}
        with pytest.raises(EngineError, match=f"cannot refit the plan: .*{message}|cannot refit the plan: {message}"):
            trt.refit(plan, small_model())


# --- what the adapter touches ---


def test_the_fakes_offer_what_the_tables_say_and_nothing_else() -> None:
    found: dict[str, set[str]] = {}
    for name in ("tensorrt", "tensorrt_rtx"):
        for kind, value in vars(World(name).module).items():
            if not kind.startswith("_"):
                members = {each for each in dir(value) if not each.startswith("_")} - set(dir(int)) - {"name", "value"}
                found.setdefault(kind, set()).update(members - {"OUTPUT", "SM86", "SM89"})
    tables: dict[str, set[str]] = {}
    for table in (USED, PROBED):
        for kind, names in table.items():
            tables.setdefault(kind, set()).update(names)
    assert found == tables


def test_the_tables_hold_nothing_that_the_adapter_does_not_touch() -> None:
    tree = ast.parse(inspect.getsource(trt_adapter))
    touched = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    touched |= {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}  # log, which it overrides
    for table in (USED, PROBED):
        assert {name for names in table.values() for name in names} <= touched


def test_a_library_that_lacks_something_is_refused_with_its_name() -> None:
    world = World("tensorrt", "8.6")
    del world.module.Refitter
    del world.module.NetworkDefinitionCreationFlag
    with pytest.raises(
        EngineError,
        match=r"tensorrt 8.6 lacks NetworkDefinitionCreationFlag.STRONGLY_TYPED, Refitter.get_missing_weights",
    ):
        TensorRt(world.module)


def test_only_the_library_that_names_its_gpus_refuses_some() -> None:
    TensorRt(World("tensorrt").module).check_serves((9, 0))
    rtx = TensorRt(World("tensorrt_rtx", "1.7").module)
    rtx.check_serves((8, 9))
    with pytest.raises(EngineError, match=r"tensorrt_rtx 1.7 does not serve compute capability 9\.0"):
        rtx.check_serves((9, 0))


# --- what this machine has ---


@pytest.fixture
def no_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    load_trt.cache_clear()
    for name in trt_adapter.NAMES:
        monkeypatch.setitem(sys.modules, name, None)


def fake_cupy(monkeypatch: pytest.MonkeyPatch, *, driver: int = 13010, devices: int = 1) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    def count() -> int:
        if devices:
            return devices
        raise CUDARuntimeError("cudaErrorNoDevice")

    cupy: Any = ModuleType("cupy")
    cupy.cuda = ModuleType("cupy.cuda")
    cupy.cuda.runtime = runtime = ModuleType("cupy.cuda.runtime")
    facts = {"name": b"NVIDIA H100", "major": 9, "minor": 0}
    members = {"CUDARuntimeError": CUDARuntimeError, "driverGetVersion": lambda: driver, "getDeviceCount": count}
    for name, value in {**members, "getDeviceProperties": lambda index: facts}.items():
        setattr(runtime, name, value)
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_the_gpu_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch, devices=2)
    assert find_gpu("cuda:1") == Gpu(1, "NVIDIA H100", (9, 0), 13010)
    assert find_gpu("auto").index == find_gpu("cuda").index == 0


def test_each_way_of_having_no_gpu_has_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy(monkeypatch, driver=0)
    with pytest.raises(EngineError, match="There is no CUDA driver"):
        find_gpu()
    fake_cupy(monkeypatch, devices=0)
    with pytest.raises(EngineError, match=r"no CUDA device that CuPy can use .*cudaErrorNoDevice"):
        find_gpu()
    fake_cupy(monkeypatch)
    with pytest.raises(EngineError, match="no CUDA device 3; CuPy sees 1"):
        find_gpu("cuda:3")
    with pytest.raises(EngineError, match="no CUDA device 'x'"):
        find_gpu("cuda:x")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(EngineError, match="CuPy cannot be imported"):
        find_gpu()


def libraries(monkeypatch: pytest.MonkeyPatch, *worlds: World) -> None:
    by_name = {world.module.__name__: TensorRt(world.module) for world in worlds}

    def load(name: str) -> TensorRt:
        if name not in by_name:
            raise EngineError(f"{name} cannot be imported (No module named {name!r}).")
        return by_name[name]

    monkeypatch.setattr(trt_engine, "load_trt", load)


@pytest.mark.parametrize(
    ("installed", "capability", "expected", "reason"),
    [
        (("tensorrt", "tensorrt_rtx"), (8, 9), ["tensorrt", "tensorrt_rtx"], ""),
        (("tensorrt_rtx",), (8, 9), ["tensorrt_rtx"], "tensorrt cannot be imported"),
        (("tensorrt", "tensorrt_rtx"), (9, 0), ["tensorrt"], "tensorrt_rtx 11.4 does not serve compute capability 9.0"),
    ],
)
def test_tensorrt_comes_before_tensorrt_for_rtx(
    installed: tuple[str, ...],
    capability: tuple[int, int],
    expected: list[str],
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    libraries(monkeypatch, *map(World, installed))
    monkeypatch.setattr(trt_engine, "find_gpu", lambda device: Gpu(0, "card", capability, 13010))
    _, found, refusals = find_trt()
    assert [trt.name for trt in found] == expected
    assert reason in " ".join(refusals)


def test_what_cannot_be_used_is_said_in_full(no_libraries: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trt_engine, "find_gpu", lambda device: GPU)
    with pytest.raises(
        EngineError, match=r"tensorrt cannot be imported \(.*\)\. tensorrt_rtx cannot be imported \("
    ) as caught:
        find_trt()
    assert caught.value.exit_code == 6
    libraries(monkeypatch, World("tensorrt_rtx", "1.7"))
    monkeypatch.setattr(trt_engine, "find_gpu", gpu_module.find_gpu)
    fake_cupy(monkeypatch, driver=0)
    with pytest.raises(
        EngineError, match=r"no CUDA driver\. tensorrt cannot be imported .* tensorrt_rtx 1\.7 is installed\."
    ):
        find_trt()
