"""Peak memory of scoring pools of two sizes, each in a process of its own.

    python -m benchmarks.pool_memory [--images 2000 20000]

The pool is synthetic (96 x 128 pixels), the network small; everything else is what `s4al score` does, from the pool
table and the decoded cache to committed pseudo-labels and scores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.record import record

HEIGHT, WIDTH, CELL = 96, 128, 8
CLASSES = ("road", "car", "sky", "tree", "person")


def export_network(path: Path) -> None:
    """A network of four convolutions with random weights, exported like any other."""
    import torch
    from torch import nn

    from s4al.export.onnx_export import export_onnx
    from s4al.export.scoring_network import ScoringNetwork
    from s4al.scorer.engines.model_card import ModelCard

    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, len(CLASSES), 1)),
    )
    card = ModelCard(CLASSES, HEIGHT, WIDTH, CELL, CELL, 4, False, "benchmark", 0, "0" * 64)
    path.write_bytes(export_onnx(ScoringNetwork(network, height=HEIGHT, width=WIDTH, align_corners=False), card))


def make_run(root: Path, model: Path, images: int) -> None:
    """A run of `images` training images, none labelled, with an exported network."""
    from s4al.config import resolve
    from s4al.data.cache import CacheWriter
    from s4al.data.pool import Pool, Row, write_pool
    from s4al.run.classes import CLASSES_FILE, Classes, write_classes
    from s4al.run.state import Run

    size = (f"data.height={HEIGHT}", f"data.width={WIDTH}")
    cells = (f"acquisition.region_height={CELL}", f"acquisition.region_width={CELL}")
    run = Run.create(root, resolve(None, None, ("data.adapter=folder", *size, *cells)))
    write_classes(run.root / CLASSES_FILE, Classes(tuple(CLASSES), np.zeros((len(CLASSES), 3), np.uint8)))
    ids = [f"sequence/{index:08d}" for index in range(images)]
    row = {"split": "train", "mask": "", "bytes": 30_000, "sha256": "0" * 64, "height": HEIGHT, "width": WIDTH}
    write_pool(Pool(tuple(Row(id=id, image=f"train/images/{id}.jpg", **row) for id in ids)), run.pool_file)
    generator = np.random.default_rng(0)
    with CacheWriter(run.cache / "train", HEIGHT, WIDTH, "synthetic") as cache:
        for id in ids:
            cache.append(id, generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    run.commit_labels(0, [], [])
    with run.commit(0, "train") as folder:
        (folder / "model.safetensors").write_bytes(b"")
    with run.commit(0, "export") as folder:
        (folder / "model.onnx").write_bytes(model.read_bytes())


def score(root: Path) -> dict[str, float]:
    """Score the pool in this process; its peak resident memory."""
    from s4al.run.state import Run
    from s4al.scorer import score_cycle
    from s4al.watch import Watch

    started = time.monotonic()
    result = score_cycle(Run.open(root), 0, watch=Watch())
    return {"images": result.images, "seconds": time.monotonic() - started, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Of this program alone: getrusage's ru_maxrss begins with the size of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs=2, default=[2_000, 20_000])
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)  # what the processes of its own are given
    arguments = parser.parse_args()
    if arguments.score:
        print(json.dumps(score(arguments.score)))
        return
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        export_network(model)
        for images in arguments.images:
            root = Path(folder) / f"run-{images}"
            make_run(root, model, images)
            command = [sys.executable, "-m", "benchmarks.pool_memory", "--score", str(root)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            measured.append(json.loads(done.stdout))
            print(measured[-1])
    difference_mib = measured[1]["peak_mib"] - measured[0]["peak_mib"]
    print(f"difference {difference_mib:.1f} MiB")
    sizes = {"height": HEIGHT, "width": WIDTH, "region": CELL, "classes": len(CLASSES)}
    record("pool_memory", {"pools": measured, "difference_mib": difference_mib, **sizes})


if __name__ == "__main__":
    main()
