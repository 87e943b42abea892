"""The network as the scorer sees it: raw uint8 RGB in, logits at its stride out, batch norm folded away.

Shape suffixes: N images, C classes, H W input pixels, h w pixels of the logits.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, log_softmax
from torch.nn.utils.fusion import fuse_conv_bn_eval

from s4al.config import PseudoConfig
from s4al.run.state import Run
from s4al.trainer.checkpoint import load_network
from s4al.trainer.networks.network import IMAGENET_MEAN, IMAGENET_STD, SegmentationNetwork


class Normalise(nn.Module):
    """uint8 RGB (N, H, W, 3) -> (N, 3, H, W) in the module's dtype, with ImageNet's mean and standard deviation."""

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(IMAGENET_STD).view(3, 1, 1)))

    def forward(self, image_NHWC: Tensor) -> Tensor:
        # Cast, transpose, scale, in this order: TensorRT for RTX refuses a transposed uint8 input.
        return (image_NHWC.to(self.mean.dtype).permute(0, 3, 1, 2) - self.mean) * self.scale


class ScoringNetwork(nn.Module):
    """uint8 (N, H, W, 3) -> logits (N, C, h, w), the prediction averaged over scales.

    S4AL+ pseudo-labels the mean over scales {1, 2, 0.5} of the logits, each brought to label size first (author code).
    Here each scale is brought to the logits' grid of scale 1, averaged there and upsampled once, which keeps full-size
    logits out of the graph; the two differ by the bilinear resampling of scales above 1. `average="probabilities"`
    returns the logarithm of the mean of the softmaxes, whose softmax is that mean. One scale of 1.0 adds no node.

    Parameters
    ----------
    network : normalised float (N, 3, H, W) -> logits; a copy of it is held, in evaluation mode.
    stride : of its logits.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        height: int,
        width: int,
        align_corners: bool,
        stride: int = 4,
        scales: tuple[float, ...] = (1.0,),
        average: Literal["logits", "probabilities"] = "logits",
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).eval()
        self.align_corners, self.scales, self.average = align_corners, scales, average
        self.size = height, width
        self.stride = stride
        self.grid_size = -(-height // stride), -(-width // stride)
        self.normalise = Normalise()

    def forward(self, image_NHWC: Tensor) -> Tensor:
        image_NCHW = self.normalise(image_NHWC)
        if self.scales == (1.0,):
            return self.network(image_NCHW)
        logits = [self._logits_at(scale, image_NCHW) for scale in self.scales]
        if self.average == "logits":
            return sum(logits[1:], start=logits[0]) / len(logits)
        return torch.stack([log_softmax(each, dim=1) for each in logits]).logsumexp(dim=0) - math.log(len(logits))

    def _logits_at(self, scale: float, image_NCHW: Tensor) -> Tensor:
        if scale == 1.0:
            return self.network(image_NCHW)
        size = tuple(round(side * scale) for side in self.size)
        return self._resize(self.network(self._resize(image_NCHW, size)), self.grid_size)

    def _resize(self, x: Tensor, size: tuple[int, ...]) -> Tensor:
        return interpolate(x, size, mode="bilinear", align_corners=self.align_corners)


def scoring_network(run: Run, cycle: int) -> ScoringNetwork:
    """The trained network of a cycle, float32 and not folded: what the torch engine runs. Raises RunStateError."""
    return wrap(
        load_network(run.read_stage(cycle, "train"), run.config),
        run.config.data.height,
        run.config.data.width,
        run.config.pseudo,
    )


def wrap(network: SegmentationNetwork, height: int, width: int, pseudo: PseudoConfig) -> ScoringNetwork:
    return ScoringNetwork(
        network,
        height=height,
        width=width,
        align_corners=network.align_corners,
        stride=network.stride,
        scales=pseudo.scales,
        average=pseudo.average,
    )


def folded(network: ScoringNetwork) -> ScoringNetwork:
    """A copy in which every batch norm that follows a convolution is part of it; to be called in float32.

    Pairs are found by running the network: a batch norm whose input is the very tensor that a convolution returned. A
    layer that never ran (the representation head) stays as it is, and out of the exported graph.
    """
    network = copy.deepcopy(network)
    for convolution, norm in _pairs(network):
        rest = _after_normalising(norm)
        if rest is not None:
            _replace(network, convolution, fuse_conv_bn_eval(convolution, norm))
            _replace(network, norm, rest)
    for module in network.modules():
        if isinstance(module, nn.ReLU | nn.Hardtanh):  # ReLU6 is one
            module.inplace = False  # halves the time torch.export takes; the result is the same
    return network


def _after_normalising(norm: nn.BatchNorm2d) -> nn.Module | None:
    """What a batch norm does besides normalising, or None where that is not known and it has to stay.

    timm's BatchNormAct2d is a batch norm with dropout and activation inside.
    """
    if type(norm).forward is nn.BatchNorm2d.forward:
        return nn.Identity()
    inside = dict(norm.named_children())
    return nn.Sequential(*inside.values()) if list(inside) == ["drop", "act"] else None


def _pairs(network: ScoringNetwork) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions and the batch norms behind them, of those that run once: one that is shared cannot be folded."""
    outputs: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # holds the tensors, so that no id is used twice
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []
    ran: Counter[nn.Module] = Counter()

    def after(module: nn.Module, _: Any, output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        outputs[id(output)] = (module, output)
        ran[module] += 1

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        ran[module] += 1
        if id(inputs[0]) in outputs:
            pairs.append((outputs[id(inputs[0])][0], module))

    core = network.network
    hooks = [module.register_forward_hook(after) for module in core.modules() if isinstance(module, nn.Conv2d)]
    hooks += [
        module.register_forward_pre_hook(before) for module in core.modules() if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.inference_mode():
        core(torch.zeros(1, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    return [(convolution, norm) for convolution, norm in pairs if ran[convolution] == ran[norm] == 1]


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    name = next(name for name, module in root.named_modules() if module is old)
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, new)
