"""The difficulty branch of DEAL (Xie et al., ACCV 2020): from class logits to where the network will be wrong.

Shape suffixes: B batch, C classes, H W image size, h w size at the network's stride, r s the attention's cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from s4al.data.masks import IGNORE, VOID
from s4al.trainer.losses import mean_where


class DifficultyBranch(nn.Module):
    """Position attention on class probabilities, whose weight starts at 0, and a 1x1 convolution.

    Parameters
    ----------
    scale : cells of the attention per pixel of the logits, along an axis. Its memory grows with the fourth power.
    """

    def __init__(self, num_classes: int, *, scale: float, align_corners: bool) -> None:
        super().__init__()
        self.scale, self.align_corners = scale, align_corners
        self.attention_weight = nn.Parameter(torch.zeros(1))
        self.classifier = nn.Conv2d(num_classes, 1, 1)

    def forward(self, logits_BChw: Tensor) -> Tensor:
        """float (B, C, h, w) -> float (B, 1, r, s): the logit of the probability of being wrong."""
        cells = [max(1, round(side * self.scale)) for side in logits_BChw.shape[-2:]]
        small = F.interpolate(logits_BChw, cells, mode="bilinear", align_corners=self.align_corners)
        probability_BCrs = small.softmax(dim=1)
        flat_BCN = probability_BCrs.flatten(2)
        attention_BNN = (flat_BCN.transpose(1, 2) @ flat_BCN).softmax(dim=-1)
        attended_BCrs = (flat_BCN @ attention_BNN.transpose(1, 2)).view_as(probability_BCrs)
        return self.classifier(self.attention_weight * attended_BCrs + probability_BCrs)


def difficulty_loss(
    difficulty_BHW: Tensor, predicted_BHW: Tensor, label_BHW: Tensor, *, unknown_is_easy: bool = True
) -> Tensor:
    """Binary cross entropy against "the prediction is wrong", right and wrong pixels each as a mean.

    Their weights are 1 / sqrt(pixels + 1), brought to a sum of 1 (author code).

    Parameters
    ----------
    difficulty_BHW : float logits. predicted_BHW : int64 class ids.
    label_BHW : int64 class ids; void pixels, 254, count as right (author code).
    unknown_is_easy : so do those nobody looked at, 255, which is padding in images that are labelled as a whole;
        otherwise they do not count.

    Returns
    -------
    float32 scalar; 0 with zero gradient where no pixel counts.
    """
    wrong_BHW = (label_BHW < VOID) & (predicted_BHW != label_BHW)
    right_BHW = ~wrong_BHW if unknown_is_easy else (label_BHW != IGNORE) & ~wrong_BHW
    loss_BHW = F.binary_cross_entropy_with_logits(difficulty_BHW.float(), wrong_BHW.float(), reduction="none")
    weights = (torch.stack([right_BHW.sum(), wrong_BHW.sum()]) + 1).rsqrt()
    right, wrong = weights / weights.sum()
    return right * mean_where(loss_BHW, right_BHW) + wrong * mean_where(loss_BHW, wrong_BHW)
