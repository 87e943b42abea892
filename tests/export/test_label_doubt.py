"""Doubt about pseudo-labels: weights and distances worked out by hand, and a run that asks by it."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from s4al import files
from s4al.data import load_pool
from s4al.data.cache import ImageCache
from s4al.export.label_doubt import Prototypes, PrototypeSums, find_prototypes, label_doubt
from s4al.run.state import Run
from s4al.trainer.batches import normalise
from s4al.trainer.checkpoint import load_network
from s4al.trainer.targets import build_targets, open_targets
from s4al.watch import Interrupted, Watch
from tests.tiny import digests, tiny_cycles

# Three classes at 0, 4 and 10 of a single channel, of 400, 100 and 0 labelled pixels: the last has no mean.
THREE = Prototypes(torch.tensor([[0.0], [4.0], [0.0]]), torch.tensor([400, 100, 0]))


def doubt(features: list[float], classes: list[int], prototypes: Prototypes = THREE, sure: float = 9.0) -> list[float]:
    """One image of a row of pixels, each predicted as its class with logit `sure` against 0."""
    logits = sure * torch.nn.functional.one_hot(torch.tensor(classes), 3).float()
    feature_NDhw = torch.tensor(features)[None, None, None]
    return label_doubt(feature_NDhw, logits.T[None, :, None], prototypes, threshold=0.9).flatten().tolist()


def test_a_pixel_nearer_to_another_class_counts_with_the_rarer_one() -> None:
    # weights: class 0 sqrt(100 / 400), class 1 as the rarest 1, class 2 without a pixel 1
    assert THREE.rarity.tolist() == pytest.approx([0.5, 1.0, 1.0])
    # 1.5 is class 0's, 2.5 class 1's, 2.0 as near to both, which is the first's
    assert doubt([1.5, 1.5, 2.5, 2.5, 2.0, 2.0], [0, 1, 0, 1, 0, 1]) == [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]


def test_two_frequent_classes_weigh_what_the_rarer_of_them_weighs() -> None:
    prototypes = Prototypes(torch.tensor([[0.0], [4.0], [10.0]]), torch.tensor([1600, 400, 100]))
    assert doubt([4.0, 10.0, 0.0], [0, 0, 1], prototypes) == [0.5, 1.0, 0.5]


def test_pixels_that_are_not_sure_are_no_pseudo_labels_and_not_doubted() -> None:
    assert doubt([4.0], [0], sure=2.8) == [0.0]  # exp(2.8) / (exp(2.8) + 2) = 0.892
    assert doubt([4.0], [0], sure=3.0) == [1.0]  # 0.909


def test_a_class_without_labels_is_nobodys_neighbour() -> None:
    assert doubt([0.0], [2]) == [1.0]  # predicted all the same, it is doubted everywhere
    nothing = Prototypes(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
    assert doubt([0.0, 1.0], [0, 2], nothing) == [0.0, 0.0]


def test_means_are_over_labelled_pixels_under_the_centres() -> None:
    sums = PrototypeSums(3)
    label = np.full((1, 4, 8), 255, np.uint8)  # centres of a grid of 1 x 2: row 2, columns 2 and 6
    label[0, 2, 2], label[0, 2, 6], label[0, 0, 0] = 0, 1, 2
    sums.add(torch.tensor([[[[1.0, 5.0]], [[2.0, 6.0]]]]), label)
    label[0, 2, 6] = 0
    sums.add(torch.tensor([[[[3.0, 8.0]], [[4.0, 9.0]]]]), label)
    found = sums.prototypes(torch.device("cpu"))
    assert found.count_C.tolist() == [3, 1, 0]
    assert found.mean_CD.tolist() == [[4.0, 5.0], [5.0, 6.0], [0.0, 0.0]]
    assert found.rarity.tolist() == pytest.approx([1 / math.sqrt(3), 1.0, 1.0])


class StopAt(Watch):
    """Asks for a stop when a task whose name has `word` in it has done `done`."""

    def __init__(self, word: str, done: int) -> None:
        super().__init__()
        self._word, self._done = word, done

    def progress(self, task, done, total, **fields):
        if self._word in task and done == self._done:
            self.request_stop(signal.SIGTERM)


def test_a_run_asks_by_it_and_comes_out_the_same_after_stops(tmp_path: Path) -> None:
    settings = ("acquisition.metric=label_doubt", "run.cycles=1")
    tiny_cycles(tmp_path / "a", *settings)
    for stop in (StopAt("prototypes", 2), StopAt("label doubt", 8)):
        with pytest.raises(Interrupted):
            tiny_cycles(tmp_path / "b", *settings, watch=stop)
    tiny_cycles(tmp_path / "b", *settings)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    run = Run.open(tmp_path / "a")
    tables = [files.read_table(path) for path in sorted(run.stage(0, "score").glob("shard-*.parquet"))]
    values = np.concatenate([table["label_doubt"].to_numpy() for table in tables])
    assert len(values) == 9 * 35 and values.min() >= 0 and 0 < values.max() <= 1
    rows = files.read_table(run.stage(0, "select") / "selections.parquet").to_pylist()
    assert len(rows) == 18 and rows[0]["reason"] == "highest label_doubt of its image"
    # the prototypes, against all labelled images at once
    network, pool = load_network(run.read_stage(0, "train"), run.config), load_pool(run.pool_file)
    found = find_prototypes(run, 0, network, torch.device("cpu"), Watch())
    build_targets(run, 0, pool)
    targets = open_targets(run, 0, pool)
    with ImageCache.open(run.cache / "train") as cache, torch.inference_mode():
        image_NHWC = np.stack([cache.read(row) for row in targets.labelled])
        features = network.features(normalise(torch.from_numpy(image_NHWC)))
    label_Nhw = torch.from_numpy(np.stack([targets.labels[row] for row in targets.labelled])[:, 2::4, 2::4].copy())
    for c in np.flatnonzero(found.count_C.numpy()):
        members = features.permute(0, 2, 3, 1)[label_Nhw == c]
        assert len(members) == found.count_C[c]
        torch.testing.assert_close(found.mean_CD[c], members.mean(dim=0), atol=1e-4, rtol=1e-4)
