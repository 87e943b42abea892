"""TensorRT without a GPU: a module with the classes that the adapter uses and no attribute more, and a GPU of arrays.

A fake plan is the ONNX file behind a mark, and ONNX Runtime runs it, so that what comes out is right. `World.calls`
holds, in order, what was asked of the library and of the device.
"""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime

from s4al.scorer.engines.device import KernelOutput
from s4al.scorer.engines.gpu import Gpu
from s4al.scorer.engines.model_card import ModelCard
from tests.lazy_device import kernel_on_arrays

MARK = b"a fake plan of "
GPU = Gpu(0, "Fake 4090", (8, 9), 13010)


class World:
    """One fake library and one fake GPU."""

    def __init__(self, name: str = "tensorrt", version: str = "11.4") -> None:
        self.calls: list[str] = []
        self.memory: dict[int, np.ndarray] = {}
        self.captured: list[Callable[[], None]] | None = None
        self.fail: set[str] = set()  # calls that are answered with False or None
        self.offset = 0.0  # added to the first class's logits: an engine that computes something else
        self.log = "something the library says"
        self.module = _make_module(self, name, version)

    def ask(self, call: str) -> bool:
        self.calls.append(call)
        return call.split()[0] not in self.fail

    def count(self, call: str) -> int:
        return sum(each.split()[0] == call for each in self.calls)


class FakeDevice:
    """A `Device` with NumPy arrays, as far as an engine needs it; what is captured runs at launch."""

    name, index = "Fake 4090", 0
    copy_in, compute, copy_out = 1, 2, 3

    def __init__(self, world: World) -> None:
        self._world = world

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = np.zeros(shape, dtype)
        self._world.ask(f"zeros {array.dtype}{shape}")
        self._world.memory[self.pointer(array)] = array
        return array

    def pointer(self, array: np.ndarray) -> int:
        return array.__array_interface__["data"][0]

    def stream_pointer(self, stream: int) -> int:
        return stream

    def upload(self, target: np.ndarray, source: np.ndarray) -> None:
        self._world.ask("upload")
        target[...] = source

    def download(self, target: np.ndarray, source: np.ndarray) -> None:
        self._world.ask("download")
        target[...] = source

    def event(self) -> str:
        return "event"

    def record(self, event: str, stream: int) -> None:
        pass

    def wait(self, stream: int, event: str) -> None:
        pass

    def synchronize(self, event: str) -> None:
        pass

    def synchronize_all(self) -> None:
        self._world.ask("synchronize")

    def free_unused(self) -> None:
        pass

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.zeros(shape, dtype)

    def bind_kernel(
        self, logits: np.ndarray, labelled: np.ndarray, card: ModelCard, **settings: Any
    ) -> tuple[KernelOutput, Callable[[], None]]:
        output, kernel = kernel_on_arrays(self.zeros, logits, labelled, card, **settings)
        return output, lambda: self._world.captured.append(kernel) if self._world.captured is not None else kernel()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        world = self._world
        world.ask("capture")
        world.captured = graph = []
        work()
        world.captured = None

        def replay() -> None:
            world.ask("replay")
            for each in graph:
                each()

        return replay


def _make_module(world: World, name: str, version: str) -> Any:
    rtx = name == "tensorrt_rtx"

    class ILogger(ABC):
        ERROR, INTERNAL_ERROR = "E", "IE"

        @abstractmethod
        def log(self, severity: str, msg: str) -> None: ...

    class NetworkDefinitionCreationFlag(enum.IntEnum):
        STRONGLY_TYPED = 1

    class BuilderFlag(enum.Enum):
        REFIT, TF32 = 1, 2

    class DataType(enum.Enum):
        UINT8, HALF, FLOAT = range(3)

    class TensorIOMode(enum.Enum):
        INPUT, OUTPUT = range(2)  # the second is not for the adapter

    class ComputeCapability(enum.Enum):
        SM86, SM89 = 86, 89

    class CudaGraphStrategy(enum.Enum):
        DISABLED = 0

    class DynamicShapesKernelSpecializationStrategy(enum.Enum):
        EAGER = 0

    class ParserError:
        def desc(self) -> str:
            return "node 7 is of a strange type"

    class _Parser:
        num_errors = 1

        def get_error(self, index: int) -> ParserError:
            return ParserError()

    class OnnxParser(_Parser):
        def __init__(self, network: dict, logger: ILogger) -> None:
            self._network = network

        def parse(self, model: bytes) -> bool:
            self._network["model"] = model
            return world.ask("parse")

    class IOptimizationProfile:
        def set_shape(self, input: str, min: tuple, opt: tuple, max: tuple) -> None:
            world.ask(f"set_shape {input} {min[0]} {opt[0]} {max[0]}")

    class ITimingCache:
        def serialize(self) -> bytes:
            return b"timing"

    class IBuilderConfig:
        def __init__(self) -> None:
            self._flags = {BuilderFlag.TF32}

        def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
            return 0 if world.ask("add_optimization_profile") else -1

        def set_flag(self, flag: BuilderFlag) -> None:
            if world.ask(f"set_flag {flag.name}"):
                self._flags.add(flag)

        def clear_flag(self, flag: BuilderFlag) -> None:
            self._flags.discard(flag)

        def get_flag(self, flag: BuilderFlag) -> bool:
            return flag in self._flags

        def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
            world.ask(f"create_timing_cache {serialized_timing_cache.decode()}".strip())
            return ITimingCache()

        def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
            return True

        def get_timing_cache(self) -> ITimingCache:
            return ITimingCache()

        if rtx:
            num_compute_capabilities = 0

            def set_compute_capability(self, compute_capability: ComputeCapability, index: int) -> bool:
                return world.ask(f"set_compute_capability {compute_capability.name}")

    class Builder:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def create_network(self, flags: int) -> dict:
            assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
            return {}

        def create_builder_config(self) -> IBuilderConfig:
            return IBuilderConfig()

        def create_optimization_profile(self) -> IOptimizationProfile:
            return IOptimizationProfile()

        def build_serialized_network(self, network: dict, config: IBuilderConfig) -> bytes | None:
            assert not config.get_flag(BuilderFlag.TF32)
            if not world.ask("build"):
                self._logger.log(ILogger.ERROR, world.log)
                return None
            return MARK + network["model"]

    class IRuntimeConfig:
        cuda_graph_strategy = dynamic_shapes_kernel_specialization_strategy = None

        def create_runtime_cache(self) -> str:
            return "cache"

        def set_runtime_cache(self, cache: str) -> bool:
            return world.ask("set_runtime_cache")

    class IExecutionContext:
        def __init__(self, engine: Any) -> None:
            self._engine, self._addresses = engine, {}

        def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
            return world.ask("set_optimization_profile_async")

        def set_input_shape(self, name: str, shape: tuple) -> bool:
            return world.ask(f"set_input_shape {name} {shape}")

        def set_tensor_address(self, name: str, memory: int) -> bool:
            self._addresses[name] = memory
            return world.ask(f"set_tensor_address {name}")

        def infer_shapes(self) -> list[str]:
            return [] if world.ask("infer_shapes") else ["image"]

        def execute_async_v3(self, stream_handle: int) -> bool:
            if not world.ask("execute"):
                return False
            image, logits = (world.memory[self._addresses[name]] for name in ("image", "logits"))

            def work() -> None:
                logits[...] = self._engine._session.run(None, {"image": image})[0]
                logits[:, 0] += world.offset

            if world.captured is None:
                work()
            else:
                world.captured.append(work)
            return True

        if rtx:

            def is_stream_capturable(self, stream: int) -> bool:
                return world.ask("is_stream_capturable")

    class ICudaEngine:
        num_io_tensors = 2

        def __init__(self, model: bytes) -> None:
            self._load(model)

        def _load(self, model: bytes) -> None:
            self._session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
            graph = onnx.load_from_string(model).graph
            self._values = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}

        def get_tensor_name(self, index: int) -> str:
            return list(self._values)[index]

        def get_tensor_mode(self, name: str) -> TensorIOMode:
            return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

        def get_tensor_dtype(self, name: str) -> DataType:
            types = {onnx.TensorProto.UINT8: DataType.UINT8, onnx.TensorProto.FLOAT: DataType.FLOAT}
            return types.get(self._values[name].elem_type, DataType.HALF)

        def get_tensor_shape(self, name: str) -> tuple[int, ...]:
            return tuple(dim.dim_value or -1 for dim in self._values[name].shape.dim)

        def create_execution_context(self, config: Any = None) -> IExecutionContext | None:
            assert (config is not None) == rtx
            if rtx:
                assert config.cuda_graph_strategy is CudaGraphStrategy.DISABLED
                assert config.dynamic_shapes_kernel_specialization_strategy is not None
            return IExecutionContext(self) if world.ask("create_execution_context") else None

        if rtx:

            def create_runtime_config(self) -> IRuntimeConfig:
                return IRuntimeConfig()

    class Runtime:
        engine_host_code_allowed = False

        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> ICudaEngine | None:
            assert plan.startswith(MARK), "a plan that was not vouched for was loaded"
            if not world.ask("deserialize"):
                self._logger.log(ILogger.ERROR, world.log)
                return None
            return ICudaEngine(plan.removeprefix(MARK))

    class Refitter:
        def __init__(self, engine: ICudaEngine, logger: Any) -> None:
            self._engine = engine

        def get_missing_weights(self) -> list[str]:
            return [] if world.ask("get_missing_weights") else ["layer.weight"]

        def refit_cuda_engine(self) -> bool:
            self._engine._load(self._model)
            return world.ask("refit")

    class OnnxParserRefitter(_Parser):
        def __init__(self, refitter: Refitter, logger: Any) -> None:
            self._refitter = refitter

        def refit_from_bytes(self, model: bytes) -> bool:
            self._refitter._model = model
            return world.ask("refit_from_bytes")

    kinds = [
        *(
            ILogger,
            NetworkDefinitionCreationFlag,
            BuilderFlag,
            DataType,
            TensorIOMode,
            ParserError,
            OnnxParser,
            Builder,
        ),
        *(IOptimizationProfile, ITimingCache, IBuilderConfig, IExecutionContext, ICudaEngine, Runtime, Refitter),
        OnnxParserRefitter,
    ]
    if rtx:
        kinds += [
            *(ComputeCapability, CudaGraphStrategy, DynamicShapesKernelSpecializationStrategy, IRuntimeConfig),
        ]
    module: Any = ModuleType(name)
    module.__version__ = version
    for kind in kinds:
        setattr(module, kind.__name__, kind)
    return module
