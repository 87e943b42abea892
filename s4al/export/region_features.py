"""Mean features of regions, computed by the trained network in torch.

Shape suffixes: N images, R regions, D feature channels, H W image size, h w size at the network's stride.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from s4al.data.regions import Grid
from s4al.run.state import Run
from s4al.trainer.batches import normalise
from s4al.trainer.checkpoint import load_network


class RegionFeatures:
    """A `scorer.engines.engine.RegionFeatures` of what both heads of a cycle's network see.

    Parameters
    ----------
    device : cpu, cuda or cuda:N; auto is the first GPU, and the CPU where torch sees none.

    Raises
    ------
    RunStateError : the cycle is not trained.
    """

    def __init__(self, run: Run, cycle: int, device: str) -> None:
        self._device, self._grid = torch_device(device), run.grid
        self._network = load_network(run.read_stage(cycle, "train"), run.config).to(self._device)

    @torch.inference_mode()
    def __call__(self, image_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 3) -> float32 (N, R, D)."""
        image_NCHW = normalise(torch.from_numpy(image_NHWC).to(self._device))
        return pool_regions(self._network.features(image_NCHW), self._grid).cpu().numpy()


def torch_device(name: str) -> torch.device:
    """auto is the first GPU, and the CPU where torch sees none."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def pool_regions(feature_NDhw: Tensor, grid: Grid) -> Tensor:
    """float32 (N, R, D): the means over the regions' pixels, each of which has the feature of the cell it lies in.

    Regions are cells of a grid, so the mean is A f B^T with the shares of low-resolution rows in A and of columns in B;
    the full-size features, hundreds of megabytes an image, are never made.
    """
    height, width = feature_NDhw.shape[-2:]
    rows = _shares(grid.rows, grid.region_height, grid.height, height)
    cols = _shares(grid.cols, grid.region_width, grid.width, width)
    rows_Yh, cols_Xw = (torch.from_numpy(shares).to(feature_NDhw) for shares in (rows, cols))
    return (rows_Yh @ feature_NDhw @ cols_Xw.T).flatten(2).transpose(1, 2)


def _shares(cells: int, cell: int, size: int, low_size: int) -> NDArray[np.float64]:
    """(cells, low_size): which share of a cell's pixels along one axis lies in each low-resolution pixel."""
    pixel = np.arange(size)
    shares = np.zeros((cells, low_size))
    np.add.at(shares, (pixel // cell, pixel * low_size // size), 1.0)
    return shares / shares.sum(axis=1, keepdims=True)
