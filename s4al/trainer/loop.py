"""The training of one cycle: labelled loss, pseudo-label loss and ReCo in one step, poly schedule, checkpoints.

Cycle 0 trains on the labelled images alone, every later cycle jointly on labelled and pseudo-labelled ones, each time
from fresh (ImageNet) weights (paper section 3.1 and Table 1; author code). Cross entropy is one mean over all images of
the batch, labelled or not: there is no separate weight and no ramp-up.
"""

from __future__ import annotations

import math
import os
import shutil
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import SGD
from torch.utils.tensorboard import SummaryWriter

from s4al import files
from s4al.cache import ImageCache
from s4al.config import Config
from s4al.data import Pool
from s4al.errors import NumericsError
from s4al.state import Run
from s4al.trainer import distributed as dist
from s4al.trainer.batches import Batch, Key, StepBatches, batch_size, load_batches, normalise
from s4al.trainer.checkpoint import checkpoints, load_network, restore
from s4al.trainer.evaluation import evaluate
from s4al.trainer.log import FIGURES, TrainingLog, tensorboard_folder
from s4al.trainer.losses import cross_entropy, pixel_count
from s4al.trainer.network import DeepLabV3Plus, build_network
from s4al.trainer.reco import reco_loss
from s4al.trainer.targets import Targets, build_targets, open_targets, targets_file
from s4al.watch import Watch


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
        _Training(run, cycle, pool, work, fabric, watch).run_to_end()
        fabric.barrier()
    finally:
        if first:
            targets_file(run, cycle).unlink(missing_ok=True)
    if first:
        _finish(run, cycle, work, fabric.device, watch)
    fabric.barrier()


class _Training:
    """The state of one training in one process."""

    def __init__(self, run: Run, cycle: int, pool: Pool, work: Path, fabric: Fabric, watch: Watch) -> None:
        self.run, self.cycle, self.work, self.fabric, self.watch = run, cycle, work, fabric, watch
        self.config = config = run.config
        targets: Targets = open_targets(run, cycle, pool)
        joint = len(targets.unlabelled) > 0
        self.ids = pool.train.ids
        self.num_classes = len(run.class_names)
        self.batch = batch_size(config, joint=joint)
        dist.check_divisible(fabric, self.batch, "A batch")
        self.epochs, self.per_epoch = schedule(config, cycle, joint=joint)
        self.steps = self.epochs * self.per_epoch
        share = (fabric.global_rank, fabric.world_size)
        images = ImageCache.open(run.cache / "train")
        self.batches = StepBatches(images, targets.labels, targets.labelled, targets.unlabelled, config, cycle, share)
        self._make_network()

    def _make_network(self) -> None:
        trainer, fabric = self.config.trainer, self.fabric
        torch.manual_seed(Key(self.config.run.seed, self.cycle).network())
        network = build_network(self.config.model, self.num_classes)
        if self.config.reco.weight == 0:
            network.representation_head.requires_grad_(False)
        self.raw = dist.synchronise_batch_norm(network, fabric).to(memory_format=torch.channels_last)
        assert isinstance(self.raw, DeepLabV3Plus)
        self.sgd = SGD(
            self.raw.parameter_groups(trainer.lr, trainer.head_lr_multiplier),
            momentum=trainer.momentum,
            weight_decay=trainer.weight_decay,
            nesterov=trainer.momentum > 0,
        )
        for group in self.sgd.param_groups:
            group["initial_lr"] = group["lr"]
        self.network, self.optimizer = fabric.setup(self.raw, self.sgd)

    def run_to_end(self) -> None:
        done = self._resume()
        if done == self.steps:
            return
        trainer = self.config.trainer
        loader = load_batches(
            self.batches, done, self.steps, workers=self._workers(), pin_memory=self.fabric.device.type == "cuda"
        )
        self.raw.train()
        with ExitStack() as stack:
            log = None
            if self.fabric.is_global_zero:
                log = stack.enter_context(closing(self._open_log()))
            for step, batch in enumerate(loader, start=done):
                values = self._step(step, batch)
                if log:
                    log.add(step, self.sgd.param_groups[0]["lr"], values)
                stop = self._anyone_stops()
                due = stop or (step + 1) % trainer.checkpoint_every == 0 or step + 1 == self.steps
                if log and due:
                    log.checkpoint(step + 1, self.raw, self.sgd, self.num_classes, trainer.keep_checkpoints)
                if due:
                    self.fabric.barrier()
                if stop:
                    self.watch.stop_here()

    def _open_log(self) -> TrainingLog:
        return TrainingLog(self.run, self.cycle, self.work, self.watch, steps=self.steps, images_per_step=self.batch)

    def _resume(self) -> int:
        newest = checkpoints(self.work)[-1:]
        if not newest:
            return 0
        meta = restore(newest[0], self.raw, self.sgd)
        if meta.steps != self.steps:  # the number of cycles was changed, and with it the length of the last one
            if self.fabric.is_global_zero:
                shutil.rmtree(newest[0])
            self.fabric.barrier()
            self._make_network()
            return 0
        self.watch.note(f"Cycle {self.cycle}: training resumed from step {meta.step:,} of {self.steps:,}.")
        return meta.step

    def _step(self, step: int, batch: Batch) -> list[float]:
        """One optimiser step; returns the figures of `FIGURES`, means over the processes."""
        config, fabric = self.config, self.fabric
        key = Key(config.run.seed, self.cycle, step)
        self._set_learning_rate(step)
        image_BCHW = normalise(batch["image"].to(fabric.device, non_blocking=True))
        label_BHW = batch["label"].to(fabric.device, non_blocking=True).long()
        torch.manual_seed(key.noise(fabric.global_rank))
        self.optimizer.zero_grad()
        if config.reco.weight > 0:
            logits_BChw, representation_BDhw = self.network(image_BCHW, with_representation=True)
            contrast = self._contrast(logits_BChw, representation_BDhw, label_BHW, key)
        else:
            logits_BChw = self.network(image_BCHW)
            contrast = torch.zeros((), device=fabric.device)
        reduction = config.trainer.ce_reduction
        supervision = cross_entropy(
            logits_BChw,
            label_BHW,
            reduction=reduction,
            align_corners=self.config.model.align_corners,
            normaliser=dist.mean_over_processes(fabric, pixel_count(label_BHW, reduction)),
        )
        loss = supervision + config.reco.weight * contrast
        fabric.backward(loss)
        gradients = [parameter.grad for parameter in self.raw.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        figures = torch.stack([loss.detach(), supervision.detach(), contrast.detach(), norm])
        # The only wait for the device in a step, and all kernels up to here are already queued.
        values = dist.mean_over_processes(fabric, figures).tolist()
        if not all(map(math.isfinite, values)):
            raise self._not_finite(step, values, batch)
        self.optimizer.step()
        return values

    def _contrast(self, logits_BChw: Tensor, representation_BDhw: Tensor, label_BHW: Tensor, key: Key) -> Tensor:
        """ReCo over the pixels of all processes; each computes the same value, so the mean of gradients is right."""
        gather = dist.gather_batch
        generator = torch.Generator(self.fabric.device).manual_seed(key.contrast())
        return reco_loss(
            gather(self.fabric, representation_BDhw),
            gather(self.fabric, label_BHW),
            gather(self.fabric, logits_BChw.detach().float().softmax(dim=1)),
            config=self.config.reco,
            generator=generator,
        )

    def _set_learning_rate(self, step: int) -> None:
        factor = poly(step // self.per_epoch, self.epochs, self.config.trainer.poly_power)
        for group in self.sgd.param_groups:
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

    def _not_finite(self, step: int, values: list[float], batch: Batch) -> NumericsError:
        broken = [
            name.replace("_", " ") for name, value in zip(FIGURES, values, strict=True) if not math.isfinite(value)
        ]
        images = ", ".join(self.ids[row] for row in batch["rows"])
        safe = max((int(folder.name.removeprefix("step-")) for folder in checkpoints(self.work)), default=0)
        return NumericsError(
            f"Cycle {self.cycle}: {broken[1] if broken[0] == 'loss' and len(broken) > 1 else broken[0]} is not finite "
            f"at step {step:,} (images {images}).",
            kept=f"Step {safe:,} is safe." if safe else "No step was committed yet.",
            remedy="Try a lower trainer.lr or trainer.precision=32-true, in a new run.",
        )


def _finish(run: Run, cycle: int, work: Path, device: torch.device, watch: Watch) -> None:
    """Test the last weights (no selection by a validation score) and commit the stage."""
    final = checkpoints(work)[-1]
    with run.commit(cycle, "train", device=str(device.type)) as folder:
        shutil.copytree(final, folder / final.name)
        shutil.copyfile(work / "metrics.jsonl", folder / "metrics.jsonl")
        network = load_network(folder, run.config)
        matrix = evaluate(network, run, run.config.data.test_split, device=device, watch=watch, cycle=cycle)
        iou = matrix.per_class_iou()
        report = {
            "split": run.config.data.test_split,
            "miou": matrix.miou(),
            "per_class_iou": {
                name: None if np.isnan(value) else float(value)
                for name, value in zip(run.class_names, iou, strict=True)
            },
            "confusion": matrix.counts_CC.tolist(),
        }
        (folder / "evaluation.json").write_bytes(files.json_bytes(report))
    shutil.rmtree(work)
    with SummaryWriter(str(tensorboard_folder(run, cycle))) as writer:
        step = int(final.name.removeprefix("step-"))
        writer.add_scalar("miou", matrix.miou(), step)
        for name, value in zip(run.class_names, iou, strict=True):
            writer.add_scalar(f"iou/{name}", value, step)


def poly(epoch: int, epochs: int, power: float) -> float:
    """Factor of the learning rate in an epoch, (1 - epoch / epochs) ** power; stepped by epoch (author code)."""
    return (1.0 - epoch / epochs) ** power


def schedule(config: Config, cycle: int, *, joint: bool) -> tuple[int, int]:
    """(epochs, iterations an epoch) of a cycle; the last joint training is longer (paper Table 1)."""
    trainer = config.trainer
    if not joint:
        return trainer.epochs, trainer.iterations_per_epoch
    last = cycle == config.run.cycles - 1
    return (trainer.last_epochs if last else trainer.epochs), trainer.joint_iterations_per_epoch
