"""Mean features of regions against a slow reference, ragged cells and cells smaller than the stride included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from s4al import files
from s4al.data.regions import Grid
from s4al.export import CycleNetworks
from s4al.export.region_features import pool_regions
from s4al.run.state import Run
from tests.tiny import digests, tiny_cycles


@pytest.mark.parametrize(
    ("grid", "low"),
    [(Grid(48, 64, 10, 10), (12, 16)), (Grid(50, 67, 16, 9), (13, 17)), (Grid(16, 16, 2, 3), (4, 4))],
    ids=["ragged cells", "a size that the stride does not divide", "cells smaller than the stride"],
)
def test_means_are_those_of_full_size_features(grid: Grid, low: tuple[int, int]) -> None:
    features = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 5, *low)).astype(np.float32))
    found = pool_regions(features, grid)
    assert found.shape == (2, grid.num_regions, 5) and found.dtype == torch.float32
    full = F.interpolate(features, (grid.height, grid.width), mode="nearest")
    for region, (y0, x0, y1, x1) in enumerate(grid.network_boxes()):
        torch.testing.assert_close(found[:, region], full[:, :, y0:y1, x0:x1].mean(dim=(2, 3)), atol=1e-5, rtol=1e-5)


def test_a_run_by_k_centre_asks_and_comes_out_the_same(tmp_path: Path) -> None:
    settings = ("acquisition.strategy=k-centre", "run.cycles=1")
    tiny_cycles(tmp_path / "a", *settings)
    tiny_cycles(tmp_path / "b", *settings)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    run = Run.open(tmp_path / "a")
    rows = files.read_table(run.stage(0, "select") / "selections.parquet").to_pylist()
    assert len(rows) >= 9 and {row["reason"] for row in rows} == {
        "unlike the others among the highest entropy of the pool"
    }
    features = CycleNetworks(run, 0).features("cpu")(np.zeros((2, 48, 64, 3), np.uint8))
    assert features.shape == (2, 35, 304)
