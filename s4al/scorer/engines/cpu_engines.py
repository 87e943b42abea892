"""The exported network on the CPU, in ONNX Runtime and in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from s4al.errors import EngineError
from s4al.scorer.engines.engine import LoadNetwork, network_or_refusal
from s4al.scorer.engines.model_card import INPUT, OUTPUT, ModelCard


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
