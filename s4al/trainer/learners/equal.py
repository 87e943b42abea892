"""EquAL (Golestaneh & Kitani, BMVC 2020): a supervised network that says the same of an image and its mirror image.

Shape suffixes as in `losses`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from s4al.trainer.batches import Batch, normalise
from s4al.trainer.learners.learner import Losses, Step
from s4al.trainer.learners.supervised import Supervised


class Equal(Supervised):
    """Cross entropy of both, and the squared distance of their logits at every pixel, labelled or not."""

    figures = ("cross_entropy", "consistency")
    contrastive = False

    def losses(self, batch: Batch, step: Step) -> Losses:
        ((image_BHWC, label_BHW),) = self.split(batch)
        image_BCHW = normalise(image_BHWC)
        logits_BChw = self.student(torch.cat([image_BCHW, image_BCHW.flip(-1)]))
        own_BCHW, mirrored_BCHW = self.full_size(logits_BChw, label_BHW).chunk(2)
        back_BCHW = mirrored_BCHW.flip(-1)
        supervision = self.supervise(own_BCHW, label_BHW) + self.supervise(back_BCHW, label_BHW)
        consistency = mutual_distance(own_BCHW, back_BCHW)
        total = supervision + self.settings.weight * consistency
        return Losses(total, {"cross_entropy": supervision, "consistency": consistency})


def mutual_distance(first: Tensor, second: Tensor) -> Tensor:
    """The mean squared distance, once from each side with the other held fast (author code)."""
    return mse_loss(first, second.detach()) + mse_loss(second, first.detach())
