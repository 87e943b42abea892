"""Testing a network on a split."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from s4al.config import EvaluationConfig
from s4al.data.cache import ImageCache
from s4al.run.state import Run
from s4al.trainer.batches import normalise
from s4al.trainer.confusion import ConfusionMatrix
from s4al.trainer.losses import upsample
from s4al.trainer.networks.network import SegmentationNetwork
from s4al.watch import Watch

_BATCH = 8


def evaluate(
    network: SegmentationNetwork, run: Run, split: str, *, device: torch.device, watch: Watch, cycle: int
) -> ConfusionMatrix:
    """Confusion matrix over a split at the network's size, float32; whole images or sliding windows."""
    images, masks = ImageCache.open(run.cache / split), ImageCache.open(run.cache / split, "masks")
    matrix = ConfusionMatrix(len(run.class_names))
    network = network.to(device).to(memory_format=torch.channels_last).eval()
    for start in range(0, len(images), _BATCH):
        count = min(_BATCH, len(images) - start)
        image = np.empty((count, *images.row_shape), np.uint8)
        mask = np.empty((count, *masks.row_shape), np.uint8)
        images.read_into(start, image)
        masks.read_into(start, mask)
        with torch.inference_mode():
            image_BCHW = normalise(torch.from_numpy(image).to(device))
            matrix.add(mask, predict(network, image_BCHW, run.config.evaluation).argmax(dim=1).cpu())
        watch.progress(f"cycle {cycle} test", start + count, len(images))
    return matrix


def predict(network: SegmentationNetwork, image_BCHW: Tensor, config: EvaluationConfig) -> Tensor:
    """Scores of the classes at full size, (B, C, H, W); only their order means something.

    With windows: the sum of the softmaxes of all windows that hold a pixel.
    """
    height, width = image_BCHW.shape[-2:]
    if not config.window_height:
        return upsample(network(image_BCHW), image_BCHW, align_corners=network.align_corners)
    total_BCHW = None
    for rows in _windows(height, config.window_height, config.overlap):
        for columns in _windows(width, config.window_width, config.overlap):
            window = image_BCHW[..., rows, columns]
            probability = upsample(network(window), window, align_corners=network.align_corners).softmax(dim=1)
            if total_BCHW is None:
                total_BCHW = probability.new_zeros(*probability.shape[:2], height, width)
            total_BCHW[..., rows, columns] += probability
    assert total_BCHW is not None
    return total_BCHW


def _windows(length: int, window: int, overlap: float) -> list[slice]:
    """Evenly spread over an axis, from one end to the other, each overlapping the next by `overlap` of it or more."""
    count = 1 + math.ceil((length - window) / max(1.0, window * (1 - overlap)))
    starts = np.linspace(0, length - window, count).round().astype(int).tolist()
    return [slice(start, start + window) for start in starts]
