"""The contrastive loss, forward and backward: vectorised against the published per-query sampling.

    python -m benchmarks.reco [--toy] [--device cpu|cuda]

Both run in one process on the same tensors, taking turns, so that a busy machine slows both; measure on a calm one all
the same. The baseline is the straightforward reference that the tests compare with: like the published code it draws
negatives in a loop over queries and classes. The trainer runs the network channels-last; contiguous is torch's default.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.record import record
from s4al.config import Config, ReCoConfig
from s4al.trainer.learners.reco import reco_loss
from tests.trainer.learners.reco_reference import reco_loss_reference

PAUSE_S = 0.05  # between measurements: torch's idle threads spin on for a while and would rob whoever comes next
MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
CAMVID = {"batch": 6, "dimension": 256, "height": 90, "width": 120, "num_classes": 11}
TOY = {"batch": 2, "dimension": 16, "height": 20, "width": 24, "num_classes": 5}


def make_batch(setting: dict[str, int], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Representations, labels in blocks of one class (a tenth ignored), a half-trained student's probabilities."""
    torch.manual_seed(0)
    batch, dimension, height, width, num_classes = setting.values()
    blocks = torch.randint(num_classes, (batch, height // 5, width // 4))
    blocks[torch.rand(blocks.shape) < 0.1] = 255
    label = blocks.repeat_interleave(20, dim=1).repeat_interleave(16, dim=2)  # at four times the stride-4 grid
    representation = torch.randn(batch, dimension, height, width)
    probability = torch.softmax(4.0 * torch.randn(batch, num_classes, height, width), dim=1)
    return representation.to(device), label.to(device), probability.to(device)


def time_s(loss: Callable[[], Tensor], representation: Tensor) -> tuple[float, float]:
    """Seconds of one forward and backward, and the loss."""
    representation.grad = None
    time.sleep(PAUSE_S)
    if representation.is_cuda:
        torch.cuda.synchronize()
    start_s = time.perf_counter()
    value = loss()
    value.backward()
    if representation.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start_s, value.item()


def compare(
    setting: dict[str, int], config: ReCoConfig, memory_format: str, repeats: int, device: str
) -> dict[str, Any]:
    """Seconds of both in turn, their mean losses (which estimate the same number), and the ratios of paired times."""
    representation, label, probability = make_batch(setting, device)
    representation = representation.to(memory_format=MEMORY_FORMATS[memory_format]).requires_grad_()
    rng = np.random.default_rng(0)
    losses = {
        "published": lambda: reco_loss_reference(representation, label, probability, config=config, rng=rng),
        "vectorised": lambda: reco_loss(representation, label, probability, config=config),
    }
    for loss in losses.values():  # warm up
        time_s(loss, representation)
    rounds = [{name: time_s(loss, representation) for name, loss in losses.items()} for _ in range(repeats)]
    seconds = {name: [each[name][0] for each in rounds] for name in losses}
    ratios = [a / b for a, b in zip(seconds["published"], seconds["vectorised"], strict=True)]
    return {
        "seconds": {name: [round(s, 4) for s in each] for name, each in seconds.items()},
        "median_s": {name: round(statistics.median(each), 4) for name, each in seconds.items()},
        "mean_loss": {name: round(statistics.fmean(each[name][1] for each in rounds), 4) for name in losses},
        "speedup_median": round(statistics.median(ratios), 2),
        "speedup_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "speedup_of_minima": round(min(seconds["published"]) / min(seconds["vectorised"]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds, to see that it runs; nothing is recorded")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()

    config, setting, repeats = Config().reco, CAMVID, arguments.repeats
    if arguments.toy:
        config, setting, repeats = config.model_copy(update={"num_queries": 8, "num_negatives": 16}), TOY, 2
    results = {
        "setting": {**setting, "num_queries": config.num_queries, "num_negatives": config.num_negatives},
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "load_average_at_start": round(os.getloadavg()[0], 2),  # near 0 on a calm machine
        **{name: compare(setting, config, name, repeats, arguments.device) for name in MEMORY_FORMATS},
    }
    for name in MEMORY_FORMATS:
        print(f"{name}: {results[name]['median_s']}, {results[name]['speedup_median']} x")
    if not arguments.toy:
        print(record("reco" if arguments.device == "cpu" else "reco_cuda", results))


if __name__ == "__main__":
    main()
