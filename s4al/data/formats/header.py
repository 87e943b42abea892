"""What every format module hands back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


class Refused(ValueError):
    """Why a file cannot be used: a reason without the file's name, and where it is known a sentence on what to do."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.remedy = remedy


@dataclass(frozen=True)
class Header:
    """What is known before any codec runs.

    Attributes
    ----------
    bits : per sample.
    mode : what the samples mean.
    transparent : a PNG tRNS chunk: a colour, or the palette, says what is transparent.
    lossless : the samples are the ones that were saved: false for JPEG and for lossy WebP.
    orientation : EXIF's, of a TIFF; where other formats keep it, it is only known after decoding.
    """

    format: Literal["PNG", "JPEG", "BMP", "TIFF", "WEBP"]
    height: int
    width: int
    bits: int
    mode: Literal["grey", "grey+alpha", "rgb", "rgb+alpha", "palette", "cmyk"]
    transparent: bool = False
    animated: bool = False
    interlaced: bool = False
    lossless: bool = True
    orientation: int = 1


@dataclass(frozen=True, eq=False)
class Samples:
    """A picture as it is stored.

    Attributes
    ----------
    pixels_HWC : (H, W, C) uint8 or uint16; C is 1 (grey or palette indices), 2 (and alpha), 3 (RGB) or 4 (and alpha).
    palette : (N, 3) uint8 RGB, of palette pictures.
    """

    pixels_HWC: NDArray[np.unsignedinteger[Any]]
    palette: NDArray[np.uint8] | None = None
