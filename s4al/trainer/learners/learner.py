"""What a learner is: which images it wants in a step, the loss it makes of them, and the networks it holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from s4al.config import Config, TrainerConfig
from s4al.trainer import distributed as dist
from s4al.trainer.batches import Batch, Key, Stream
from s4al.trainer.learners.unlabelled.replay import Replay
from s4al.trainer.learners.unlabelled.teacher import MeanTeacher
from s4al.trainer.losses import cross_entropy, pixel_count, upsample
from s4al.trainer.networks.network import SegmentationNetwork
from s4al.trainer.targets import Targets


class Losses(NamedTuple):
    """total : what is minimised; terms : its parts and other figures of the step, scalars, for the log."""

    total: Tensor
    terms: dict[str, Tensor]


@dataclass(frozen=True)
class Step:
    """Where a training stands. progress : share of its steps that are done, 0 to 1."""

    number: int
    epoch: int
    progress: float
    key: Key


@dataclass(frozen=True)
class Setting:
    """What a learner is made from.

    Attributes
    ----------
    parts : the streams of its batches, as its class chose them. per_epoch : steps of an epoch.
    build : makes its freshly initialised networks, numbered from 0.
    """

    config: Config
    cycle: int
    num_classes: int
    targets: Targets
    parts: Sequence[Sequence[Stream]]
    per_epoch: int
    fabric: Fabric
    build: Callable[[int], SegmentationNetwork]


class Learner(ABC):
    """One way to learn from labelled and unlabelled images.

    Attributes
    ----------
    labels_only : there is nothing unlabelled to learn from.
    figures : names of the terms that `losses` returns at every step.
    trained : the module whose parameters the optimiser changes; `student` is the same, set up for device and precision.
    contrastive : uses the representation head.
    teacher : follows the student after every step.
    replay : where batches get a further part of images seen before.
    """

    figures: ClassVar[tuple[str, ...]]
    contrastive: ClassVar[bool] = False
    teacher: MeanTeacher | None = None
    replay: Replay | None = None

    def __init__(self, setting: Setting) -> None:
        self.config, self.settings, self.fabric = setting.config, setting.config.learner, setting.fabric
        self.num_classes, self.labels_only = setting.num_classes, len(setting.parts) == 1
        self.trained = self.build(setting)
        self.student: nn.Module = self.trained

    def build(self, setting: Setting) -> nn.Module:
        """The trained module; one network unless a learner says otherwise."""
        return setting.build(0)

    def ready(self, student: nn.Module) -> None:
        """Called once with the trained module as Fabric wraps it, on its device."""
        self.student = student

    @classmethod
    def parts(cls, targets: Targets, config: Config, cycle: int) -> Sequence[Sequence[Stream]]:
        """The streams of a batch (see `StepBatches`): labelled images, and unlabelled ones where there are any left."""
        trainer, rows = config.trainer, cls.unlabelled_rows(targets)
        if not rows:
            return alone(targets, config)
        hidden = frozenset(targets.labelled)
        return (
            (Stream(targets.supervised, trainer.batch_labelled, reflect=True),),
            (Stream(rows, trainer.batch_unlabelled, reflect=True, hidden=hidden),),
        )

    @classmethod
    def unlabelled_rows(cls, targets: Targets) -> Sequence[int]:
        return targets.rest

    @abstractmethod
    def losses(self, batch: Batch, step: Step) -> Losses:
        """Forward passes and losses of one step; scalars on the device, without waiting for it."""

    def after_step(self, step: Step) -> None:
        """Called when the optimiser has changed the student."""
        if self.teacher:
            self.teacher.follow(self.trained, step.number)

    def networks(self) -> dict[str, nn.Module]:
        """All that a checkpoint holds, by the stem of its file; `model` and `teacher` can be tested."""
        return {"model": self.trained} | ({"teacher": self.teacher.network} if self.teacher else {})

    def parameter_groups(self, trainer: TrainerConfig) -> list[dict[str, Any]]:
        """For the optimiser: the pretrained layers, and the new ones."""
        assert isinstance(self.trained, SegmentationNetwork)
        return self.trained.parameter_groups(trainer)

    def split(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """The parts of a batch on the device: uint8 (B, H, W, 3) images, int64 (B, H, W) labels (see `Targets`)."""
        image = batch["image"].to(self.fabric.device, non_blocking=True)
        label = batch["label"].to(self.fabric.device, non_blocking=True).long()
        return list(zip(image.split(batch["counts"]), label.split(batch["counts"]), strict=True))

    @torch.no_grad()
    def predict(self, network: nn.Module, image_BCHW: Tensor) -> Tensor:
        """The output of a network that is not trained, and that Fabric does not know, at the training's precision."""
        with self.fabric.autocast():
            return network(image_BCHW.to(next(network.parameters()).dtype))

    def full_size(self, logits_BChw: Tensor, like_BHW: Tensor) -> Tensor:
        """float32 (B, C, H, W): logits at the size of a map of pixels."""
        return upsample(logits_BChw, like_BHW, align_corners=self.config.model.align_corners)

    def supervise(self, logits_BChw: Tensor, label_BHW: Tensor) -> Tensor:
        """Cross entropy against labels, as if all processes had one batch."""
        reduction = self.config.trainer.ce_reduction
        return cross_entropy(
            logits_BChw,
            label_BHW,
            reduction=reduction,
            align_corners=self.config.model.align_corners,
            normaliser=dist.mean_over_processes(self.fabric, pixel_count(label_BHW, reduction)),
        )


def alone(targets: Targets, config: Config) -> Sequence[Sequence[Stream]]:
    """Batches of labelled images only."""
    return ((Stream(targets.supervised, config.trainer.batch_labelled_only),),)
