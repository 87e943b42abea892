"""What the scenes are drawn with: keyed random numbers, a canvas with labels and depth, a camera in a street.

The arithmetic is add, subtract, multiply, divide and comparison in a fixed order, on uniform random numbers, so the
pixels are the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]  # float32 at run time
Bool = NDArray[np.bool_]
Colour = Sequence[float] | Float  # RGB, 0..1


class Dice:
    """Uniform random numbers keyed by (seed, split, index)."""

    def __init__(self, *key: int) -> None:
        self._generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._generator.random()

    def chance(self, probability: float) -> bool:
        return self._generator.random() < probability

    def integer(self, low: int, high: int) -> int:
        """low <= n <= high."""
        return int(self._generator.integers(low, high + 1))

    def pick(self, colours: Sequence[Colour], spread: float = 0.06) -> Float:
        """One of the colours, varied in brightness and a little in hue."""
        base = np.array(colours[self.integer(0, len(colours) - 1)], np.float32)
        tint = [self.uniform(-spread, spread) / 2 for _ in range(3)]
        return base * np.float32(self.uniform(1 - 3 * spread, 1 + 2 * spread)) + np.array(tint, np.float32)

    def noise(self, height: int, width: int, cell: float) -> Float:
        """(H, W) smooth noise in 0..1 that varies over about `cell` pixels."""
        rows, row_t = _lattice(height, cell)
        cols, col_t = _lattice(width, cell)
        lattice = self._generator.random((rows[-1] + 2, cols[-1] + 2), np.float32)
        across = lattice[:, cols] + (lattice[:, cols + 1] - lattice[:, cols]) * col_t
        return across[rows] + (across[rows + 1] - across[rows]) * row_t[:, None]

    def grain(self, height: int, width: int) -> Float:
        """(H, W, 3) noise, each sample apart, -1..1 with a peak at 0."""
        first, second = self._generator.random((2, height, width, 3), np.float32)
        return first - second


def _lattice(size: int, cell: float) -> tuple[NDArray[np.int64], Float]:
    position = np.arange(size) / cell
    whole = position.astype(np.int64)
    part = (position - whole).astype(np.float32)
    return whole, part * part * (3 - 2 * part)


class Window(NamedTuple):
    """Some pixels of the canvas: their slices, and their centres as a column `y` and a row `x`."""

    area: tuple[slice, slice]
    y: Float
    x: Float


class Canvas:
    """What has been painted so far: colour, class and distance in metres of every pixel."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.image_HWC = np.zeros((height, width, 3), np.float32)
        self.label_HW = np.zeros((height, width), np.uint8)
        self.depth_HW = np.full((height, width), 500, np.float32)

    def window(self, left: float, top: float, right: float, bottom: float) -> Window:
        """The pixels that a box touches, cut to the picture."""
        first_row, first_col = max(0, int(top)), max(0, int(left))
        last_row = max(first_row, min(self.height, int(bottom) + 1))
        last_col = max(first_col, min(self.width, int(right) + 1))
        y = np.arange(first_row, last_row, dtype=np.float32)[:, None] + np.float32(0.5)
        x = np.arange(first_col, last_col, dtype=np.float32)[None] + np.float32(0.5)
        return Window((slice(first_row, last_row), slice(first_col, last_col)), y, x)

    def paint(self, area: tuple[slice, slice], inside: Bool, colour: Colour, label: int, depth: float | Float) -> None:
        """Paint the pixels of `area` that are `inside`; `colour` and `depth` are one value or one a pixel."""
        self.image_HWC[area][inside] = colour if np.ndim(colour) < 3 else np.asarray(colour)[inside]
        self.label_HW[area][inside] = label
        self.depth_HW[area][inside] = np.broadcast_to(depth, inside.shape)[inside]

    def box(
        self, left: float, top: float, right: float, bottom: float, colour: Colour, label: int, depth: float
    ) -> None:
        """A filled box; one thinner than a pixel still shows, as thin things do in photographs."""
        area = _pixels(top, bottom, self.height), _pixels(left, right, self.width)
        self.image_HWC[area] = colour
        self.label_HW[area] = label
        self.depth_HW[area] = depth


def _pixels(low: float, high: float, size: int) -> slice:
    """The pixels whose centres lie in low..high, at least one, within the picture."""
    first = math.ceil(low - 0.5)
    last = max(math.ceil(high - 0.5), first + 1)
    return slice(min(max(first, 0), size), min(max(last, 0), size))


@dataclass(frozen=True)
class Street:
    """Camera and street; lengths in metres, lateral positions to the right of the camera, heights above the ground."""

    focal: float  # pixels
    horizon: float  # row
    centre: float  # column of the vanishing point
    camera: float  # height
    road_left: float
    road_right: float
    pavement: float  # width
    park_left: bool
    park_right: bool
    haze: float  # 1 / metres
    sun: int  # the light comes from the left (-1), the right (1), or a grey sky (0)

    @classmethod
    def roll(cls, dice: Dice, height: int, width: int) -> Street:
        road = dice.uniform(6.0, 12.0)
        offset = dice.uniform(0.35, 0.75)
        return cls(
            focal=width * dice.uniform(0.7, 1.0),
            horizon=height * dice.uniform(0.36, 0.52),
            centre=width * dice.uniform(0.36, 0.64),
            camera=dice.uniform(1.2, 2.0),
            road_left=-road * offset,
            road_right=road * (1 - offset),
            pavement=dice.uniform(1.8, 4.0),
            park_left=dice.chance(0.3),
            park_right=dice.chance(0.3),
            haze=dice.uniform(0.0, 0.012) if dice.chance(0.6) else dice.uniform(0.012, 0.03),
            sun=dice.integer(-1, 1),
        )

    def y(self, above: float, depth: float) -> float:
        """Row of a point `above` the ground."""
        return self.horizon + self.focal * (self.camera - above) / depth

    def x(self, lateral: float, depth: float) -> float:
        return self.centre + self.focal * lateral / depth

    def road(self, side: int) -> float:
        """Lateral position of the kerb on the left (-1) or right (1)."""
        return self.road_left if side < 0 else self.road_right

    def wall(self, side: int) -> float:
        """Lateral position of the house fronts."""
        return self.road(side) + side * self.pavement

    def park(self, side: int) -> bool:
        return self.park_left if side < 0 else self.park_right


class Scene(NamedTuple):
    canvas: Canvas
    street: Street
    dice: Dice


class Plane(NamedTuple):
    """The visible part of an upright plane along the street, see `plane`."""

    area: tuple[slice, slice]
    inside: Bool
    along: Float  # metres from its near end
    above: Float  # metres above the ground
    depth: Float


def plane(scene: Scene, lateral: float, near: float, far: float, top: float) -> Plane | None:
    """The plane at `lateral` from `near` to `far` and up to `top`, metres; None where the camera does not see it."""
    canvas, street, _ = scene
    left, right = sorted((street.x(lateral, near), street.x(lateral, far)))
    if right <= 0 or left >= canvas.width or right - left < 0.5:
        return None
    area, y, x = canvas.window(left, min(street.y(top, near), street.y(top, far)), right, street.y(0, near))
    reach = x - np.float32(street.centre)
    reach = np.where(reach * lateral > 0, reach, np.float32(1e-3 if lateral > 0 else -1e-3))
    depth = np.float32(street.focal * lateral) / reach
    above = np.float32(street.camera) - (y - np.float32(street.horizon)) * depth / np.float32(street.focal)
    inside = (above >= 0) & (above < top) & (depth >= near) & (depth < far)
    return Plane(area, inside, np.broadcast_to(depth - np.float32(near), above.shape), above, depth)


class Spot:
    """A place on the ground that faces the camera; things are drawn around it in metres.

    Offsets are to the right (`left`, `right`, `across`) and above the ground (`bottom`, `top`, `above`).
    """

    def __init__(self, scene: Scene, lateral: float, depth: float) -> None:
        self.scene = scene
        self.lateral, self.depth = lateral, depth
        self.scale = scene.street.focal / depth  # pixels a metre

    def x(self, across: float) -> float:
        return self.scene.street.x(self.lateral, self.depth) + across * self.scale

    def y(self, above: float) -> float:
        return self.scene.street.y(above, self.depth)

    def box(self, left: float, bottom: float, right: float, top: float, colour: Colour, label: int) -> None:
        self.scene.canvas.box(self.x(left), self.y(top), self.x(right), self.y(bottom), colour, label, self.depth)

    def disc(self, across: float, above: float, wide: float, tall: float) -> tuple[tuple[slice, slice], Float, Float]:
        """(area, squared distance from the centre in radii, offset below it in radii) of an ellipse's neighbourhood."""
        box = self.x(across - wide), self.y(above + tall), self.x(across + wide), self.y(above - tall)
        area, y, x = self.scene.canvas.window(*box)
        down = (y - np.float32(self.y(above))) / np.float32(tall * self.scale)
        aside = (x - np.float32(self.x(across))) / np.float32(wide * self.scale)
        return area, down * down + aside * aside, down

    def ellipse(self, across: float, above: float, wide: float, tall: float, colour: Colour, label: int) -> None:
        """`wide` and `tall` are its half axes."""
        area, radius, _ = self.disc(across, above, wide, tall)
        self.scene.canvas.paint(area, radius < 1, colour, label, self.depth)

    def shadow(self, wide: float) -> None:
        """Darken the ground around, on the side away from the sun."""
        area, radius, _ = self.disc(-self.scene.street.sun * wide * 0.8, 0.0, wide * 1.4, 0.2)
        self.scene.canvas.image_HWC[area][radius < 1] *= np.float32(0.55)
