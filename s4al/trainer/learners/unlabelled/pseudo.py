"""Pseudo-labels made while training: a teacher's most likely class of each pixel, and how sure it is of it."""

from __future__ import annotations

import torch
from torch import Tensor

from s4al.data.masks import IGNORE, VOID
from s4al.trainer.learners.unlabelled.views import View
from s4al.trainer.losses import labelled, upsample


@torch.no_grad()
def pseudo_label(rgb_B3HW: Tensor, logits_BChw: Tensor, truth_BHW: Tensor, *, align_corners: bool) -> View:
    """What is learnt from unlabelled images: the argmax of the logits with its probability, true labels with 1.

    Parameters
    ----------
    logits_BChw : a teacher's, of `rgb_B3HW`.
    truth_BHW : int64, 255 where nobody looked; where somebody found no class, 254, nothing is learnt (published S4AL
        code).
    """
    probability_BCHW = upsample(logits_BChw, truth_BHW, align_corners=align_corners).softmax(dim=1)
    confidence_BHW, label_BHW = probability_BCHW.max(dim=1)
    known_BHW, void_BHW = labelled(truth_BHW), truth_BHW == VOID
    confidence_BHW = torch.where(known_BHW, 1.0, torch.where(void_BHW, 0.0, confidence_BHW))
    label_BHW = torch.where(known_BHW, truth_BHW, torch.where(void_BHW, IGNORE, label_BHW))
    return View(rgb_B3HW, label_BHW, confidence_BHW, known_BHW)


def confident_share(view: View, threshold: float) -> Tensor:
    """eta of S4AL, float32 (B,): pixels with at least this confidence over pixels with a label, image by image.

    The numerator counts all pixels, as the published code does; ignored ones have confidence 0.
    """
    valid_B = (view.label_BHW != IGNORE).sum(dim=(1, 2)).clamp(min=1)
    return (view.confidence_BHW >= threshold).sum(dim=(1, 2)) / valid_B
