"""Scores and labels from stride-4 logits: the published chain of torch operations against the fused CPU kernel.

    python -m benchmarks.region_scores [--toy]

Both give the same outputs from the same logits in one process, taking turns. Measure on a calm machine: other load
hurts torch's spinning threads more than the kernel, and flatters it; the ratio of minima is the careful one. Errors are
against the float64 specification, on the first image.
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
from s4al.kernels import RegionScores, reference, region_scores

STRIDE = 4
PAUSE_S = 0.02  # between measurements: torch's idle threads spin on for a while and would rob whoever comes next
SETTINGS = {
    "camvid": {"batch": 4, "num_classes": 11, "height": 360, "width": 480, "region": 30},
    "camvid_one_image": {"batch": 1, "num_classes": 11, "height": 360, "width": 480, "region": 30},
    "cityscapes": {"batch": 4, "num_classes": 19, "height": 688, "width": 688, "region": 43},
}
TOY = {"toy": {"batch": 2, "num_classes": 5, "height": 48, "width": 64, "region": 16}}


@torch.inference_mode()
def published_chain(logits_NChw: Tensor, height: int, width: int, grid: tuple[int, int]) -> tuple[Tensor, ...]:
    """Upsample, softmax, entropy, two largest, means over the grid, with the operations of the S4AL release."""
    logits = torch.nn.functional.interpolate(logits_NChw, size=(height, width), mode="bilinear", align_corners=False)
    probability = torch.softmax(logits, dim=1)
    entropy = torch.sum(-probability * torch.log(probability), dim=1)
    largest, label = torch.topk(probability, 2, dim=1)
    least_confidence = 1 - largest[:, 0]
    margin = 1 - (largest[:, 0] - largest[:, 1])
    means = (
        torch.nn.functional.adaptive_avg_pool2d(score, grid).flatten(1) for score in (entropy, least_confidence, margin)
    )
    return *means, label[:, 0].to(torch.uint8), (largest[:, 0] * 255 + 0.5).to(torch.uint8)


def measure(setting: dict[str, int], repeats: int) -> dict[str, Any]:
    batch, num_classes, height, width, region = setting.values()
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (batch, num_classes, height // STRIDE, width // STRIDE)).astype(np.float32)
    logits_torch, logits_float16 = torch.from_numpy(logits), logits.astype(np.float16)
    grid = (height // region, width // region)
    geometry: dict[str, Any] = {"height": height, "width": width, "region_height": region, "region_width": region}
    threads = torch.get_num_threads()
    out = RegionScores.empty(batch, grid[0] * grid[1], height, width)
    candidates: dict[str, Callable[[], Any]] = {
        "torch": lambda: published_chain(logits_torch, height, width, grid),
        "kernel": lambda: region_scores(logits, **geometry, out=out, threads=threads),
        "kernel_float16": lambda: region_scores(logits_float16, **geometry, out=out, threads=threads),
        "kernel_new_memory": lambda: region_scores(logits, **geometry, threads=threads),
        "kernel_one_thread": lambda: region_scores(logits, **geometry, out=out, threads=1),
    }
    ms: dict[str, list[float]] = {name: [] for name in candidates}
    for repeat in range(-2, repeats):  # two rounds to compile and warm up
        for name, candidate in candidates.items():
            time.sleep(PAUSE_S)
            start_s = time.perf_counter()
            candidate()
            if repeat >= 0:
                ms[name].append((time.perf_counter() - start_s) * 1e3 / batch)
    ratios = [a / b for a, b in zip(ms["torch"], ms["kernel"], strict=True)]
    return {
        "setting": {**setting, "stride": STRIDE},
        "threads": threads,
        "repeats": repeats,
        "median_ms_per_image": {name: round(statistics.median(each), 3) for name, each in ms.items()},
        "min_ms_per_image": {name: round(min(each), 3) for name, each in ms.items()},
        "speedup_median_of_pairs": round(statistics.median(ratios), 1),
        "speedup_of_minima": round(min(ms["torch"]) / min(ms["kernel"]), 1),
        "errors": {
            "kernel": errors(region_scores(logits, **geometry), logits, geometry),
            "torch": errors(
                tuple(t.numpy() for t in published_chain(logits_torch, height, width, grid)), logits, geometry
            ),
        },
    }


def errors(got: tuple[np.ndarray, ...], logits: np.ndarray, geometry: dict[str, Any]) -> dict[str, float]:
    """Largest absolute errors of the region means, and the share of pixels with another label, of the first image."""
    expected = reference.region_scores(logits[:1], **geometry)
    names = ("entropy", "least_confidence", "margin")
    found = {name: float(np.abs(a[0] - b[0]).max()) for name, a, b in zip(names, got, expected, strict=False)}
    label = got[-2]
    return {**found, "label_mismatch": float(np.mean(label[0] != expected.label_NHW[0]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="seconds, to see that it runs; nothing is recorded")
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results: dict[str, Any] = {"load_average_at_start": round(os.getloadavg()[0], 2)}
    for name, setting in (TOY if arguments.toy else SETTINGS).items():
        found = results[name] = measure(setting, arguments.repeats)
        print(f"{name}: median ms per image {found['median_ms_per_image']}, minimum {found['min_ms_per_image']}")
        print(f"  {found['speedup_median_of_pairs']} x by pairs, {found['speedup_of_minima']} x by minima,", end=" ")
        print(f"errors {found['errors']['kernel']}")
    if not arguments.toy:
        print(record("region_scores", results))


if __name__ == "__main__":
    main()
