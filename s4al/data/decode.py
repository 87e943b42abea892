"""Bytes of a file whose header was checked -> RGB of 8 bits, as it is stored.

16-bit samples become 8-bit ones only by a stated range; alpha is dropped only where every pixel is opaque.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from s4al.data.formats.bmp import read_bmp_pixels
from s4al.data.formats.header import Header, Refused, Samples
from s4al.data.formats.png import read_16_bit_png
from s4al.data.formats.tiff import read_tiff_pixels
from s4al.data.formats.webp import riff_end
from s4al.errors import ConfigError

ValueRange = tuple[float, float] | tuple[()]

SAVE_OPAQUE = "Save them again without transparency."
SET_RANGE = "Set what is black and what is white in them: data.value_range=0,65535 for the whole range."

_EXIF_ORIENTATION = 274
# What Pillow raises for damaged or hostile files; UserWarning where the caller made warnings errors.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
    UserWarning,
)


def decode_rgb(data: bytes, header: Header, value_range: ValueRange = ()) -> tuple[NDArray[np.uint8], int]:
    """Decode a whole file.

    Parameters
    ----------
    value_range : of 16-bit samples: what is black and what is white. Linear between them, rounded to the nearest of
        0 to 255, clipped beyond them. Other samples keep their values.

    Returns
    -------
    (H, W, 3) uint8 RGB as stored, and the EXIF orientation: 1 is upright, and so is every value that has no meaning.

    Raises
    ------
    Refused : damaged, not opaque, or 16-bit without a range.
    ConfigError : a range that is none.
    """
    samples = _own_samples(data, header)
    if samples is None:
        pixels_HWC, orientation = _decode_with_pillow(data, header, value_range)
    else:
        pixels_HWC, orientation = _to_rgb(samples, header.bits, value_range), header.orientation
    if pixels_HWC.shape != (header.height, header.width, 3):
        found = f"{pixels_HWC.shape[1]} x {pixels_HWC.shape[0]}"
        raise Refused(f"damaged: its header says {header.width} x {header.height}, its pixels are {found}")
    return pixels_HWC, orientation


def _own_samples(data: bytes, header: Header) -> Samples | None:
    """Samples that need no Pillow; None for all others."""
    if header.format == "BMP":
        return read_bmp_pixels(data)
    if header.format == "TIFF":
        return read_tiff_pixels(data)
    if header.format == "PNG" and header.bits == 16 and header.mode != "grey":
        return read_16_bit_png(data, header)
    return None


def _decode_with_pillow(data: bytes, header: Header, value_range: ValueRange) -> tuple[NDArray[np.uint8], int]:
    end = riff_end(data) if header.format == "WEBP" else len(data)
    try:
        with Image.open(io.BytesIO(data[:end]), formats=(header.format,)) as picture:
            if header.format == "JPEG":
                return _decode_jpeg(data), _orientation(picture)
            picture.load()
            orientation = _orientation(picture)  # after the pixels: in a PNG it may be behind them
            if header.bits == 16:
                samples = Samples(np.asarray(picture).astype(np.uint16)[:, :, None])
                return _to_rgb(samples, header.bits, value_range), orientation
            if header.transparent or picture.mode.endswith(("A", "a")):
                return _without_alpha(np.asarray(picture.convert("RGBA"))), orientation
            return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB")), orientation
    except Refused:
        raise
    except DECODE_ERRORS as error:
        raise Refused(one_line(error)) from error


def _decode_jpeg(data: bytes) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 by libjpeg-turbo, whose warnings are errors: Pillow hides them, and what is missing is then grey.

    A flipped bit of the scan that gives another valid scan cannot be told from a picture.
    """
    import simplejpeg

    return simplejpeg.decode_jpeg(data, "RGB", strict=True)


def _orientation(picture: Image.Image) -> int:
    """EXIF's, 1 where it is damaged: every viewer then shows the picture as it is stored."""
    try:
        return picture.getexif().get(_EXIF_ORIENTATION, 1)
    except SyntaxError:
        return 1


def _to_rgb(samples: Samples, bits: int, value_range: ValueRange) -> NDArray[np.uint8]:
    pixels_HWC = samples.pixels_HWC
    if samples.palette is not None:
        if int(pixels_HWC.max()) >= len(samples.palette):
            raise Refused(f"damaged: pixels of colour {pixels_HWC.max()} with {len(samples.palette)} colours")
        return samples.palette[pixels_HWC[:, :, 0]]
    if pixels_HWC.shape[2] in (2, 4):
        pixels_HWC = _without_alpha(pixels_HWC)
    if pixels_HWC.dtype == np.uint16:
        pixels_HWC = _range_table(value_range)[pixels_HWC]
    elif bits < 8:
        pixels_HWC = pixels_HWC * np.uint8(255 // (2**bits - 1))
    if pixels_HWC.shape[2] == 1:
        pixels_HWC = np.repeat(pixels_HWC, 3, axis=2)
    return np.ascontiguousarray(pixels_HWC, np.uint8)


def _without_alpha(pixels_HWC: NDArray[Any]) -> NDArray[Any]:
    """All channels but the last, which must be opaque everywhere."""
    alpha_HW = pixels_HWC[:, :, -1]
    count = int(np.count_nonzero(alpha_HW != np.iinfo(alpha_HW.dtype).max))
    if count:
        what = f"{count:,} of its {alpha_HW.size:,} pixels are transparent (opaque images are read)"
        raise Refused(what, SAVE_OPAQUE)
    return pixels_HWC[:, :, :-1]


def _range_table(value_range: ValueRange) -> NDArray[np.uint8]:
    """(65536,) uint8: what becomes of every 16-bit sample."""
    if not value_range:
        raise Refused("16-bit, and data.value_range is not set", SET_RANGE)
    black, white = value_range
    if not black < white:
        what = f"data.value_range=[{black:g}, {white:g}] is no range: black must be less than white."
        raise ConfigError(what, remedy="Set what is black, then what is white, such as data.value_range=0,65535.")
    shares = (np.arange(2**16) - black) / (white - black)
    return np.rint(255 * shares.clip(0, 1)).astype(np.uint8)


def one_line(error: BaseException) -> str:
    """What a library says of a file, without what differs between processes: `<BytesIO object at 0x7f...>`."""
    said = " ".join(re.sub(r"<[^<>]*>", "", str(error)).split())[:120]
    return f"cannot be decoded ({said or type(error).__name__})"
