"""Engines run the exported network: uint8 RGB in, logits at the network's stride out, one fixed batch size.

    ort     ONNX Runtime; the default, and the fastest on a CPU
    torch   the network itself, handed in from above: the scorer knows no trainer
    trt     TensorRT, or TensorRT for RTX; handed in from above too, which exports the network in half precision

`auto` takes the first that works and says so: trt where there is a GPU, then ort, then torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s4al.config import EngineName
from s4al.errors import EngineError
from s4al.scorer.gpu import find_gpu
from s4al.scorer.model_card import INPUT, OUTPUT, ModelCard, read_model
from s4al.watch import Watch

if TYPE_CHECKING:
    import torch

CPU_BATCH = 4  # more does not make a CPU faster
TRT_BATCH = 32  # a plan is made for one batch size, before anybody can try several

# Makes the module that export traces: uint8 (N, H, W, 3) -> logits. `export.scoring_network` is one.
LoadNetwork = Callable[[], "torch.nn.Module"]


class OpenTrt(Protocol):
    """Makes the TensorRT engine of a trained network: `export.open_tensorrt` of a cycle is one. Raises EngineError."""

    def __call__(self, *, batch_size: int, threads: int, device: str, watch: Watch) -> Engine: ...


class Engine(Protocol):
    """A loaded network.

    Attributes
    ----------
    name : ort, torch or trt.
    provider : who computes inside, as a person would look it up ("CPUExecutionProvider", "torch cpu").
    passed_over : why engines that would have been preferred are not used.
    batch_size : of every call: results may depend on it in the last bits, so the caller pads.
    """

    name: str
    provider: str
    batch_size: int
    threads: int
    card: ModelCard
    passed_over: tuple[str, ...]

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """uint8 (batch_size, H, W, 3) -> float16 or float32 (batch_size, C, h, w), C-contiguous, not reused."""
        ...


def open_engine(
    name: EngineName,
    model: Path,
    *,
    batch_size: int = 0,
    threads: int = 0,
    device: str = "cpu",
    load_network: LoadNetwork | None = None,
    open_trt: OpenTrt | None = None,
    watch: Watch | None = None,
) -> Engine:
    """Load an exported model.

    Parameters
    ----------
    batch_size : 0 for `CPU_BATCH` on the CPU and `TRT_BATCH` with TensorRT. The engines of a GPU, which are
        `DeviceEngine`s, start with it; see `device_engines.settle_batch_size`.
    threads : 0 for all cores.
    device : cpu, cuda or cuda:N; auto is the first GPU, and the CPU where there is none or no engine for it.
    load_network : needed by the torch engine, and for `auto` to fall back to it.
    open_trt : needed by the trt engine, and for `auto` to try it.

    Raises
    ------
    EngineError : the model cannot be used, or no engine serves it; says what is missing.
    """
    watch = watch or Watch()
    data, card = read_model(model)
    settings = {"batch_size": batch_size, "threads": threads or available_cores()}
    refusals: list[str] = []
    for candidate, where in _candidates(name, device, open_trt):
        try:
            if candidate == "trt":
                engine = _open_trt(open_trt, card, device=where, watch=watch, **settings)
            elif where == "cpu":
                engine = _open_on_cpu(candidate, data, card, load_network, **settings)
            else:
                engine = _open_on_device(candidate, data, card, load_network, where, **settings)
        except EngineError as error:
            refusals.append(f"{candidate}: {error.what}")
            continue
        engine.passed_over = (*refusals, *engine.passed_over)
        chosen = f"engine {engine.name} ({engine.provider})"
        watch.note(" ".join([f"{chosen}; could not be used:", *engine.passed_over]) if engine.passed_over else chosen)
        return engine
    place = "a GPU" if name == "trt" and device == "auto" else "this machine" if device == "auto" else device
    raise EngineError(
        f"No engine can run {model.name} on {place}. {' '.join(refusals)}",
        remedy="Install what is missing, or name another --engine.",
    )


def _candidates(name: EngineName, device: str, open_trt: OpenTrt | None) -> list[tuple[str, str]]:
    """(engine, device) pairs in the order they are tried.

    Whoever has no GPU and asked for none is not told that TensorRT needs one.
    """
    on_gpu = "cuda" if device == "auto" else device
    gpu: list[tuple[str, str]] = [("trt", device), ("ort", on_gpu), ("torch", on_gpu)]
    cpu: list[tuple[str, str]] = [("ort", "cpu"), ("torch", "cpu")]
    if name == "trt":
        return gpu[:1]
    pairs = cpu if device == "cpu" else gpu if device != "auto" else (gpu + cpu if _has_gpu() else cpu)
    wanted = [pair for pair in pairs if name in ("auto", pair[0])]
    return [pair for pair in wanted if pair[0] != "trt" or open_trt is not None]


def _has_gpu() -> bool:
    try:
        find_gpu()
    except EngineError:
        return False
    return True


def _open_on_cpu(
    name: str, model: bytes, card: ModelCard, load_network: LoadNetwork | None, *, batch_size: int, threads: int
) -> Engine:
    batch_size = batch_size or CPU_BATCH
    if name == "ort":
        return OrtEngine(model, card, batch_size=batch_size, threads=threads)
    return TorchEngine(load_network, card, batch_size=batch_size, threads=threads)


def _open_on_device(
    name: str,
    model: bytes,
    card: ModelCard,
    load_network: LoadNetwork | None,
    where: str,
    *,
    batch_size: int,
    threads: int,
) -> Engine:
    from s4al.scorer.device import CudaDevice
    from s4al.scorer.device_engines import OrtDeviceEngine, TorchDeviceEngine

    device = CudaDevice(find_gpu(where))
    if name == "ort":
        return OrtDeviceEngine(model, card, device, batch_size=batch_size, threads=threads)
    return TorchDeviceEngine(load_network, card, device, batch_size=batch_size, threads=threads)


def _open_trt(open_trt: OpenTrt | None, card: ModelCard, *, device: str, **settings: Any) -> Engine:
    if device == "cpu":
        raise EngineError("TensorRT needs a GPU, and the device is to be the CPU.", remedy="Leave out --device cpu.")
    if open_trt is None:
        raise EngineError(
            "The TensorRT engine needs the network, and only an ONNX file is at hand.", remedy="Use --engine ort."
        )
    engine = open_trt(device=device, batch_size=settings.pop("batch_size") or TRT_BATCH, **settings)
    if engine.card != card:
        raise EngineError("The TensorRT engine is of another network than the exported model.", remedy="Export again.")
    return engine


def available_cores() -> int:
    """Cores this process may use, which a container or a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OrtEngine:
    """ONNX Runtime on the CPU. The same model, batch size and number of threads give the same bytes."""

    name = "ort"
    passed_over: tuple[str, ...] = ()

    def __init__(self, model: bytes, card: ModelCard, *, batch_size: int, threads: int) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise EngineError(f"ONNX Runtime cannot be imported ({error}).", remedy="Install onnxruntime.") from error
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Workers that spin while they wait would take the cores from the kernel that runs between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise EngineError(f"ONNX Runtime refuses the model: {' '.join(str(error).split())[:300]}") from error
        self.provider = "CPUExecutionProvider"
        self.card, self.batch_size, self.threads = card, batch_size, threads

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        assert len(image_NHWC) == self.batch_size, (len(image_NHWC), self.batch_size)
        logits: Any = self._session.run([OUTPUT], {INPUT: image_NHWC})[0]
        return logits


class TorchEngine:
    """The network in torch on the CPU, in the precision it is handed over in."""

    name = "torch"
    passed_over: tuple[str, ...] = ()

    def __init__(self, load_network: LoadNetwork | None, card: ModelCard, *, batch_size: int, threads: int) -> None:
        import torch

        self._torch = torch
        self._network = network_or_refusal(load_network).eval()
        self.provider = "torch cpu"
        self.card, self.batch_size, self.threads = card, batch_size, threads

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        assert len(image_NHWC) == self.batch_size, (len(image_NHWC), self.batch_size)
        with self._torch.inference_mode():
            logits = self._network(self._torch.from_numpy(image_NHWC))
        return logits.contiguous().numpy()


def network_or_refusal(load_network: LoadNetwork | None) -> torch.nn.Module:
    """Raises EngineError where there is nothing to load."""
    if load_network is None:
        raise EngineError(
            "The torch engine needs the network, and only an ONNX file is at hand.", remedy="Use --engine ort."
        )
    return load_network()
