"""A finished run of two cycles, written file by file from small arrays, so that every figure is known by hand.

Four training images of 32 x 32, seen by the network at 16 x 16, in four regions of 8 x 8 each; classes road, car, sky.

    cycle 0   labels: image 0 whole, all road           scored: images 1 to 3
    cycle 1   labels: regions 0 and 3 of image 1        scored: images 1 to 3
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from s4al import files
from s4al.config import resolve
from s4al.data.cache import CacheWriter
from s4al.data.masks import write_mask
from s4al.data.pool import Pool, Row, write_pool
from s4al.run.classes import CLASSES_FILE, Classes, write_classes
from s4al.run.state import LabelledRegion, Run

CLASSES = ("road", "car", "sky")
IMAGES = ("a", "b", "c", "d")
SETTINGS = (
    "data.adapter=folder",
    "data.height=16",
    "data.width=16",
    "acquisition.region_height=8",
    "acquisition.region_width=8",
    "run.cycles=2",
)
CONFUSION = ([[60, 4, 0], [10, 20, 0], [2, 0, 32]], [[62, 2, 0], [6, 24, 0], [4, 0, 30]])
MIOU = (0.4, 0.5)
IOU = ({"road": 0.5, "car": 0.3, "sky": None}, {"road": 0.7, "car": 0.2, "sky": None})
# Entropy of the regions of images b, c and d, by cycle.
ENTROPY = (
    ((0.9, 0.1, 0.2, 0.8), (0.5, 0.6, 0.1, 0.1), (0.3, 0.3, 0.3, 0.3)),
    ((0.0, 0.4, 0.3, 0.0), (0.7, 0.2, 0.6, 0.1), (0.5, 0.1, 0.1, 0.1)),
)
SELECTED = ([("b", 0), ("b", 3)], [("c", 0), ("d", 0)])
SECONDS = 45.0  # of people, a region
_BOXES = ((0, 0, 16, 16), (0, 16, 16, 32), (16, 0, 32, 16), (16, 16, 32, 32))


def make_run(
    root: Path,
    *overrides: str,
    classes: Sequence[str] = CLASSES,
    images: Sequence[str] = IMAGES,
    cycles: int = 2,
    miou: Sequence[float] = MIOU,
    with_examples: bool = True,
) -> Run:
    """The run; `images` are the ids of a, b, c and d, in this order and sorted."""
    assert list(images) == sorted(images)
    run = Run.create(root, resolve(None, None, (*SETTINGS, *overrides)))
    palette = [[128, 64, 128], [0, 0, 142], [70, 130, 180]][: len(classes)]
    write_classes(root / CLASSES_FILE, Classes(tuple(classes), np.array(palette, np.uint8).reshape(-1, 3)))
    size = {"height": 32, "width": 32}
    train = [Row(image, "train", f"{image}.png", "", **size) for image in images]
    test = [Row(f"t{index}", "test", f"t{index}.png", "", **size) for index in range(2)]
    aside = Row("x", "train", "x.png", "", reason="truncated")
    write_pool(Pool((*train, *test, aside)), run.pool_file)
    for split, ids in (("train", images), ("test", ("t0", "t1"))):
        with CacheWriter(run.cache / split, 16, 16, "by hand") as cache:
            for index, id in enumerate(ids):
                cache.append(id, _picture(index), _truth(index) if split == "test" else None)
    for cycle in range(cycles):
        _commit_cycle(run, cycle, images, classes, miou[cycle], with_examples)
    clock: dict[str, dict[str, Any]] = {
        "train": {"seconds": 60.0, "peak_mib": 512},
        "score": {"seconds": 2.0, "images_per_s": 1.5, "engine": "ort"},
    }
    run.logs.mkdir()
    times = {f"{cycle:03d}/{stage}": about for cycle in range(cycles) for stage, about in clock.items()}
    files.write_json(run.logs / "clock.json", times)
    return run


def _commit_cycle(
    run: Run, cycle: int, images: Sequence[str], classes: Sequence[str], miou: float, with_examples: bool
) -> None:
    ids = dict(zip(IMAGES, images, strict=True))
    if cycle == 0:
        run.commit_labels(
            0,
            [LabelledRegion(images[0], -1, 0, 0, 32, 32, 0, "initial")],
            [(images[0], np.zeros((32, 32), np.uint8))],
        )
    else:
        _answer(run, cycle, ids)
    with run.commit(cycle, "train") as folder:
        iou = IOU[cycle % 2]
        about: dict[str, Any] = {
            "miou": miou,
            "per_class_iou": {name: iou[plain] for name, plain in zip(classes, CLASSES, strict=True)},
            "confusion": CONFUSION[cycle % 2],
        }
        if with_examples:
            about["examples"] = _examples(folder)
        files.write_json(folder / "evaluation.json", about)
    with run.commit(cycle, "export") as folder:
        (folder / "model.onnx").write_bytes(b"")
    labels = np.full((3, 16, 16), 255, np.uint8)
    labels[0] = 0  # b: all of it; c: half of it, as car; d: nothing
    labels[1, :8] = 1
    with run.commit(cycle, "pseudo") as folder:
        np.save(folder / "masks.npy", labels)
    with run.commit(cycle, "score") as folder:
        files.write_table(folder / "shard-00000.parquet", _scores(ids, ENTROPY[cycle % 2], range(2)))
        files.write_table(folder / "shard-00001.parquet", _scores(ids, ENTROPY[cycle % 2], range(2, 3)))
    with run.commit(cycle, "select", strategy="per-image", metric="entropy") as folder:
        files.write_table(folder / "selections.parquet", _selections(ids, cycle))


def _answer(run: Run, cycle: int, ids: dict[str, str]) -> None:
    asked = SELECTED[(cycle - 1) % 2]
    masks: dict[str, np.ndarray] = {}
    regions = []
    for image, region in asked:
        y0, x0, y1, x1 = _BOXES[region]
        mask = masks.setdefault(ids[image], np.full((32, 32), 255, np.uint8))
        mask[y0:y1, x0:x1] = 1  # car, but for a row of sky
        mask[y0, x0:x1] = 2
        regions.append(LabelledRegion(ids[image], region, y0, x0, y1, x1, cycle, "people", SECONDS))
    run.commit_labels(cycle, regions, masks.items())


def _examples(folder: Path) -> list[dict[str, Any]]:
    (folder / "examples").mkdir()
    predicted = np.zeros((16, 16), np.uint8)
    predicted[:8] = 1
    for row in range(2):
        write_mask(folder / "examples" / f"{row}.png", predicted, np.zeros((3, 3), np.uint8))
    shared = {"truth": -1, "predicted": -1}
    return [
        {"image": "t0", "file": "examples/0.png", "row": 0, "why": "best", "miou": 0.75, **shared},
        {"image": "t1", "file": "examples/1.png", "row": 1, "why": "worst", "miou": 0.25, **shared},
        {
            "image": "t0",
            "file": "examples/0.png",
            "row": 0,
            "why": "confusion",
            "miou": 0.75,
            "truth": 1,
            "predicted": 0,
        },
    ]


def _scores(ids: dict[str, str], entropy: Sequence[Sequence[float]], which: range) -> pa.Table:
    rows = [(ids["bcd"[image]], region, entropy[image][region]) for image in which for region in range(4)]
    table = _table([(image, region) for image, region, _ in rows])
    scores = pa.array([score for *_, score in rows], pa.float32())
    labelled = pa.array([0.0] * len(rows), pa.float32())
    predicted = pa.array([region % 2 for _, region, _ in rows], pa.int16())
    named = {"entropy": scores, "labelled": labelled, "predicted": predicted}
    for name, column in named.items():
        table = table.append_column(name, column)
    return table


def _selections(ids: dict[str, str], cycle: int) -> pa.Table:
    chosen = SELECTED[cycle % 2]
    table = _table([(ids[image], region) for image, region in chosen])
    scores = [ENTROPY[cycle % 2]["bcd".index(image)][region] for image, region in chosen]
    table = table.append_column("score", pa.array(scores, pa.float32()))
    return table.append_column("reason", pa.array(["highest entropy of its image"] * len(chosen)))


def _table(rows: Sequence[tuple[str, int]]) -> pa.Table:
    columns: dict[str, Any] = {"image": pa.array([image for image, _ in rows], pa.string())}
    columns["region"] = pa.array([region for _, region in rows], pa.int32())
    for axis, name in enumerate(("y0", "x0", "y1", "x1")):
        columns[name] = pa.array([_BOXES[region][axis] for _, region in rows], pa.int32())
    return pa.table(columns)


def _picture(index: int) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)


def _truth(index: int) -> np.ndarray:
    truth = np.ones((16, 16), np.uint8)
    truth[:, 0] = 255
    truth[0] = index
    return truth


def load(path: Path) -> Any:
    """A JSON file, in which NaN would be an error."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)
