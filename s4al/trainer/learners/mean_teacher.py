"""Mean teacher with hard pseudo-labels (Tarvainen & Valpola 2017; with CutMix, French et al. 2020; with ClassMix,
Olsson et al. 2021).

The teacher, in training mode as in the published codes of the latter two, labels the weak view; the student learns the
same images mixed, flipped and jittered. The original's squared error between probabilities is `cutmix-star`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from s4al.data.masks import IGNORE
from s4al.trainer.batches import Batch, normalise
from s4al.trainer.learners.learner import Learner, Losses, Step
from s4al.trainer.learners.unlabelled.mixing import box_mask, class_mask, next_image, partner, paste
from s4al.trainer.learners.unlabelled.pseudo import pseudo_label
from s4al.trainer.learners.unlabelled.teacher import MeanTeacher
from s4al.trainer.learners.unlabelled.views import View, flip, jitter, rgb, standardise
from s4al.trainer.losses import cross_entropy_map, mean_where

CUTMIX_AREA = (0.5, 0.5)  # share of the image


class MeanTeacherLearner(Learner):
    figures = ("cross_entropy", "unsupervised", "confident")

    def ready(self, student: nn.Module) -> None:
        super().ready(student)
        self.teacher = MeanTeacher(self.trained, decay=self.settings.decay, buffers=False)

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        if self.teacher and self.labels_only:
            self.teacher.adopt_statistics(self.trained)

    def losses(self, batch: Batch, step: Step) -> Losses:
        (image_BHWC, label_BHW), *others = self.split(batch)
        supervision = self.supervise(self.student(normalise(image_BHWC)), label_BHW)
        zero = torch.zeros((), device=self.fabric.device)
        terms = {"cross_entropy": supervision, "unsupervised": zero, "confident": zero}
        if not others:
            return Losses(supervision, terms)
        rng = step.key.views(self.fabric.global_rank)
        rgb_B3HW, (_, truth_BHW) = rgb(others[0][0]), others[0]
        assert self.teacher
        logits_BChw = self.predict(self.teacher.network, standardise(rgb_B3HW))
        view = pseudo_label(rgb_B3HW, logits_BChw, truth_BHW, align_corners=self.config.model.align_corners)
        terms["unsupervised"], terms["confident"] = self._learn(self._mixed(view, rng), rng)
        weight = self.settings.weight * ramp(step.progress, self.settings.ramp_up)
        return Losses(supervision + weight * terms["unsupervised"], terms)

    def _mixed(self, view: View, rng: np.random.Generator) -> View:
        if self.settings.mix == "none":
            return view
        if self.settings.mix == "classmix":
            mask_BHW, other = next_image(class_mask(view.label_BHW, self.num_classes, rng)), next_image
        else:
            mask_BHW, other = box_mask(view.label_BHW.shape, rng, area=CUTMIX_AREA).to(view.label_BHW.device), partner
        return View(*(paste(mask_BHW, other(each), each) for each in view))

    def _learn(self, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        view = flip(view, self.config.augment.flip, rng)
        logits_BChw = self.student(standardise(jitter(view.rgb_B3HW, self.settings.jitter, rng)))
        logits_BCHW = self.full_size(logits_BChw, view.label_BHW)
        loss_BHW = cross_entropy_map(logits_BCHW, view.label_BHW)
        fixed, threshold = self.settings.confidence == "fixed", self.settings.confidence_threshold
        weight_BHW, share = pixel_weights(view, fixed=fixed, threshold=threshold)
        # Over all valid pixels, not over the confident ones: a batch without any should not weigh as much.
        return mean_where(loss_BHW * weight_BHW, view.label_BHW != IGNORE), share


def pixel_weights(view: View, *, fixed: bool, threshold: float) -> tuple[Tensor, Tensor]:
    """What each pixel counts in the loss, and of the pixels labelled by the teacher the share that is confident, over
    the batch (published ClassMix code).

    True labels count 1 and are not in the share: they say nothing of the teacher.

    Parameters
    ----------
    fixed : count the teacher's labels 1 where they are confident and 0 elsewhere; otherwise as much as that share.
    threshold : from which on they are confident.

    Returns
    -------
    float32 (B, H, W) and a scalar.
    """
    guessed_BHW = (view.label_BHW != IGNORE) & ~view.known_BHW
    confident_BHW = guessed_BHW & (view.confidence_BHW >= threshold)
    share = confident_BHW.sum() / guessed_BHW.sum().clamp(min=1)
    return torch.where(view.known_BHW, 1.0, confident_BHW.float() if fixed else share), share


def ramp(progress: float, share: float) -> float:
    """The sigmoid-shaped growth of a weight, exp(-5 (1 - t)^2), over the first `share` of a training; then 1."""
    return math.exp(-5.0 * (1.0 - progress / share) ** 2) if progress < share else 1.0
