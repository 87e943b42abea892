"""Acquisition metrics that need more of the network than its logits: DEAL's difficulty, BALD by dropout, and doubt
about pseudo-labels by its features.

They run the trained network in torch, beside the engine that scores the pool. Shape suffixes: N images, C classes, R
regions, H W image size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from s4al.data.regions import Grid
from s4al.export.label_doubt import find_prototypes, label_doubt
from s4al.export.region_features import pool_regions, torch_device
from s4al.run.state import Run
from s4al.trainer.batches import normalise
from s4al.trainer.checkpoint import load_network
from s4al.trainer.losses import upsample
from s4al.trainer.networks.network import SegmentationNetwork
from s4al.watch import Watch


class NetworkMetric:
    """The metric of a run's configuration, by region.

    Parameters
    ----------
    device : cpu, cuda or cuda:N; auto is the first GPU, and the CPU where torch sees none.

    Raises
    ------
    RunStateError : the cycle is not trained.
    Interrupted : while label_doubt looks at the labelled images.
    """

    def __init__(self, run: Run, cycle: int, device: str, watch: Watch) -> None:
        self._device, self._grid, self._acquisition = torch_device(device), run.grid, run.config.acquisition
        self._network = load_network(run.read_stage(cycle, "train"), run.config).to(self._device)
        self._key, self._confidence_threshold = (run.config.run.seed, cycle), run.config.pseudo.threshold
        self._prototypes = None
        if self._acquisition.metric == "label_doubt":
            self._prototypes = find_prototypes(run, cycle, self._network, self._device, watch)

    @torch.inference_mode()
    def __call__(self, image_NHWC: NDArray[np.uint8], first: int) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3), the images from position `first` of the pool on -> float32 (N, R)."""
        image_NCHW = normalise(torch.from_numpy(image_NHWC).to(self._device))
        settings = self._acquisition
        if settings.metric == "bald":
            seed = int(np.random.default_rng([*self._key, first]).integers(2**63))
            map_NHW = mutual_information(self._network, image_NCHW, passes=settings.dropout_passes, seed=seed)
            return region_means(map_NHW.cpu().numpy(), self._grid)
        if self._prototypes:
            features = self._network.features(image_NCHW)
            logits = self._network.class_head(features)
            doubt_Nhw = label_doubt(features, logits, self._prototypes, self._confidence_threshold)
            return pool_regions(doubt_Nhw[:, None], self._grid).squeeze(2).cpu().numpy()
        map_NHW = _difficulty(self._network, image_NCHW).cpu().numpy()
        if settings.metric == "difficulty":
            return region_means(map_NHW, self._grid)
        return level_entropies(map_NHW, self._grid, settings.difficulty_levels)


def _difficulty(network: SegmentationNetwork, image_NCHW: Tensor) -> Tensor:
    """float32 (N, H, W): the probability that the prediction is wrong."""
    _, difficulty_N1rs = network(image_NCHW, with_difficulty=True)
    return upsample(difficulty_N1rs, image_NCHW, align_corners=network.align_corners).squeeze(1).sigmoid()


def mutual_information(network: SegmentationNetwork, image_NCHW: Tensor, *, passes: int, seed: int) -> Tensor:
    """BALD (Houlsby et al. 2011; Gal, Islam & Ghahramani 2017): the mean prediction's entropy less the mean entropy.

    Parameters
    ----------
    network : in evaluation mode; its dropout layers alone are switched on meanwhile.
    passes : how many predictions the means are of.
    seed : of the dropout; torch's own generators are left as they were.

    Returns
    -------
    float32 (N, H, W), nats: 0 where all passes agree, at most ln C.
    """
    dropouts = [module for module in network.modules() if isinstance(module, nn.Dropout)]
    probability, entropy = torch.zeros(()), torch.zeros(())
    devices = [image_NCHW.device] if image_NCHW.is_cuda else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        for module in dropouts:
            module.train()
        for _ in range(passes):
            each_NCHW = upsample(network(image_NCHW), image_NCHW, align_corners=network.align_corners).softmax(dim=1)
            probability, entropy = probability + each_NCHW / passes, entropy + _entropy(each_NCHW) / passes
        for module in dropouts:
            module.eval()
    return (_entropy(probability) - entropy).clamp(min=0.0)


def _entropy(probability_NCHW: Tensor) -> Tensor:
    return torch.special.entr(probability_NCHW).sum(dim=1)


def region_means(map_NHW: NDArray[np.floating[Any]], grid: Grid) -> NDArray[np.float32]:
    """(N, H, W) -> float32 (N, R)."""
    boxes = grid.network_boxes()
    means = [map_NHW[:, y0:y1, x0:x1].mean(axis=(1, 2), dtype=np.float64) for y0, x0, y1, x1 in boxes]
    return np.stack(means, axis=1).astype(np.float32)


def level_entropies(map_NHW: NDArray[np.floating[Any]], grid: Grid, levels: int) -> NDArray[np.float32]:
    """Per region the entropy, in nats, of the map's histogram in `levels` bins from its lowest to its highest value.

    DEAL's second criterion: it prefers images with parts of all degrees of difficulty.
    """
    values = np.empty((len(map_NHW), grid.num_regions), np.float32)
    for region, (y0, x0, y1, x1) in enumerate(grid.network_boxes()):
        for image, map_HW in enumerate(map_NHW):
            count, _ = np.histogram(map_HW[y0:y1, x0:x1], bins=levels)
            share = count[count > 0] / count.sum()
            values[image, region] = -(share * np.log(share)).sum()
    return values
