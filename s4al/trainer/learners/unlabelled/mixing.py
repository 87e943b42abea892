"""CutMix and ClassMix: masks that say which pixels of one image are pasted onto another.

Shape suffixes: B batch, C classes, H W image size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from s4al.trainer.losses import labelled


def paste(mask_BHW: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """`source` where the mask is True, `target` elsewhere; (B, H, W) or (B, ?, H, W)."""
    return torch.where(mask_BHW if source.dim() == 3 else mask_BHW.unsqueeze(1), source, target)


def next_image(tensor: Tensor) -> Tensor:
    """Row i of the result is row i - 1: pasted from image i onto image i + 1, in a ring (ClassMix of S4AL)."""
    return tensor.roll(1, dims=0)


def partner(tensor: Tensor) -> Tensor:
    """Rows 2k and 2k + 1 exchanged (CutMix). The batch must be even."""
    return tensor.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def class_mask(label_BHW: Tensor, num_classes: int, rng: np.random.Generator) -> Tensor:
    """Bool (B, H, W): the pixels of half of the label values of each image, rounded down (Olsson et al. 2021).

    The ignored pixels are a value among them, as in the published code.
    """
    slot_BHW = torch.where(labelled(label_BHW), label_BHW, num_classes)
    slots_BP = slot_BHW.flatten(1)
    present_BS = torch.zeros(len(slots_BP), num_classes + 1, dtype=torch.bool, device=label_BHW.device)
    present_BS.scatter_(1, slots_BP, True)
    order = torch.from_numpy(rng.random(present_BS.shape)).to(label_BHW.device)
    # Values that are absent come last; the first half of those that are there is taken.
    rank_BS = torch.where(present_BS, order, 2.0).argsort(dim=1).argsort(dim=1)
    chosen_BS = present_BS & (rank_BS < (present_BS.sum(dim=1, keepdim=True) // 2))
    return chosen_BS.gather(1, slots_BP).view_as(label_BHW)


def mask_of_classes(label_BHW: Tensor, classes_BK: np.ndarray) -> Tensor:
    """Bool (B, H, W): the pixels of image b that have one of the classes `classes_BK[b]`, absent ones among them."""
    wanted = torch.from_numpy(classes_BK).to(label_BHW.device)
    return (label_BHW.unsqueeze(1) == wanted[:, :, None, None]).any(dim=1)


def box_mask(shape: Sequence[int], rng: np.random.Generator, *, boxes: int = 1, area: tuple[float, float]) -> Tensor:
    """Bool (B, H, W) of a shape, on the CPU: rectangles of random shape and place.

    Parameters
    ----------
    boxes : rectangles an image; where two overlap the mask is toggled (French et al. 2020).
    area : range of the share of the image that they cover together, overlaps and rounding aside.
    """
    masks = np.zeros(shape, bool)
    for mask in masks:
        share = rng.uniform(*area)
        for _ in range(boxes):
            rows = math.exp(rng.random() * math.log(share))  # log-uniform between the share and 1
            sides = (rows / math.sqrt(boxes), share / rows / math.sqrt(boxes))
            y0, y1, x0, x1 = (
                edge for side, length in zip(sides, mask.shape, strict=True) for edge in _interval(side, length, rng)
            )
            mask[y0:y1, x0:x1] ^= True
    return torch.from_numpy(masks)


def _interval(share: float, length: int, rng: np.random.Generator) -> tuple[int, int]:
    size = round(share * length)
    start = int(rng.integers(length - size + 1))
    return start, start + size
