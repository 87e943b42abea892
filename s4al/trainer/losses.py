"""Cross entropy at full resolution. Shape suffixes: B batch, C classes, H W image size, h w size at stride 4."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from s4al.images import IGNORE


def cross_entropy(
    logits_BChw: Tensor,
    label_BHW: Tensor,
    *,
    reduction: Literal["all", "valid"],
    align_corners: bool,
    normaliser: Tensor | None = None,
) -> Tensor:
    """Pixel-wise cross entropy of the logits, upsampled bilinearly to the labels' size. Computed in float32.

    Parameters
    ----------
    logits_BChw : any float dtype.
    label_BHW : int64 class ids, 255 = ignore.
    reduction : `"all"` divides the sum over labelled pixels by the number of all pixels, ignored ones included (the
        author-derived code of S4AL+: sparsely labelled images weigh less); `"valid"` divides by the labelled ones.
    align_corners : of the upsampling; the network's.
    normaliser : float scalar to divide by in place of the count that `reduction` names. Under DDP, which averages the
        gradients of its ranks: the mean count over ranks gives the loss of the global batch.

    Returns
    -------
    float32 scalar; exactly 0 with zero gradient where no pixel is labelled.
    """
    logits_BCHW = F.interpolate(logits_BChw.float(), label_BHW.shape[-2:], mode="bilinear", align_corners=align_corners)
    valid_BHW = label_BHW != IGNORE
    class_B1HW = torch.where(valid_BHW, label_BHW, 0).unsqueeze(1)
    # Unlike torch's own 2-D cross entropy, log-softmax and gather are deterministic on CUDA, and quicker on the CPU.
    log_likelihood_BHW = F.log_softmax(logits_BCHW, dim=1).gather(1, class_B1HW).squeeze(1)
    total = -torch.where(valid_BHW, log_likelihood_BHW, 0.0).sum()
    return total / (pixel_count(label_BHW, reduction) if normaliser is None else normaliser)


def pixel_count(label_BHW: Tensor, reduction: Literal["all", "valid"]) -> Tensor:
    """The float32 scalar that `cross_entropy` divides by; at least 1, and without a device synchronisation."""
    if reduction == "all":
        return torch.full((), float(label_BHW.numel()), device=label_BHW.device)
    return (label_BHW != IGNORE).sum().clamp(min=1).float()
