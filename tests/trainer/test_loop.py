from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import re

import pytest
import torch

from s4al import files
from s4al.config import set_values
from s4al.errors import NumericsError
from s4al.trainer import log, loop, train_cycle
from s4al.trainer.checkpoint import checkpoints, load_network
from s4al.trainer.distributed import launch_fabric
from s4al.trainer.learners import learner, supervised
from s4al.trainer.schedule import images_after, poly, quarter_cosine, schedule, warm_up
from s4al.watch import Interrupted, Watch
from tests.notes import Notes
from tests.resume import train_beside_a_stopped_one
from tests.tiny import StopAfter, digests, labelled_run, tiny_config


@pytest.fixture(scope="module")
def fabric():
    return launch_fabric("cpu", "32-true")


def test_poly_schedule_by_hand():
    assert [round(poly(epoch, 4, 0.9), 6) for epoch in range(4)] == [1.0, 0.77189, 0.535887, 0.287175]


def test_warm_up_by_hand():
    assert [warm_up(step, 4) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert warm_up(0, 0) == 1.0


def test_quarter_cosine_by_hand():
    assert [round(quarter_cosine(epoch, 4), 6) for epoch in range(4)] == [1.0, 0.92388, 0.707107, 0.382683]


def test_schedule_of_the_papers_table():
    config = tiny_config("run.cycles=3", "trainer.epochs=100", "trainer.last_epochs=150")
    assert [schedule(config, cycle, joint=cycle > 0)[0] for cycle in range(3)] == [100, 100, 150]
    assert schedule(config, 2, joint=False)[0] == 100  # nothing is unlabelled: plain supervision


def test_images_that_are_left_by_hand():
    config = tiny_config(
        "run.cycles=3", "trainer.epochs=4", "trainer.last_epochs=6", "trainer.joint_iterations_per_epoch=10"
    )  # 2 + 2 images a step: 4 x 10 x 4 = 160 in cycle 1, 6 x 10 x 4 = 240 in cycle 2
    assert [images_after(config, cycle) for cycle in range(3)] == [400, 240, 0]
    compared = set_values(config, ["run.random_regions=true", "run.full_supervision=true"])
    assert [images_after(compared, cycle) for cycle in range(3)] == [1040, 880, 640]


def test_a_long_training_says_after_20_steps_how_long_it_takes(tmp_path, fabric, monkeypatch):
    run, pool, _ = labelled_run(tmp_path / "run", "trainer.epochs=8")
    clock = itertools.count(0.0, 3.0)
    monkeypatch.setattr(log.time, "monotonic", lambda: next(clock))
    watch = Notes()
    train_cycle(run, 0, pool, fabric=fabric, watch=watch)
    (line,) = watch.lines  # 4 of 24 steps are left, then 6 of 4 images instead of 2
    found = re.fullmatch(
        r"Cycle 0: about (\d+) s of training left, (\d+) (s|min|min \d+ s) for all trainings of the run\. .*", line
    )
    assert found and 12 <= int(found[1]) < 60


def test_a_stopped_training_continues_to_the_same_bytes(tmp_path, fabric):
    straight, pool, _ = labelled_run(tmp_path / "a")
    train_cycle(straight, 0, pool, fabric=fabric, watch=Watch())
    stopped, pool, _ = labelled_run(tmp_path / "b")
    for step in (1, 3, 5):
        with pytest.raises(Interrupted) as caught:
            train_cycle(stopped, 0, pool, fabric=fabric, watch=StopAfter(step))
        assert caught.value.exit_code == 143
        newest = checkpoints(stopped.cycle(0) / ".work-train")[-1]
        assert newest.name == f"step-{step:06d}"
        files.remove_leftovers(stopped.root)
    train_cycle(stopped, 0, pool, fabric=fabric, watch=Watch())
    assert digests(straight.root) == digests(stopped.root)
    lines = [json.loads(line) for line in (straight.stage(0, "train") / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(6))
    assert lines[0]["lr"] == 0.05 and lines[3]["lr"] == pytest.approx(0.05 * 0.5**0.9)
    evaluation = json.loads((straight.stage(0, "train") / "evaluation.json").read_text())
    assert 0 <= evaluation["miou"] <= 1
    network = load_network(straight.stage(0, "train"), straight.config)
    assert not network.training and network(torch.zeros(1, 3, 48, 64)).shape[2:] == (12, 16)


def test_adam_continues_to_the_same_bytes_under_its_cosine(tmp_path, fabric):
    adam = ("trainer.optimizer=adam", "trainer.schedule=cosine", "trainer.lr=0.001", "trainer.head_lr_multiplier=4")
    straight = train_beside_a_stopped_one(tmp_path, fabric, 3, *adam)
    lines = [json.loads(line) for line in (straight.stage(0, "train") / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["lr"] == 0.001 and lines[3]["lr"] == pytest.approx(0.001 * 0.5**0.5)


def test_training_lowers_the_loss(tmp_path, fabric):
    run, pool, _ = labelled_run(tmp_path / "run", "trainer.iterations_per_epoch=15", "reco.weight=0")
    train_cycle(run, 0, pool, fabric=fabric, watch=Watch())
    losses = [json.loads(line)["loss"] for line in (run.stage(0, "train") / "metrics.jsonl").read_text().splitlines()]
    assert sum(losses[-5:]) / 5 < 0.8 * sum(losses[:5]) / 5


@pytest.mark.parametrize(
    ("module", "broken", "in_flight"), [(learner, "cross_entropy", 0), (supervised, "reco_loss", 1)]
)
def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_images(
    tmp_path, fabric, monkeypatch, module, broken, in_flight
):
    monkeypatch.setitem(loop._IN_FLIGHT, "cpu", in_flight)
    run, pool, _ = labelled_run(tmp_path / "run")
    real, calls = getattr(module, broken), []

    def fails_on_the_fourth(*args, **kwargs):
        calls.append(0)
        value = real(*args, **kwargs)
        return value * float("nan") if len(calls) == 4 else value

    monkeypatch.setattr(module, broken, fails_on_the_fourth)
    with pytest.raises(NumericsError) as caught:
        train_cycle(run, 0, pool, fabric=fabric, watch=Watch())
    assert caught.value.exit_code == 7
    assert ("cross entropy" if broken == "cross_entropy" else "reco") in caught.value.what
    assert "step 3" in caught.value.what and pool.train.ids[0][:4] in caught.value.what
    assert "Step 2 is safe" in caught.value.kept
    newest = checkpoints(run.cycle(0) / ".work-train")[-1]
    assert newest.name == "step-000002"
    files.verify_folder(newest)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_optimiser_itself_skips_a_step_that_is_not_finite(tmp_path, fabric, monkeypatch, optimizer):
    run, pool, _ = labelled_run(tmp_path / "run", f"trainer.optimizer={optimizer}")
    loop.build_targets(run, 0, pool)
    training = loop.Training(run, 0, pool, tmp_path, fabric, Watch())
    training.learner.trained.train()
    first, second, third = itertools.islice(training.open_batches(0), 3)
    training.step(0, first)
    before = copy.deepcopy((list(training.learner.trained.parameters()), training.plain.state_dict()["state"]))
    with monkeypatch.context() as patch:
        real = supervised.reco_loss
        patch.setattr(supervised, "reco_loss", lambda *args, **kwargs: real(*args, **kwargs) * float("nan"))
        figures = training.step(1, second).read()
    assert math.isnan(figures["reco"]) and math.isfinite(figures["cross_entropy"])
    torch.testing.assert_close(
        (list(training.learner.trained.parameters()), training.plain.state_dict()["state"]), before
    )
    assert math.isfinite(training.step(2, third).read()["loss"])


def test_the_first_step_is_nesterovs_whatever_the_memory_format(tmp_path, fabric):
    """A fused optimiser reads memory in order: parameters, gradients and momentum must lie alike."""
    run, pool, _ = labelled_run(
        tmp_path / "run", "trainer.weight_decay=0.1", "trainer.backbone_weight_decay_multiplier=0.25"
    )
    loop.build_targets(run, 0, pool)
    training = loop.Training(run, 0, pool, tmp_path, fabric, Watch())
    training.learner.trained.train()
    decays = [0.25 if name.startswith("backbone.") else 1.0 for name, _ in training.learner.trained.named_parameters()]
    before = [each.detach().clone() for each in training.learner.trained.parameters()]
    assert any(not each.is_contiguous() for each in before)
    training.step(0, next(iter(training.open_batches(0))))
    trainer = run.config.trainer
    for old, new, decay in zip(before, training.learner.trained.parameters(), decays, strict=True):
        gradient = new.grad + decay * trainer.weight_decay * old
        torch.testing.assert_close(new.detach(), old - trainer.lr * (1 + trainer.momentum) * gradient)


def test_steps_in_flight_change_nothing(tmp_path, fabric, monkeypatch):
    for name, in_flight in (("a", 0), ("b", 1)):
        monkeypatch.setitem(loop._IN_FLIGHT, "cpu", in_flight)
        run, pool, _ = labelled_run(tmp_path / name, "run.cycles=1", "trainer.epochs=3")
        train_cycle(run, 0, pool, fabric=fabric, watch=Watch())
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_batches_without_any_label_train_nothing_and_break_nothing(tmp_path, fabric, monkeypatch):
    run, pool, _ = labelled_run(tmp_path / "run")
    real = loop.open_targets

    def nothing_labelled(*args):
        targets = real(*args)
        labels = targets.labels.copy()
        labels[:] = 255
        return dataclasses.replace(targets, labels=labels)

    monkeypatch.setattr(loop, "open_targets", nothing_labelled)
    train_cycle(run, 0, pool, fabric=fabric, watch=Watch())
    lines = [json.loads(line) for line in (run.stage(0, "train") / "metrics.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in lines] == [0.0] * 6
    assert [line["grad_norm"] for line in lines] == [0.0] * 6


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path, fabric):
    from s4al.errors import RunStateError

    run, pool, _ = labelled_run(tmp_path / "run")
    with pytest.raises(Interrupted):
        train_cycle(run, 0, pool, fabric=fabric, watch=StopAfter(3))
    model = checkpoints(run.cycle(0) / ".work-train")[-1] / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    with pytest.raises(RunStateError, match=r"model\.safetensors does not match"):
        train_cycle(run, 0, pool, fabric=fabric, watch=Watch())


def test_the_val_split_is_tested_where_it_stands_for_the_test_split(tmp_path, fabric):
    run, pool, _ = labelled_run(tmp_path / "run", "data.test_split=val")
    train_cycle(run, 0, pool, fabric=fabric, watch=Watch())
    report = json.loads((run.stage(0, "train") / "evaluation.json").read_bytes())
    assert report["split"] == "val"
    pixels = run.config.data.height * run.config.data.width
    assert 0 < sum(map(sum, report["confusion"])) <= run.config.scenes.val * pixels
    assert 0 <= report["miou"] <= 1
