"""What learners do to a batch on the device: other crops, flips and colours of images that are labelled already.

Numbers are drawn on the host from the step's generator and applied to whole batches, so no image waits for another and
the device is never waited for. Images are float RGB (B, 3, H, W) on the scale 0..1. Shape suffixes: B batch, H W image
size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from s4al.data.masks import IGNORE
from s4al.trainer.networks.network import IMAGENET_MEAN, IMAGENET_STD

_JITTERED = 0.5  # of the images (published code)
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


class View(NamedTuple):
    """Images, and what is known of their pixels.

    rgb_B3HW : float, 0..1. label_BHW : int64 class ids, 255 = ignore. confidence_BHW : float, 0..1, of the label.
    known_BHW : bool, where the label is a true one.
    """

    rgb_B3HW: Tensor
    label_BHW: Tensor
    confidence_BHW: Tensor
    known_BHW: Tensor


def rgb(image_BHWC: Tensor) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W), 0..1, in channels-last memory."""
    return (image_BHWC.float() / 255).permute(0, 3, 1, 2)


def standardise(rgb_B3HW: Tensor) -> Tensor:
    """As the network wants it: ImageNet mean and deviation."""
    mean = torch.tensor(IMAGENET_MEAN, device=rgb_B3HW.device).view(3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=rgb_B3HW.device).view(3, 1, 1)
    return (rgb_B3HW - mean) / std


def rescale(view: View, scale_min: float, scale_max: float, rng: np.random.Generator) -> View:
    """Scale each image uniformly, with antialiasing, and crop it at random to its old size.

    What is missing at the right and at the bottom is mirrored in the image, ignored in the label (published S4AL code).
    """
    size = view.rgb_B3HW.shape[-2:]
    scale_B = rng.uniform(scale_min, scale_max, len(view.rgb_B3HW))
    offset_B2 = rng.uniform(0.0, 1.0, (len(view.rgb_B3HW), 2))
    scaled = [
        _scale_and_crop(
            View(*(each[index : index + 1] for each in view)),
            [max(1, round(side * scale)) for side in size],
            offset_2.tolist(),
        )
        for index, (scale, offset_2) in enumerate(zip(scale_B.tolist(), offset_B2, strict=True))
    ]
    return View(*(torch.cat(each) for each in zip(*scaled, strict=True)))


def _scale_and_crop(view: View, scaled: list[int], offset: list[float]) -> View:
    """One image, to a size, and of that from a share of the spare rows and columns on what the old size holds."""
    image = F.interpolate(view.rgb_B3HW, scaled, mode="bilinear", antialias=True)
    maps = [F.interpolate(each.unsqueeze(1).float(), scaled, mode="nearest-exact")[:, 0] for each in view[1:]]
    rows, columns = (
        torch.arange(side, device=image.device) + int(share * max(length - side + 1, 1))
        for side, length, share in zip(view.rgb_B3HW.shape[-2:], scaled, offset, strict=True)
    )
    inside_HW = (rows < scaled[0]).unsqueeze(1) & (columns < scaled[1])
    rows, columns = (_mirrored(each, length) for each, length in zip((rows, columns), scaled, strict=True))
    label, confidence, known = (each[:, rows[:, None], columns] for each in maps)
    return View(
        image[:, :, rows[:, None], columns],
        torch.where(inside_HW, label.long(), IGNORE),
        torch.where(inside_HW, confidence, 0.0),
        inside_HW & (known > 0.5),
    )


def _mirrored(index: Tensor, length: int) -> Tensor:
    """Positions beyond the end of an axis, counted back from there, its last pixel twice; and so on."""
    index = index % (2 * length)
    return torch.minimum(index, 2 * length - 1 - index)


def flip(view: View, share: float, rng: np.random.Generator) -> View:
    """Mirror a share of the images."""
    chosen_B = torch.from_numpy(rng.random(len(view.rgb_B3HW)) < share).to(view.rgb_B3HW.device)
    return View(*(torch.where(_per_image(chosen_B, each), each.flip(-1), each) for each in view))


def jitter(rgb_B3HW: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Brightness, then contrast, of half of the images, by factors uniform in 1 +- `strength`; clipped to 0..1."""
    count = len(rgb_B3HW)
    factors_2B = np.where(rng.random(count) < _JITTERED, rng.uniform(1 - strength, 1 + strength, (2, count)), 1.0)
    brightness, contrast = (_column(each, rgb_B3HW) for each in factors_2B)
    bright = (rgb_B3HW * brightness).clamp(0, 1)
    grey_B = (bright * torch.tensor(_GREY, device=bright.device, dtype=bright.dtype).view(3, 1, 1)).sum(dim=1)
    mean_B = _per_image(grey_B.mean(dim=(1, 2)), bright)
    return ((bright - mean_B) * contrast + mean_B).clamp(0, 1)


def _column(values_B: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(values_B).to(like).view(-1, 1, 1, 1)


def _per_image(values_B: Tensor, like: Tensor) -> Tensor:
    return values_B.view(-1, *[1] * (like.dim() - 1))
