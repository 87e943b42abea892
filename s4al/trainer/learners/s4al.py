"""S4AL: a mean teacher labels unlabelled images, the student learns them mixed (Rangnekar, Kanan & Hoffman, "Semantic
Segmentation with Active Semi-Supervised Learning", WACV 2023); numbers of the published code where the paper has none.

Two losses on unlabelled images: ClassMix within the batch, and from the second cycle on balanced ClassMix, which pastes
classes that are rare among the labels from images of a replay buffer.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from s4al.data.masks import VOID
from s4al.trainer.batches import Batch
from s4al.trainer.learners.learner import Learner, Losses, Setting, Step
from s4al.trainer.learners.unlabelled.mixing import class_mask, mask_of_classes, next_image, paste
from s4al.trainer.learners.unlabelled.pseudo import confident_share, pseudo_label
from s4al.trainer.learners.unlabelled.replay import Replay
from s4al.trainer.learners.unlabelled.teacher import MeanTeacher
from s4al.trainer.learners.unlabelled.views import View, flip, jitter, rescale, rgb, standardise
from s4al.trainer.losses import cross_entropy_map

_COLD_START_WEIGHT = 1.5  # of the labelled loss, while it is alone
# The published code draws 3 of the first and 2 (CamVid) or 3 (Cityscapes) of the second, whatever is in the image.
_PUBLISHED_CLASSES = {
    "camvid": (((0, 1, 3, 4, 5), 3), ((2, 6, 7, 8, 9, 10), 2)),
    "cityscapes": (((0, 1, 2, 8, 10, 13), 3), ((3, 4, 5, 6, 7, 9, 11, 12, 14, 15, 16, 17, 18), 3)),
}


class S4al(Learner):
    figures = ("cross_entropy", "unsupervised", "replay", "confident")

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        settings = setting.config.learner
        self._cold_epochs = round(settings.cold_start * setting.config.trainer.epochs)
        if settings.replay_size and setting.cycle > 0 and not self.labels_only:
            self.replay = Replay(
                setting.parts,
                seed=setting.config.run.seed,
                cycle=setting.cycle,
                size=settings.replay_size,
                fill_from=self._cold_epochs * setting.per_epoch,
                draw_from=round(settings.replay_start * setting.config.trainer.epochs) * setting.per_epoch,
            )
            self._draw_classes = _class_drawer(setting)

    def ready(self, student: nn.Module) -> None:
        super().ready(student)
        self.teacher = MeanTeacher(self.trained, decay=self.settings.decay, buffers=False)

    def after_step(self, step: Step) -> None:
        super().after_step(step)
        if self.teacher and (self.labels_only or step.epoch < self._cold_epochs):
            self.teacher.adopt_statistics(self.trained)

    def losses(self, batch: Batch, step: Step) -> Losses:
        (image_BHWC, label_BHW), *others = self.split(batch)
        rng = step.key.views(self.fabric.global_rank)
        rgb_B3HW = jitter(rgb(image_BHWC), self.settings.jitter, rng)
        supervision = self.supervise(self.student(standardise(rgb_B3HW)), label_BHW)
        zero = torch.zeros((), device=self.fabric.device)
        terms = {"cross_entropy": supervision, "unsupervised": zero, "replay": zero, "confident": zero}
        if not others:
            return Losses(supervision, terms)
        if step.epoch < self._cold_epochs:
            return Losses(_COLD_START_WEIGHT * supervision, terms)
        views = [self._labelled_by_teacher(*other) for other in others if len(other[0])]
        terms["unsupervised"], terms["confident"] = self._learn(self._mixed_within(views[0], rng), rng)
        if len(views) > 1:
            terms["replay"], _ = self._learn(self._mixed_with(views[1], views[0], rng), rng)
        return Losses(supervision + terms["unsupervised"] + terms["replay"], terms)

    def _labelled_by_teacher(self, image_BHWC: Tensor, truth_BHW: Tensor) -> View:
        assert self.teacher
        rgb_B3HW = rgb(image_BHWC)
        logits_BChw = self.predict(self.teacher.network, standardise(rgb_B3HW))
        return pseudo_label(rgb_B3HW, logits_BChw, truth_BHW, align_corners=self.config.model.align_corners)

    def _mixed_within(self, view: View, rng: np.random.Generator) -> View:
        """A second random crop, then half of the classes of each image onto the next one."""
        augment = self.config.augment
        view = rescale(view, augment.scale_min, augment.scale_max, rng)
        mask_BHW = next_image(class_mask(view.label_BHW, self.num_classes, rng))
        return View(*(paste(mask_BHW, next_image(each), each) for each in view))

    def _mixed_with(self, replayed: View, view: View, rng: np.random.Generator) -> View:
        """Classes that are rare among the labels from replayed images onto new ones."""
        mask_BHW = mask_of_classes(replayed.label_BHW, self._draw_classes(len(replayed.label_BHW), rng))
        return View(*(paste(mask_BHW, source, target) for source, target in zip(replayed, view, strict=True)))

    def _learn(self, view: View, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Cross entropy, weighted by the confidence of each pixel and the confident share of each image."""
        view = flip(view, self.config.augment.flip, rng)
        seen_B3HW = jitter(view.rgb_B3HW, self.settings.jitter, rng)
        logits_BCHW = self.full_size(self.student(standardise(seen_B3HW)), view.label_BHW)
        share_B = confident_share(view, self.settings.confidence_threshold)
        return weighted_loss(cross_entropy_map(logits_BCHW, view.label_BHW), view, share_B), share_B.mean()


def weighted_loss(loss_BHW: Tensor, view: View, weight_B: Tensor) -> Tensor:
    """The mean of loss x confidence over the pixels where that is not 0, each image's share times its weight."""
    weighted_BHW = loss_BHW * view.confidence_BHW
    total = (weighted_BHW * weight_B.view(-1, 1, 1)).sum()
    return total / (weighted_BHW > 0).sum().clamp(min=1)


def _class_drawer(setting: Setting) -> Callable[[int, np.random.Generator], np.ndarray]:
    """A function (count, rng) -> int64 (count, K): the classes to paste, image by image."""
    settings = setting.config.learner
    if settings.balance == "published":
        groups = [(classes, wanted, None) for classes, wanted in _PUBLISHED_CLASSES[setting.config.data.adapter]]
    else:
        chance_C = rare_classes(label_counts(setting))
        groups = [(len(chance_C), min(settings.balance_classes, int((chance_C > 0).sum())), chance_C)]

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        images = ([rng.choice(*group[:2], replace=False, p=group[2]) for group in groups] for _ in range(count))
        return np.stack([np.concatenate(image) for image in images])

    return draw


def label_counts(setting: Setting) -> np.ndarray:
    """int64 (C,): the labelled pixels of each class."""
    targets = setting.targets
    counts = np.zeros(256, np.int64)
    for row in (*targets.labelled, *targets.asked):
        counts += np.bincount(targets.labels[row].ravel(), minlength=256)
    assert not counts[setting.num_classes : VOID].any()
    return counts[: setting.num_classes]


def rare_classes(counts_C: np.ndarray) -> np.ndarray:
    """Chances of the classes, falling with the square root of their frequency; 0 for those nobody has labelled.

    The paper asks for one distribution that favours the tail and gives no formula.
    """
    weight_C = np.where(counts_C > 0, 1 / np.sqrt(np.maximum(counts_C, 1)), 0.0)
    return weight_C / weight_C.sum()
