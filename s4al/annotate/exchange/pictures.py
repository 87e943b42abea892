"""What a tool is shown: crops around one asked region each, or whole images with all their asked regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

UNPAINTED = 255
Mode = Literal["crop", "full"]


class NotOurs(Exception):
    """Something that belongs to no picture of this round: it is listed and left out, the rest is imported."""


class Unusable(Exception):
    """An answer that cannot be taken as it is: it is listed, and nothing at all is imported."""


@dataclass(frozen=True)
class Part:
    """One asked region inside a picture: `y0, x0, y1, x1` in the picture's pixels, ends exclusive."""

    query: str  # "r003-000017"
    y0: int
    x0: int
    y1: int
    x1: int
    score: float
    rank: int

    @property
    def box(self) -> tuple[slice, slice]:
        """To index a picture's (H, W) arrays with."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.y1 - self.y0, self.x1 - self.x0


@dataclass(frozen=True)
class Picture:
    """What a tool shows at a time: a window of an image of the pool, at its original resolution.

    Attributes
    ----------
    name : ASCII letters, digits and "-", unique to the export; the stem of every file about the picture. It is how an
        answer finds its way back, so a format must carry it.
    image : the image's id in the pool; any text.
    y0, x0 : where the window begins, in original pixels.
    parts : the asked regions in it, in the order in which they are asked; exactly one in crop mode.
    """

    name: str
    image: str
    y0: int
    x0: int
    height: int
    width: int
    parts: tuple[Part, ...]

    @property
    def file(self) -> str:
        """Where `Export.write_images` puts it."""
        return f"images/{self.name}.png"

    @property
    def size(self) -> tuple[int, int]:
        return self.height, self.width

    def blank(self) -> NDArray[np.uint8]:
        """A label map (H, W) with nothing painted."""
        return np.full(self.size, UNPAINTED, np.uint8)
