"""TensorRT as an engine: one plan, a context for every slot of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.errors import EngineError
from s4al.scorer.gpu import Device, Enqueue, Gpu, find_gpu
from s4al.scorer.model_card import INPUT, OUTPUT, ModelCard
from s4al.scorer.trt_adapter import NAMES, LoadedPlan, TensorRt, load_trt

_WARM_UPS = 2  # TensorRT may allocate when a context first runs


def find_trt(device: str = "auto") -> tuple[Gpu, list[TensorRt], list[str]]:
    """What can run plans here.

    Returns
    -------
    the GPU; the libraries that serve it, the preferred one first; why the others do not.

    Raises
    ------
    EngineError : nothing can; says all that was looked at and what is missing.
    """
    libraries, refusals, gpu, no_gpu = [], [], None, ""
    try:
        gpu = find_gpu(device)
    except EngineError as error:
        no_gpu = error.what
    for name in NAMES:
        try:
            trt = load_trt(name)
            if gpu:
                trt.check_serves(gpu.compute_capability)
            libraries.append(trt)
        except EngineError as error:
            refusals.append(error.what)
    if gpu and libraries:
        return gpu, libraries, refusals
    there = [f"{trt} is installed." for trt in libraries]
    raise EngineError(
        " ".join(["TensorRT cannot be used here.", *([no_gpu] if no_gpu else []), *refusals, *there]),
        remedy="See s4al doctor; --engine auto takes what works.",
    )


class TrtEngine:
    """A plan with its batch size.

    Attributes
    ----------
    logits_dtype : float16 or float32, as the plan gives them.
    passed_over : why engines that would have been preferred are not used.
    """

    name = "trt"

    def __init__(
        self, plan: LoadedPlan, card: ModelCard, device: Device, *, batch_size: int, threads: int, provider: str
    ) -> None:
        self._plan, self._device = plan, device
        self.card, self.batch_size, self.threads, self.provider = card, batch_size, threads, provider
        self.passed_over: tuple[str, ...] = ()
        self._image_shape = batch_size, card.height, card.width, 3
        self._logits_shape = (
            *(batch_size, len(card.class_names)),
            *(-(-card.height // card.stride), -(-card.width // card.stride)),
        )
        self.logits_dtype = self._check_tensors()
        self._run: Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]] | None = None

    def bind(self, image_ptr: int, logits_ptr: int) -> Enqueue:
        """Make an execution context for one slot of the pipeline and run it twice, which writes its logits.

        Parameters
        ----------
        image_ptr, logits_ptr : addresses on the GPU: uint8 (batch_size, H, W, 3) and `logits_dtype`
            (batch_size, C, h, w), both C-contiguous.

        Returns
        -------
        enqueue(stream), which does nothing but enqueue the network: it can be captured in a CUDA graph. Contexts run
        beside each other; one context runs on one stream at a time.

        Raises
        ------
        EngineError : TensorRT refuses; enqueue raises it too.
        """
        with self._device.active():
            stream = self._device.stream()
            shapes, addresses = {INPUT: self._image_shape}, {INPUT: image_ptr, OUTPUT: logits_ptr}
            context = self._plan.bind(shapes, addresses, stream.ptr)
            for _ in range(_WARM_UPS):
                context.enqueue(stream.ptr)
            stream.synchronize()
            if not context.is_capturable(stream.ptr):
                raise EngineError(f"{self._plan.trt} cannot run this network inside a CUDA graph.")
        return context.enqueue

    def run(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
        """See `Engine`; for checks, the pipeline uses `bind`."""
        assert image_NHWC.shape == self._image_shape, (image_NHWC.shape, self._image_shape)
        if self._run is None:
            self._run = self._make_slot()
        return self._run(image_NHWC)

    def _make_slot(self) -> Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]]:
        device = self._device
        image, logits = device.empty(self._image_shape, np.uint8), device.empty(self._logits_shape, self.logits_dtype)
        enqueue, stream = self.bind(device.address(image), device.address(logits)), device.stream()
        replay = device.capture(enqueue, stream)

        def run(image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
            with device.active():
                device.upload(image_NHWC, image, stream)
                replay()
                return device.download(logits, stream)

        return run

    def _check_tensors(self) -> np.dtype[Any]:
        """The type of the logits. Raises EngineError where the plan is not one of this card."""
        found = {name: (tensor.is_input, tensor.shape[1:]) for name, tensor in self._plan.tensors.items()}
        wanted = {INPUT: (True, self._image_shape[1:]), OUTPUT: (False, self._logits_shape[1:])}
        types = {name: tensor.dtype for name, tensor in self._plan.tensors.items()}
        if found != wanted or types[INPUT] != np.uint8 or types[OUTPUT] not in (np.float16, np.float32):
            raise EngineError(f"The plan has other tensors than the model: {self._plan.tensors}.")
        dtype = types[OUTPUT]
        assert dtype is not None
        return dtype
