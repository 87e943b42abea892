"""Weak and strong augmentation of one training image, in uint8 on the CPU.

The operations are those of S4AL+ (arXiv 2210.08403), their order and parameters those of the author-derived code. All
randomness comes from the generator that is passed in, so that one keyed by (seed, cycle, step, slot) makes a resumed
run see the same images. Shape suffixes: H W C, image height, width, channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from s4al.config import AugmentConfig
from s4al.data.masks import IGNORE

Pixels = NDArray[np.uint8]
_BLACK = 0  # of padding and holes, before normalisation


def weak(
    image_HWC: Pixels,
    label_HW: Pixels,
    *,
    rng: np.random.Generator,
    config: AugmentConfig,
    height: int,
    width: int,
    reflect: bool = False,
) -> tuple[Pixels, Pixels]:
    """Scale uniformly, pad around the centre or crop at random to `height` x `width`, flip.

    Parameters
    ----------
    image_HWC : uint8 RGB, of any size.
    label_HW : uint8 class ids of the same size, 254 = void, 255 = not labelled.
    reflect : pad with the mirrored image, for learners that label what they see; otherwise with black.

    Returns
    -------
    uint8 image (height, width, 3), bilinear with antialiasing, and label (height, width), nearest; new arrays. Padding
    is 255 in the label.
    """
    assert image_HWC.shape[:2] == label_HW.shape, (image_HWC.shape, label_HW.shape)
    scale = rng.uniform(config.scale_min, config.scale_max)
    y0, y1, top, bottom = _window(image_HWC.shape[0], height, scale, rng)
    x0, x1, left, right = _window(image_HWC.shape[1], width, scale, rng)

    # Resizing only the part that is kept gives the pixels of "resize, then crop" at a fraction of its cost.
    size, box = (right - left, bottom - top), (x0, y0, x1, y1)
    resized_image = np.asarray(Image.fromarray(image_HWC).resize(size, Image.Resampling.BILINEAR, box))
    resized_label = np.asarray(Image.fromarray(label_HW).resize(size, Image.Resampling.NEAREST, box))
    margins = ((top, height - bottom), (left, width - right))
    image = np.pad(resized_image, (*margins, (0, 0)), "symmetric" if reflect else "constant")
    label = np.pad(resized_label, margins, constant_values=IGNORE)
    if rng.random() < config.flip:
        image, label = np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(label[:, ::-1])
    return image, label


def strong(
    image_HWC: Pixels, label_HW: Pixels, *, rng: np.random.Generator, config: AugmentConfig
) -> tuple[Pixels, Pixels]:
    """Blur, or else perhaps jitter the colours (and then perhaps grey); then perhaps cut a square hole.

    Applied to weakly augmented images. The label of the hole becomes 255: in the published code a pseudo-label there
    becomes class 0 and is learnt.

    Parameters
    ----------
    image_HWC : uint8 RGB.
    label_HW : uint8 class ids of the same size, 254 = void, 255 = not labelled.

    Returns
    -------
    uint8 image and label of the same shapes; new arrays.
    """
    assert image_HWC.shape[:2] == label_HW.shape, (image_HWC.shape, label_HW.shape)
    image = Image.fromarray(image_HWC)
    if rng.random() < config.blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(config.blur_sigma_min, config.blur_sigma_max)))
    elif rng.random() < config.jitter:
        image = _jitter(image, rng, config)
        if rng.random() < config.grey:
            image = image.convert("L").convert("RGB")
    image_HWC, label_HW = np.array(image), label_HW.copy()
    if rng.random() < config.cutout:
        hole = _square(label_HW.shape, config.cutout_pixels, rng)
        image_HWC[hole], label_HW[hole] = _BLACK, IGNORE
    return image_HWC, label_HW


def _window(source: int, target: int, scale: float, rng: np.random.Generator) -> tuple[float, float, int, int]:
    """One axis of scale, pad and crop: the interval of the source (float pixels) and where it goes in the target."""
    scaled = max(1, round(source * scale))
    kept = min(scaled, target)
    start = int(rng.integers(scaled - kept + 1))
    first = (target - kept) // 2
    return start * source / scaled, (start + kept) * source / scaled, first, first + kept


def _jitter(image: Image.Image, rng: np.random.Generator, config: AugmentConfig) -> Image.Image:
    """Brightness, contrast, saturation and hue in random order, with the factors of torchvision's ColorJitter."""
    brightness, contrast, saturation = (
        rng.uniform(max(0.0, 1.0 - strength), 1.0 + strength)
        for strength in (config.brightness, config.contrast, config.saturation)
    )
    hue = rng.uniform(-config.hue, config.hue)
    for operation in rng.permutation(4):
        match operation:
            case 0:
                image = ImageEnhance.Brightness(image).enhance(brightness)
            case 1:
                image = ImageEnhance.Contrast(image).enhance(contrast)
            case 2:
                image = ImageEnhance.Color(image).enhance(saturation)
            case _:
                image = _shift_hue(image, hue)
    return image


def _shift_hue(image: Image.Image, turn: float) -> Image.Image:
    """Turn the hue by a part of the full circle."""
    hue, saturation, value = image.convert("HSV").split()
    steps = int(turn * 255)  # of torchvision
    hue = hue.point([(level + steps) % 256 for level in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def _square(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A square with its centre anywhere in the image, clipped at the border."""
    starts = [int(rng.integers(length)) - side // 2 for length in shape]
    rows, columns = (slice(max(0, start), start + side) for start in starts)
    return rows, columns
