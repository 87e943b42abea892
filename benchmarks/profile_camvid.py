"""Scoring CamVid's training images: s4al stage by stage, the bare network and the published loop, in turns.

    python -m benchmarks.profile_camvid [--camvid DIR] [--height 360 --width 480] [--images N]

The network is the paper's, with random weights and batch norm statistics of real images: speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.record import record
from s4al.cli.cycle import prepare_pool
from s4al.config import resolve
from s4al.data.cache import ImageCache
from s4al.export import CycleNetworks
from s4al.export.stage import export_cycle
from s4al.run.labelling import label_initial_images
from s4al.run.state import Run
from s4al.scorer.profile.profile import profile_run
from s4al.trainer.batches import normalise
from s4al.trainer.checkpoint import Meta, save_checkpoint
from s4al.trainer.networks.build import build_network
from s4al.watch import Watch


class Printer(Watch):
    def progress(self, task: str, done: int, total: int, **fields: float) -> None:
        print(f"\r{task} {done} of {total}", end="" if done < total else "\n", flush=True)

    def note(self, line: str) -> None:
        print(line)


def make_run(root: Path, camvid: Path, height: int, width: int) -> Run:
    """A run with an exported network that was never trained."""
    size = (f"data.height={height}", f"data.width={width}")
    run = Run.create(
        root, resolve("camvid", None, (f"data.root={json.dumps(str(camvid))}", "model.weights=none", *size))
    )
    pool, dataset = prepare_pool(run, Watch())
    label_initial_images(run, pool, dataset)
    torch.manual_seed(0)
    network = build_network(run.config.model, len(run.class_names))
    images = np.empty((4, height, width, 3), np.uint8)
    ImageCache.open(run.cache / "train").read_into(0, images)
    with torch.no_grad():
        network.train()(normalise(torch.from_numpy(images)))
        for weight in network.class_head.parameters():
            weight.mul_(3)  # logits as far apart as trained ones
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    with run.commit(0, "train") as folder:
        save_checkpoint(folder, {"model": network}, optimizer, Meta(1, 1, len(run.class_names), 0), keep=1)
    export_cycle(run, 0, watch=Printer())
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, default=Path("../shared/data/camvid"))
    parser.add_argument("--height", type=int, default=360)
    parser.add_argument("--width", type=int, default=480)
    parser.add_argument("--images", type=int, default=367)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder) / "run", arguments.camvid.resolve(), arguments.height, arguments.width)
        results = profile_run(
            run,
            0,
            CycleNetworks(run, 0),
            images=arguments.images,
            watch=Printer(),
        )
    ort, published = results["engines"][0], results["baseline"]
    results["against_published"] = ort["images_per_s"] / published["images_per_s"]
    print(json.dumps(results, indent=1))
    record("profile_camvid", results)


if __name__ == "__main__":
    main()
