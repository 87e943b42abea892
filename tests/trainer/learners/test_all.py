"""What holds for every learner: it trains, it goes on where it was stopped to the same bytes, its network is usable."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from s4al.config import LEARNERS as SETTINGS
from s4al.config import RECO_LEARNERS
from s4al.trainer import train_cycle
from s4al.trainer.checkpoint import load_network
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.learners.all import LEARNERS
from s4al.watch import Watch
from tests.resume import train_beside_a_stopped_one
from tests.tiny import labelled_run

VARIANTS = [
    *(["learner.name=" + name] for name in LEARNERS if name != "deal"),
    ["learner.name=deal", "model.difficulty_stride=8"],
    ["learner.name=mean-teacher", "learner.mix=cutmix", "learner.confidence=fixed", "learner.ramp_up=0.5"],
    ["learner.name=mean-teacher", "learner.mix=none"],
    ["learner.name=cutmix", "learner.teacher=simple"],
    *(["learner.name=phtps", "learner.teacher=simple", f"learner.variant={v}"] for v in ("1w-pt", "2w-p1")),
]


@pytest.fixture(scope="module")
def fabric():
    return launch_fabric("cpu", "32-true")


def test_every_learner_has_settings_and_a_class():
    assert SETTINGS.keys() == LEARNERS.keys()
    assert set(RECO_LEARNERS) == {name for name, learner in LEARNERS.items() if learner.contrastive}


@pytest.mark.parametrize("overrides", VARIANTS, ids=" ".join)
def test_a_stopped_training_continues_to_the_same_bytes(tmp_path, fabric, overrides):
    overrides = [*overrides, "trainer.epochs=3", "trainer.last_epochs=3", "run.cycles=1"]
    straight = train_beside_a_stopped_one(tmp_path, fabric, 5, *overrides)
    lines = [json.loads(line) for line in (straight.stage(0, "train") / "metrics.jsonl").read_text().splitlines()]
    figures = LEARNERS[straight.config.learner.name].figures
    assert all(line.keys() == {"step", "lr", "loss", *figures, "grad_norm"} for line in lines)
    assert all(line["grad_norm"] > 0 for line in lines)
    network = load_network(straight.stage(0, "train"), straight.config)
    assert torch.isfinite(network(torch.zeros(1, 3, 48, 64))).all()


def test_a_teacher_that_labelled_nothing_has_the_students_statistics(tmp_path, fabric):
    """S4AL tests its teacher, also where every image is labelled and it never ran."""
    run, pool, _ = labelled_run(tmp_path / "run", "learner.name=s4al", "data.labelled_fraction=1.0", "run.cycles=1")
    train_cycle(run, 0, pool, fabric=fabric, watch=Watch())
    (folder,) = run.stage(0, "train").glob("step-*")
    student, teacher = (load_file(folder / f"{name}.safetensors") for name in ("model", "teacher"))
    statistics = [name for name in student if "running" in name]
    assert statistics and all(torch.equal(student[name], teacher[name]) for name in statistics)
    assert not torch.equal(student["class_head.0.weight"], teacher["class_head.0.weight"])
