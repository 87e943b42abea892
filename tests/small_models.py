"""A network of three convolutions, its exported file, and a run that holds it as if it had been trained."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from s4al.errors import EngineError
from s4al.export.onnx_export import Precision, export_onnx
from s4al.export.scoring_network import ScoringNetwork
from s4al.run.state import Run
from s4al.scorer.engines.cpu_engines import OrtEngine
from s4al.scorer.engines.engine import Engine, RegionFeatures, RegionMetric
from s4al.scorer.engines.model_card import ModelCard
from s4al.watch import Watch
from tests.tiny import labelled_run

HEIGHT, WIDTH, CELL = 48, 64, 10  # the size of tests.tiny; cells do not divide it


class SmallNetwork(nn.Module):
    """Normalised float (N, 3, H, W) -> logits at stride 4; a head that is never run stands for the representation."""

    def __init__(self, num_classes: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
            *(nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        )
        self.class_head = nn.Conv2d(8, num_classes, 1)
        self.representation_head = nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4))
        generator = torch.Generator().manual_seed(seed)
        for tensor in self.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_var += 1.0
                module.weight.data += 1.0
        self.class_head.weight.data *= 8

    def forward(self, image_NCHW: Tensor) -> Tensor:
        return self.class_head(self.features(image_NCHW))


def small_scoring_network(
    num_classes: int = 3, seed: int = 0, *, height: int = HEIGHT, width: int = WIDTH, **settings: object
) -> ScoringNetwork:
    network = SmallNetwork(num_classes, seed)
    return ScoringNetwork(network, height=height, width=width, align_corners=False, **settings).eval()  # type: ignore[arg-type]


def small_card(
    class_names: Sequence[str] = ("road", "car", "sky"), *, height: int = HEIGHT, width: int = WIDTH, cell: int = CELL
) -> ModelCard:
    return ModelCard(
        class_names=tuple(class_names),
        height=height,
        width=width,
        region_height=cell,
        region_width=cell,
        stride=4,
        align_corners=False,
        run="c0ffee",
        cycle=0,
        weights_sha256="0" * 64,
    )


@functools.cache
def small_model(
    class_names: tuple[str, ...] = ("road", "car", "sky"), seed: int = 0, precision: Precision = "fp32"
) -> bytes:
    """The bytes of an exported SmallNetwork; exporting takes seconds, so it is done once for all tests."""
    return export_onnx(small_scoring_network(len(class_names), seed), small_card(class_names), precision)


def small_engine(batch_size: int = 2, seed: int = 0) -> OrtEngine:
    return OrtEngine(small_model(seed=seed), small_card(), batch_size=batch_size, threads=1)


def random_images(count: int, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def exported_run(root: Path, *overrides: str) -> Run:
    """The tiny run of 12 training images, 3 of them labelled, with a SmallNetwork exported in cycle 0."""
    run, _, _ = labelled_run(root, *overrides)
    commit_export(run, 0)
    return run


def commit_export(run: Run, cycle: int, seed: int = 0, model: bytes | None = None) -> None:
    """Commit `train/` and `export/` of a cycle as if they had been made."""
    with run.commit(cycle, "train") as folder:
        (folder / "model.safetensors").write_bytes(b"weights")
    with run.commit(cycle, "export") as folder:
        (folder / "model.onnx").write_bytes(model or small_model(tuple(run.class_names), seed))
        (folder / "parity.json").write_bytes(b"{}")


class SmallNetworks:
    """A `Networks` of small ones; TensorRT is whatever is handed in, or refused.

    Attributes
    ----------
    asked : what TensorRT was asked for.
    """

    def __init__(self, num_classes: int = 3, trt: Callable[[], Engine] | None = None) -> None:
        self._num_classes, self._trt = num_classes, trt
        self.asked: dict[str, object] = {}

    def folded(self) -> torch.nn.Module:
        return small_scoring_network(self._num_classes)

    trained = folded

    def open_trt(self, **settings: object) -> Engine:
        self.asked = settings
        if self._trt is None:
            raise EngineError("TensorRT cannot be used here.")
        return self._trt()

    def metric(self, device: str, watch: Watch) -> RegionMetric:
        raise AssertionError("no test asks for it")

    def features(self, device: str) -> RegionFeatures:
        raise AssertionError("no test asks for it")
