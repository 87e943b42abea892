"""What a run is compared with: full supervision, and random regions at the same cost. Each is a run inside the run.

RUN/full      one training on every label, as long as the last joint training
RUN/random    the same cycles from the same first training, its regions drawn at random
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from s4al import config as settings
from s4al.run.state import Run
from s4al.watch import Watch

if TYPE_CHECKING:
    from s4al.data import Dataset, Pool

_FIRST_STAGES = ("labels", "train", "export", "pseudo", "score")  # what both have before anything is asked


def full_run(run: Run) -> Run:
    """Trained once on all labels with the images and iterations of the last joint training."""
    trainer = run.config.trainer
    overrides = [
        "run.cycles=1",
        "run.random_regions=false",
        "learner.name=supervised",
        "model.difficulty_stride=0",  # a branch that only DEAL trains
        "acquisition.metric=entropy",
        "data.labelled_fraction=1.0",
        'data.labelled_list=""',
        f"trainer.epochs={trainer.last_epochs}",
        f"trainer.iterations_per_epoch={trainer.joint_iterations_per_epoch}",
        f"trainer.batch_labelled_only={trainer.batch_labelled + trainer.batch_unlabelled}",
    ]
    return Run(run.root / "full", settings.set_values(run.config, overrides))


def random_run(run: Run) -> Run:
    """As many regions each cycle, drawn at random from the same images."""
    alone = ["run.full_supervision=false", "run.random_regions=false", "acquisition.strategy=random"]
    return Run(run.root / "random", settings.set_values(run.config, alone))


def begin_full(run: Run, full: Run, pool: Pool, dataset: Dataset, watch: Watch) -> None:
    """Make the run and label everything. Raises MaskError, DataError, StorageError."""
    from s4al.run.labelling import label_initial_images

    if full.is_committed(0, "labels"):
        return
    watch.note("Full supervision, to compare with: training on every label.")
    _create(run, full, ("cache", "classes.json"))
    label_initial_images(full, pool, dataset)


def begin_random(run: Run, random: Run, watch: Watch) -> None:
    """Make the run; its first cycle is this run's, up to the scores. Raises StorageError."""
    if not random.is_committed(0, "select"):
        watch.note("As many random regions, to compare with.")
    first = (f"cycles/000/{stage}" for stage in _FIRST_STAGES)
    _create(run, random, ("cache", "classes.json", "pool.parquet", *first))


def _create(run: Run, other: Run, shared: Iterable[str]) -> None:
    """A run inside the run, with links to what it shares."""
    if not Run.exists(other.root):
        Run.create(other.root, other.config)
    for name in shared:
        link = other.root / name
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(Path(*[".."] * len(link.relative_to(run.root).parent.parts), name))


def full_miou(run: Run) -> float | None:
    """Of `RUN/full`, None where it is not trained."""
    return tested_miou(Run(run.root / "full", run.config), 0)


def random_miou(run: Run) -> float | None:
    """Of the last cycle of `RUN/random`, None where it is not trained."""
    return tested_miou(Run(run.root / "random", run.config), run.config.run.cycles - 1)


def tested_miou(run: Run, cycle: int) -> float | None:
    return cycle_test(run, cycle)["miou"]


def cycle_test(run: Run, cycle: int) -> dict[str, Any]:
    """How the network of a cycle did in its test, None where that is not known.

    Returns
    -------
    `{"miou", "miou_interval", "test_regions"}`: the last two where people labelled regions to test on, in place of a
    test split: the 95 % interval that resampling them gives, [low, high], and how many they are.
    """
    if not run.is_committed(cycle, "train"):
        return {"miou": None, "miou_interval": None, "test_regions": None}
    evaluation = json.loads(run.committed_file(cycle, "train", "evaluation.json").read_bytes())
    test = evaluation.get("test") or {}
    return {
        "miou": evaluation["miou"],
        "miou_interval": test.get("interval"),
        "test_regions": test.get("regions"),
    }
