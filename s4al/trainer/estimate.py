"""How long a run's trainings will take on this machine, from a few steps on made-up images."""

from __future__ import annotations

import math
import time

import torch

from s4al.config import Config
from s4al.trainer.batches import normalise
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.losses import cross_entropy
from s4al.trainer.networks.build import build_network
from s4al.trainer.networks.depthwise import keep_depthwise_in_float32
from s4al.trainer.schedule import images_after, schedule

_UNTIMED, _TIMED = 1, 2  # steps
_MOST_PIXELS = 160 * 224  # of an image: a step's time grows with them, and this has to be quick


def training_seconds(config: Config, num_classes: int, device: str) -> float:
    """Seconds that all trainings of a run take, within a third or so: scoring, reading and other work are not in it.

    Raises ConfigError where the device or the network cannot be had.
    """
    images = config.trainer.batch_labelled_only
    first = math.prod(schedule(config, 0, joint=False)) * images
    return (first + images_after(config, 0)) / images * _seconds_per_step(config, num_classes, device)


def _seconds_per_step(config: Config, num_classes: int, device: str) -> float:
    fabric = launch_fabric(device, config.trainer.precision)
    network = build_network(config.model, num_classes, pretrained=False).to(memory_format=torch.channels_last)
    if fabric.device.type == "cpu":
        keep_depthwise_in_float32(network)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    network, optimizer = fabric.setup(network, optimizer)
    height = config.augment.crop_height or config.data.height
    width = config.augment.crop_width or config.data.width
    shrink = min(1.0, math.sqrt(_MOST_PIXELS / (height * width)))
    shape = (config.trainer.batch_labelled_only, round(height * shrink), round(width * shrink))
    image_BHWC = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, device=fabric.device)
    label_BHW = torch.randint(0, num_classes, shape, device=fabric.device)
    seconds: list[float] = []
    for _ in range(_UNTIMED + _TIMED):
        started = _now(fabric.device)
        optimizer.zero_grad()
        logits_BChw, representation_BDhw = network(normalise(image_BHWC), with_representation=True)
        loss = cross_entropy(logits_BChw, label_BHW, reduction="all", align_corners=False)
        fabric.backward(loss + representation_BDhw.float().square().mean())
        optimizer.step()
        seconds.append(_now(fabric.device) - started)
    return min(seconds[_UNTIMED:]) / shrink**2


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.monotonic()
