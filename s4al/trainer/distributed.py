"""Devices, precision and data-parallel training, through Lightning Fabric.

The same command runs alone or under `torchrun --nproc-per-node N`. N processes compute what one would at the same
global batch: batch norm uses the statistics of all processes, ReCo sees the pixels of all, cross entropy divides by the
counts of all.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Literal, cast

import torch
import torch.distributed.nn.functional as differentiable
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn

from s4al.errors import ConfigError

# Rank 0 alone exports and scores while the others wait at a barrier; a big pool takes longer than torch's half hour.
_PATIENCE = timedelta(days=7)


def launch_fabric(device: str, precision: Literal["32-true", "bf16-mixed"]) -> Fabric:
    """Join the processes of torchrun, if any, and choose the device.

    Parameters
    ----------
    device : auto, cpu, cuda, cuda:N or mps.

    Raises
    ------
    ConfigError : the device does not exist here.
    """
    accelerator, _, index = device.partition(":")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda: torch sees no CUDA GPU here.", remedy="Use --device cpu, or see `s4al doctor`."
        )
    if accelerator not in ("auto", "cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise ConfigError(f"--device {device} is unknown.", remedy="Use auto, cpu, cuda, cuda:N or mps.")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # its greetings are not for our users
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    fabric = Fabric(
        accelerator=accelerator,
        devices=[int(index)] if index else local_size,
        num_nodes=world_size // local_size,
        strategy=DDPStrategy(timeout=_PATIENCE) if world_size > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    if fabric.device.type == "cpu":
        # Resuming must give the same bytes; every operation of ours has a deterministic CPU implementation.
        torch.use_deterministic_algorithms(True)
    return fabric


def synchronise_batch_norm(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Replace batch norms by ones that use the statistics of all processes; nothing changes for a single process."""
    if fabric.world_size == 1:
        return network
    if fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, _SharedBatchNorm.like(child))
    return network


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes for devices that torch's SyncBatchNorm refuses, the CPU first of all."""

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> _SharedBatchNorm:
        shared = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        shared.load_state_dict(norm.state_dict())
        return shared

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        x = input.float()
        count = x.numel() // x.shape[1] * distributed.get_world_size()
        sums = torch.stack([x.sum(dim=(0, 2, 3)), x.square().sum(dim=(0, 2, 3))])
        mean, mean_square = cast(Tensor, differentiable.all_reduce(sums)) / count
        variance = mean_square - mean.square()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)


def gather_batch(fabric: Fabric, tensor: Tensor) -> Tensor:
    """(B, ...) of every process, concatenated in the order of ranks, with gradients."""
    if fabric.world_size == 1:
        return tensor
    return cast(Tensor, fabric.all_gather(tensor.contiguous(), sync_grads=tensor.requires_grad)).flatten(0, 1)


def mean_over_processes(fabric: Fabric, tensor: Tensor) -> Tensor:
    return cast(Tensor, fabric.all_reduce(tensor, reduce_op="mean"))


def check_divisible(fabric: Fabric, batch: int, what: str) -> None:
    """Raises ConfigError where a global batch cannot be shared equally."""
    if batch % fabric.world_size:
        raise ConfigError(
            f"{what} of {batch} images cannot be shared by {fabric.world_size} processes.",
            remedy="Choose batch sizes that the number of processes divides.",
        )
