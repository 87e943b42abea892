"""One thin layer over three libraries: TensorRT 10.12 and later, TensorRT 11, and TensorRT for RTX.

What a library can do is probed, its version never compared. `USED` is all that the adapter touches in each of them and
is checked when the library is loaded; `PROBED` is used only where it exists. Tests hold both tables against the real
bindings of each kind.
"""

from __future__ import annotations

import functools
import importlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from s4al.errors import EngineError

NAMES = ("tensorrt", "tensorrt_rtx")  # in order of preference

USED: dict[str, tuple[str, ...]] = {
    "ILogger": ("ERROR", "INTERNAL_ERROR", "log"),
    "Builder": (
        *("create_network", "create_builder_config", "create_optimization_profile"),
        *("build_serialized_network",),
    ),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "BuilderFlag": ("REFIT", "TF32"),
    "OnnxParser": ("parse", "num_errors", "get_error"),
    "ParserError": ("desc",),
    "IOptimizationProfile": ("set_shape",),
    "IBuilderConfig": (
        *("add_optimization_profile", "set_flag", "clear_flag", "get_flag"),
        *("create_timing_cache", "set_timing_cache", "get_timing_cache"),
    ),
    "ITimingCache": ("serialize",),
    "Refitter": ("get_missing_weights", "refit_cuda_engine"),
    "OnnxParserRefitter": ("refit_from_bytes", "num_errors", "get_error"),
    "Runtime": ("deserialize_cuda_engine", "engine_host_code_allowed"),
    "ICudaEngine": (
        *("num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype", "get_tensor_shape"),
        *("create_execution_context",),
    ),
    "TensorIOMode": ("INPUT",),
    "DataType": ("UINT8", "HALF", "FLOAT"),
    "IExecutionContext": (
        *("set_optimization_profile_async", "set_input_shape", "set_tensor_address", "infer_shapes"),
        *("execute_async_v3",),
    ),
}
# TensorRT for RTX compiles its kernels where the plan runs: it says which GPUs it serves, keeps what it compiled in a
# runtime cache, may make CUDA graphs itself, and may not be ready to be captured.
PROBED: dict[str, tuple[str, ...]] = {
    "ComputeCapability": (),  # its members are the GPUs
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ICudaEngine": ("create_runtime_config",),
    "IRuntimeConfig": (
        *("cuda_graph_strategy", "dynamic_shapes_kernel_specialization_strategy"),
        *("create_runtime_cache", "set_runtime_cache"),
    ),
    "CudaGraphStrategy": ("DISABLED",),
    "DynamicShapesKernelSpecializationStrategy": ("EAGER",),
    "IExecutionContext": ("is_stream_capturable",),
}


@functools.cache  # a process has one logger for each library
def load_trt(name: str) -> TensorRt:
    """Import one of `NAMES`. Raises EngineError: it is not installed, does not load, or is too old."""
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:  # a missing library of its own shows as either
        raise EngineError(f"{name} cannot be imported ({error}).", remedy=_install(name)) from error
    return TensorRt(module)


def _install(name: str) -> str:
    return f"Install s4al[{'rtx' if name.endswith('rtx') else 'trt'}]."


@dataclass(frozen=True)
class TensorInfo:
    is_input: bool
    dtype: np.dtype[Any] | None  # None for a type that no network of ours has
    shape: tuple[int, ...]  # -1 where it is dynamic


class TensorRt:
    """One of the libraries.

    Attributes
    ----------
    name, version : of the library.
    refits : whether a plan is built once and then given the weights of each cycle, which is worth it where building
        takes minutes. TensorRT for RTX builds in seconds and cannot build such a plan everywhere.
    """

    def __init__(self, module: ModuleType) -> None:
        self.name, self.version = module.__name__, str(getattr(module, "__version__", "unknown"))
        missing = [f"{kind}.{name}" for kind, names in USED.items() for name in names if not _has(module, kind, name)]
        if missing:
            raise EngineError(
                f"{self.name} {self.version} lacks {', '.join(missing[:5])}.",
                remedy="TensorRT 10.12 or later is needed.",
            )
        self._module: Any = module
        self._log = _make_log(module)
        self._compiles_at_run_time = _has(module, "IRuntimeConfig", "create_runtime_cache")
        self._names_its_gpus = _has(module, "IBuilderConfig", "set_compute_capability")
        self._may_refuse_capture = _has(module, "IExecutionContext", "is_stream_capturable")
        self.refits = self._measures = not self._compiles_at_run_time

    def __str__(self) -> str:
        return f"{self.name} {self.version}"

    def check_serves(self, compute_capability: tuple[int, int]) -> None:
        """Raises EngineError where the library says itself that it does not serve such a GPU."""
        if self._names_its_gpus and not hasattr(self._module.ComputeCapability, _member(compute_capability)):
            major, minor = compute_capability
            raise EngineError(f"{self} does not serve compute capability {major}.{minor}.")

    def build_plan(
        self,
        onnx: bytes,
        input_name: str,
        shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
        *,
        compute_capability: tuple[int, int] | None = None,
        refittable: bool = False,
        timing_cache: bytes = b"",
    ) -> tuple[bytes, bytes]:
        """Build a strongly typed network: every tensor has the type that the ONNX file says.

        Parameters
        ----------
        shapes : of the input: the smallest, the one to be fast at, the largest.
        compute_capability : of the GPU to build for; None for the one at hand, or any that the library serves.
        refittable : whether `refit` is to work.
        timing_cache : of an earlier build.

        Returns
        -------
        the plan and the timing cache, which is empty where the library has no use for one.

        Raises
        ------
        EngineError : the library refuses the model; says why.
        """
        trt = self._module
        with self.explained("cannot build a plan"):
            builder = trt.Builder(self._log)
            # TensorRT 10 needs the flag, the others have nothing else and take it.
            network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
            parser = trt.OnnxParser(network, self._log)
            if not parser.parse(onnx):
                raise _Refused(_parser_errors(parser))
            profile = builder.create_optimization_profile()
            profile.set_shape(input_name, *shapes)
            config = builder.create_builder_config()
            if config.add_optimization_profile(profile) < 0:
                raise _Refused(f"the shapes {shapes}")
            config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and float32 is to be float32
            if refittable:
                config.set_flag(trt.BuilderFlag.REFIT)
                # What a failed setting leaves is a line in the log and a build without it.
                if not config.get_flag(trt.BuilderFlag.REFIT):
                    raise _Refused("REFIT")
            if self._measures:
                config.set_timing_cache(config.create_timing_cache(timing_cache), False)
            if compute_capability and self._names_its_gpus:
                config.num_compute_capabilities = 1
                target = getattr(trt.ComputeCapability, _member(compute_capability))
                if not config.set_compute_capability(target, 0):
                    raise _Refused(f"compute capability {compute_capability}")
            plan = builder.build_serialized_network(network, config)
            if plan is None:
                raise _Refused("")
            timing = config.get_timing_cache() if self._measures else None
            return bytes(plan), b"" if timing is None else bytes(timing.serialize())

    def load_plan(self, plan: bytes) -> LoadedPlan:
        """Make a plan ready to run on the current GPU.

        It may hold anything that its maker liked: give this only what `PlanCache` has vouched for. Raises EngineError.
        """
        with self.explained("refuses the plan"):
            runtime = self._module.Runtime(self._log)
            runtime.engine_host_code_allowed = False
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise _Refused("")
            return LoadedPlan(self, runtime, engine)

    def refit(self, loaded: LoadedPlan, onnx: bytes) -> None:
        """Give a plan the weights of another model of the same structure; before its first context is made.

        Raises EngineError where some weights do not find their place.
        """
        trt = self._module
        with self.explained("cannot refit the plan"):
            refitter = trt.Refitter(loaded.engine, self._log)
            parser = trt.OnnxParserRefitter(refitter, self._log)
            if not parser.refit_from_bytes(onnx):
                raise _Refused(_parser_errors(parser))
            if missing := refitter.get_missing_weights():
                raise _Refused(f"no weights for {', '.join(sorted(missing)[:5])}")
            if not refitter.refit_cuda_engine():
                raise _Refused("")

    # ----------------------------------------------------------------------------------- what LoadedPlan needs

    def describe(self, engine: Any) -> dict[str, TensorInfo]:
        trt = self._module
        types = {
            trt.DataType.UINT8: np.dtype(np.uint8),
            trt.DataType.HALF: np.dtype(np.float16),
            trt.DataType.FLOAT: np.dtype(np.float32),
        }
        return {
            name: TensorInfo(
                engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
                types.get(engine.get_tensor_dtype(name)),
                tuple(engine.get_tensor_shape(name)),
            )
            for name in map(engine.get_tensor_name, range(engine.num_io_tensors))
        }

    def runtime_config(self, engine: Any) -> Any:
        """How contexts of a plan are to behave, or None where there is nothing to say."""
        if not self._compiles_at_run_time:
            return None
        trt, config = self._module, engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.DISABLED  # the pipeline captures, with the kernel in it
        # Compiled in the background, kernels would change under a graph that was captured before.
        config.dynamic_shapes_kernel_specialization_strategy = trt.DynamicShapesKernelSpecializationStrategy.EAGER
        if not config.set_runtime_cache(config.create_runtime_cache()):
            raise _Refused("a runtime cache")
        return config

    def is_capturable(self, context: Any, stream: int) -> bool:
        return not self._may_refuse_capture or context.is_stream_capturable(stream)

    @contextmanager
    def explained(self, problem: str) -> Iterator[None]:
        """Turn a refusal into an EngineError with what the library logged about it."""
        self._log.lines.clear()
        try:
            yield
        except (_Refused, RuntimeError, TypeError, ValueError) as error:  # all but the first are how bindings raise
            reasons = [text for text in (str(error), *self._log.lines) if text]
            why = " ".join("; ".join(reasons).split())[:500] or "it does not say why"
            raise EngineError(f"{self} {problem}: {why}.") from error


class LoadedPlan:
    """A plan on a GPU, and contexts that run it.

    Attributes
    ----------
    tensors : inputs and outputs by name.
    """

    def __init__(self, trt: TensorRt, runtime: Any, engine: Any) -> None:
        self.trt, self.engine = trt, engine
        self._runtime = runtime  # has to outlive the engine
        self.tensors = trt.describe(engine)
        self._config = trt.runtime_config(engine)

    def bind(self, shapes: dict[str, tuple[int, ...]], addresses: dict[str, int], stream: int) -> Context:
        """A new context with fixed shapes and addresses; contexts run beside each other, each on one thread at a time.

        Parameters
        ----------
        shapes : of the inputs.
        addresses : of all tensors, on the GPU.
        stream : does the set-up; to be synchronised before the context runs on another.
        """
        with self.trt.explained("cannot make an execution context"):
            context = self.engine.create_execution_context(*([] if self._config is None else [self._config]))
            if context is None:
                raise _Refused("")
            # Only the first context of a plan has a profile of itself.
            if not context.set_optimization_profile_async(0, stream):
                raise _Refused("its profile")
            for name, shape in shapes.items():
                if not context.set_input_shape(name, shape):
                    raise _Refused(f"the shape {shape} of {name}")
            for name, address in addresses.items():
                if not context.set_tensor_address(name, address):
                    raise _Refused(f"the address of {name}")
            if unknown := context.infer_shapes():
                raise _Refused(f"no shape or address for {', '.join(unknown)}")
            return Context(self.trt, context)


class Context:
    """What runs a plan on one set of addresses."""

    def __init__(self, trt: TensorRt, context: Any) -> None:
        self._trt, self._context = trt, context

    def enqueue(self, stream: int) -> None:
        if not self._context.execute_async_v3(stream):
            raise EngineError(f"{self._trt} could not run the network.", remedy="See nvidia-smi; try --engine torch.")

    def is_capturable(self, stream: int) -> bool:
        """Whether a CUDA graph may hold `enqueue`; to be asked after it has run."""
        return self._trt.is_capturable(self._context, stream)


class _Refused(Exception):
    """The library said no; its log may say why."""


def _has(module: Any, kind: str, name: str) -> bool:
    return hasattr(getattr(module, kind, None), name)


def _member(compute_capability: tuple[int, int]) -> str:
    return "SM{}{}".format(*compute_capability)


def _parser_errors(parser: Any) -> str:
    return "; ".join(parser.get_error(index).desc() for index in range(min(parser.num_errors, 3)))


def _make_log(module: Any) -> Any:
    """A logger that keeps the newest errors and prints nothing."""

    class Log(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=5)

        def log(self, severity: Any, msg: str) -> None:
            if severity in (module.ILogger.ERROR, module.ILogger.INTERNAL_ERROR):
                self.lines.append(msg)

    return Log()
