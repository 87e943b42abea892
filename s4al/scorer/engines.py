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
    batch_size: int,
    threads: int = 0,
    device: str = "cpu",
    load_network: LoadNetwork | None = None,
    open_trt: OpenTrt | None = None,
    watch: Watch | None = None,
) -> Engine:
    """Load an exported model.

    Parameters
    ----------
    threads : 0 for all cores.
    device : cpu, cuda or cuda:N; auto is the first GPU for trt, the CPU for the others.
    load_network : needed by the torch engine, and for `auto` to fall back to it.
    open_trt : needed by the trt engine, and for `auto` to try it.

    Raises
    ------
    EngineError : the model cannot be used, or no engine serves it; says what is missing.
    """
    watch, given, device = watch or Watch(), device, "cpu" if device == "auto" else device
    data, card = read_model(model)
    threads = threads or available_cores()
    refusals: list[str] = []
    for candidate in _candidates(given, open_trt) if name == "auto" else (name,):
        try:
            if candidate == "trt":
                engine = _open_trt(open_trt, card, batch_size=batch_size, threads=threads, device=given, watch=watch)
            elif candidate == "ort":
                engine = OrtEngine(data, card, batch_size=batch_size, threads=threads, device=device)
            else:
                engine = TorchEngine(load_network, card, batch_size=batch_size, threads=threads, device=device)
        except EngineError as error:
            refusals.append(f"{candidate}: {error.what}")
            continue
        engine.passed_over = (*refusals, *engine.passed_over)
        chosen = f"engine {engine.name} ({engine.provider})"
        watch.note(" ".join([f"{chosen}; could not be used:", *engine.passed_over]) if engine.passed_over else chosen)
        return engine
    where = "a GPU" if name == "trt" and given == "auto" else device
    raise EngineError(
        f"No engine can run {model.name} on {where}. {' '.join(refusals)}",
        remedy="Install what is missing, or name another --engine.",
    )


def _candidates(device: str, open_trt: OpenTrt | None) -> tuple[str, ...]:
    """What `auto` tries. Whoever has no GPU and asked for none is not told that TensorRT needs one."""
    if device == "cpu" or open_trt is None:
        return ("ort", "torch")
    if device == "auto":
        try:
            find_gpu()
        except EngineError:
            return ("ort", "torch")
    return ("trt", "ort", "torch")


def _open_trt(open_trt: OpenTrt | None, card: ModelCard, *, device: str, **settings: Any) -> Engine:
    if device == "cpu":
        raise EngineError("TensorRT needs a GPU, and the device is to be the CPU.", remedy="Leave out --device cpu.")
    if open_trt is None:
        raise EngineError(
            "The TensorRT engine needs the network, and only an ONNX file is at hand.", remedy="Use --engine ort."
        )
    engine = open_trt(device=device, **settings)
    if engine.card != card:
        raise EngineError("The TensorRT engine is of another network than the exported model.", remedy="Export again.")
    return engine


def available_cores() -> int:
    """Cores this process may use, which a container or a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OrtEngine:
    """ONNX Runtime. On the CPU the same model, batch size and number of threads give the same bytes."""

    name = "ort"
    passed_over: tuple[str, ...] = ()

    def __init__(self, model: bytes, card: ModelCard, *, batch_size: int, threads: int, device: str = "cpu") -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise EngineError(f"ONNX Runtime cannot be imported ({error}).", remedy="Install onnxruntime.") from error
        provider = "CUDAExecutionProvider" if device.startswith("cuda") else "CPUExecutionProvider"
        if provider not in ort.get_available_providers():
            raise EngineError(
                f"This ONNX Runtime has no {provider}.", remedy="Install onnxruntime-gpu, or use --device cpu."
            )
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.log_severity_level = 3
        # Workers that spin while they wait would take the cores from the kernel that runs between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            where = {"device_id": device.partition(":")[2] or "0"} if device != "cpu" else {}
            self._session = ort.InferenceSession(model, options, providers=[(provider, where)])
        except Exception as error:
            raise EngineError(f"ONNX Runtime refuses the model: {' '.join(str(error).split())[:300]}") from error
        self.provider = self._session.get_providers()[0]
        if self.provider != provider:
            raise EngineError(
                f"ONNX Runtime could not start {provider} and fell back to {self.provider}.", remedy="Use --device cpu."
            )
        self.card, self.batch_size, self.threads = card, batch_size, threads

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        assert len(image_NHWC) == self.batch_size, (len(image_NHWC), self.batch_size)
        logits: Any = self._session.run([OUTPUT], {INPUT: image_NHWC})[0]
        return logits


class TorchEngine:
    """The network in torch, in the precision it is handed over in."""

    name = "torch"
    passed_over: tuple[str, ...] = ()

    def __init__(
        self, load_network: LoadNetwork | None, card: ModelCard, *, batch_size: int, threads: int, device: str = "cpu"
    ) -> None:
        if load_network is None:
            raise EngineError(
                "The torch engine needs the network, and only an ONNX file is at hand.", remedy="Use --engine ort."
            )
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise EngineError("torch sees no CUDA device.", remedy="Use --device cpu.")
        self._torch, self._device = torch, torch.device(device)
        self._network = load_network().eval().to(self._device)
        self.provider = f"torch {device}"
        self.card, self.batch_size, self.threads = card, batch_size, threads

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        assert len(image_NHWC) == self.batch_size, (len(image_NHWC), self.batch_size)
        with self._torch.inference_mode():
            logits = self._network(self._torch.from_numpy(image_NHWC).to(self._device))
        return logits.contiguous().cpu().numpy()
