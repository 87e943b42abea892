"""A joint training step of S4AL+ at the paper's shape, against one in the style of the published code.

    python -m benchmarks.gpu_step [--dry-run] [--out DIR]

Both take the same batches (2 labelled and 4 pseudo-labelled images of 360x480, ReCo over all pixels) out of memory, in
turns, in one process. Ours is the trainer's own step. The other is float32 without TF32, contiguous, with the reference
implementation of ReCo that loops over queries as the published code does. Then ours once more with its data loader, and
under the profiler: how often the host waits for the device in a step.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.record import record
from s4al.cli.cycle import prepare_pool
from s4al.config import resolve
from s4al.data import Pool
from s4al.data.cache import CacheWriter
from s4al.data.masks import IGNORE, VOID
from s4al.run.labelling import label_initial_images
from s4al.run.state import Run
from s4al.trainer.batches import Batch, normalise
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.loop import Training
from s4al.trainer.networks.build import build_network
from s4al.trainer.targets import build_targets, targets_file
from s4al.watch import Watch
from tests.trainer.learners.reco_reference import reco_loss_reference

_SETTINGS = (
    "model.weights=none",
    "scenes.train=40",
    "scenes.val=1",
    "scenes.test=1",
    "trainer.checkpoint_every=100000",
)
_PAPER = ("data.height=360", "data.width=480", "scenes.height=360", "scenes.width=480", "data.labelled_fraction=0.25")
_TOY = (
    *("data.height=48", "data.width=64", "scenes.height=48", "scenes.width=64", "data.labelled_fraction=0.25"),
    *("acquisition.region_height=16", "acquisition.region_width=16", "reco.num_queries=8", "reco.num_negatives=8"),
)
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def joint_run(root: Path, overrides: tuple[str, ...]) -> tuple[Run, Pool]:
    """A run of scenes that is ready for its second training; its pseudo-labels are blocks of classes."""
    run = Run.create(root, resolve(None, None, (*_SETTINGS, *overrides)))
    pool, dataset = prepare_pool(run, Watch())
    label_initial_images(run, pool, dataset)
    run.commit_labels(1, [], [])
    data, rng = run.config.data, np.random.default_rng(0)
    black = np.zeros((data.height, data.width, 3), np.uint8)
    with CacheWriter(run.stage(0, "pseudo"), data.height, data.width, "blocks") as cache:
        for image in pool.train.ids:
            blocks = rng.integers(0, len(run.class_names), (data.height // 24 + 1, data.width // 24 + 1), np.uint8)
            cache.append(image, black, np.kron(blocks, np.ones((24, 24), np.uint8))[: data.height, : data.width])
    return run, pool


def published_step(run: Run, device: torch.device) -> Callable[[Batch], None]:
    config, rng = run.config, np.random.default_rng(0)
    network = build_network(config.model, len(run.class_names)).to(device).train()
    trainer = config.trainer
    optimizer = torch.optim.SGD(
        network.parameters(), trainer.lr, momentum=0.9, weight_decay=trainer.weight_decay, nesterov=True, foreach=False
    )

    def step(batch: Batch) -> None:
        image, label = normalise(batch["image"].to(device)).contiguous(), batch["label"].to(device).long()
        label = label.masked_fill(label == VOID, IGNORE)  # the published code knows one kind of ignored pixel
        logits, representation = network(image, with_representation=True)
        full = F.interpolate(logits, label.shape[-2:], mode="bilinear", align_corners=True)
        supervision = F.cross_entropy(full, label, ignore_index=IGNORE)
        probability = logits.detach().softmax(dim=1)
        contrast = reco_loss_reference(representation, label, probability, config=config.reco, rng=rng)
        loss = supervision + contrast
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()  # for the progress bar

    return step


@contextmanager
def without_tf32() -> Iterator[None]:
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


def measure(dry_run: bool) -> dict[str, Any]:
    device, turns, steps = torch.device("cpu" if dry_run else "cuda"), (1 if dry_run else 7), (2 if dry_run else 10)
    with tempfile.TemporaryDirectory() as folder:
        run, pool = joint_run(Path(folder) / "run", _TOY if dry_run else _PAPER)
        build_targets(run, 1, pool)
        fabric = launch_fabric(device.type, run.config.trainer.precision)
        training = Training(run, 1, pool, Path(folder), fabric, Watch())
        training.learner.trained.train()
        batches = list(itertools.islice(training.open_batches(0), steps))
        published = published_step(run, device)
        sides = {
            "published": lambda: [published(batch) for batch in batches],
            "s4al": lambda: [training.step(number, batch) for number, batch in enumerate(batches)],
        }
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(turns + 1):  # the first one warms up
            for name, side in sides.items():
                with without_tf32():
                    elapsed_s = _seconds(side, device) / steps
                if turn:
                    seconds[name].append(elapsed_s)
        images = len(batches[0]["rows"])
        loaded_s = _with_loader(training, steps, device)
        waits = _waits(sides["s4al"], steps, dry_run)
        targets_file(run, 1).unlink()
    ms = {name: 1000 * statistics.median(each) for name, each in seconds.items()}
    return {
        "images_per_step": images,
        "ms_per_step": ms,
        "images_per_s": {name: 1000 * images / each for name, each in ms.items()},
        "times_published": ms["published"] / ms["s4al"],
        "images_per_s_with_loader": images / loaded_s,
        "host_waits_per_step": waits,
        "configuration": [*_SETTINGS, *(_TOY if dry_run else _PAPER)],
    }


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _with_loader(training: Training, steps: int, device: torch.device) -> float:
    """Seconds of a step, images read, augmented and brought over by the data loader; its start is not counted."""
    warm_up, counted = steps, 5 * steps
    batches = enumerate(itertools.islice(training.open_batches(0), warm_up + counted))
    for number, batch in itertools.islice(batches, warm_up):
        training.step(number, batch)
    return _seconds(lambda: [training.step(number, batch) for number, batch in batches], device) / counted


def _waits(work: Callable[[], object], steps: int, dry_run: bool) -> dict[str, float]:
    """Calls a step that make the host wait for the device, by name."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if not dry_run:
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        work()
    names = Counter(event.name for event in profile.events() or ())
    return {name: names[name] / steps for name in (*_WAITS, "aten::_local_scalar_dense", "aten::nonzero")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at toy size")
    parser.add_argument("--out", type=Path, default=None, help="where the JSON goes")
    arguments = parser.parse_args()
    results = {**measure(arguments.dry_run), "dry_run": arguments.dry_run}
    print(record("gpu_step", results, folder=arguments.out))


if __name__ == "__main__":
    main()
