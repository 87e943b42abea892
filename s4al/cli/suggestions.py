"""Settings for people's own images, from what the folder holds and what this machine is: the preset `images`.

Each is stored in the run as if it had been typed, and gives way to what was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from s4al.config import Config

_MULTIPLE = 32  # of the network's input: its deepest stride at most
_LEAST = 16  # data.height and data.width
# Longest side of the network's input: what a training of an hour or two can look at.
_LONGEST_SIDE = {False: 384, True: 1024}  # without and with a GPU
_SAME_SHAPE = 0.05  # how far the sides' ratio may be off where a larger input fits better
_REGIONS_HIGH = 12  # S4AL+: 30 of 360 pixels, and 43 of 688 with smaller objects
_PAPER_HEIGHT = 360
# Each labelled image is seen so many times in a training: a fifth of the paper's, from pretrained weights.
_DRAWS_PER_IMAGE = 100
_FEWEST_STEPS, _MOST_STEPS = 400, 5000
_EPOCHS, _LAST_EPOCHS = 20, 30  # in proportion as in the paper's Table 1
_BATCH = 4
_FEWEST_LABELLED = 8  # images at the start
# Of a round of people who started from nothing: an hour or two. Up to 50 images the 4 an image of the paper are fewer.
_REGIONS_A_ROUND, _REGIONS_AN_IMAGE = 200, 4
# What `suggest` may set.
SUGGESTED = (
    "run.cycles",
    "data.height",
    "data.width",
    "data.oracle",
    "data.labelled_fraction",
    "acquisition.region_height",
    "acquisition.region_width",
    "acquisition.strategy",
    "acquisition.budget_pixels",
    "acquisition.most_per_image",
    "augment.cutout_pixels",
    "augment.blur_sigma_min",
    "augment.blur_sigma_max",
    "trainer.epochs",
    "trainer.last_epochs",
    "trainer.iterations_per_epoch",
    "trainer.joint_iterations_per_epoch",
    "trainer.precision",
    "trainer.ce_reduction",
)


def suggest(sizes: Sequence[tuple[int, int]], train: int, labelled: int, *, gpu: bool) -> dict[str, Any]:
    """Input size, regions, steps and starting labels for a data set.

    Parameters
    ----------
    sizes : (height, width) of a sample of the images, pixels.
    train : training images.
    labelled : those of them that have a mask.
    gpu : whether a GPU trains.
    """
    height, width = input_size(sizes, longest=_LONGEST_SIDE[gpu])
    region = max(2, round(height / _REGIONS_HIGH))
    scale = height / _PAPER_HEIGHT
    fraction, oracle = _start(train, labelled)
    start = labelled if oracle == "people" else max(1, round(fraction * train))
    steps = _steps(start)
    settings = {
        "data.height": height,
        "data.width": width,
        "data.oracle": oracle,
        "data.labelled_fraction": fraction,
        "acquisition.region_height": region,
        "acquisition.region_width": min(region, width),
        "augment.cutout_pixels": max(1, round(50 * scale)),
        "augment.blur_sigma_min": round(0.25 * scale, 3),
        "augment.blur_sigma_max": round(1.25 * scale, 3),
        "trainer.epochs": _EPOCHS,
        "trainer.last_epochs": _LAST_EPOCHS,
        "trainer.iterations_per_epoch": steps // _EPOCHS,
        "trainer.joint_iterations_per_epoch": 2 * steps // _EPOCHS,
        "trainer.precision": "bf16-mixed" if gpu or _multiplies_bfloat16() else "32-true",
    }
    if start == train:
        settings["run.cycles"] = 1
    if not labelled:
        settings |= _from_nothing(train, region * min(region, width) / (height * width), sizes)
    return settings


def describe(config: Config, train: int, labelled: int) -> tuple[str, ...]:
    """Input size, regions, labels and steps in a line each, as the run will have them, whoever set them.

    Parameters
    ----------
    train, labelled : as for `suggest`.
    """
    data, regions = config.data, config.acquisition
    return (
        f"Network input: {data.height} x {data.width} pixels (height x width); "
        f"regions: {regions.region_height} x {regions.region_width} of them.",
        _who_labels(config, train, labelled),
        _how_long(config),
    )


def _from_nothing(train: int, share: float, sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """Where no image is labelled as a whole. share : of an image's pixels that a region has."""
    # A few per cent of the pixels are labelled: beside a mean over all of them, weight decay is what is learnt.
    settings: dict[str, Any] = {"trainer.ce_reduction": "valid"}
    if train * _REGIONS_AN_IMAGE > _REGIONS_A_ROUND:
        pixels = share * _median([height for height, _ in sizes]) * _median([width for _, width in sizes])
        settings["acquisition.strategy"] = "global"
        settings["acquisition.budget_pixels"] = round(_REGIONS_A_ROUND * pixels)
        settings["acquisition.most_per_image"] = _REGIONS_AN_IMAGE
    return settings


def input_size(sizes: Sequence[tuple[int, int]], *, longest: int) -> tuple[int, int]:
    """(height, width) of the network's input, multiples of 32 where the images have as much.

    The shape of the median image, and at most its size: larger inputs hold nothing more, other shapes squash. Of all
    such sizes the largest whose shape is right to 5 %, else the one whose shape is nearest.
    """
    median = _median([height for height, _ in sizes]), _median([width for _, width in sizes])
    shrink = min(1.0, longest / max(median))
    high, wide = (max(side * shrink, _LEAST) for side in median)
    if min(high, wide) < _MULTIPLE:
        return round(high), round(wide)
    shape = median[1] / median[0]
    fitting = [
        (row, col)
        for row in range(_MULTIPLE, math.floor(high) + 1, _MULTIPLE)
        for col in range(_MULTIPLE, math.floor(wide) + 1, _MULTIPLE)
    ]
    wrong = {size: abs(math.log(size[1] / size[0] / shape)) for size in fitting}
    right = [size for size in fitting if wrong[size] <= _SAME_SHAPE]
    return max(right or [size for size in fitting if wrong[size] == min(wrong.values())], key=math.prod)


def _median(values: Sequence[int]) -> int:
    return sorted(values)[(len(values) - 1) // 2]


def _start(train: int, labelled: int) -> tuple[float, str]:
    """(share of the pool that is labelled at the start, who answers the queries)."""
    if labelled < train:
        return 1.0, "people"
    return round(min(1.0, max(0.1, _FEWEST_LABELLED / train)), 4), "masks"


def _who_labels(config: Config, train: int, labelled: int) -> str:
    if config.data.labelled_list:
        return f"Labels: those of {config.data.labelled_list} at the start."
    if not labelled:
        return f"Labels: no image of {train:,} has a mask; people are asked for regions, first without a network."
    if config.data.oracle == "people" and labelled < train:
        return f"Labels: {labelled:,} of {train:,} training images have a mask; people are asked about the others."
    start = min(max(1, round(config.data.labelled_fraction * train)), labelled)
    if start == train:
        return f"Labels: all {train:,} training images, from the start."
    return f"Labels: {start:,} of {train:,} training images at the start; the masks of the others answer for people."


def _how_long(config: Config) -> str:
    trainer, more = config.trainer, config.run.cycles - 1
    first = f"Steps: {trainer.epochs * trainer.iterations_per_epoch:,}"
    if not more:
        return f"{first}; nothing is asked."
    last = f"{trainer.last_epochs * trainer.joint_iterations_per_epoch:,} with what was asked and pseudo-labels"
    if more == 1:
        return f"{first}, then {last}."
    times = f" in each of {more - 1} trainings" if more > 2 else ""
    return f"{first}, then {trainer.epochs * trainer.joint_iterations_per_epoch:,}{times} and at last {last}."


def _steps(start: int) -> int:
    """Of the first training, a multiple of its epochs."""
    wanted = min(max(_DRAWS_PER_IMAGE * start // _BATCH, _FEWEST_STEPS), _MOST_STEPS)
    return wanted // _EPOCHS * _EPOCHS


@cache
def _multiplies_bfloat16() -> bool:
    """Whether the processor does; elsewhere bfloat16 is emulated, and slower than float32."""
    try:
        return " amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
