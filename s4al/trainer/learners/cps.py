"""Cross pseudo supervision (Chen et al., CVPR 2021): two networks of different initialisation label for each other.

The first one is tested and exported; the two are never averaged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from s4al.config import TrainerConfig
from s4al.data.masks import IGNORE
from s4al.trainer.batches import Batch, normalise
from s4al.trainer.learners.learner import Learner, Losses, Setting, Step
from s4al.trainer.learners.unlabelled.mixing import box_mask, partner, paste
from s4al.trainer.losses import cross_entropy_map, labelled, mean_where
from s4al.trainer.networks.network import SegmentationNetwork

_BOXES, _AREA = 3, (0.25, 0.5)  # of CutMix, published code


class TwoNetworks(nn.Module):
    """Both networks' logits of the same images."""

    def __init__(self, first: SegmentationNetwork, second: SegmentationNetwork) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        return self.first(image_BCHW), self.second(image_BCHW)


class CrossPseudoSupervision(Learner):
    """Each network learns the most likely classes of the other, whatever their probability: of all images, or, with
    CutMix, of the mixed unlabelled ones.
    """

    figures = ("cross_entropy", "cross_pseudo", "agreement")

    def build(self, setting: Setting) -> TwoNetworks:
        return TwoNetworks(setting.build(0), setting.build(1))

    def networks(self) -> dict[str, nn.Module]:
        assert isinstance(self.trained, TwoNetworks)
        return {"model": self.trained.first, "second": self.trained.second}

    def parameter_groups(self, trainer: TrainerConfig) -> list[dict[str, Any]]:
        assert isinstance(self.trained, TwoNetworks)
        both = (self.trained.first, self.trained.second)
        return [group for network in both for group in network.parameter_groups(trainer)]

    def losses(self, batch: Batch, step: Step) -> Losses:
        (image_BHWC, label_BHW), *others = self.split(batch)
        logits = self.student(normalise(image_BHWC))
        supervision = torch.stack([self.supervise(each, label_BHW) for each in logits]).sum()
        full = [self.full_size(each, label_BHW) for each in logits]
        loss, agreement = self._teach_each_other(full, [each.detach().argmax(dim=1) for each in full])
        if self.settings.mix == "cutmix":
            loss = torch.zeros_like(loss)  # then the unlabelled images are all of it (published code)
        if others:
            rng = step.key.views(self.fabric.global_rank)
            more, agreement = self._unlabelled(normalise(others[0][0]), others[0][1], rng)
            loss = loss + more
        terms = {"cross_entropy": supervision, "cross_pseudo": loss, "agreement": agreement}
        return Losses(supervision + self.settings.weight * loss, terms)

    def _unlabelled(self, image_BCHW: Tensor, truth_BHW: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        if self.settings.mix == "none":
            full = [self.full_size(each, truth_BHW) for each in self.student(image_BCHW)]
            return self._teach_each_other(full, self._labels(full, truth_BHW))
        with torch.no_grad():
            clean = [self.full_size(each, truth_BHW) for each in self.student(image_BCHW)]
        labels = self._labels(clean, truth_BHW)
        mask_BHW = box_mask(truth_BHW.shape, rng, boxes=_BOXES, area=_AREA).to(truth_BHW.device)
        mixed = self.student(paste(mask_BHW, partner(image_BCHW), image_BCHW))
        return self._teach_each_other(
            [self.full_size(each, truth_BHW) for each in mixed],
            [paste(mask_BHW, partner(each), each) for each in labels],
        )

    @staticmethod
    def _labels(logits: list[Tensor], truth_BHW: Tensor) -> list[Tensor]:
        """What each network says, int64 (B, H, W), but where somebody looked what they found."""
        return [torch.where(truth_BHW != IGNORE, truth_BHW, each.detach().argmax(dim=1)) for each in logits]

    @staticmethod
    def _teach_each_other(logits: list[Tensor], labels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The loss, mean over the pixels that are not void, and the share of them on which the two agree."""
        first, second = logits
        by_first, by_second = labels
        valid_BHW = labelled(by_first)
        loss_BHW = cross_entropy_map(first, by_second) + cross_entropy_map(second, by_first)
        return mean_where(loss_BHW, valid_BHW), mean_where((by_first == by_second).float(), valid_BHW)
