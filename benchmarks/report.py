"""Time and peak memory of the page about runs of several sizes, each made by a process of its own.

    python -m benchmarks.report [--images 2000 20000 60000]

The runs are synthetic (96 x 128 pixels, 192 regions an image, three cycles, four regions asked of every image and
answered in every cycle); the page is what `s4al report` makes of them, pictures and all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pool_memory import CELL, CLASSES, HEIGHT, WIDTH, peak_mib
from benchmarks.record import record
from s4al import files
from s4al.config import resolve
from s4al.data.cache import CacheWriter
from s4al.data.pool import Pool, Row, write_pool
from s4al.run.classes import CLASSES_FILE, Classes, write_classes
from s4al.run.state import LabelledRegion, Run

CYCLES, ASKED, SHARD, TEST = 3, 4, 256, 8
SETTINGS = (
    "data.adapter=folder",
    'data.oracle="people"',
    f"data.height={HEIGHT}",
    f"data.width={WIDTH}",
    f"acquisition.region_height={CELL}",
    f"acquisition.region_width={CELL}",
    f"run.cycles={CYCLES}",
)


def make_run(root: Path, images: int) -> None:
    """A finished run of `images` training images, a tenth of them labelled from the start."""
    run = Run.create(root, resolve(None, None, SETTINGS))
    palette = np.random.default_rng(0).integers(0, 256, (len(CLASSES), 3)).tolist()
    write_classes(root / CLASSES_FILE, Classes(tuple(CLASSES), np.array(palette, np.uint8)))
    ids = [f"sequence/{index:08d}" for index in range(images)]
    size = {"height": HEIGHT, "width": WIDTH, "sha256": "0" * 64}
    train = [Row(id, "train", f"{id}.jpg", "", **size) for id in ids]
    test = [Row(f"t{index}", "test", f"t{index}.jpg", "", **size) for index in range(TEST)]
    write_pool(Pool((*train, *test)), run.pool_file)
    _write_caches(run, images)
    whole = images // 10
    for cycle in range(CYCLES):
        _write_cycle(run, cycle, ids, whole)


def _write_caches(run: Run, images: int) -> None:
    rng = np.random.default_rng(0)
    with CacheWriter(run.cache / "test", HEIGHT, WIDTH, "synthetic") as cache:
        for index in range(TEST):
            cache.append(f"t{index}", _noise(rng, (HEIGHT, WIDTH, 3)), _noise(rng, (HEIGHT, WIDTH), len(CLASSES)))
    _write_rows(run.cache / "train" / "images.npy", images, (HEIGHT, WIDTH, 3), rng)


def _write_rows(path: Path, count: int, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Random bytes, the same few rows again and again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = _noise(rng, (16, *shape), len(CLASSES) if len(shape) == 2 else 256)
    with path.open("wb") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        for first in range(0, count, len(block)):
            stream.write(block[: count - first].data)


def _write_cycle(run: Run, cycle: int, ids: list[str], whole: int) -> None:
    rng = np.random.default_rng(cycle)
    regions, boxes = run.grid.num_regions, run.grid.original_boxes(HEIGHT, WIDTH).tolist()
    if cycle == 0:
        labelled = (LabelledRegion(id, -1, 0, 0, HEIGHT, WIDTH, 0, "initial") for id in ids[:whole])
        named = ids[:whole]
    else:
        labelled = _asked_regions(ids[whole:], cycle, boxes)
        named = ids[whole:]
    run.commit_labels(cycle, labelled, _masks(named[:1], rng))
    folder = run.stage(cycle, "labels") / "masks"
    for id in named[1:]:
        os.link(folder / f"{named[0]}.png", folder / f"{id}.png")
    about = {key: value for key, value in files.read_manifest(folder.parent).items() if key != "files"}
    files.seal_folder(folder.parent, folder.parent, about)  # the links too
    with run.commit(cycle, "train") as folder:
        iou = dict.fromkeys(CLASSES, 0.5)
        counts = _noise(rng, (len(CLASSES), len(CLASSES))).astype(int).tolist()
        about = {"miou": 0.4 + 0.03 * cycle, "per_class_iou": iou, "confusion": counts, "examples": []}
        files.write_json(folder / "evaluation.json", about)
    with run.commit(cycle, "export"):
        pass
    with run.commit(cycle, "pseudo") as folder:
        _write_rows(folder / "masks.npy", len(ids) - whole, (HEIGHT, WIDTH), rng)
    with run.commit(cycle, "score") as folder:
        for shard, first in enumerate(range(whole, len(ids), SHARD)):
            _write_scores(folder / f"shard-{shard:05d}.parquet", ids[first : first + SHARD], regions, boxes, rng)
    with run.commit(cycle, "select", strategy="per-image", metric="entropy") as folder:
        _write_selections(folder / "selections.parquet", ids[whole:], cycle, boxes, rng)


def _regions_of(cycle: int) -> range:
    return range(cycle * ASKED, (cycle + 1) * ASKED)


def _asked_regions(ids: list[str], cycle: int, boxes: list[list[int]]) -> Iterator[LabelledRegion]:
    for id in ids:
        for region in _regions_of(cycle - 1):
            y0, x0, y1, x1 = boxes[region]
            yield LabelledRegion(id, region, y0, x0, y1, x1, cycle, "people", 3.0)


def _masks(names: list[str], rng: np.random.Generator) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for name in names:
        yield name, _noise(rng, (HEIGHT, WIDTH), len(CLASSES))


def _write_scores(path: Path, ids: list[str], regions: int, boxes: list[list[int]], rng: np.random.Generator) -> None:
    import pyarrow as pa

    count = len(ids) * regions
    columns = {"image": pa.array([id for id in ids for _ in range(regions)])}
    columns["region"] = pa.array(np.tile(np.arange(regions, dtype=np.int32), len(ids)))
    tiled = np.tile(np.array(boxes, np.int32), (len(ids), 1))
    columns |= {name: pa.array(tiled[:, axis]) for axis, name in enumerate(("y0", "x0", "y1", "x1"))}
    columns |= {"entropy": pa.array(rng.random(count, np.float32)), "labelled": pa.array(np.zeros(count, np.float32))}
    columns["predicted"] = pa.array(rng.integers(0, len(CLASSES), count).astype(np.int16))
    files.write_table(path, pa.table(columns))


def _write_selections(path: Path, ids: list[str], cycle: int, boxes: list[list[int]], rng: np.random.Generator) -> None:
    import pyarrow as pa

    chosen = [(id, region, *boxes[region]) for id in ids for region in _regions_of(cycle)]
    names = ("image", "region", "y0", "x0", "y1", "x1")
    columns = {name: pa.array([row[index] for row in chosen]) for index, name in enumerate(names)}
    columns["score"] = pa.array(rng.random(len(chosen), np.float32))
    columns["reason"] = pa.array(["highest entropy of its image"] * len(chosen))
    files.write_table(path, pa.table(columns))


def _noise(rng: np.random.Generator, shape: tuple[int, ...], below: int = 256) -> NDArray[np.uint8]:
    return rng.integers(0, below, shape, np.uint8)


def report(root: Path) -> dict[str, float]:
    """Make the page in this process."""
    from s4al.report import write_report

    answer = write_report([root]).answer
    assert answer["missing"] == [], answer["missing"]
    return {"seconds": answer["seconds"], "peak_mib": peak_mib(), "page_bytes": answer["bytes"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[2_000, 20_000, 60_000])
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)  # what the processes of its own are given
    arguments = parser.parse_args()
    if arguments.report:
        print(json.dumps(report(arguments.report)))
        return
    measured = []
    for images in arguments.images:
        with tempfile.TemporaryDirectory() as folder:
            make_run(Path(folder) / "run", images)
            command = [sys.executable, "-m", "benchmarks.report", "--report", str(Path(folder) / "run")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured.append({"images": images, **json.loads(done.stdout)})
            print(measured[-1])
    sizes = {"height": HEIGHT, "width": WIDTH, "region": CELL, "cycles": CYCLES, "asked_per_image": ASKED}
    record("report", {"runs": measured, **sizes})


if __name__ == "__main__":
    main()
