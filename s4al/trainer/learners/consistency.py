"""One-way consistency: the student, on perturbed images, should say what a teacher says on clean ones.

    cutmix       KL, mean over pixels                                         (Grubišić, Oršić & Šegvić)
    cutmix-star  squared distance of probabilities where the teacher is sure  (French et al. 2020)
    phtps        KL under a photometric and a thin-plate-spline perturbation  (Grubišić, Oršić & Šegvić)
    uda          KL to the sharpened, sure prediction, labels annealed        (Xie et al. 2020)

A simple teacher is the student itself without gradient, in training mode; batch norm remembers its pass, and not the
student's perturbed one. A mean teacher predicts in evaluation mode and averages batch norm's statistics as well. Where
regions of an unlabelled image are labelled, the label is the target, and a void pixel is left out.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s4al.data.masks import VOID
from s4al.trainer.batches import Batch, normalise
from s4al.trainer.learners.learner import Learner, Losses, Step
from s4al.trainer.learners.mean_teacher import CUTMIX_AREA
from s4al.trainer.learners.phtps import Spline, draw_spline, photometric, seen_pixels, valid_pixels, warp, warp_grid
from s4al.trainer.learners.unlabelled.mixing import box_mask, partner, paste
from s4al.trainer.learners.unlabelled.teacher import MeanTeacher, frozen_statistics
from s4al.trainer.learners.unlabelled.views import rgb, standardise
from s4al.trainer.losses import cross_entropy_map, divergence_map, labelled, mean_where
from s4al.trainer.targets import Targets

_SURE = 30.0  # a logit beside which those at 0 vanish in float32


class Consistency(Learner):
    """The common step: labelled loss, teacher, perturbation, distance."""

    figures = ("cross_entropy", "consistency", "confident")

    def ready(self, student: nn.Module) -> None:
        super().ready(student)
        if self.settings.teacher == "mean":
            self.teacher = MeanTeacher(self.trained, decay=self.settings.decay, buffers=True)

    @classmethod
    def unlabelled_rows(cls, targets: Targets) -> Sequence[int]:
        """All images, the labelled ones without their labels (Grubišić et al.)."""
        return range(len(targets.labels))

    def losses(self, batch: Batch, step: Step) -> Losses:
        (image_BHWC, label_BHW), *others = self.split(batch)
        supervision = self.learn_labels(self.student(normalise(image_BHWC)), label_BHW, step)
        terms = {"cross_entropy": supervision} | dict.fromkeys(self.figures[1:], torch.zeros_like(supervision.detach()))
        if not others:
            return Losses(supervision, terms)
        image_BHWC, truth_BHW = others[0]
        rng = step.key.views(self.fabric.global_rank)
        terms["consistency"], terms["confident"] = self.consistency(rgb(image_BHWC), truth_BHW, rng)
        return Losses(supervision + self.settings.weight * terms["consistency"], terms)

    def learn_labels(self, logits_BChw: Tensor, label_BHW: Tensor, step: Step) -> Tensor:
        return self.supervise(logits_BChw, label_BHW)

    @abstractmethod
    def consistency(self, rgb_B3HW: Tensor, truth_BHW: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The loss, and the share of pixels that take part in it."""

    def target(self, rgb_B3HW: Tensor, truth_BHW: Tensor) -> Tensor:
        """float32 (B, C, H, W): the teacher's logits at full size, without gradient."""
        if self.teacher:
            logits_BChw = self.predict(self.teacher.network, standardise(rgb_B3HW))
        else:
            with torch.no_grad():
                logits_BChw = self.student(standardise(rgb_B3HW))
        return self.full_size(logits_BChw, truth_BHW)

    def perturbed(self, rgb_B3HW: Tensor, like_BHW: Tensor) -> Tensor:
        """float32 (B, C, H, W): the student's logits on images that batch norm is not to remember."""
        with frozen_statistics(self.trained):
            return self.full_size(self.student(standardise(rgb_B3HW)), like_BHW)


def with_truth(logits_BCHW: Tensor, truth_BHW: Tensor) -> Tensor:
    """Logits whose softmax is 1 for the label wherever there is one."""
    known_BHW = labelled(truth_BHW)
    one_hot = F.one_hot(torch.where(known_BHW, truth_BHW, 0), logits_BCHW.shape[1]).permute(0, 3, 1, 2)
    return torch.where(known_BHW.unsqueeze(1), _SURE * one_hot, logits_BCHW)


class CutMix(Consistency):
    """Two images exchange a rectangle of half their area, and so do the teacher's predictions."""

    def consistency(self, rgb_B3HW: Tensor, truth_BHW: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        probability_BCHW = with_truth(self.target(rgb_B3HW, truth_BHW), truth_BHW).softmax(dim=1)
        # A pair has one rectangle, which both give away.
        mask_BHW = box_mask(truth_BHW[::2].shape, rng, area=CUTMIX_AREA)
        mask_BHW = mask_BHW.repeat_interleave(2, dim=0).to(rgb_B3HW.device)
        target_BCHW = paste(mask_BHW, partner(probability_BCHW), probability_BCHW)
        logits_BCHW = self.perturbed(paste(mask_BHW, partner(rgb_B3HW), rgb_B3HW), truth_BHW)
        counts_BHW = truth_BHW != VOID
        return self.distance(target_BCHW, logits_BCHW, paste(mask_BHW, partner(counts_BHW), counts_BHW))

    def distance(self, target_BCHW: Tensor, logits_BCHW: Tensor, counts_BHW: Tensor) -> tuple[Tensor, Tensor]:
        """A scalar over the pixels that count, and their share."""
        return mean_where(divergence_map(target_BCHW, logits_BCHW), counts_BHW), counts_BHW.float().mean()


class CutMixStar(CutMix):
    def distance(self, target_BCHW: Tensor, logits_BCHW: Tensor, counts_BHW: Tensor) -> tuple[Tensor, Tensor]:
        """Squared L2 where the target is sure, averaged over all pixels, those that do not count as 0."""
        sure_BHW = ((target_BCHW.amax(dim=1) >= self.settings.confidence_threshold) & counts_BHW).float()
        squared_BHW = (target_BCHW - logits_BCHW.softmax(dim=1)).square().sum(dim=1)
        return (squared_BHW * sure_BHW).mean(), sure_BHW.mean()


class _Perturbation(NamedTuple):
    """One draw of PhTPS: the perturbed images and the warp they underwent."""

    rgb_B3HW: Tensor
    spline: Spline


class PhTPS(Consistency):
    """Four ways to place perturbation and gradient (section 3.2): only the perturbed student, 1w-ps, clearly helps, and
    only it uses the labels of regions in unlabelled images.
    """

    def consistency(self, rgb_B3HW: Tensor, truth_BHW: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        first, counts_BHW = self._perturb(rgb_B3HW, rng), truth_BHW != VOID
        match self.settings.variant:
            case "1w-ps":
                logits_BCHW = self.perturbed(first.rgb_B3HW, truth_BHW)
                target_BCHW = with_truth(self.target(rgb_B3HW, truth_BHW), truth_BHW)
                grid_BHW2 = warp_grid(first.spline, logits_BCHW)
                return _compare(warp(target_BCHW, grid_BHW2), logits_BCHW, seen_pixels(counts_BHW, grid_BHW2))
            case "1w-pt":
                logits_BCHW = self.full_size(self.student(standardise(rgb_B3HW)), truth_BHW)
                with frozen_statistics(self.trained):
                    target_BCHW = self.target(first.rgb_B3HW, truth_BHW)
                grid_BHW2 = warp_grid(first.spline, logits_BCHW)
                return _compare(target_BCHW, warp(logits_BCHW, grid_BHW2), seen_pixels(counts_BHW, grid_BHW2))
            case "2w-p1":  # the published code turns the divergence round, as for 1w-pt
                clean_BCHW = self.full_size(self.student(standardise(rgb_B3HW)), truth_BHW)
                logits_BCHW = self.perturbed(first.rgb_B3HW, truth_BHW)
                grid_BHW2 = warp_grid(first.spline, logits_BCHW)
                return _compare(logits_BCHW, warp(clean_BCHW, grid_BHW2), seen_pixels(counts_BHW, grid_BHW2))
            case "1w-p2":
                second = self._perturb(rgb_B3HW, rng)
                logits_BCHW = self.perturbed(second.rgb_B3HW, truth_BHW)
                target_BCHW = self.target(first.rgb_B3HW, truth_BHW)
                grid_BHW2 = warp_grid(second.spline, logits_BCHW, back=first.spline)
                # What the student sees, what the teacher saw, and where what it said of that went.
                valid_BHW = seen_pixels(counts_BHW, warp_grid(second.spline, logits_BCHW))
                valid_BHW &= seen_pixels(valid_pixels(warp_grid(first.spline, logits_BCHW)), grid_BHW2)
                return _compare(warp(target_BCHW, grid_BHW2), logits_BCHW, valid_BHW)

    def _perturb(self, rgb_B3HW: Tensor, rng: np.random.Generator) -> _Perturbation:
        settings = self.settings
        spline = draw_spline(len(rgb_B3HW), rng, sigma=settings.warp_sigma, points=settings.warp_points)
        grid_BHW2 = warp_grid(spline, rgb_B3HW)
        return _Perturbation(warp(photometric(rgb_B3HW, rng), grid_BHW2), spline)


def _compare(target_BCHW: Tensor, logits_BCHW: Tensor, valid_BHW: Tensor) -> tuple[Tensor, Tensor]:
    """KL of the softmax of both, mean over the valid pixels; and their share."""
    loss_BHW = divergence_map(target_BCHW.softmax(dim=1), logits_BCHW)
    return mean_where(loss_BHW, valid_BHW), valid_BHW.float().mean()


class Uda(Consistency):
    """Unsupervised data augmentation, pixel by pixel, with the photometric half of PhTPS as the augmentation.

    The blog post on segmentation (SmartLab AI 2021) names no operations and no numbers; the numbers are those of the
    published code for images.
    """

    def consistency(self, rgb_B3HW: Tensor, truth_BHW: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        clean_BCHW = self.target(rgb_B3HW, truth_BHW)
        sure_BHW = clean_BCHW.softmax(dim=1).amax(dim=1) > self.settings.confidence_threshold
        target_BCHW = with_truth(clean_BCHW / self.settings.temperature, truth_BHW).softmax(dim=1)
        sure_BHW = (sure_BHW | labelled(truth_BHW)) & (truth_BHW != VOID)
        loss_BHW = divergence_map(target_BCHW, self.perturbed(photometric(rgb_B3HW, rng), truth_BHW))
        return torch.where(sure_BHW, loss_BHW, 0.0).mean(), sure_BHW.float().mean()

    def learn_labels(self, logits_BChw: Tensor, label_BHW: Tensor, step: Step) -> Tensor:
        """Training-signal annealing: labelled pixels that are known better than the schedule allows are left out."""
        if self.settings.annealing == "none":
            return self.supervise(logits_BChw, label_BHW)
        loss_BHW = cross_entropy_map(self.full_size(logits_BChw, label_BHW), label_BHW)
        limit = annealing_threshold(self.settings.annealing, step.progress, self.num_classes)
        # The loss is -log p of the label.
        return mean_where(loss_BHW, labelled(label_BHW) & (loss_BHW.detach() >= -math.log(limit)))


def annealing_threshold(schedule: str, progress: float, num_classes: int) -> float:
    """The probability of the label above which a pixel is left out: from 1 / C at the start to 1 at the end."""
    alpha = {
        "linear": progress,
        "exp": math.exp(5 * (progress - 1)),
        "log": 1 - math.exp(-5 * progress),
    }[schedule]
    return alpha * (1 - 1 / num_classes) + 1 / num_classes
