"""What an engine is, and where its network comes from.

Engines run the exported network: uint8 RGB in, logits at the network's stride out, one fixed batch size.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from s4al.config import EngineName
from s4al.errors import EngineError
from s4al.scorer.engines.device import DeviceOutOfMemory
from s4al.scorer.engines.model_card import ModelCard
from s4al.watch import Watch

if TYPE_CHECKING:
    import torch

# Makes the module that export traces: uint8 (N, H, W, 3) -> logits. `export.scoring_network` is one.
LoadNetwork = Callable[[], "torch.nn.Module"]


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


class RegionMetric(Protocol):
    """A metric that is computed beside the engine: `export.NetworkMetric` is one."""

    def __call__(self, image_NHWC: NDArray[np.uint8], first: int) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3), the images from position `first` of the pool on -> float32 (N, R)."""
        ...


class RegionFeatures(Protocol):
    """What the network's heads see, by region: `export.RegionFeatures` is one."""

    def __call__(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) -> float32 (N, R, D)."""
        ...


class Networks(Protocol):
    """Where a trained network comes from: the scorer knows no trainer and no exporter. `export.CycleNetworks` is one.

    Nothing is loaded before it is called for.
    """

    def folded(self) -> torch.nn.Module:
        """What the torch engine runs: uint8 (N, H, W, 3) -> logits, batch norm folded."""
        ...

    def trained(self) -> torch.nn.Module:
        """The same, as it was trained: what the published loop runs."""
        ...

    def open_trt(self, *, batch_size: int, threads: int, device: str, watch: Watch) -> Engine:
        """The TensorRT engine. Raises EngineError."""
        ...

    def metric(self, device: str, watch: Watch) -> RegionMetric:
        """The run's metric, where it is one of `NETWORK_METRICS`. Raises Interrupted."""
        ...

    def features(self, device: str) -> RegionFeatures:
        """The mean features of regions."""
        ...


@dataclass(frozen=True)
class EngineRequest:
    """Which engine is wanted, where, and what it may be made of; filled once, by whoever takes the command.

    Attributes
    ----------
    engine : None for the run's.
    device : cpu, cuda or cuda:N; auto is the first GPU, and the CPU where there is none or no engine for it.
    networks : None where only an exported file is at hand, which is all that ONNX Runtime needs.
    """

    engine: EngineName | None = None
    device: str = "auto"
    networks: Networks | None = None


def run_or_refuse(engine: Engine, image_NHWC: NDArray[np.uint8]) -> NDArray[np.floating[Any]]:
    """`engine.run` of a full batch, for those who have no use for a smaller one.

    Returns float16 or float32 (batch_size, C, h, w), C-contiguous. Raises EngineError where a GPU's memory is short.
    """
    try:
        return np.ascontiguousarray(engine.run(image_NHWC))
    except DeviceOutOfMemory as error:
        raise EngineError(
            f"The GPU has not the memory for {engine.batch_size} images ({error}).",
            kept="Nothing was written.",
            remedy="Free the memory that other processes hold, or use --device cpu.",
        ) from error


def available_cores() -> int:
    """Cores this process may use, which a container or a batch system may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def network_or_refusal(load_network: LoadNetwork | None) -> torch.nn.Module:
    """Raises EngineError where there is nothing to load."""
    if load_network is None:
        raise EngineError(
            "The torch engine needs the network, and only an ONNX file is at hand.", remedy="Use --engine ort."
        )
    return load_network()
