"""No image is labelled as a whole, regions are all there is, and some of these only test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from s4al import files
from s4al.data import Dataset, Pool
from s4al.data.cache import CacheWriter, ImageCache
from s4al.errors import DataError
from s4al.run.classes import Classes
from s4al.run.state import LabelledRegion, Run
from s4al.trainer import train_cycle
from s4al.trainer.batches import normalise
from s4al.trainer.checkpoint import load_network
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.evaluation import predict
from s4al.trainer.learners.all import LEARNERS
from s4al.trainer.targets import build_targets, open_targets
from s4al.watch import Watch
from tests.cli.test_any_folder import picture, save
from tests.tiny import tiny_config

SIZE = (48, 64)
ASKED = {"0": [3, 20], "2": [11], "5": [0, 8, 17]}  # image -> cells to learn from
TESTS = {"2": [12], "4": [30, 31]}


def write_pool(run: Run, root: Path) -> tuple[Pool, Dataset]:
    from s4al.cli.cycle import prepare_pool

    for seed in range(6):
        save(root / f"{seed}.png", picture(seed, *SIZE)[0])
    return prepare_pool(run, Watch())


def truth(image: str) -> np.ndarray:
    return picture(int(image), *SIZE)[1].astype(np.uint8)


def regions_of(run: Run, cells: dict[str, list[int]], cycle: int, source: str) -> list[LabelledRegion]:
    boxes = run.grid.original_boxes(*SIZE)
    return [
        LabelledRegion(image, cell, *boxes[cell].tolist(), cycle=cycle, source=source)
        for image, of_image in cells.items()
        for cell in of_image
    ]


def masks_of(regions: list[LabelledRegion], lamp: bool = False):
    """(image, mask); with `lamp` every labelled pixel is of the class 2."""
    for image in dict.fromkeys(region.image for region in regions):
        mask = np.full(SIZE, 255, np.uint8)
        for region in regions:
            if region.image == image:
                box = np.s_[region.y0 : region.y1, region.x0 : region.x1]
                mask[box] = 2 if lamp else truth(image)[box]
        yield image, mask


def classes(*names: str) -> Classes:
    return Classes(names, np.arange(3 * len(names), dtype=np.uint8).reshape(-1, 3))


def started(tmp_path: Path, *overrides: str) -> tuple[Run, Pool]:
    """A run whose first labels are regions that people labelled."""
    data = tmp_path / "mine"
    settings = ["data.adapter=folder", f'data.root="{data}"', "data.oracle=people", "scorer.engine=ort"]
    run = Run.create(tmp_path / "run", tiny_config(*settings, *overrides))
    pool, _ = write_pool(run, data)
    train, tests = regions_of(run, ASKED, 0, "people"), regions_of(run, TESTS, 0, "test")
    run.commit_labels(0, [*tests, *train], masks_of(train), classes("wall", "box"), tests=masks_of(tests))
    return run, pool


def test_test_regions_are_not_in_the_targets(tmp_path: Path) -> None:
    run, pool = started(tmp_path)
    build_targets(run, 0, pool)
    targets = open_targets(run, 0, pool)
    assert targets.labelled == [] and targets.supervised == targets.asked == [0, 2, 5]
    assert targets.rest == list(range(6))
    boxes = run.grid.network_boxes()
    known = {image: [tuple(boxes[cell]) for cell in cells] for image, cells in ASKED.items()}
    for row, image in enumerate(pool.train.ids):
        expected = np.full(SIZE, 255, np.uint8)
        for y0, x0, y1, x1 in known.get(image, []):
            expected[y0:y1, x0:x1] = truth(image)[y0:y1, x0:x1]
        assert (targets.labels[row] == expected).all(), image


def test_nothing_labelled_is_said(tmp_path: Path) -> None:
    data = tmp_path / "mine"
    run = Run.create(tmp_path / "run", tiny_config("data.adapter=folder", f'data.root="{data}"', "data.oracle=people"))
    pool, _ = write_pool(run, data)
    tests = regions_of(run, TESTS, 0, "test")
    run.commit_labels(0, tests, [], classes("wall", "box"), tests=masks_of(tests))
    with pytest.raises(DataError, match="Nothing is labelled"):
        build_targets(run, 0, pool)


VARIANTS = [
    *([f"learner.name={name}"] for name in LEARNERS if name != "deal"),
    ["learner.name=deal", "model.difficulty_stride=8"],
]


# Those whose second cycle is another than their first.
WITH_A_SECOND = ("supervised", "s4al-plus", "s4al")


@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_every_learner_trains_from_regions_alone(tmp_path: Path, overrides: list[str]) -> None:
    short = ("trainer.epochs=1", "trainer.last_epochs=1")
    run, pool = started(tmp_path, *overrides, "trainer.ce_reduction=valid", *short)
    fabric, cycles = launch_fabric("cpu", "32-true"), [0]
    train_cycle(run, 0, pool, fabric=fabric, watch=Watch())
    if run.config.learner.name in WITH_A_SECOND:
        pretend_scored(run, pool)
        more = regions_of(run, {"1": [5, 6], "0": [4]}, 1, "people")
        run.commit_labels(1, more, masks_of(more), classes("wall", "box"))
        train_cycle(run, 1, pool, fabric=fabric, watch=Watch())
        cycles.append(1)
    for cycle in cycles:
        lines = (run.stage(cycle, "train") / "metrics.jsonl").read_text().splitlines()
        assert all(np.isfinite(json.loads(line)["loss"]) for line in lines)
        assert any(json.loads(line)["cross_entropy"] > 0 for line in lines)
        evaluation = json.loads((run.stage(cycle, "train") / "evaluation.json").read_bytes())
        assert evaluation["test"]["regions"] == 3 and evaluation["split"] == "regions"
        assert evaluation["confusion"] == confusion(run, cycle, pool)
        low, high = evaluation["test"]["interval"]
        assert 0 <= low <= high <= 1


def confusion(run: Run, cycle: int, pool: Pool) -> list[list[int]]:
    """Of the pixels in test regions alone, counted one by one."""
    network, counts = load_network(run.stage(cycle, "train"), run.config), np.zeros((2, 2), int)
    with ImageCache.open(run.cache / "train") as images:
        for region in regions_of(run, TESTS, 0, "test"):
            image = images.read(pool.train.ids.index(region.image))
            with torch.inference_mode():
                logits = predict(network, normalise(torch.from_numpy(image[None])), run.config.evaluation)
            label = logits[0].argmax(dim=0).numpy()
            for y in range(region.y0, region.y1):
                for x in range(region.x0, region.x1):
                    counts[truth(region.image)[y, x], label[y, x]] += 1
    return counts.tolist()


def pretend_scored(run: Run, pool: Pool) -> None:
    """Pseudo-labels of cycle 0: the left half wall, the right half box."""
    with files.commit_folder(run.stage(0, "export")):
        pass
    with run.commit(0, "pseudo") as folder, CacheWriter(folder, *SIZE, "test") as cache:
        for image in pool.train.ids:
            halves = np.zeros(SIZE, np.uint8)
            halves[:, 32:] = 1
            cache.append(image, np.zeros((*SIZE, 3), np.uint8), halves)


@pytest.mark.parametrize(
    ("cells", "forgotten"),
    [({"1": [0, 1]}, {0}), ({"1": [5, 6]}, {1}), ({"1": [0, 6]}, {0, 1})],
    ids=["left", "right", "both"],
)
def test_pseudo_labels_that_may_be_of_a_new_class_are_not_learnt_from(
    tmp_path: Path, cells: dict[str, list[int]], forgotten: set[int]
) -> None:
    run, pool = started(tmp_path)
    pretend_scored(run, pool)
    more = regions_of(run, cells, 1, "people")
    run.commit_labels(1, more, masks_of(more, lamp=True), classes("wall", "box", "lamp"))
    build_targets(run, 1, pool)
    labels = open_targets(run, 1, pool).labels
    untouched = labels[3]  # nobody looked at this image
    assert set(np.unique(untouched)) == ({0, 1} - forgotten) | {255}
    assert (labels[1] == 2).sum() == sum(region.pixels for region in more)


def test_a_class_that_is_gone_is_refused(tmp_path: Path) -> None:
    run, _ = started(tmp_path)
    for names, said in (
        (("wall",), "is gone"),
        (("box", "wall"), "is 'box' now"),
        (("wall", "crate", "lamp"), "'crate'"),
    ):
        with pytest.raises(DataError, match=said):
            run.commit_labels(1, [], [], classes(*names))
    assert not run.is_committed(1, "labels")
