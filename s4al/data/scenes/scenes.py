"""The embedded data set: procedural street scenes, so that everything runs without a download.

A pinhole camera drives down a street of buildings, parks, fences, poles, signs, trees, cars, people and
bicycles, with weather, shadows, occlusion, noise and void borders as real sets have them. Colours overlap between
classes on purpose (grey cars on grey roads, white houses before white skies), and much is a pixel or two wide, so that
colour alone does not solve it.

A scene depends on (seed, split, index) only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.config import ScenesConfig
from s4al.data.scenes.canvas import Canvas, Dice, Float, Scene, Street
from s4al.data.scenes.parts import (
    BICYCLE,
    CAR,
    FENCE,
    PERSON,
    POLE,
    ROAD,
    SIGN,
    SKY,
    paint_ground,
    paint_side,
    paint_sky,
    paint_things,
)
from s4al.errors import DataError
from s4al.files import commit_folder, read_manifest

CLASSES = {
    "sky": (70, 130, 180),
    "building": (110, 70, 70),
    "road": (128, 64, 128),
    "pavement": (244, 35, 232),
    "vegetation": (107, 142, 35),
    "fence": (190, 153, 153),
    "car": (0, 0, 142),
    "person": (220, 20, 60),
    "bicycle": (0, 200, 200),
    "pole": (250, 250, 150),
    "sign": (250, 170, 30),
}
VOID = 255
_SPLIT_KEYS = {"train": 0, "val": 1, "test": 2}
_VERSION = 2  # of the pictures; part of what makes a rendered folder reusable
_ROUGHNESS = np.array([0.01, 0.10, 0.10, 0.12, 0.45, 0.15, 0.06, 0.10, 0.10, 0.06, 0.04], np.float32)  # by class


def render_folder(folder: Path, config: ScenesConfig) -> None:
    """Render the whole set as PNG files under `folder` (<split>/images, <split>/masks); nothing if it is there already.

    Raises DataError where `folder` holds scenes of other settings.
    """
    about = {"scenes": config.model_dump(mode="json"), "version": _VERSION}
    if folder.exists():
        manifest = read_manifest(folder)
        found = {key: manifest.get(key) for key in about}
        if found != about:
            what = f"{folder} holds scenes of other settings: {found}, not {about}."
            raise DataError(what, remedy="Delete it, or start a new run.")
        return
    with commit_folder(folder, about) as temporary:
        for split, count in (("train", config.train), ("val", config.val), ("test", config.test)):
            images, masks = temporary / split / "images", temporary / split / "masks"
            images.mkdir(parents=True)
            masks.mkdir(parents=True)
            for index in range(count):
                image_HWC, label_HW = render(config.seed, split, index, config.height, config.width)
                Image.fromarray(image_HWC).save(images / f"scene-{index:04d}.png", compress_level=1)
                Image.fromarray(label_HW).save(masks / f"scene-{index:04d}.png", compress_level=1)


def render(seed: int, split: str, index: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One scene: image (H, W, 3) uint8 RGB and label (H, W) uint8 class ids, 255 = void."""
    dice = Dice(seed, _SPLIT_KEYS[split], index)
    street = Street.roll(dice, height, width)
    canvas = Canvas(height, width)
    scene = Scene(canvas, street, dice)
    paint_sky(scene)
    paint_ground(scene)
    for side in (-1, 1):
        paint_side(scene, side)
    paint_things(scene)
    bonnet = _paint_bonnet(canvas, dice) if dice.chance(0.25) else height
    image_HWC = _photograph(canvas, street, dice)
    _mark_void(canvas, dice, bonnet)
    return image_HWC, canvas.label_HW


def _paint_bonnet(canvas: Canvas, dice: Dice) -> int:
    """The front of the camera's own car; returns its first row."""
    top = int(canvas.height * dice.uniform(0.92, 0.97))
    sheen = dice.noise(canvas.height - top, canvas.width, canvas.width / 6)[..., None]
    paint = dice.pick(((0.12, 0.12, 0.13), (0.45, 0.46, 0.48)))
    canvas.image_HWC[top:] = paint * (np.float32(0.8) + np.float32(0.4) * sheen)
    canvas.label_HW[top:] = ROAD
    canvas.depth_HW[top:] = 1.0
    return top


def _photograph(canvas: Canvas, street: Street, dice: Dice) -> NDArray[np.uint8]:
    """Surface texture, haze, exposure, colour cast, vignette, optics and sensor noise; (H, W, 3) uint8."""
    height, width = canvas.height, canvas.width
    rough = dice.noise(height, width, 1.7) * np.float32(1.2) + dice.noise(height, width, 4.0) * np.float32(0.8) - 1
    image = canvas.image_HWC * (1 + rough * _ROUGHNESS[canvas.label_HW])[..., None]
    thick = np.float32(street.haze) * canvas.depth_HW * (canvas.label_HW != SKY)
    veil = (thick / (1 + thick))[..., None]
    image = image * (1 - veil) + veil * dice.pick(((0.75, 0.77, 0.80), (0.66, 0.68, 0.72), (0.80, 0.74, 0.68)))
    exposure = dice.uniform(0.7, 1.25) if dice.chance(0.85) else dice.uniform(0.35, 0.6)
    cast = np.array([dice.uniform(0.9, 1.1) for _ in range(3)], np.float32)
    y, x = (np.arange(size, dtype=np.float32) / np.float32(size) - np.float32(0.5) for size in (height, width))
    vignette = 1 - np.float32(dice.uniform(0.0, 0.6)) * (y[:, None] * y[:, None] + x[None] * x[None])
    image = image * (np.float32(exposure) * cast) * vignette[..., None]
    image = _soften(image, np.float32(dice.uniform(0.04, 0.22)))
    image = image + np.float32(dice.uniform(0.01, 0.05)) * dice.grain(height, width)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _soften(image_HWC: Float, side: np.float32) -> Float:
    """A 3 x 3 blur: weight `side` for each neighbour, down and then across."""
    middle = 1 - 2 * side
    padded = np.concatenate([image_HWC[:1], image_HWC, image_HWC[-1:]])
    image_HWC = padded[1:-1] * middle + (padded[:-2] + padded[2:]) * side
    padded = np.concatenate([image_HWC[:, :1], image_HWC, image_HWC[:, -1:]], axis=1)
    return padded[:, 1:-1] * middle + (padded[:, :-2] + padded[:, 2:]) * side


def _mark_void(canvas: Canvas, dice: Dice, bonnet: int) -> None:
    """Unlabelled pixels: parts of outlines, things too far away to tell, the camera's own car."""
    label_HW = canvas.label_HW
    edge_HW = np.zeros(label_HW.shape, bool)
    edge_HW[:, 1:] |= label_HW[:, 1:] != label_HW[:, :-1]
    edge_HW[1:] |= label_HW[1:] != label_HW[:-1]
    unsure_HW = dice.noise(canvas.height, canvas.width, canvas.width / 10) < dice.uniform(0.1, 0.35)
    far_HW = (canvas.depth_HW > 40) & np.isin(label_HW, (CAR, PERSON, BICYCLE, POLE, SIGN, FENCE))
    label_HW[(edge_HW & unsure_HW) | far_HW] = VOID
    label_HW[bonnet:] = VOID
