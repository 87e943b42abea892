"""The acquisition loop of the published S4AL code, as the baseline of `s4al profile`. Not used for anything else.

Written after its description: batches of four, logits upsampled to full size, softmax, -p log p, sum over classes,
labelled pixels zeroed, adaptive average pooling to the grid, then for each image a top-k and a copy to the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from s4al.scorer.engines.model_card import ModelCard

if TYPE_CHECKING:
    import torch

BATCH_SIZE = 4


def published_batch(
    network: torch.nn.Module, image_NHWC: NDArray[np.uint8], card: ModelCard, top_k: int, threads: int
) -> list[tuple[int, float]]:
    """(region, entropy) of the best regions of each image.

    Its pool grid is `adaptive_avg_pool2d`'s, which is ours where the region size divides the image.
    """
    import torch
    from torch.nn.functional import adaptive_avg_pool2d, interpolate, softmax

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    chosen: list[tuple[int, float]] = []
    with torch.no_grad():
        device = next(network.parameters()).device
        logits_NChw = network(torch.from_numpy(image_NHWC).to(device))
        logits_NCHW = interpolate(
            logits_NChw, (card.height, card.width), mode="bilinear", align_corners=card.align_corners
        )
        probability_NCHW = softmax(logits_NCHW, dim=1)
        entropy_NHW = torch.sum(-probability_NCHW * torch.log(probability_NCHW), dim=1)
        labelled_NHW = torch.zeros(entropy_NHW.shape, dtype=torch.bool, device=device)
        entropy_NHW[labelled_NHW] = 0
        grid = card.grid
        region_NR = adaptive_avg_pool2d(entropy_NHW[:, None], (grid.rows, grid.cols)).flatten(1)
        for region_R in region_NR:
            values, regions = torch.topk(region_R, min(top_k, len(region_R)))
            chosen += zip(regions.cpu().tolist(), values.cpu().tolist(), strict=True)
    torch.set_num_threads(threads_before)
    return chosen
