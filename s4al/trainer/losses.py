"""Cross entropy at full resolution. Shape suffixes: B batch, C classes, H W image size, h w size at stride 4."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from s4al.data.masks import VOID


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
    label_BHW : int64 class ids, 254 and 255 = ignore.
    reduction : `"all"` divides the sum over labelled pixels by the number of all pixels, ignored ones included (the
        author-derived code of S4AL+: sparsely labelled images weigh less); `"valid"` divides by the labelled ones.
    align_corners : of the upsampling; the network's.
    normaliser : float scalar to divide by in place of the count that `reduction` names. Under DDP, which averages the
        gradients of its ranks: the mean count over ranks gives the loss of the global batch.

    Returns
    -------
    float32 scalar; exactly 0 with zero gradient where no pixel is labelled.
    """
    total = cross_entropy_map(upsample(logits_BChw, label_BHW, align_corners=align_corners), label_BHW).sum()
    return total / (pixel_count(label_BHW, reduction) if normaliser is None else normaliser)


def upsample(logits_BChw: Tensor, like_BHW: Tensor, *, align_corners: bool) -> Tensor:
    """Bilinear, to the size of a map of pixels; float32."""
    return F.interpolate(logits_BChw.float(), like_BHW.shape[-2:], mode="bilinear", align_corners=align_corners)


def labelled(label_BHW: Tensor) -> Tensor:
    """Bool: where there is a class, and neither void (254) nor nothing known (255)."""
    return label_BHW < VOID


def cross_entropy_map(logits_BCHW: Tensor, label_BHW: Tensor) -> Tensor:
    """float32 (B, H, W): the cross entropy of each pixel, exactly 0 where it is not labelled."""
    valid_BHW = labelled(label_BHW)
    class_B1HW = torch.where(valid_BHW, label_BHW, 0).unsqueeze(1)
    # Unlike torch's own 2-D cross entropy, log-softmax and gather are deterministic on CUDA, and quicker on the CPU.
    log_likelihood_BHW = F.log_softmax(logits_BCHW, dim=1).gather(1, class_B1HW).squeeze(1)
    return torch.where(valid_BHW, -log_likelihood_BHW, 0.0)


def divergence_map(target_BCHW: Tensor, logits_BCHW: Tensor) -> Tensor:
    """float32 (B, H, W): KL(target || softmax(logits)) of each pixel; its cross entropy less the target's entropy."""
    log_probability_BCHW = F.log_softmax(logits_BCHW.float(), dim=1)
    return (torch.xlogy(target_BCHW, target_BCHW) - target_BCHW * log_probability_BCHW).sum(dim=1)


def mean_where(map_BHW: Tensor, mask_BHW: Tensor) -> Tensor:
    """The mean of a map over the pixels of a bool mask; 0 with zero gradient where there are none."""
    return torch.where(mask_BHW, map_BHW, 0.0).sum() / mask_BHW.sum().clamp(min=1)


def pixel_count(label_BHW: Tensor, reduction: Literal["all", "valid"]) -> Tensor:
    """The float32 scalar that `cross_entropy` divides by; at least 1, and without a device synchronisation."""
    if reduction == "all":
        return torch.full((), float(label_BHW.numel()), device=label_BHW.device)
    return labelled(label_BHW).sum().clamp(min=1).float()
