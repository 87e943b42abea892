"""The exported network on a CUDA device, in torch (float16) and ONNX Runtime (as exported).

Both write logits into memory of the pipeline, on its stream; TensorRT's engine, `trt_engine`, does the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from s4al.errors import EngineError
from s4al.scorer.batch import SLOTS
from s4al.scorer.engines.device import Device, DeviceOutOfMemory
from s4al.scorer.engines.device_engine import DeviceEngine, bind_network, seconds_per_call
from s4al.scorer.engines.engine import LoadNetwork, network_or_refusal
from s4al.scorer.engines.model_card import INPUT, OUTPUT, ModelCard
from s4al.watch import Watch

_SMALLEST_BATCH = 4
_WORTH_DOUBLING = 1.05  # in images/s; below it a larger batch only takes memory


class TorchDeviceEngine(DeviceEngine):
    """The network in torch: float16, channels-last, batch norm folded by whoever loads it.

    Raises EngineError where torch sees no CUDA device.
    """

    name = "torch"
    largest_batch = 256
    logits_dtype = np.dtype(np.float16)
    capturable = True

    def __init__(
        self, load_network: LoadNetwork | None, card: ModelCard, device: Device, *, batch_size: int, threads: int
    ) -> None:
        import torch

        if not torch.cuda.is_available():
            raise EngineError("torch sees no CUDA device.", remedy="Use --device cpu.")
        self._torch = torch
        self._stream = torch.cuda.ExternalStream(device.stream_pointer(device.compute))
        network = network_or_refusal(load_network).eval().to(self._stream.device)
        self._network = network.half().to(memory_format=torch.channels_last)
        self.provider = f"torch fp16, {device.name}"
        self.card, self.device, self.threads = card, device, threads
        self.batch_size = batch_size or _SMALLEST_BATCH

    def bind(self, image_NHWC: Any, logits_NChw: Any) -> Callable[[], None]:
        torch, network = self._torch, self._network
        image, logits = torch.from_dlpack(image_NHWC), torch.from_dlpack(logits_NChw)
        # What a graph uses between its nodes must not be given to anybody else, and so comes out of a pool of its own.
        pool = torch.cuda.MemPool()

        def enqueue() -> None:
            try:
                with torch.no_grad(), torch.cuda.stream(self._stream), torch.cuda.use_mem_pool(pool):
                    logits.copy_(network(image))
            except torch.cuda.OutOfMemoryError as error:
                raise DeviceOutOfMemory(str(error)) from error

        return enqueue


class OrtDeviceEngine(DeviceEngine):
    """ONNX Runtime's CUDA provider, with inputs and outputs bound to the pipeline's memory.

    Not captured: the provider waits for its stream at places that a capture must not contain.

    Parameters
    ----------
    kind : "cuda", or "cpu" where `device` is one whose memory is the host's.

    Raises
    ------
    EngineError : no such provider, or it refuses the model.
    """

    name = "ort"
    largest_batch = 256
    capturable = False

    def __init__(
        self, model: bytes, card: ModelCard, device: Device, *, batch_size: int, threads: int, kind: str = "cuda"
    ) -> None:
        import onnxruntime as ort

        self.provider = "CUDAExecutionProvider" if kind == "cuda" else "CPUExecutionProvider"
        if self.provider not in ort.get_available_providers():
            raise EngineError(f"This ONNX Runtime has no {self.provider}.", remedy="Install onnxruntime-gpu.")
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.use_deterministic_compute = True
        self._kind, self._index = kind, device.index
        settings = {
            "device_id": str(self._index),
            "user_compute_stream": str(device.stream_pointer(device.compute)),
            "cudnn_conv_algo_search": "HEURISTIC",  # a search by stopwatch gives other last bits in every process
            "use_tf32": "0",
        }
        try:
            providers: list[Any] = [(self.provider, settings if kind == "cuda" else {})]
            self._session = ort.InferenceSession(model, options, providers=providers)
        except Exception as error:
            raise EngineError(f"ONNX Runtime refuses the model: {' '.join(str(error).split())[:300]}") from error
        if self._session.get_providers()[0] != self.provider:
            raise EngineError(
                f"ONNX Runtime could not start {self.provider} and fell back to {self._session.get_providers()[0]}.",
                remedy="Install the CUDA and cuDNN libraries that it names, or use --device cpu.",
            )
        self._run_options = ort.RunOptions()
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        half = self._session.get_outputs()[0].type == "tensor(float16)"
        self.logits_dtype = np.dtype(np.float16 if half else np.float32)
        self.card, self.device, self.threads = card, device, threads
        self.batch_size = batch_size or _SMALLEST_BATCH

    def bind(self, image_NHWC: Any, logits_NChw: Any) -> Callable[[], None]:
        binding = self._session.io_binding()
        pointer, where = self.device.pointer, (self._kind, self._index)
        binding.bind_input(INPUT, *where, np.uint8, image_NHWC.shape, pointer(image_NHWC))
        binding.bind_output(OUTPUT, *where, self.logits_dtype, logits_NChw.shape, pointer(logits_NChw))

        def enqueue(keep: object = (image_NHWC, logits_NChw)) -> None:  # the binding knows addresses only
            try:
                self._session.run_with_iobinding(binding, self._run_options)
            except Exception as error:  # ONNX Runtime's own types, which it does not export
                if "allocate memory" in str(error) or "out of memory" in str(error):
                    raise DeviceOutOfMemory(str(error)) from error
                raise

        return enqueue


def settle_batch_size(engine: DeviceEngine, wanted: int, watch: Watch) -> None:
    """Set `engine.batch_size`: to `wanted`, halved until three slots fit; for 0, doubled while that makes it faster.

    Raises EngineError where not even one image fits.
    """
    if wanted:
        size = min(wanted, engine.largest_batch)
        while _rate(engine, size) is None:
            if size == 1:
                raise EngineError(f"Not even one image at a time fits {engine.device.name}.", remedy="Free its memory.")
            size //= 2
            watch.note(f"The batch does not fit the memory of {engine.device.name}; going on with {size} images.")
    else:
        size = _doubled(engine, watch)
    engine.batch_size = size


def _doubled(engine: DeviceEngine, watch: Watch) -> int:
    best, chosen, size = 0.0, 0, _SMALLEST_BATCH
    while size <= engine.largest_batch:
        rate = _rate(engine, size)
        if rate is None or rate < _WORTH_DOUBLING * best:
            break
        best, chosen, size = rate, size, 2 * size
    if not chosen:
        settle_batch_size(engine, _SMALLEST_BATCH // 2, watch)
        return engine.batch_size
    watch.note(f"batches of {chosen} images ({best:,.0f} images/s, network alone)")
    return chosen


def _rate(engine: DeviceEngine, size: int) -> float | None:
    """Images/s of the network alone in batches of `size`, all slots allocated; None where memory does not suffice."""
    engine.batch_size = size
    try:
        return network_rate(engine)
    except DeviceOutOfMemory:
        return None
    finally:
        engine.device.free_unused()


def network_rate(engine: DeviceEngine) -> float:
    """Images/s of the network alone, its input in device memory. Raises DeviceOutOfMemory.

    All slots are bound and run once, so that one that does not fit shows.
    """
    networks = [bind_network(engine) for _ in range(SLOTS)]
    engine.device.synchronize_all()  # memory was zeroed on another stream
    for network in networks[1:]:
        network.enqueue()
    return engine.batch_size / seconds_per_call(engine.device, networks[0].enqueue)
