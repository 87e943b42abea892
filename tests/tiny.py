"""A run so small that its whole life takes seconds: every stage is real, only the sizes are not."""

from __future__ import annotations

import signal
from pathlib import Path

from s4al.cli.cycle import prepare_pool, run_cycles
from s4al.config import Config, resolve
from s4al.data import Dataset, Pool
from s4al.run.labelling import label_initial_images
from s4al.run.state import Run
from s4al.watch import Watch

# The demo's settings for a network that starts from nothing, and is compared with nothing.
FROM_SCRATCH = (
    "run.full_supervision=false",
    "run.random_regions=false",
    "model.backbone=mobilenet_v2",
    "model.weights=none",
    "trainer.optimizer=sgd",
    "trainer.lr=0.05",
    "trainer.head_lr_multiplier=1.0",
    "trainer.warmup_steps=0",
)
TINY = (
    *FROM_SCRATCH,
    "run.cycles=2",
    "data.height=48",
    "data.width=64",
    "data.labelled_fraction=0.25",
    "scenes.train=12",
    "scenes.val=2",
    "scenes.test=3",
    "scenes.height=48",
    "scenes.width=64",
    "model.representation_dim=8",
    "trainer.epochs=2",
    "trainer.last_epochs=2",
    "trainer.iterations_per_epoch=3",
    "trainer.joint_iterations_per_epoch=3",
    "trainer.batch_labelled_only=2",
    "trainer.batch_labelled=2",
    "trainer.batch_unlabelled=2",
    "trainer.checkpoint_every=2",
    'trainer.precision="32-true"',
    "augment.cutout_pixels=8",
    "reco.num_queries=8",
    "reco.num_negatives=8",
    "pseudo.threshold=0.15",
    "acquisition.region_height=10",
    "acquisition.region_width=10",
    "acquisition.regions_per_image=2",
    "scorer.batch_size=2",
    "scorer.threads=2",
    "scorer.shard_images=4",
    "export.probe_images=2",
)


_TIMED = ("logs", ".lock", "report.html", "report.json")


class StopAfter(Watch):
    """Asks for a stop when the training reports step `step`."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def progress(self, task, done, total, **fields):
        if "train" in task and done == self._step:
            self.request_stop(signal.SIGTERM)


def tiny_config(*overrides: str) -> Config:
    return resolve("demo", None, (*TINY, *overrides))


def tiny_cycles(root: Path, *overrides: str, watch: Watch | None = None) -> dict:
    """`s4al train` on the tiny run."""
    return run_cycles(root, preset="demo", device="cpu", overrides=(*TINY, *overrides), watch=watch or Watch())


def labelled_run(root: Path, *overrides: str) -> tuple[Run, Pool, Dataset]:
    """A run that is ready for its first training."""
    run = Run.create(root, tiny_config(*overrides))
    pool, dataset = prepare_pool(run, Watch())
    label_initial_images(run, pool, dataset)
    return run, pool, dataset


def digests(root: Path) -> dict[str, bytes]:
    """Every file of a run that must not depend on how the run went.

    Logs and the report hold clock times, .lock a process id.
    """
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    kept = (path for path in files if path.relative_to(root).parts[0] not in _TIMED)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in kept}
