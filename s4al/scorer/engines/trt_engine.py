"""TensorRT as an engine: one plan, a context for every slot of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from s4al.errors import EngineError
from s4al.scorer.engines.device import Device
from s4al.scorer.engines.device_engine import DeviceEngine
from s4al.scorer.engines.gpu import Gpu, find_gpu
from s4al.scorer.engines.model_card import INPUT, OUTPUT, ModelCard
from s4al.scorer.engines.trt_adapter import NAMES, LoadedPlan, TensorRt, load_trt

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


class TrtEngine(DeviceEngine):
    """A plan with the batch size it was made for, which is also its largest."""

    name = "trt"
    capturable = True

    def __init__(
        self, plan: LoadedPlan, card: ModelCard, device: Device, *, batch_size: int, threads: int, provider: str
    ) -> None:
        self._plan, self.device = plan, device
        self.card, self.threads, self.provider = card, threads, provider
        self.batch_size = self.largest_batch = batch_size
        self.logits_dtype = self._check_tensors()

    def bind(self, image_NHWC: Any, logits_NChw: Any) -> Callable[[], None]:
        """Make an execution context for one slot of the pipeline and run it twice, which writes its logits.

        Contexts run beside each other.

        Raises
        ------
        EngineError : TensorRT refuses; what is returned raises it too.
        """
        device = self.device
        stream = device.stream_pointer(device.compute)
        context = self._plan.bind(
            {INPUT: tuple(image_NHWC.shape)},
            {INPUT: device.pointer(image_NHWC), OUTPUT: device.pointer(logits_NChw)},
            stream,
        )
        for _ in range(_WARM_UPS):
            context.enqueue(stream)
        device.synchronize_all()
        if not context.is_capturable(stream):
            raise EngineError(f"{self._plan.trt} cannot run this network inside a CUDA graph.")

        def enqueue(keep: object = (image_NHWC, logits_NChw)) -> None:  # the context knows addresses only
            context.enqueue(stream)

        return enqueue

    def _check_tensors(self) -> np.dtype[Any]:
        """The type of the logits. Raises EngineError where the plan is not one of this card."""
        card = self.card
        found = {name: (tensor.is_input, tensor.shape[1:]) for name, tensor in self._plan.tensors.items()}
        image, logits = (card.height, card.width, 3), (len(card.class_names), *card.logits_size)
        types = {name: tensor.dtype for name, tensor in self._plan.tensors.items()}
        if (
            found != {INPUT: (True, image), OUTPUT: (False, logits)}
            or types[INPUT] != np.uint8
            or types[OUTPUT] not in (np.float16, np.float32)
        ):
            raise EngineError(f"The plan has other tensors than the model: {self._plan.tensors}.")
        dtype = types[OUTPUT]
        assert dtype is not None
        return dtype
