"""Devices, precision and data-parallel training, through Lightning Fabric.

The same command runs alone or under `torchrun --nproc-per-node N`. N processes compute what one would at the same
global batch: batch norm uses the statistics of all processes, ReCo sees the pixels of all, cross entropy divides by the
counts of all.
"""

from __future__ import annotations

import logging
import os
from datetime import timedelta
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor, distributed, nn

from s4al.config import Precision
from s4al.errors import ConfigError

# Rank 0 alone exports and scores while the others wait at a barrier; a big pool takes longer than torch's half hour.
_PATIENCE = timedelta(days=7)


def launch_fabric(device: str, precision: Precision) -> Fabric:
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
        return _convert_on_cuda(network)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, _SharedBatchNorm.like(child))
    return network


def _convert_on_cuda(network: nn.Module) -> nn.Module:
    """torch's own conversion, but for timm's batch norms: it would lose the activation inside them."""
    if not any(list(norm.children()) for norm in network.modules() if isinstance(norm, nn.BatchNorm2d)):
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    from timm.layers.norm_act import convert_sync_batchnorm

    return convert_sync_batchnorm(network)


class _SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over all processes for devices that torch's SyncBatchNorm refuses, the CPU first of all.

    Attributes
    ----------
    after : what a batch norm of timm has inside: dropout and activation.
    """

    after: nn.Sequential

    @classmethod
    def like(cls, norm: nn.BatchNorm2d) -> _SharedBatchNorm:
        """One that takes over the parameters and buffers of `norm`, frozen ones frozen."""
        shared = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        shared.weight, shared.bias = norm.weight, norm.bias
        for name, buffer in norm.named_buffers():
            setattr(shared, name, buffer)
        shared.after = nn.Sequential(*norm.children())
        return shared

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return self.after(super().forward(input))
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        count = x.numel() // x.shape[1] * distributed.get_world_size()
        mean = _sum_over_processes(x.sum(dim=(0, 2, 3))) / count
        # Two passes: the mean of squares less the squared mean loses all digits where a channel hardly varies.
        squares = (x - mean[:, None, None]).square().sum(dim=(0, 2, 3))
        variance = _sum_over_processes(squares) / count
        if self.track_running_stats:  # see `teacher.frozen_statistics`
            self._remember(mean.detach(), variance.detach() * (count / (count - 1)))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return self.after((x * scale[:, None, None] + shift[:, None, None]).to(input.dtype))

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def gather_batch(fabric: Fabric, tensor: Tensor) -> Tensor:
    """(B, ...) of every process, concatenated in the order of ranks, with gradients."""
    return tensor if fabric.world_size == 1 else cast(Tensor, _Gather.apply(tensor))


class _Sum(torch.autograd.Function):
    """The sum of a tensor over processes; every process's loss depends on every summand."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        return _Sum.forward(ctx, grad_outputs[0].contiguous())


def _sum_over_processes(tensor: Tensor) -> Tensor:
    return cast(Tensor, _Sum.apply(tensor))


class _Gather(torch.autograd.Function):
    """The tensors of all processes, one after the other; the gradient of a part is the sum over all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [
            torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())
        ]
        distributed.all_gather(parts, tensor.contiguous())
        ctx.rows = len(tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        total = grad_outputs[0].contiguous()
        distributed.all_reduce(total)
        return total.narrow(0, ctx.rows * distributed.get_rank(), ctx.rows)


def mean_over_processes(fabric: Fabric, tensor: Tensor) -> Tensor:
    return cast(Tensor, fabric.all_reduce(tensor, reduce_op="mean"))


def check_divisible(fabric: Fabric, batch: int, what: str, *, pairs: bool = False) -> None:
    """Raises ConfigError where a global batch cannot be shared equally, by whole pairs if it must be."""
    if batch % (fabric.world_size * (2 if pairs else 1)):
        whole = "in pairs" if pairs else "equally"
        raise ConfigError(
            f"{what} of {batch} images cannot be shared {whole} by {fabric.world_size} processes.",
            remedy="Choose batch sizes that the number of processes divides.",
        )
