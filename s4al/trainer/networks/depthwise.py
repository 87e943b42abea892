"""Depthwise convolutions in float32 beside other layers in bfloat16, on a CPU.

oneDNN has no fast backward for a bfloat16 depthwise convolution: on a processor with AMX that alone is two thirds of a
training step of EfficientNet-Lite, in float32 less than a third of it, and the arithmetic saved by bfloat16 is nothing
there. On CUDA both are fast.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn


class _Float32(nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu"):  # exported networks keep their types
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float())


def keep_depthwise_in_float32(network: nn.Module) -> None:
    """Let every depthwise convolution of `network` leave CPU autocast; parameters, names and results stay."""
    for module in network.modules():
        depthwise = isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1
        if depthwise and not isinstance(module, _Float32):
            object.__setattr__(module, "__class__", _in_float32(type(module)))


@cache  # one class for each kind, so that a copy is of its original's
def _in_float32(kind: type[nn.Module]) -> type[nn.Module]:
    return type(f"Float32{kind.__name__}", (_Float32, kind), {})
