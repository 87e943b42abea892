"""Every learner can learn: four labelled images of two classes each to more than 95 mIoU, beside noisier copies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from s4al.cli.cycle import prepare_pool, run_cycles
from s4al.config import resolve
from s4al.run.labelling import label_initial_images
from s4al.run.state import Run
from s4al.trainer import train_cycle
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.learners.all import LEARNERS
from s4al.watch import Watch
from tests.tiny import FROM_SCRATCH

HEIGHT, WIDTH = 32, 64
COLOURS = np.array([[40, 60, 90], [200, 60, 40], [60, 180, 80], [220, 210, 90]], np.uint8)

# An average over the last ten steps rather than hundred, and little or nothing pasted: steps and images are few.
SHORT = {
    "s4al": ("learner.decay=0.9", "learner.tested=student", "learner.cold_start=0.5"),
    "mean-teacher": ("learner.decay=0.9", "learner.mix=none", "learner.ramp_up=0.5"),
    "cutmix": ("learner.decay=0.9",),
    "cutmix-star": ("learner.decay=0.9",),
    "phtps": ("learner.decay=0.9",),
    "cps": ("learner.mix=none",),
    "equal": ("trainer.optimizer=adam", "trainer.lr=0.002"),
    "supervised": ("reco.weight=0",),
}


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    """Eight training images; the test split is the four of them that are labelled."""
    root = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    for number in range(8):
        halves = np.array([[number % 4, (number + 1) % 4]])
        mask = np.kron(halves, np.ones((HEIGHT, WIDTH // 2))).astype(np.uint8)
        image = np.clip(COLOURS[mask] + rng.normal(0, 12, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        for split in ("train", "val", "test") if number < 4 else ("train",):
            for kind, array in (("images", image), ("masks", mask)):
                folder = root / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / f"{number}.png")
    (root / "classes.txt").write_text("sea\nbrick\ngrass\nsand\n")
    (root / "labelled.txt").write_text("".join(f"train/{n}\n" for n in range(4)))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_four_images_are_learnt(tmp_path, shapes, name):
    # The first cycle of S4AL+ has no pseudo-labels yet, and the others do not need a second one.
    overrides = settings(shapes, name, cycles=2 if name == "s4al-plus" else 1)
    if name == "s4al-plus":
        run_cycles(tmp_path / "run", preset="demo", device="cpu", watch=Watch(), overrides=overrides)
        run = Run.open(tmp_path / "run")
    else:
        run = Run.create(tmp_path / "run", resolve("demo", overrides=overrides))
        pool, dataset = prepare_pool(run, Watch())
        label_initial_images(run, pool, dataset)
        train_cycle(run, 0, pool, fabric=launch_fabric("cpu", "32-true"), watch=Watch())
    evaluation = json.loads((run.stage(run.last_cycle("train"), "train") / "evaluation.json").read_bytes())
    assert evaluation["miou"] > 0.95


def settings(shapes: Path, name: str, cycles: int) -> tuple[str, ...]:
    return (
        *FROM_SCRATCH,
        f"run.cycles={cycles}",
        "data.adapter=folder",
        f"data.root={shapes}",
        f"data.labelled_list={shapes / 'labelled.txt'}",
        f"data.height={HEIGHT}",
        f"data.width={WIDTH}",
        "model.representation_dim=16",
        "model.dropout=0.0",
        "trainer.lr=0.02",
        f"trainer.epochs={10 if cycles == 1 else 5}",
        "trainer.last_epochs=10",
        "trainer.iterations_per_epoch=10",
        "trainer.joint_iterations_per_epoch=10",
        "trainer.batch_labelled=4",
        "trainer.batch_unlabelled=2",
        "trainer.checkpoint_every=1000",
        "augment.scale_min=1.0",
        "augment.scale_max=1.0",
        "augment.flip=0.0",
        "augment.blur=0.0",
        "augment.jitter=0.0",
        "augment.cutout=0.0",
        "acquisition.region_height=32",
        "acquisition.region_width=32",
        "acquisition.regions_per_image=1",
        "export.probe_images=1",
        f"learner.name={name}",
        *(("model.difficulty_stride=8",) if name == "deal" else ()),
        *SHORT.get(name, ()),
    )
