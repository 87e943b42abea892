"""Learners whose targets are all in the batch: cross entropy and ReCo over labels, or over labels and pseudo-labels.

The joint step of S4AL+ (arXiv 2210.08403, section 3.1) is a supervised step on other targets: one mean over all images,
labelled or not, without a separate weight and without ramp-up (author code).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s4al.config import Config
from s4al.trainer import distributed as dist
from s4al.trainer.batches import Batch, Key, Stream, normalise
from s4al.trainer.learners.learner import Learner, Losses, Step, alone
from s4al.trainer.learners.reco import reco_loss
from s4al.trainer.targets import Targets


class Supervised(Learner):
    """Labels only: images that are labelled as a whole and, once regions were asked, images with such regions.

    Where no image is labelled as a whole, those with regions take both places: the first training is short as others'.
    """

    figures = ("cross_entropy", "reco")
    contrastive = True

    @classmethod
    def parts(cls, targets: Targets, config: Config, cycle: int) -> Sequence[Sequence[Stream]]:
        if not targets.asked or (cycle == 0 and not targets.labelled):
            return alone(targets, config)
        trainer = config.trainer
        return ((Stream(targets.supervised, trainer.batch_labelled), Stream(targets.asked, trainer.batch_unlabelled)),)

    def losses(self, batch: Batch, step: Step) -> Losses:
        ((image_BHWC, label_BHW),) = self.split(batch)
        image_BCHW, weight = normalise(image_BHWC), self.config.reco.weight
        if weight > 0:
            logits_BChw, representation_BDhw = self.student(image_BCHW, with_representation=True)
            contrast = self._contrast(logits_BChw, representation_BDhw, label_BHW, step.key)
        else:
            logits_BChw = self.student(image_BCHW)
            contrast = torch.zeros((), device=self.fabric.device)
        supervision = self.supervise(logits_BChw, label_BHW)
        return Losses(supervision + weight * contrast, {"cross_entropy": supervision, "reco": contrast})

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


class S4alPlus(Supervised):
    """Self-training: labelled images, and the rest with the pseudo-labels of the cycle before, strongly augmented.

    Images with asked regions stay in the unlabelled stream, true labels beside pseudo-labels (author code). Cycle 0,
    which has no pseudo-labels yet, is supervised.
    """

    @classmethod
    def parts(cls, targets: Targets, config: Config, cycle: int) -> Sequence[Sequence[Stream]]:
        if cycle == 0 or not targets.rest:
            return alone(targets, config)
        trainer = config.trainer
        return (
            (
                Stream(targets.supervised, trainer.batch_labelled),
                Stream(targets.rest, trainer.batch_unlabelled, strong=True),
            ),
        )
