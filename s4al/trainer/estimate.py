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

_UNTIMED, _TIMED = 1, 4  # steps
_ENOUGH_S = 8.0  # after which two timed steps have to do
_MOST_PIXELS = 160 * 224  # of an image: a step's time grows with them, and this has to be quick


def training_seconds(config: Config, num_classes: int, device: str) -> float:
    """Seconds that all trainings of a run take, within a third or so: scoring, reading and other work are not in it.

    Of a machine that does nothing else, even if it does now: the best of a few steps counts, and on a CPU the
    processors' time where that is less than the wall's.

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
    begun = time.monotonic()
    while len(seconds) < _UNTIMED + _TIMED:
        if len(seconds) >= _UNTIMED + 2 and time.monotonic() - begun > _ENOUGH_S:
            break
        started = _now(fabric.device)
        optimizer.zero_grad()
        logits_BChw, representation_BDhw = network(normalise(image_BHWC), with_representation=True)
        loss = cross_entropy(logits_BChw, label_BHW, reduction="all", align_corners=False)
        fabric.backward(loss + representation_BDhw.float().square().mean())
        optimizer.step()
        seconds.append(min(now - then for now, then in zip(_now(fabric.device), started, strict=True)))
    return min(seconds[_UNTIMED:]) / shrink**2


def _now(device: torch.device) -> tuple[float, ...]:
    """Clocks, seconds: the wall's, and on a CPU that of the processors, shared by the threads that torch uses.

    Other programs make the wall's run on while this one waits, not the other.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return (time.monotonic(),)
    return time.monotonic(), time.process_time() / torch.get_num_threads()
