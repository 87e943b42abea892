"""The training of one cycle: steps of a learner under a poly schedule, with checkpoints.

Every cycle starts from fresh (ImageNet) weights (S4AL+, section 3.1; author code), and its last weights are tested.
"""

from __future__ import annotations

import math
import os
import shutil
from collections import deque
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.optim import SGD, Adam, Optimizer
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from s4al import files
from s4al.config import TrainerConfig
from s4al.data import Pool
from s4al.data.cache import ImageCache
from s4al.data.masks import write_mask
from s4al.errors import NumericsError
from s4al.run.state import Run
from s4al.trainer import distributed as dist
from s4al.trainer.batches import Batch, Key, StepBatches, batch_size, load_batches
from s4al.trainer.checkpoint import checkpoints, load_network, restore
from s4al.trainer.evaluation import evaluate_network, predict_row
from s4al.trainer.examples import Example, ExampleChoice
from s4al.trainer.figures import Figures
from s4al.trainer.learners.all import LEARNERS
from s4al.trainer.learners.learner import Setting, Step
from s4al.trainer.log import TrainingLog, tensorboard_folder
from s4al.trainer.networks.build import build_network
from s4al.trainer.networks.depthwise import keep_depthwise_in_float32
from s4al.trainer.networks.network import SegmentationNetwork
from s4al.trainer.schedule import images_after, poly, quarter_cosine, schedule, warm_up
from s4al.trainer.targets import build_targets, open_targets, targets_file
from s4al.watch import Watch

_ADAM_BETA2 = 0.99  # Grubišić et al.
_IN_FLIGHT = {"cuda": 1}  # steps that a device is given before the figures of the one before are read; others: 0


def train_cycle(run: Run, cycle: int, pool: Pool, *, fabric: Fabric, watch: Watch) -> None:
    """Train the network of `cycle`, test it, commit `train/`. All processes of a torchrun call this together.

    A training that was cut off goes on from its newest checkpoint.

    Raises
    ------
    NumericsError : a loss or gradient that is not finite; the checkpoints before it stay.
    Interrupted : a stop was requested; the step that was done is committed.
    RunStateError, StorageError, DataError (weights).
    """
    first = fabric.is_global_zero
    work = run.work_folder(cycle, "train") if first else run.cycle(cycle) / ".work-train"
    try:
        if first:
            with files.storage_errors(f"preparing cycle {cycle} training"):
                build_targets(run, cycle, pool)
        fabric.barrier()
        Training(run, cycle, pool, work, fabric, watch).run_to_end()
        fabric.barrier()
    finally:
        if first:
            targets_file(run, cycle).unlink(missing_ok=True)
    if first:
        _finish(run, cycle, pool, work, fabric.device, watch)
    fabric.barrier()


class Training:
    """The state of one training in one process."""

    def __init__(self, run: Run, cycle: int, pool: Pool, work: Path, fabric: Fabric, watch: Watch) -> None:
        self.run, self.cycle, self.work, self.fabric, self.watch = run, cycle, work, fabric, watch
        self.config = config = run.config
        self.targets = open_targets(run, cycle, pool)
        self.ids, self.num_classes = pool.train.ids, len(run.classes(cycle))
        self.parts = LEARNERS[config.learner.name].parts(self.targets, config, cycle)
        for index, part in enumerate(self.parts):
            what = "A batch" if len(self.parts) == 1 else "A part of a batch"
            dist.check_divisible(fabric, batch_size([part]), what, pairs=index > 0 and config.learner.mixes)
        joint = sum(map(len, self.parts)) > 1
        self.epochs, self.per_epoch = schedule(config, cycle, joint=joint)
        self.steps = self.epochs * self.per_epoch
        self._make_learner()

    def _make_learner(self) -> None:
        trainer, fabric = self.config.trainer, self.fabric
        self.learner = LEARNERS[self.config.learner.name](
            Setting(
                self.config,
                self.cycle,
                self.num_classes,
                self.targets,
                self.parts,
                self.per_epoch,
                fabric,
                self._build_network,
            )
        )
        groups = self.learner.parameter_groups(trainer)
        self.plain = _build_optimizer(groups, trainer)
        for group in self.plain.param_groups:
            group["initial_lr"] = group["lr"]
        student, self.optimizer = fabric.setup(self.learner.trained, self.plain)
        self.learner.ready(student)

    def _build_network(self, number: int) -> SegmentationNetwork:
        torch.manual_seed(Key(self.config.run.seed, self.cycle).network(number))
        network = build_network(self.config.model, self.num_classes)
        if not LEARNERS[self.config.learner.name].contrastive or self.config.reco.weight == 0:
            network.representation_head.requires_grad_(False)  # DDP insists on gradients for all that has them
        if self.fabric.device.type == "cpu":
            keep_depthwise_in_float32(network)
        network = dist.synchronise_batch_norm(network, self.fabric).to(memory_format=torch.channels_last)
        assert isinstance(network, SegmentationNetwork)
        return network

    def open_batches(self, done: int) -> DataLoader[Batch]:
        share = (self.fabric.global_rank, self.fabric.world_size)
        images = ImageCache.open(self.run.cache / "train")
        batches = StepBatches(
            images, self.targets.labels, self.parts, self.config, self.cycle, share, self.learner.replay
        )
        on_gpu = self.fabric.device.type == "cuda"
        return load_batches(batches, done, self.steps, workers=self._workers(), pin_memory=on_gpu)

    def run_to_end(self) -> None:
        done = self._resume()
        if done == self.steps:
            return
        self.learner.trained.train()
        with ExitStack() as stack:
            log = None
            if self.fabric.is_global_zero:
                log = stack.enter_context(closing(self._open_log()))
            unread: deque[Figures] = deque()
            in_flight = _IN_FLIGHT.get(self.fabric.device.type, 0)
            for step, batch in enumerate(self.open_batches(done), start=done):
                unread.append(self.step(step, batch))
                self._read(unread, in_flight, log)
                stop = self._anyone_stops()
                due = stop or (step + 1) % self.config.trainer.checkpoint_every == 0 or step + 1 == self.steps
                if due:
                    self._read(unread, 0, log)
                if log and due:
                    log.checkpoint(step + 1, self.learner.networks(), self.plain)
                if due:
                    self.fabric.barrier()
                if stop:
                    self.watch.stop_here()

    def _read(self, unread: deque[Figures], in_flight: int, log: TrainingLog | None) -> None:
        """Check and log the figures of all but the newest `in_flight` steps. Raises NumericsError."""
        while len(unread) > in_flight:
            figures = unread.popleft()
            values = figures.read()
            if not all(map(math.isfinite, values.values())):
                raise self._not_finite(figures, values)
            if log:
                log.add(figures.number, figures.lr, values)

    def _open_log(self) -> TrainingLog:
        images = batch_size(self.parts)
        later = images_after(self.config, self.cycle)
        return TrainingLog(
            self.run, self.cycle, self.work, self.watch, steps=self.steps, images_per_step=images, images_after=later
        )

    def _resume(self) -> int:
        newest = checkpoints(self.work)[-1:]
        if not newest:
            return 0
        meta = restore(newest[0], self.learner.networks(), self.plain)
        if meta.steps != self.steps:  # the number of cycles was changed, and with it the length of the last one
            if self.fabric.is_global_zero:
                shutil.rmtree(newest[0])
            self.fabric.barrier()
            self._make_learner()
            return 0
        self.watch.note(f"Cycle {self.cycle}: training resumed from step {meta.step:,} of {self.steps:,}.")
        return meta.step

    def step(self, number: int, batch: Batch) -> Figures:
        """Queue one optimiser step; its figures are means over the processes.

        The host does not wait to see whether they are finite: where they are not, the optimiser leaves parameters and
        its state as they are, on the device, and whoever reads the figures stops.
        """
        fabric = self.fabric
        key = Key(self.config.run.seed, self.cycle, number)
        step = Step(number, number // self.per_epoch, number / self.steps, key)
        self._set_learning_rate(step)
        torch.manual_seed(key.noise(fabric.global_rank))
        self.optimizer.zero_grad()
        losses = self.learner.losses(batch, step)
        fabric.backward(losses.total)
        gradients = [each.grad for each in self.learner.trained.parameters() if each.grad is not None]
        names = ("loss", *self.learner.figures, "grad_norm")
        terms = [losses.terms[name].detach() for name in self.learner.figures]
        values = torch.stack([losses.total.detach(), *terms, torch.nn.utils.get_total_norm(gradients)])
        values = dist.mean_over_processes(fabric, values)
        vars(self.plain)["found_inf"] = (~values.isfinite().all()).float()  # which fused optimisers look at
        self.optimizer.step()
        self.learner.after_step(step)
        return Figures(number, self.plain.param_groups[0]["lr"], batch["rows"], names, values)

    def _set_learning_rate(self, step: Step) -> None:
        trainer = self.config.trainer
        factor = (
            quarter_cosine(step.epoch, self.epochs)
            if trainer.schedule == "cosine"
            else poly(step.epoch, self.epochs, trainer.poly_power)
        ) * warm_up(step.number, trainer.warmup_steps)
        for group in self.plain.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def _anyone_stops(self) -> bool:
        """All processes must leave the loop at the same step, though a signal reaches them at different ones."""
        if self.fabric.world_size == 1:
            return self.watch.stop_requested
        flag = torch.tensor(float(self.watch.stop_requested), device=self.fabric.device)
        stop = dist.mean_over_processes(self.fabric, flag).item() > 0
        if stop and not self.watch.stop_requested:
            self.watch.request_stop()
        return stop

    def _workers(self) -> int:
        chosen = self.config.trainer.workers
        if chosen >= 0:
            return chosen
        return min(8, (os.cpu_count() or 1) - 1) if self.fabric.device.type == "cuda" else 0

    def _not_finite(self, figures: Figures, values: dict[str, float]) -> NumericsError:
        broken = [name.replace("_", " ") for name, value in values.items() if not math.isfinite(value)]
        images = ", ".join(self.ids[row] for row in figures.rows)
        safe = max((int(folder.name.removeprefix("step-")) for folder in checkpoints(self.work)), default=0)
        return NumericsError(
            f"Cycle {self.cycle}: {broken[1] if broken[0] == 'loss' and len(broken) > 1 else broken[0]} is not finite "
            f"at step {figures.number:,} (images {images}).",
            kept=f"Step {safe:,} is safe." if safe else "No step was committed yet.",
            remedy="Try a lower trainer.lr or trainer.precision=32-true, in a new run.",
        )


def _finish(run: Run, cycle: int, pool: Pool, work: Path, device: torch.device, watch: Watch) -> None:
    """Test the last weights (no selection by a validation score) and commit the stage."""
    final = checkpoints(work)[-1]
    with run.commit(cycle, "train", device=str(device.type)) as folder:
        shutil.copytree(final, folder / final.name)
        shutil.copyfile(work / "metrics.jsonl", folder / "metrics.jsonl")
        network = load_network(folder, run.config)
        choice = ExampleChoice(len(run.classes(cycle)))
        evaluation = evaluate_network(network, run, pool, device=device, watch=watch, cycle=cycle, each=choice.add)
        report = evaluation.report(run.classes(cycle).names)
        examples = choice.examples(evaluation.matrix) if len(pool.test) else []
        report["examples"] = _keep_examples(folder / "examples", examples, network, run, device)
        (folder / "evaluation.json").write_bytes(files.json_bytes(report))
    shutil.rmtree(work)
    miou = evaluation.miou()
    with SummaryWriter(str(tensorboard_folder(run, cycle))) as writer:
        step = int(final.name.removeprefix("step-"))
        if miou is not None:
            writer.add_scalar("miou", miou, step)
        for name, value in zip(run.classes(cycle).names, evaluation.per_class_iou(), strict=True):
            writer.add_scalar(f"iou/{name}", value, step)


def _keep_examples(
    folder: Path, examples: list[Example], network: SegmentationNetwork, run: Run, device: torch.device
) -> list[dict[str, object]]:
    """Write the predictions of the test images that the report shows, a PNG an image; what `evaluation.json` says of
    them."""
    folder.mkdir()
    with ImageCache.open(run.cache / "test") as images:
        ids = images.ids
    for row in sorted({example.row for example in examples}):
        write_mask(folder / f"{row}.png", predict_row(network, run, "test", row, device), run.palette)
    return [example.about(ids[example.row], f"examples/{example.row}.png") for example in examples]


def _build_optimizer(groups: list[dict[str, Any]], trainer: TrainerConfig) -> Optimizer:
    if trainer.optimizer == "adam":
        betas = trainer.momentum, _ADAM_BETA2
        return Adam(groups, betas=betas, fused=True)
    nesterov = trainer.momentum > 0
    return SGD(groups, momentum=trainer.momentum, nesterov=nesterov, fused=True)
