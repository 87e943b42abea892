"""BALD and difficulty by region: against slow references, from dropout to the selection of whole images."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from s4al import files
from s4al.data.regions import Grid
from s4al.export.network_metrics import level_entropies, mutual_information, region_means
from s4al.run.state import Run
from s4al.watch import Interrupted, Watch
from tests.tiny import digests, tiny_cycles


class Coin(nn.Module):
    """Two classes at stride 1: certain ones, by turns, on the left; on the right always undecided."""

    align_corners = False

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.dropout = nn.Dropout(0.5)

    def forward(self, image_NCHW: Tensor) -> Tensor:
        assert self.dropout.training and not self.training
        self.calls += 1
        logits = torch.zeros(len(image_NCHW), 2, *image_NCHW.shape[2:])
        logits[:, self.calls % 2, :, :2] = 100.0
        return logits


def test_passes_that_disagree_are_information_and_passes_that_are_unsure_are_not():
    network = Coin().eval()
    information = mutual_information(network, torch.zeros(1, 3, 2, 4), passes=6, seed=0)  # type: ignore[arg-type]
    expected = torch.tensor([math.log(2), math.log(2), 0.0, 0.0]).expand(1, 2, 4)
    torch.testing.assert_close(information, expected, atol=1e-6, rtol=0)
    assert network.calls == 6 and not network.dropout.training


def test_dropout_is_keyed_and_torchs_own_generator_is_left_alone():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Dropout(0.5), nn.Conv2d(8, 4, 1)).eval()
    network.align_corners = False  # type: ignore[assignment]
    image = torch.randn(2, 3, 6, 6)
    before = torch.get_rng_state()
    first, again, other = (mutual_information(network, image, passes=3, seed=seed) for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert (first >= 0).all() and (first <= math.log(4)).all() and first.max() > 0


def test_region_means_of_ragged_cells():
    grid, values = Grid(5, 7, 2, 3), np.random.default_rng(0).random((2, 5, 7)).astype(np.float32)
    means = region_means(values, grid)
    assert means.shape == (2, 9) and means.dtype == np.float32
    assert means[1, 0] == pytest.approx(values[1, :2, :3].mean())
    assert means[1, 8] == pytest.approx(values[1, 4, 6])


def test_levels_that_are_equally_frequent_have_the_highest_entropy():
    ramp = np.linspace(0, 1, 32, dtype=np.float32).reshape(1, 4, 8)
    flat = np.full((1, 4, 8), 0.3, np.float32)
    two = np.repeat([0.0, 1.0], 16).astype(np.float32).reshape(1, 4, 8)
    grid = Grid(4, 8, 4, 8)
    assert level_entropies(ramp, grid, 8) == pytest.approx(math.log(8))
    assert level_entropies(flat, grid, 8) == pytest.approx(0.0)
    assert level_entropies(two, grid, 8) == pytest.approx(math.log(2))


BRANCH = ("learner.name=deal", "model.difficulty_stride=8")
WHOLE_IMAGES = (
    "acquisition.region_height=48",
    "acquisition.region_width=64",
    "acquisition.strategy=global",
    f"acquisition.budget_pixels={2 * 48 * 64}",
    "acquisition.candidate_fraction=0.5",
)


def scores_of(run: Run, cycle: int, metric: str) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for path in sorted(run.stage(cycle, "score").glob("shard-*.parquet")):
        for row in files.read_table(path).to_pylist():
            values.setdefault(row["image"], []).append(row[metric])
    return values


def test_deal_asks_for_whole_images_of_half_of_the_pool(tmp_path: Path):
    tiny_cycles(tmp_path / "run", *BRANCH, *WHOLE_IMAGES, "acquisition.metric=difficulty")
    run = Run.open(tmp_path / "run")
    values = scores_of(run, 0, "difficulty")
    assert len(values) == 9 and all(0 < value < 1 for (value,) in values.values())
    asked = [row["image"] for row in files.read_table(run.stage(0, "select") / "selections.parquet").to_pylist()]
    assert len(set(asked)) == 2 and set(asked) <= values.keys()
    later = scores_of(run, 1, "difficulty")  # what is labelled as a whole is not scored, nor trained on as unlabelled
    assert later.keys() == values.keys() - set(asked)


class StopInBald(Watch):
    """Asks for a stop after the second of three shards."""

    def progress(self, task, done, total, **fields):
        if "bald" in task and done == 8:
            self.request_stop(signal.SIGTERM)


def test_bald_comes_out_the_same_after_a_stop(tmp_path: Path):
    settings = ("acquisition.metric=bald", "acquisition.dropout_passes=3", "run.cycles=1")
    tiny_cycles(tmp_path / "a", *settings)
    with pytest.raises(Interrupted):
        tiny_cycles(tmp_path / "b", *settings, watch=StopInBald())
    tiny_cycles(tmp_path / "b", *settings)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    run = Run.open(tmp_path / "a")
    values = [value for values_R in scores_of(run, 0, "bald").values() for value in values_R]
    assert len(values) == 9 * 35 and min(values) >= 0 and max(values) > 0
    rows = files.read_table(run.stage(0, "select") / "selections.parquet").to_pylist()
    assert len(rows) == 18 and "bald" in rows[0]["reason"]
