"""What the pretrained backbone sees in the cells of images, before there is a trained network.

Shape suffixes: N images, R regions, D feature channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from s4al.data.cache import ImageCache
from s4al.export.region_features import pool_regions, torch_device
from s4al.run.state import Run
from s4al.trainer.batches import normalise
from s4al.trainer.networks.build import build_network


class StartFeatures:
    """A `scorer.acquisition.start.CellFeatures` of a run's images at the network's size.

    Parameters
    ----------
    device : cpu, cuda or cuda:N; auto is the first GPU, and the CPU where torch sees none.

    Raises
    ------
    DataError : the weights cannot be fetched or read. And what building the network raises.
    """

    def __init__(self, run: Run, cache: ImageCache, device: str) -> None:
        self._device, self._grid, self._cache = torch_device(device), run.grid, cache
        num_classes = 2  # any: the heads are not used
        self._backbone = build_network(run.config.model, num_classes).backbone.to(self._device).eval()

    @torch.inference_mode()
    def __call__(self, places: Sequence[int]) -> NDArray[np.float32]:
        """Rows of the cache -> float32 (N, R, D)."""
        image_NHWC = np.empty((len(places), *self._cache.row_shape), np.uint8)
        self._cache.read_rows(list(places), image_NHWC)
        maps = self._backbone(normalise(torch.from_numpy(image_NHWC).to(self._device)))
        return pool_regions(maps[-1], self._grid).cpu().numpy()  # backbones give theirs from shallow to deep
