"""Testing a network on a split."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from s4al.cache import ImageCache
from s4al.state import Run
from s4al.trainer.batches import normalise
from s4al.trainer.evaluate import ConfusionMatrix
from s4al.trainer.network import DeepLabV3Plus
from s4al.watch import Watch

_BATCH = 8


def evaluate(
    network: DeepLabV3Plus, run: Run, split: str, *, device: torch.device, watch: Watch, cycle: int
) -> ConfusionMatrix:
    """Confusion matrix over a split at the network's size, whole images, float32."""
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
            logits = network(normalise(torch.from_numpy(image).to(device)))
            full = F.interpolate(logits, mask.shape[1:], mode="bilinear", align_corners=network.align_corners)
            matrix.add(mask, full.argmax(dim=1).cpu())
        watch.progress(f"cycle {cycle} test", start + count, len(images))
    return matrix
